"""NAS of LTE and 5G: messages between a terminal and the core, where not ciphered."""

from collections.abc import Mapping

from siamjax.capture.protocols import table
from siamjax.capture.protocols.table import Frame, Message, Read

# Outcomes of messages of NAS that have no cause.
ACCEPT, REJECT = "accept", "reject"
Types = Mapping[int, tuple[str, str]]


def read_nas(
    types: Mapping[str, Types], causes: Mapping[str, str], terminal: str
) -> Read:
    """A reader of messages of NAS, which travel in S1AP or NGAP.

    Args:
      types: by field of the type: {type: (procedure, outcome)}. An empty outcome is
        that of a request, `reject` takes the cause of the message.
      causes: by field of the type, the field of the cause.
      terminal: field of the number that the radio network gave to the terminal.
    """

    def read(frame: Frame):
        number = frame.first(terminal)
        if not number:  # it is carried on inside the core, where it was counted before
            return
        for field, kinds in types.items():
            left = frame.values(causes[field])
            for value in frame.values(field):
                unknown = (table.OTHER, "")
                procedure, outcome = kinds.get(table.number(value), unknown)
                if outcome == REJECT and left:
                    outcome = left.pop(0)
                yield Message(procedure, outcome, (procedure, number))

    return read
