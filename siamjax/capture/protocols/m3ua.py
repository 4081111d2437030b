"""M3UA (RFC 4666): SS7 over IP, and its own management."""

from siamjax.capture.protocols import table
from siamjax.capture.protocols.table import Message, Protocol, Wait

ACK = "ack"
# (class, type) of a message: what it is, and the outcome if it answers.
_TYPES = {
    **{(0, 0): ("Error", ""), (0, 1): ("Notify", ""), (1, 1): ("Data", "")},
    **{(2, 1): ("DUNA", ""), (2, 2): ("DAVA", ""), (2, 3): ("DAUD", "")},
    **{(2, 4): ("SCON", ""), (2, 5): ("DUPU", ""), (2, 6): ("DRST", "")},
    **{(3, 1): ("Up", ""), (3, 4): ("Up", ACK), (3, 2): ("Down", "")},
    **{(3, 5): ("Down", ACK), (3, 3): ("Heartbeat", ""), (3, 6): ("Heartbeat", ACK)},
    **{(4, 1): ("Active", ""), (4, 3): ("Active", ACK), (4, 2): ("Inactive", "")},
    **{(4, 4): ("Inactive", ACK), (9, 1): ("Registration", "")},
    **{(9, 2): ("Registration", ACK), (9, 3): ("Deregistration", "")},
    (9, 4): ("Deregistration", ACK),
}


def _read(frame):
    classes = frame.values("m3ua.message_class")
    for pair in zip(classes, frame.values("m3ua.message_type")):
        key = table.number(pair[0]), table.number(pair[1])
        procedure, outcome = _TYPES.get(key, (table.OTHER, ""))
        # One of a kind at a time waits for its answer, on each association.
        yield Message(procedure, outcome, (procedure,) if procedure != "Data" else ())


M3UA = Protocol(
    name="m3ua",
    short="M3UA",
    standard="RFC 4666",
    ports={"sctp": (2905, 2904), "ppid": (2, 3)},
    filter="m3ua",
    markers=("m3ua.message_class",),
    fields=("m3ua.message_type",),
    read=_read,
    procedures=(
        *("Data", "Up", "Down", "Heartbeat", "Active", "Inactive", "Registration"),
        *("Deregistration", "DUNA", "DAVA", "DAUD", "SCON", "DUPU", "DRST"),
        *("Error", "Notify"),
    ),
    answered=("Up", "Down", "Heartbeat", "Active", "Inactive"),
    classes={"success": (ACK,), table.REJECTION: ("*",)},
    causes={},
    waits=(  # T(ack) is 2 s, and the request is sent again
        *(Wait(procedure, "answer", 10.0) for procedure in ("Up", "Active")),
        Wait("Heartbeat", "answer", 30.0),
    ),
)
