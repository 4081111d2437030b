"""NAS of LTE (3GPP TS 24.301): attach, tracking area, bearers."""

from siamjax.capture.protocols import nas, table
from siamjax.capture.protocols.nas import ACCEPT, REJECT
from siamjax.capture.protocols.table import Protocol, Wait

_MOBILITY = {
    **{0x41: ("Attach", ""), 0x42: ("Attach", ACCEPT), 0x44: ("Attach", REJECT)},
    **{0x43: ("AttachComplete", ""), 0x45: ("Detach", ""), 0x46: ("Detach", ACCEPT)},
    **{0x48: ("TAU", ""), 0x49: ("TAU", ACCEPT), 0x4B: ("TAU", REJECT)},
    **{0x4A: ("TAUComplete", ""), 0x4C: ("Service", ""), 0x4D: ("Service", "")},
    **{0x4E: ("Service", REJECT), 0x4F: ("Service", ACCEPT)},
    **{0x50: ("GUTIReallocation", ""), 0x51: ("GUTIReallocation", ACCEPT)},
    **{0x52: ("Authentication", ""), 0x53: ("Authentication", ACCEPT)},
    **{0x5C: ("Authentication", REJECT), 0x54: ("AuthenticationReject", "")},
    **{0x55: ("Identity", ""), 0x56: ("Identity", ACCEPT)},
    **{0x5D: ("SecurityMode", ""), 0x5E: ("SecurityMode", ACCEPT)},
    **{0x5F: ("SecurityMode", REJECT), 0x60: ("Status", ""), 0x61: ("Information", "")},
    **{0x62: ("DownlinkTransport", ""), 0x63: ("UplinkTransport", "")},
}
_SESSION = {
    **{0xC1: ("DefaultBearer", ""), 0xC2: ("DefaultBearer", ACCEPT)},
    **{0xC3: ("DefaultBearer", REJECT), 0xC5: ("DedicatedBearer", "")},
    **{0xC6: ("DedicatedBearer", ACCEPT), 0xC7: ("DedicatedBearer", REJECT)},
    **{0xC9: ("ModifyBearer", ""), 0xCA: ("ModifyBearer", ACCEPT)},
    **{0xCB: ("ModifyBearer", REJECT), 0xCD: ("DeactivateBearer", "")},
    **{0xCE: ("DeactivateBearer", ACCEPT), 0xD0: ("PDNConnectivity", "")},
    **{0xD1: ("PDNConnectivity", REJECT), 0xD2: ("PDNDisconnect", "")},
    **{0xD3: ("PDNDisconnect", REJECT), 0xD4: ("BearerAllocation", "")},
    **{0xD5: ("BearerAllocation", REJECT), 0xD6: ("BearerModification", "")},
    **{0xD7: ("BearerModification", REJECT), 0xD9: ("SessionInformation", "")},
    **{0xDA: ("SessionInformation", ACCEPT), 0xE8: ("Status", "")},
}
_ANSWERED = (
    *("Attach", "TAU", "Service", "Authentication", "SecurityMode", "DefaultBearer"),
    "PDNConnectivity",
)

NAS_EPS = Protocol(
    name="nas-eps",
    short="NAS-EPS",
    standard="3GPP TS 24.301",
    carriers=("s1ap",),
    filter="nas-eps",
    markers=("nas_eps.nas_msg_emm_type", "nas_eps.nas_msg_esm_type"),
    fields=("nas_eps.emm.cause", "nas_eps.esm.cause", "s1ap.ENB_UE_S1AP_ID"),
    read=nas.read_nas(
        {"nas_eps.nas_msg_emm_type": _MOBILITY, "nas_eps.nas_msg_esm_type": _SESSION},
        {
            "nas_eps.nas_msg_emm_type": "nas_eps.emm.cause",
            "nas_eps.nas_msg_esm_type": "nas_eps.esm.cause",
        },
        "s1ap.ENB_UE_S1AP_ID",
    ),
    procedures=(
        *_ANSWERED,
        *("Detach", "AttachComplete", "TAUComplete", "AuthenticationReject"),
        *("Identity", "GUTIReallocation", "DedicatedBearer", "ModifyBearer"),
        *("DeactivateBearer", "PDNDisconnect", "BearerAllocation"),
        *("SessionInformation", "Information", "Status"),
    ),
    answered=_ANSWERED,
    classes={"success": (ACCEPT,), table.REJECTION: ("*",)},
    causes={
        "3": "illegal UE",
        "7": "EPS services not allowed",
        "8": "EPS and non-EPS services not allowed",
        "11": "PLMN not allowed",
        "12": "tracking area not allowed",
        "13": "roaming not allowed in this tracking area",
        "14": "EPS services not allowed in this PLMN",
        "15": "no suitable cells in tracking area",
        "17": "network failure",
        "19": "ESM failure",
        "20": "MAC failure",
        "21": "synch failure",
        "22": "congestion",
        "26": "insufficient resources",
        "27": "missing or unknown APN",
        "29": "user authentication failed",
        "33": "requested service option not subscribed",
        "38": "network failure of the session",
        "40": "no EPS bearer context activated",
    },
    waits=(  # T3410, T3430, T3417; T3460, T3485: five times 6 or 8 s
        *(Wait(procedure, "answer", 15.0) for procedure in ("Attach", "TAU")),
        *(Wait(name, "answer", 30.0) for name in ("Authentication", "SecurityMode")),
        Wait("DefaultBearer", "answer", 40.0),
    ),
)
