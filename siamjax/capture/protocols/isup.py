"""ISUP (ITU-T Q.763): calls of the telephone network, answered or released."""

from siamjax.capture.protocols import table
from siamjax.capture.protocols.table import Message, Protocol, Wait

RINGING, ANSWERED = "ringing", "answered"
_RELEASE = 12
# Type: what it is, and the outcome if it answers; a release has its cause.
_TYPES = {
    **{1: ("Call", ""), 6: ("Call", RINGING), 9: ("Call", ANSWERED)},
    **{7: ("Call", ANSWERED), _RELEASE: ("Call", "*"), 16: ("ReleaseComplete", "")},
    **{2: ("SubsequentAddress", ""), 5: ("Continuity", ""), 44: ("Progress", "")},
    **{13: ("Suspend", ""), 14: ("Resume", ""), 18: ("ResetCircuit", "")},
    **{19: ("Blocking", ""), 20: ("Unblocking", ""), 21: ("Blocking", "ack")},
    **{22: ("Unblocking", "ack"), 23: ("ResetGroup", ""), 41: ("ResetGroup", "ack")},
    **{24: ("BlockGroup", ""), 26: ("BlockGroup", "ack"), 25: ("UnblockGroup", "")},
    **{
        27: ("UnblockGroup", "ack"),
        46: ("UnequippedCircuit", ""),
        47: ("Confusion", ""),
    },
    **{
        31: ("Facility", ""),
        32: ("Facility", "accepted"),
        33: ("Facility", "rejected"),
    },
}


def _read(frame):
    kinds = frame.values("isup.message_type")
    circuits = frame.values("isup.cic")
    points = sorted(
        map(frame.first, ("m3ua.protocol_data_opc", "m3ua.protocol_data_dpc"))
    )
    causes = frame.values("isup.cause_indicator")
    for i, value in enumerate(kinds):
        kind = table.number(value)
        procedure, outcome = _TYPES.get(kind, (table.OTHER, ""))
        if kind == _RELEASE:
            outcome = causes.pop(0) if causes else table.OTHER
        name = (procedure, circuits[i], *points) if i < len(circuits) else ()
        yield Message(procedure, outcome, name)


ISUP = Protocol(
    name="isup",
    short="ISUP",
    standard="ITU-T Q.763",
    carriers=("m3ua",),
    filter="isup",
    markers=("isup.message_type",),
    fields=(
        *("isup.cic", "isup.cause_indicator"),
        *("m3ua.protocol_data_opc", "m3ua.protocol_data_dpc"),
    ),
    read=_read,
    between="all",
    repeats=False,
    procedures=(
        *("Call", "ReleaseComplete", "Progress", "SubsequentAddress", "Continuity"),
        *("Suspend", "Resume", "ResetCircuit", "ResetGroup", "Blocking", "Unblocking"),
        *("BlockGroup", "UnblockGroup", "UnequippedCircuit", "Confusion", "Facility"),
    ),
    answered=("Call",),
    classes={
        "ringing": (RINGING,),
        "success": (ANSWERED, "ack", "accepted"),
        "normal release": ("16", "31"),
        table.REJECTION: ("*",),
    },
    causes={
        "16": "normal clearing",
        "31": "normal, unspecified",
        "1": "unallocated number",
        "3": "no route to destination",
        "17": "user busy",
        "18": "no user responding",
        "19": "no answer",
        "21": "call rejected",
        "28": "address incomplete",
        "34": "no circuit available",
        "38": "network out of order",
        "41": "temporary failure",
        "42": "switching equipment congestion",
        "47": "resource unavailable",
        "102": "recovery on timer expiry",
        "127": "interworking",
    },
    waits=(  # T7 is 20 to 30 s, T9 is 90 to 180 s
        Wait("Call", "ringing", 30.0),
        Wait("Call", "answer", 180.0, (ANSWERED, "[0-9]*")),
    ),
)
