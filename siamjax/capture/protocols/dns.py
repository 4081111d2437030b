"""DNS (RFC 1035): names, and NAPTR and SRV for ENUM, IMS and APN."""

from siamjax.capture.protocols import table
from siamjax.capture.protocols.table import Message, Protocol, Wait

_TYPES = {1: "A", 28: "AAAA", 35: "NAPTR", 33: "SRV", 12: "PTR", 5: "CNAME", 15: "MX"}
_TYPES |= {2: "NS", 6: "SOA", 16: "TXT", 65: "HTTPS", 255: "ANY"}


def _read(frame):
    kinds = frame.values("dns.qry.type")
    procedure = _TYPES.get(table.number(kinds[0]) if kinds else -1, table.OTHER)
    name = (frame.first("dns.id"), procedure)
    if frame.first("dns.flags.response") in ("1", "True"):
        return [Message(procedure, frame.first("dns.flags.rcode") or "0", name)]
    return [Message(procedure, "", name)]


DNS = Protocol(
    name="dns",
    short="DNS",
    standard="RFC 1035",
    ports={"udp": (53,), "tcp": (53,)},
    filter="dns",
    markers=("dns.id",),
    fields=("dns.flags.response", "dns.flags.rcode", "dns.qry.type"),
    read=_read,
    between="asker",
    procedures=tuple(_TYPES.values()),
    answered=("A", "AAAA", "NAPTR", "SRV"),
    classes={"success": ("0",), table.REJECTION: ("*",)},
    causes={
        "0": "no error",
        "1": "format error",
        "2": "server failure",
        "3": "no such name",
        "4": "not implemented",
        "5": "refused",
    },
    # A usual resolver asks two or three times, 5 s apart.
    waits=tuple(Wait(kind, "answer", 15.0) for kind in ("A", "AAAA", "NAPTR", "SRV")),
)
