"""GTPv2-C (3GPP TS 29.274): sessions and bearers of LTE, S11, S5, S8, S10."""

from siamjax.capture.protocols import table
from siamjax.capture.protocols.table import Protocol, Wait

_TYPES = table.pair_types(
    {
        **{1: "Echo", 32: "CreateSession", 34: "ModifyBearer", 36: "DeleteSession"},
        **{38: "ChangeNotification", 95: "CreateBearer", 97: "UpdateBearer"},
        **{99: "DeleteBearer", 101: "DeletePDNConnectionSet", 128: "Identification"},
        **{130: "Context", 133: "ForwardRelocation", 135: "ForwardRelocationComplete"},
        **{137: "ForwardAccessContext", 139: "RelocationCancel", 149: "Detach"},
        **{153: "AlertMME", 155: "UEActivity", 160: "CreateForwardingTunnel"},
        **{162: "Suspend", 164: "Resume", 166: "CreateIndirectTunnel"},
        **{168: "DeleteIndirectTunnel", 170: "ReleaseAccessBearers"},
        **{176: "DownlinkData", 200: "UpdatePDNConnectionSet"},
        211: "ModifyAccessBearers",
        # Commands: an answer is a failure indication.
        **{64: "ModifyBearerCommand", 66: "DeleteBearerCommand"},
        68: "BearerResourceCommand",
    }
)
_TYPES |= {3: ("VersionNotSupported", ""), 132: ("ContextAck", "*")}
_TYPES |= {70: ("DownlinkDataFailure", "*"), 73: ("StopPaging", "")}

# T3-RESPONSE and N3-REQUESTS are set by the operator; 3 to 5 s and 3 times are usual.
_GIVEN_UP_S = 20.0
_ANSWERED = (
    *("Echo", "CreateSession", "ModifyBearer", "DeleteSession", "CreateBearer"),
    *("DeleteBearer", "ReleaseAccessBearers", "DownlinkData"),
)

GTPV2 = Protocol(
    name="gtpv2",
    short="GTPv2-C",
    standard="3GPP TS 29.274",
    ports={"udp": (2123,)},
    decoder="gtp",
    filter="gtpv2",
    markers=("gtpv2.message_type",),
    fields=("gtpv2.seq", "gtpv2.cause"),
    read=table.read_types(
        _TYPES,
        marker="gtpv2.message_type",
        name="gtpv2.seq",
        cause="gtpv2.cause",
        answer="answered",
    ),
    between="asker",
    procedures=(
        *_ANSWERED,
        *("UpdateBearer", "ModifyAccessBearers", "Context", "Identification"),
        *("ForwardRelocation", "ForwardRelocationComplete", "RelocationCancel"),
        *("Detach", "Suspend", "Resume", "ChangeNotification"),
        *("CreateIndirectTunnel", "DeleteIndirectTunnel", "ModifyBearerCommand"),
        *("DeleteBearerCommand", "BearerResourceCommand", "ContextAck"),
        *("DownlinkDataFailure", "StopPaging", "VersionNotSupported"),
    ),
    answered=_ANSWERED,
    notices=frozenset(("ContextAck", "DownlinkDataFailure")),
    classes={
        "success": ("answered", "16", "17", "18", "19"),
        table.REJECTION: ("*",),
    },
    causes={
        "16": "request accepted",
        "17": "accepted partially",
        "64": "context not found",
        "67": "missing or unknown APN",
        "72": "system failure",
        "73": "no resources available",
        "78": "unable to page UE",
        "84": "all dynamic addresses occupied",
        "87": "UE not responding",
        "91": "no memory available",
        "92": "user authentication failed",
        "93": "APN access denied",
        "94": "request rejected",
        "100": "remote peer not responding",
        "113": "APN congestion",
        "120": "GTP-C entity congestion",
    },
    waits=tuple(Wait(procedure, "answer", _GIVEN_UP_S) for procedure in _ANSWERED),
)
