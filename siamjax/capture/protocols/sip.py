"""SIP (RFC 3261). Its messages are read without tshark, by `capture.sip`."""

from siamjax.capture.protocols.table import Protocol, Wait

METHODS = tuple(
    "INVITE ACK BYE REGISTER CANCEL OPTIONS PRACK UPDATE INFO SUBSCRIBE NOTIFY REFER "
    "MESSAGE PUBLISH".split()
)
# A client gives up a transaction after 64 * T1 (RFC 3261, timers B and F).
_GIVEN_UP_S = 32.0
_RINGING, _FINAL = ("10[1-9]", "1[1-9]?", "[2-6]??"), ("[2-6]??",)
# Latencies: of a call to ringing and to its final answer, of a registration and of a
# hang-up to the final answer (delays of RFC 6076).
WAITS = (
    Wait("INVITE", "ringing", _GIVEN_UP_S, _RINGING),
    Wait("INVITE", "final", _GIVEN_UP_S, _FINAL),
    Wait("REGISTER", "final", _GIVEN_UP_S, _FINAL),
    Wait("BYE", "final", _GIVEN_UP_S, _FINAL),
)
_CODES = """100 Trying;180 Ringing;183 Session Progress;200 OK;401 Unauthorized;
    403 Forbidden;404 Not Found;407 Proxy Authentication Required;408 Request Timeout;
    480 Temporarily Unavailable;481 Call Does Not Exist;486 Busy Here;
    487 Request Terminated;500 Server Internal Error;503 Service Unavailable;
    603 Decline"""

SIP = Protocol(
    name="sip",
    short="SIP",
    standard="RFC 3261",
    procedures=METHODS,
    answered=("INVITE", "REGISTER", "BYE"),
    classes={f"{digit}xx": (f"{digit}[0-9][0-9]",) for digit in range(1, 7)},
    causes=dict(code.split(maxsplit=1) for code in _CODES.split(";")),
    waits=WAITS,
)
