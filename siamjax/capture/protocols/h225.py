"""H.225.0 (ITU-T): calls of H.323, and registration and admission at a gatekeeper."""

from siamjax.capture.protocols import table
from siamjax.capture.protocols.table import Message, Protocol, Wait

# Choices of the body of a call's message; a release has the cause of Q.850.
_SETUP, _RELEASE = 0, 5
_CALL = {_SETUP: "", 1: "proceeding", 2: "connect", 3: "alerting", _RELEASE: "*"}
_NOTICES = {4: "Information", 6: "Facility", 7: "Progress", 8: "Empty", 9: "Status"}
# Choices of messages to a gatekeeper: request, confirm and reject come in threes.
_REGISTRATION = (
    *("Gatekeeper", "Registration", "Unregistration", "Admission", "Bandwidth"),
    *("Disengage", "Location"),
)
CONFIRM, REJECT = "confirm", "reject"
_RAS = {
    3 * i + j: (procedure, outcome)
    for i, procedure in enumerate(_REGISTRATION)
    for j, outcome in enumerate(("", CONFIRM, REJECT))
}
_RAS |= {21: ("Information", ""), 22: ("Information", CONFIRM), 25: ("InProgress", "")}


def _read(frame):
    references = frame.values("q931.call_ref")
    causes = frame.values("q931.cause_value")
    for i, value in enumerate(frame.values("h225.h323_message_body")):
        body = table.number(value)
        name = (references[i],) if i < len(references) else ()
        if body in _NOTICES or body not in _CALL:
            yield Message(_NOTICES.get(body, table.OTHER))
            continue
        outcome = _CALL[body]
        if body == _RELEASE:
            outcome = causes.pop(0) if causes else "released"
        yield Message("Call", outcome, ("call", *name) if name else ())
    numbers = frame.values("h225.requestSeqNum")
    for i, value in enumerate(frame.values("h225.RasMessage")):
        procedure, outcome = _RAS.get(table.number(value), (table.OTHER, ""))
        name = (procedure, numbers[i]) if i < len(numbers) else ()
        yield Message(procedure, outcome, name)


_ANSWERED = ("Call", "Registration", "Admission", "Disengage", "Gatekeeper")

H225 = Protocol(
    name="h225",
    short="H.225",
    standard="ITU-T H.225.0",
    ports={"tcp": (1720,), "udp": (1718, 1719)},
    fixed=("tcp",),
    filter="h225",
    markers=("h225.h323_message_body", "h225.RasMessage"),
    fields=("q931.call_ref", "q931.cause_value", "h225.requestSeqNum"),
    read=_read,
    procedures=(
        *_ANSWERED,
        *("Unregistration", "Bandwidth", "Location", "Information", "InProgress"),
        *("Facility", "Progress", "Empty", "Status"),
    ),
    answered=_ANSWERED,
    classes={
        "ringing": ("proceeding", "alerting"),
        "success": ("connect", CONFIRM),
        "normal release": ("16", "31", "released"),
        table.REJECTION: ("*",),
    },
    causes={
        "16": "normal clearing",
        "1": "unallocated number",
        "3": "no route to destination",
        "17": "user busy",
        "18": "no user responding",
        "19": "no answer",
        "21": "call rejected",
        "34": "no circuit available",
        "41": "temporary failure",
        "42": "switching equipment congestion",
        "102": "recovery on timer expiry",
    },
    waits=(  # T303 is 4 s, T301 180 s; a request to a gatekeeper waits 3 to 10 s
        Wait("Call", "ringing", 30.0),
        Wait("Call", "answer", 180.0, ("connect", "released", "[0-9]*")),
        Wait("Registration", "answer", 10.0),
        Wait("Admission", "answer", 10.0),
    ),
)
