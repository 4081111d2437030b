"""Elementary procedures of S1AP and NGAP: both have the same messages."""

from collections.abc import Mapping

from siamjax.capture.protocols import table
from siamjax.capture.protocols.table import Frame, Message

# Kinds of messages: it initiates, or it is a successful or an unsuccessful outcome.
_INITIATING, _SUCCESSFUL = 0, 1
SUCCESS = "success"
_GROUPS = ("radioNetwork", "transport", "nas", "protocol", "misc")


def fields(protocol: str, terminal: str) -> tuple[str, ...]:
    """The fields of a protocol besides that of its kind of message.

    Args:
      protocol: `s1ap` or `ngap`.
      terminal: the field of the number that the radio network gave to a terminal.
    """
    names = ("procedureCode", "Cause", *_GROUPS, terminal)
    return tuple(f"{protocol}.{name}" for name in names)


def read_procedures(
    protocol: str,
    terminal: str,
    procedures: Mapping[int, str],
    notices: frozenset[str],
) -> table.Read:
    """A reader of messages of elementary procedures.

    Procedures of a terminal are named by its number, others by the procedure. A cause
    of an unsuccessful outcome, and of a notice, is `group.number`.
    """
    kind = f"{protocol}.{protocol.upper()}_PDU"

    def read(frame: Frame):
        kinds = [table.number(value) for value in frame.values(kind)]
        codes = frame.values(f"{protocol}.procedureCode")
        terminals = frame.values(f"{protocol}.{terminal}")
        cause = _cause(frame, protocol) if len(kinds) == 1 else ""
        for i, (what, code) in enumerate(zip(kinds, codes)):
            procedure = procedures.get(table.number(code), table.OTHER)
            if len(kinds) == 1 or len(set(terminals)) == 1:
                subject = terminals[:1]
            else:
                subject = terminals[i : i + 1] if len(terminals) == len(kinds) else []
            if what == _INITIATING:
                outcome = (cause or table.OTHER) if procedure in notices else ""
            else:
                outcome = SUCCESS if what == _SUCCESSFUL else cause or table.OTHER
            yield Message(procedure, outcome, (procedure, *subject))

    return read


def _cause(frame, protocol):
    """The first cause of a message, as `group.number`; empty: it has none."""
    group = table.number(frame.first(f"{protocol}.Cause"))
    if not 0 <= group < len(_GROUPS):
        return ""
    return f"{_GROUPS[group]}.{frame.first(f'{protocol}.{_GROUPS[group]}')}"
