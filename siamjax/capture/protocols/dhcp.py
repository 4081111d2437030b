"""DHCP (RFC 2131): addresses for terminals."""

from siamjax.capture.protocols import table
from siamjax.capture.protocols.table import Message, Protocol, Wait

# Type of a message: what it is, and the outcome if it answers.
_TYPES = {
    **{1: ("Discover", ""), 2: ("Discover", "offer"), 3: ("Request", "")},
    **{4: ("Decline", ""), 5: ("", "ack"), 6: ("", "nak"), 7: ("Release", "")},
    8: ("Inform", ""),
}


def _read(frame):
    kind = table.number(frame.first("dhcp.option.dhcp"))
    procedure, outcome = _TYPES.get(kind, (table.OTHER, ""))
    stage = "offer" if procedure == "Discover" else "lease"
    return [Message(procedure, outcome, (frame.first("dhcp.id"), stage))]


DHCP = Protocol(
    name="dhcp",
    short="DHCP",
    standard="RFC 2131",
    ports={"udp": (67, 68)},
    filter="dhcp",
    markers=("dhcp.option.dhcp",),
    fields=("dhcp.id",),
    read=_read,
    between="all",
    procedures=("Discover", "Request", "Decline", "Release", "Inform"),
    answered=("Discover", "Request"),
    classes={"success": ("offer", "ack"), table.REJECTION: ("*",)},
    causes={"nak": "not acknowledged"},
    # A client asks again after 4, 8, 16, 32 s.
    waits=(Wait("Discover", "answer", 60.0), Wait("Request", "answer", 60.0)),
)
