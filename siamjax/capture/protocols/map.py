"""MAP (3GPP TS 29.002): location, authentication, short messages of 2G and 3G."""

from siamjax.capture.protocols import table, tcap
from siamjax.capture.protocols.table import Protocol, Wait

_OPERATIONS = {
    **{2: "UpdateLocation", 3: "CancelLocation", 4: "ProvideRoamingNumber"},
    **{7: "InsertSubscriberData", 8: "DeleteSubscriberData", 10: "RegisterSS"},
    **{14: "InterrogateSS", 22: "SendRoutingInfo", 23: "UpdateGprsLocation"},
    **{24: "SendRoutingInfoForGprs", 29: "SendEndSignal", 37: "Reset"},
    **{44: "MTForwardSM", 45: "SendRoutingInfoForSM", 46: "MOForwardSM"},
    **{47: "ReportSMDelivery", 55: "SendIdentification", 56: "SendAuthenticationInfo"},
    **{57: "RestoreData", 59: "ProcessUSSD", 60: "USSDRequest", 61: "USSDNotify"},
    **{63: "InformServiceCentre", 64: "AlertServiceCentre", 66: "ReadyForSM"},
    **{67: "PurgeMS", 68: "PrepareHandover", 70: "ProvideSubscriberInfo"},
    **{71: "AnyTimeInterrogation", 83: "ProvideLocation", 85: "SendRoutingInfoForLCS"},
}
_ANSWERED = (
    *("UpdateLocation", "UpdateGprsLocation", "SendAuthenticationInfo"),
    *("SendRoutingInfo", "SendRoutingInfoForSM", "MTForwardSM", "MOForwardSM"),
    *("InsertSubscriberData", "CancelLocation", "ProvideRoamingNumber"),
)

MAP = Protocol(
    name="map",
    short="MAP",
    standard="3GPP TS 29.002",
    carriers=("m3ua", "sccp"),
    layers=("gsm_map",),
    filter="gsm_map",
    markers=(
        *("gsm_old.invoke_element", "gsm_old.returnResultLast_element"),
        *("gsm_old.returnError_element", "gsm_old.reject_element"),
    ),
    fields=(*("gsm_old.localValue", "gsm_old.invokeID", "tcap.otid", "tcap.dtid"),),
    read=tcap.read_components(
        _OPERATIONS,
        operation="gsm_old.localValue",
        invocation="gsm_old.invokeID",
        invoke="gsm_old.invoke_element",
        results=("gsm_old.returnResultLast_element",),
        error="gsm_old.returnError_element",
        error_code="gsm_old.localValue",
        reject="gsm_old.reject_element",
    ),
    between="all",
    repeats=False,
    procedures=(
        *_ANSWERED,
        *("PurgeMS", "ProcessUSSD", "USSDRequest", "USSDNotify", "ReportSMDelivery"),
        *("SendIdentification", "RestoreData", "ProvideSubscriberInfo"),
        *("AnyTimeInterrogation", "PrepareHandover", "SendRoutingInfoForGprs"),
        *("AlertServiceCentre", "ReadyForSM", "Reset", "SendRoutingInfoForLCS"),
    ),
    answered=_ANSWERED,
    classes={"success": (tcap.RESULT,), table.REJECTION: ("*",)},
    causes={
        "1": "unknown subscriber",
        "6": "absent subscriber for short messages",
        "8": "roaming not allowed",
        "9": "illegal subscriber",
        "11": "teleservice not provisioned",
        "13": "call barred",
        "21": "facility not supported",
        "27": "absent subscriber",
        "31": "subscriber busy for MT-SM",
        "32": "delivery of short message failed",
        "34": "system failure",
        "35": "data missing",
        "36": "unexpected data value",
        "45": "busy subscriber",
    },
    waits=tuple(Wait(procedure, "answer", 30.0) for procedure in _ANSWERED),
)
