"""GTPv1-C (3GPP TS 29.060): sessions of packet data in 2G and 3G."""

from siamjax.capture.protocols import table
from siamjax.capture.protocols.table import Protocol, Wait

# Types of requests; the answer has the next number.
_PAIRS = {
    **{1: "Echo", 4: "NodeAlive", 6: "Redirection"},
    **{16: "CreatePDP", 18: "UpdatePDP", 20: "DeletePDP", 22: "InitiatePDP"},
    **{27: "PDUNotification", 29: "PDUNotificationReject", 32: "SendRouting"},
    **{34: "FailureReport", 36: "MSPresent", 48: "Identification"},
    **{50: "SGSNContext", 53: "ForwardRelocation", 56: "RelocationCancel"},
    **{96: "MBMSNotification", 98: "MBMSNotificationReject", 100: "CreateMBMS"},
    **{102: "UpdateMBMS", 104: "DeleteMBMS", 112: "MBMSRegistration"},
    **{114: "MBMSDeregistration", 116: "MBMSStart", 118: "MBMSStop", 120: "MBMSUpdate"},
    240: "DataRecord",
}
_TYPES = table.pair_types(_PAIRS)
_TYPES |= {
    59: ("RelocationComplete", "*"),
    55: ("RelocationComplete", ""),
}
_TYPES |= {3: ("VersionNotSupported", ""), 26: ("ErrorIndication", "")}
_TYPES |= {52: ("SGSNContextAck", "*"), 254: ("EndMarker", "")}
_TYPES |= {31: ("SupportedHeaders", ""), 70: ("RANInformation", "")}
_TYPES |= {255: None}  # packets of users

# T3-RESPONSE and N3-REQUESTS are set by the operator; 5 s and 3 to 5 times are usual.
_GIVEN_UP_S = 20.0

GTPV1 = Protocol(
    name="gtpv1",
    short="GTPv1-C",
    standard="3GPP TS 29.060",
    ports={"udp": (2123, 2152, 3386)},
    layers=("gtp", "gtpprime"),
    decoder="gtp",
    filter="gtp.message && gtp.message != 255 && !gtpv2",
    markers=("gtp.message",),
    fields=("gtp.seq_number", "gtp.cause"),
    read=table.read_types(
        _TYPES,
        marker="gtp.message",
        name="gtp.seq_number",
        cause="gtp.cause",
        answer="answered",
    ),
    between="asker",
    procedures=(
        *("Echo", "CreatePDP", "UpdatePDP", "DeletePDP", "InitiatePDP"),
        *("PDUNotification", "SGSNContext", "Identification", "ForwardRelocation"),
        *("RelocationCancel", "DataRecord", "ErrorIndication", "VersionNotSupported"),
        *("SupportedHeaders", "RANInformation", "EndMarker", "SGSNContextAck"),
    ),
    answered=("Echo", "CreatePDP", "UpdatePDP", "DeletePDP", "SGSNContext"),
    notices=frozenset(("SGSNContextAck",)),
    classes={"success": ("answered", "1[2-8]?", "19[01]"), table.REJECTION: ("*",)},
    causes={
        "128": "request accepted",
        "192": "non-existent",
        "194": "IMSI/IMEI not known",
        "199": "no resources available",
        "200": "service not supported",
        "201": "mandatory IE incorrect",
        "204": "system failure",
        "209": "user authentication failed",
        "210": "context not found",
        "211": "all dynamic addresses occupied",
        "212": "no memory available",
        "219": "missing or unknown APN",
        "229": "APN congestion",
    },
    waits=tuple(
        Wait(procedure, "answer", _GIVEN_UP_S)
        for procedure in ("Echo", "CreatePDP", "UpdatePDP", "DeletePDP")
    ),
)
