"""MGCP (RFC 3435): a call agent and its gateways."""

from siamjax.capture.protocols import table
from siamjax.capture.protocols.table import Message, Protocol, Wait

_VERBS = ("CRCX", "MDCX", "DLCX", "RQNT", "NTFY", "AUEP", "AUCX", "RSIP", "EPCF")


def _read(frame):
    verbs = [verb.upper() for verb in frame.values("mgcp.req.verb")]
    codes, numbers = frame.values("mgcp.rsp.rspcode"), frame.values("mgcp.transid")
    # A packet with an answer and a request has the answer first (RFC 3435, 3.5.5).
    for code, number in zip(codes, numbers):
        yield Message("", code, (number,))
    for verb, number in zip(verbs, numbers[len(codes) :]):
        yield Message(verb if verb in _VERBS else table.OTHER, "", (number,))


# A request is repeated for at most T-MAX, 20 s (RFC 3435, 3.5.2).
_GIVEN_UP_S = 20.0

MGCP = Protocol(
    name="mgcp",
    short="MGCP",
    standard="RFC 3435",
    ports={"udp": (2427, 2727)},
    filter="mgcp",
    markers=("mgcp.req.verb", "mgcp.rsp.rspcode"),
    fields=("mgcp.transid",),
    read=_read,
    between="asker",
    procedures=_VERBS,
    answered=("CRCX", "MDCX", "DLCX", "RQNT", "NTFY"),
    classes={"success": ("2??",), "interim": ("[01]??",), table.REJECTION: ("*",)},
    causes={
        "200": "executed",
        "250": "connection deleted",
        "400": "transient error",
        "401": "phone off hook",
        "403": "insufficient resources",
        "500": "unknown endpoint",
        "502": "insufficient resources, permanently",
        "510": "protocol error",
        "515": "unknown connection",
    },
    waits=tuple(
        Wait(verb, "answer", _GIVEN_UP_S, ("[2-9]??",))
        for verb in ("CRCX", "MDCX", "DLCX", "RQNT", "NTFY")
    ),
)
