"""Diameter (RFC 6733): S6a, Cx, Sh, Gx, Gy, Rx and others."""

from siamjax.capture.protocols import table
from siamjax.capture.protocols.table import Message, Protocol, Wait

_COMMANDS = {
    **{257: "CE", 280: "DW", 282: "DP", 258: "RA", 275: "ST", 274: "AS", 271: "AC"},
    **{265: "AA", 272: "CC", 268: "EAP"},
    # S6a (3GPP TS 29.272)
    **{316: "UL", 317: "CL", 318: "AI", 319: "ID", 320: "DS", 321: "PurgeUE"},
    **{322: "RS", 323: "NO"},
    # Cx and Sh (TS 29.229, 29.329)
    **{300: "UA", 301: "SA", 302: "LI", 303: "MA", 304: "RT", 305: "PP"},
    **{306: "UD", 307: "ProfileUpdate", 308: "SN", 309: "PN"},
}
_SESSION_ID, _RESULT, _EXPERIMENTAL = 263, 268, 298
_FIELDS = (
    "diameter.flags.request",
    "diameter.hopbyhopid",
    "diameter.Result-Code",
    "diameter.Experimental-Result-Code",
    "diameter.avp.code",
)


def _read(frame):
    commands = frame.values("diameter.cmd.code")
    asks = [value in ("1", "True") for value in frame.values("diameter.flags.request")]
    results = _results(frame, asks)
    for command, ask, hop in zip(commands, asks, frame.values("diameter.hopbyhopid")):
        procedure = _COMMANDS.get(table.number(command), table.OTHER)
        outcome = "" if ask else results.pop(0) if results else table.OTHER
        # The number of the hop stays in a repeated request (RFC 6733, 3).
        yield Message(procedure, outcome, (hop,))


def _results(frame, asks):
    """The result of each answer in a frame.

    Parts of an answer have results too, such as those of each rating group.
    """
    plain = frame.values("diameter.Result-Code")
    experimental = frame.values("diameter.Experimental-Result-Code")
    if len(asks) == 1:
        return (plain or experimental)[:1]
    results, fresh = [], True
    sources = {_RESULT: iter(plain), _EXPERIMENTAL: iter(experimental)}
    # A message of a session begins with its name, any other answer with its result.
    sessions = str(_SESSION_ID) in frame.values("diameter.avp.code")
    for code in map(table.number, frame.values("diameter.avp.code")):
        fresh = fresh or code == _SESSION_ID or not sessions
        if code in sources:
            result = next(sources[code], table.OTHER)
            if fresh:
                results.append(result)
            fresh = False
    return results


_ANSWERED = ("CC", "UL", "AI", "AA", "RA", "AC", "DW", "CE", "MA", "SA", "UA", "LI")
# Tw of the watchdog is 30 s (RFC 3539); Tx of credit control 10 s (RFC 8506).
_TX_S = 10.0

DIAMETER = Protocol(
    name="diameter",
    short="Diameter",
    standard="RFC 6733",
    ports={"tcp": (3868, 3869), "sctp": (3868,), "ppid": (46, 47)},
    filter="diameter",
    markers=("diameter.cmd.code",),
    fields=_FIELDS,
    read=_read,
    procedures=(
        *("CC", "UL", "AI", "CL", "ID", "DS", "PurgeUE", "NO", "AA", "RA", "ST", "AS"),
        *("AC", "EAP", "UA", "SA", "LI", "MA", "UD", "SN", "PN", "CE", "DW", "DP"),
    ),
    answered=_ANSWERED,
    classes={
        "success": ("2???",),
        "interim": ("1???",),
        table.REJECTION: ("*",),
    },
    causes={
        "2001": "success",
        "3002": "unable to deliver",
        "3003": "realm not served",
        "3004": "too busy",
        "4001": "authentication rejected",
        "4010": "end user service denied",
        "4012": "credit limit reached",
        "4181": "authentication data unavailable",
        "5001": "user unknown",
        "5002": "unknown session",
        "5003": "authorization rejected",
        "5004": "roaming not allowed, invalid AVP value",
        "5005": "missing AVP",
        "5012": "unable to comply",
        "5030": "user unknown",
        "5065": "bearer not found",
        "5420": "unknown EPS subscription",
        "5421": "RAT not allowed",
        "5422": "equipment unknown",
    },
    waits=(
        *(
            Wait(procedure, "answer", _TX_S)
            for procedure in _ANSWERED
            if procedure != "DW"
        ),
        Wait("DW", "answer", 30.0),
    ),
)
