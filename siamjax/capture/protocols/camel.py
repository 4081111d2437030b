"""CAMEL (3GPP TS 29.078): control of calls and their charging by a service."""

from siamjax.capture.protocols import table, tcap
from siamjax.capture.protocols.table import Protocol, Wait

_OPERATIONS = {
    **{0: "InitialDP", 16: "AssistRequest", 17: "TemporaryConnection"},
    **{18: "DisconnectForward", 19: "ConnectToResource", 20: "Connect"},
    **{22: "ReleaseCall", 23: "RequestReport", 24: "EventReport"},
    **{27: "CollectInformation", 31: "Continue", 33: "ResetTimer"},
    **{34: "FurnishCharging", 35: "ApplyCharging", 36: "ApplyChargingReport"},
    **{41: "CallGap", 44: "CallInformationReport", 45: "CallInformationRequest"},
    **{46: "SendCharging", 47: "PlayAnnouncement", 48: "PromptAndCollect"},
    **{49: "ResourceReport", 53: "Cancel", 55: "ActivityTest", 60: "InitialDPSMS"},
    **{78: "InitialDPGPRS", 88: "ContinueWithArgument"},
}

CAMEL = Protocol(
    name="camel",
    short="CAMEL",
    standard="3GPP TS 29.078",
    carriers=("m3ua", "sccp"),
    filter="camel",
    markers=(
        *("camel.invoke_element", "camel.returnResult_element"),
        *("camel.returnError_element", "camel.reject_element", "camel.local"),
    ),
    fields=("camel.invokeID", "camel.error_code_local", "tcap.otid", "tcap.dtid"),
    read=tcap.read_components(
        _OPERATIONS,
        operation="camel.local",
        invocation="camel.invokeID",
        invoke="camel.invoke_element",
        results=("camel.returnResult_element",),
        error="camel.returnError_element",
        error_code="camel.error_code_local",
        reject="camel.reject_element",
    ),
    between="all",
    repeats=False,
    procedures=tuple(_OPERATIONS.values()),
    answered=("PromptAndCollect", "ActivityTest"),
    classes={"success": (tcap.RESULT,), table.REJECTION: ("*",)},
    causes={
        "4": "missing customer record",
        "6": "missing parameter",
        "7": "parameter out of range",
        "11": "system failure",
        "12": "task refused",
        "14": "unexpected component sequence",
    },
    waits=(Wait("ActivityTest", "answer", 30.0),),
)
