"""S1AP (3GPP TS 36.413): between eNodeB and MME."""

from siamjax.capture.protocols import elementary, table
from siamjax.capture.protocols.table import Protocol, Wait

_PROCEDURES = dict(
    enumerate(
        """HandoverPreparation HandoverResourceAllocation HandoverNotification
        PathSwitchRequest HandoverCancel ERABSetup ERABModify ERABRelease
        ERABReleaseIndication InitialContextSetup Paging DownlinkNASTransport
        InitialUEMessage UplinkNASTransport Reset ErrorIndication NASNonDelivery
        S1Setup UEContextReleaseRequest DownlinkCDMATunnelling UplinkCDMATunnelling
        UEContextModification UECapabilityInfo UEContextRelease ENBStatusTransfer
        MMEStatusTransfer DeactivateTrace TraceStart TraceFailure
        ENBConfigurationUpdate MMEConfigurationUpdate LocationReportingControl
        LocationReportingFailure LocationReport OverloadStart OverloadStop
        WriteReplaceWarning ENBDirectInformation MMEDirectInformation PrivateMessage
        ENBConfigurationTransfer MMEConfigurationTransfer CellTrafficTrace
        Kill""".split()
    )
)
_NOTICES = frozenset(("UEContextReleaseRequest", "ErrorIndication", "NASNonDelivery"))
_ANSWERED = (
    *("InitialContextSetup", "ERABSetup", "ERABRelease", "UEContextRelease"),
    *("HandoverPreparation", "HandoverResourceAllocation", "PathSwitchRequest"),
    *("S1Setup", "Reset"),
)
# The standard has no timers for most procedures: those of usual equipment.
_GIVEN_UP_S = 10.0

S1AP = Protocol(
    name="s1ap",
    short="S1AP",
    standard="3GPP TS 36.413",
    ports={"sctp": (36412,), "ppid": (18,)},
    filter="s1ap",
    markers=("s1ap.S1AP_PDU",),
    fields=elementary.fields("s1ap", "ENB_UE_S1AP_ID"),
    read=elementary.read_procedures("s1ap", "ENB_UE_S1AP_ID", _PROCEDURES, _NOTICES),
    repeats=False,
    procedures=(
        *_ANSWERED,
        *("InitialUEMessage", "DownlinkNASTransport", "UplinkNASTransport", "Paging"),
        *("UEContextReleaseRequest", "UEContextModification", "UECapabilityInfo"),
        *("ERABModify", "ERABReleaseIndication", "HandoverNotification"),
        *("HandoverCancel", "ENBStatusTransfer", "MMEStatusTransfer"),
        *("ENBConfigurationUpdate", "MMEConfigurationUpdate", "OverloadStart"),
        *("OverloadStop", "ErrorIndication", "NASNonDelivery", "LocationReport"),
    ),
    answered=_ANSWERED,
    notices=_NOTICES,
    classes={elementary.SUCCESS: (elementary.SUCCESS,), table.REJECTION: ("*",)},
    causes={
        "radioNetwork.0": "unspecified",
        "radioNetwork.6": "handover failure in target",
        "radioNetwork.9": "handover preparation expired",
        "radioNetwork.12": "no radio resources in target cell",
        "radioNetwork.20": "user inactivity",
        "radioNetwork.21": "radio connection with UE lost",
        "radioNetwork.23": "CS fallback triggered",
        "radioNetwork.25": "radio resources not available",
        "radioNetwork.26": "failure in the radio interface procedure",
        "transport.0": "transport resource unavailable",
        "nas.0": "normal release",
        "nas.1": "authentication failure",
        "nas.2": "detach",
        "misc.0": "control processing overload",
        "misc.2": "hardware failure",
        "misc.5": "unknown PLMN",
    },
    waits=tuple(Wait(procedure, "answer", _GIVEN_UP_S) for procedure in _ANSWERED),
)
