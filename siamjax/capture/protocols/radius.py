"""RADIUS (RFC 2865, 2866, 5176): authentication and accounting."""

from siamjax.capture.protocols import table
from siamjax.capture.protocols.table import Message, Protocol, Wait

# Code of the packet: what it asks for, or the outcome with which it answers.
_REQUESTS = {1: "Access", 4: "Accounting", 12: "Status", 40: "Disconnect", 43: "CoA"}
_ANSWERS = {2: "accept", 3: "reject", 5: "response", 11: "challenge"}
_ANSWERS |= {41: "ack", 42: "nak", 44: "ack", 45: "nak"}
_ACCOUNTED = {1: "Start", 2: "Stop", 3: "Interim"}


def _read(frame):
    code = table.number(frame.first("radius.code"))
    name = (frame.first("radius.id"),)
    if code in _ANSWERS:
        return [Message("", _ANSWERS[code], name)]
    procedure = _REQUESTS.get(code, table.OTHER)
    if procedure == "Accounting":
        status = table.number(frame.first("radius.Acct_Status_Type"))
        procedure = _ACCOUNTED.get(status, procedure)
    # An identifier of 8 bits is soon used again; then the authenticator is another one.
    return [Message(procedure, "", name, frame.first("radius.authenticator"))]


RADIUS = Protocol(
    name="radius",
    short="RADIUS",
    standard="RFC 2865, 2866, 5176",
    ports={"udp": (1812, 1813, 1645, 1646, 3799)},
    filter="radius",
    markers=("radius.code",),
    fields=("radius.id", "radius.Acct_Status_Type", "radius.authenticator"),
    read=_read,
    between="asker",
    procedures=(
        *("Access", "Start", "Stop", "Interim", "Accounting"),
        *("CoA", "Disconnect", "Status"),
    ),
    answered=("Access", "Start", "Stop", "Interim"),
    classes={
        "success": ("accept", "response", "ack"),
        "challenge": ("challenge",),
        table.REJECTION: ("*",),
    },
    causes={},
    waits=(
        # A usual client tries three times, 5 to 10 s apart (RFC 5080, 2.2.1).
        Wait("Access", "answer", 30.0),
        Wait("Start", "answer", 30.0),
        Wait("Stop", "answer", 30.0),
        Wait("Interim", "answer", 30.0),
    ),
)
