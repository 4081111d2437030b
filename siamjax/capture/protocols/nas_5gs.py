"""NAS of 5G (3GPP TS 24.501): registration, service, PDU sessions."""

from siamjax.capture.protocols import nas, table
from siamjax.capture.protocols.nas import ACCEPT, REJECT
from siamjax.capture.protocols.table import Protocol, Wait

_MOBILITY = {
    **{0x41: ("Registration", ""), 0x42: ("Registration", ACCEPT)},
    **{0x44: ("Registration", REJECT), 0x43: ("RegistrationComplete", "")},
    **{0x45: ("Deregistration", ""), 0x46: ("Deregistration", ACCEPT)},
    **{0x47: ("Deregistration", ""), 0x48: ("Deregistration", ACCEPT)},
    **{0x4C: ("Service", ""), 0x4F: ("Service", ""), 0x4E: ("Service", ACCEPT)},
    **{0x4D: ("Service", REJECT), 0x54: ("ConfigurationUpdate", "")},
    **{0x55: ("ConfigurationUpdate", ACCEPT), 0x56: ("Authentication", "")},
    **{0x57: ("Authentication", ACCEPT), 0x59: ("Authentication", REJECT)},
    **{0x58: ("AuthenticationReject", ""), 0x5A: ("AuthenticationResult", "")},
    **{0x5B: ("Identity", ""), 0x5C: ("Identity", ACCEPT)},
    **{0x5D: ("SecurityMode", ""), 0x5E: ("SecurityMode", ACCEPT)},
    **{0x5F: ("SecurityMode", REJECT), 0x64: ("Status", "")},
    **{0x65: ("Notification", ""), 0x66: ("Notification", ACCEPT)},
    **{0x67: ("UplinkTransport", ""), 0x68: ("DownlinkTransport", "")},
}
_SESSION = {
    **{0xC1: ("SessionEstablishment", ""), 0xC2: ("SessionEstablishment", ACCEPT)},
    **{0xC3: ("SessionEstablishment", REJECT), 0xC5: ("SessionAuthentication", "")},
    **{0xC6: ("SessionAuthentication", ACCEPT), 0xC9: ("SessionModification", "")},
    **{0xCA: ("SessionModification", REJECT), 0xCB: ("ModificationCommand", "")},
    **{0xCC: ("ModificationCommand", ACCEPT), 0xCD: ("ModificationCommand", REJECT)},
    **{0xD1: ("SessionRelease", ""), 0xD2: ("SessionRelease", REJECT)},
    **{0xD3: ("ReleaseCommand", ""), 0xD4: ("ReleaseCommand", ACCEPT)},
    0xD6: ("Status", ""),
}
_ANSWERED = (
    *("Registration", "Service", "Authentication", "SecurityMode"),
    *("SessionEstablishment", "SessionModification", "ReleaseCommand"),
)

NAS_5GS = Protocol(
    name="nas-5gs",
    short="NAS-5GS",
    standard="3GPP TS 24.501",
    carriers=("ngap",),
    filter="nas-5gs",
    markers=("nas_5gs.mm.message_type", "nas_5gs.sm.message_type"),
    fields=(
        *("nas_5gs.mm.5gmm_cause", "nas_5gs.sm.5gsm_cause"),
        "ngap.RAN_UE_NGAP_ID",
    ),
    read=nas.read_nas(
        {"nas_5gs.mm.message_type": _MOBILITY, "nas_5gs.sm.message_type": _SESSION},
        {
            "nas_5gs.mm.message_type": "nas_5gs.mm.5gmm_cause",
            "nas_5gs.sm.message_type": "nas_5gs.sm.5gsm_cause",
        },
        "ngap.RAN_UE_NGAP_ID",
    ),
    procedures=(
        *_ANSWERED,
        *("Deregistration", "RegistrationComplete", "AuthenticationReject"),
        *("Identity", "ConfigurationUpdate", "Notification", "UplinkTransport"),
        *("DownlinkTransport", "SessionRelease", "ModificationCommand", "Status"),
    ),
    answered=_ANSWERED,
    classes={"success": (ACCEPT,), table.REJECTION: ("*",)},
    causes={
        "3": "illegal UE",
        "7": "5GS services not allowed",
        "11": "PLMN not allowed",
        "12": "tracking area not allowed",
        "13": "roaming not allowed in this tracking area",
        "15": "no suitable cells in tracking area",
        "20": "MAC failure",
        "21": "synch failure",
        "22": "congestion",
        "26": "insufficient resources",
        "27": "missing or unknown DNN, N1 mode not allowed",
        "29": "user authentication failed",
        "33": "service option not subscribed",
        "62": "no network slices available",
        "69": "insufficient resources for the slice",
        "70": "missing or unknown DNN in a slice",
        "90": "payload was not forwarded",
    },
    waits=(  # T3510, T3517; T3560: five times 6 s; T3580: five times 16 s
        *(Wait(procedure, "answer", 15.0) for procedure in ("Registration", "Service")),
        *(Wait(name, "answer", 30.0) for name in ("Authentication", "SecurityMode")),
        Wait("SessionEstablishment", "answer", 80.0),
    ),
)
