"""SCCP (ITU-T Q.713): datagrams of SS7 and what could not be delivered."""

from siamjax.capture.protocols import table
from siamjax.capture.protocols.table import Message, Protocol, Wait

_TYPES = {
    **{1: ("Connection", ""), 2: ("Connection", "confirm"), 3: ("Connection", "*")},
    **{4: ("Release", ""), 5: ("Release", "complete"), 6: ("DT1", ""), 7: ("DT2", "")},
    **{9: ("UDT", ""), 10: ("UDTS", "*"), 17: ("XUDT", ""), 18: ("XUDTS", "*")},
    **{15: ("Error", ""), 16: ("InactivityTest", ""), 19: ("LUDT", "")},
    20: ("LUDTS", "*"),
}


def _read(frame):
    for value in frame.values("sccp.message_type"):
        procedure, outcome = _TYPES.get(table.number(value), (table.OTHER, ""))
        if outcome == "*":
            causes = ("sccp.return_cause", "sccp.refusal_cause")
            outcome = next(filter(None, map(frame.first, causes)), table.OTHER)
            outcome = str(table.number(outcome))
        ends = {"Connection": "sccp.dlr", "Release": "sccp.dlr"}
        asks = "sccp.slr" if not outcome else ends.get(procedure, "")
        reference = frame.first(asks) if asks else ""
        yield Message(procedure, outcome, (procedure, reference) if reference else ())


SCCP = Protocol(
    name="sccp",
    short="SCCP",
    standard="ITU-T Q.713",
    carriers=("m3ua",),
    ports={"ppid": (4,), "sctp": (14001,)},
    fixed=("sctp",),
    filter="sccp",
    markers=("sccp.message_type",),
    fields=(*("sccp.return_cause", "sccp.refusal_cause", "sccp.slr", "sccp.dlr"),),
    read=_read,
    between="all",
    repeats=False,
    procedures=(
        *("UDT", "UDTS", "XUDT", "XUDTS", "LUDT", "LUDTS", "Connection", "Release"),
        *("DT1", "DT2", "Error", "InactivityTest"),
    ),
    answered=("Connection",),
    notices=frozenset(("UDTS", "XUDTS", "LUDTS")),
    classes={"success": ("confirm", "complete"), table.REJECTION: ("*",)},
    causes={
        "0": "no translation for an address of such nature",
        "1": "no translation for this address",
        "2": "subsystem congestion",
        "3": "subsystem failure",
        "4": "unequipped user",
        "5": "MTP failure",
        "6": "network congestion",
        "7": "unqualified",
        "11": "hop counter violation",
    },
    waits=(Wait("Connection", "answer", 60.0),),
)
