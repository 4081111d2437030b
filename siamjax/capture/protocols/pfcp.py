"""PFCP (3GPP TS 29.244): control of user planes, Sx and N4."""

from siamjax.capture.protocols import table
from siamjax.capture.protocols.table import Protocol, Wait

_TYPES = table.pair_types(
    {
        **{1: "Heartbeat", 3: "PFDManagement", 5: "AssociationSetup"},
        **{7: "AssociationUpdate", 9: "AssociationRelease", 12: "NodeReport"},
        **{14: "SessionSetDeletion", 16: "SessionSetModification"},
        **{50: "SessionEstablishment", 52: "SessionModification"},
        **{54: "SessionDeletion", 56: "SessionReport"},
    }
)
_TYPES |= {11: ("VersionNotSupported", "")}

# T1 and N1 are set by the operator; 3 to 5 s and 3 times are usual.
_GIVEN_UP_S = 15.0
_ANSWERED = (
    *("Heartbeat", "AssociationSetup", "SessionEstablishment", "SessionModification"),
    *("SessionDeletion", "SessionReport"),
)

PFCP = Protocol(
    name="pfcp",
    short="PFCP",
    standard="3GPP TS 29.244",
    ports={"udp": (8805,)},
    filter="pfcp",
    markers=("pfcp.msg_type",),
    fields=("pfcp.seqno", "pfcp.cause"),
    read=table.read_types(
        _TYPES,
        marker="pfcp.msg_type",
        name="pfcp.seqno",
        cause="pfcp.cause",
        answer="answered",
    ),
    between="asker",
    procedures=(
        *_ANSWERED,
        *("AssociationUpdate", "AssociationRelease", "NodeReport", "PFDManagement"),
        *("SessionSetDeletion", "SessionSetModification", "VersionNotSupported"),
    ),
    answered=_ANSWERED,
    classes={"success": ("answered", "1", "2"), table.REJECTION: ("*",)},
    causes={
        "1": "request accepted",
        "64": "request rejected",
        "65": "session context not found",
        "66": "mandatory IE missing",
        "72": "no established association",
        "73": "rule creation or modification failure",
        "74": "entity in congestion",
        "75": "no resources available",
        "77": "system failure",
    },
    waits=tuple(Wait(procedure, "answer", _GIVEN_UP_S) for procedure in _ANSWERED),
)
