"""NGAP (3GPP TS 38.413): between gNodeB and AMF."""

from siamjax.capture.protocols import elementary, table
from siamjax.capture.protocols.table import Protocol, Wait

_PROCEDURES = dict(
    enumerate(
        """AMFConfigurationUpdate AMFStatusIndication CellTrafficTrace DeactivateTrace
        DownlinkNASTransport DownlinkNonUENRPPa DownlinkRANConfiguration
        DownlinkRANStatus DownlinkUENRPPa ErrorIndication HandoverCancel
        HandoverNotification HandoverPreparation HandoverResourceAllocation
        InitialContextSetup InitialUEMessage LocationReportingControl
        LocationReportingFailure LocationReport NASNonDelivery NGReset NGSetup
        OverloadStart OverloadStop Paging PathSwitchRequest PDUSessionModify
        PDUSessionModifyIndication PDUSessionRelease PDUSessionSetup PDUSessionNotify
        PrivateMessage PWSCancel PWSFailure PWSRestart RANConfigurationUpdate
        RerouteNASRequest RRCInactiveTransition TraceFailure TraceStart
        UEContextModification UEContextRelease UEContextReleaseRequest
        UERadioCapabilityCheck UERadioCapabilityInfo UETNLABindingRelease
        UplinkNASTransport UplinkNonUENRPPa UplinkRANConfiguration UplinkRANStatus
        UplinkUENRPPa WriteReplaceWarning SecondaryRATUsage""".split()
    )
)
_NOTICES = frozenset(("UEContextReleaseRequest", "ErrorIndication", "NASNonDelivery"))
_ANSWERED = (
    *("InitialContextSetup", "PDUSessionSetup", "PDUSessionRelease"),
    *("PDUSessionModify", "UEContextRelease", "HandoverPreparation"),
    *("HandoverResourceAllocation", "PathSwitchRequest", "NGSetup", "NGReset"),
)
# The standard has no timers for most procedures: those of usual equipment.
_GIVEN_UP_S = 10.0

NGAP = Protocol(
    name="ngap",
    short="NGAP",
    standard="3GPP TS 38.413",
    ports={"sctp": (38412,), "ppid": (60,)},
    filter="ngap",
    markers=("ngap.NGAP_PDU",),
    fields=elementary.fields("ngap", "RAN_UE_NGAP_ID"),
    read=elementary.read_procedures("ngap", "RAN_UE_NGAP_ID", _PROCEDURES, _NOTICES),
    repeats=False,
    procedures=(
        *_ANSWERED,
        *("InitialUEMessage", "DownlinkNASTransport", "UplinkNASTransport", "Paging"),
        *("UEContextReleaseRequest", "UEContextModification", "UERadioCapabilityInfo"),
        *("HandoverNotification", "HandoverCancel", "DownlinkRANStatus"),
        *("UplinkRANStatus", "RANConfigurationUpdate", "AMFConfigurationUpdate"),
        *("AMFStatusIndication", "OverloadStart", "OverloadStop", "ErrorIndication"),
        *("NASNonDelivery", "RerouteNASRequest", "RRCInactiveTransition"),
    ),
    answered=_ANSWERED,
    notices=_NOTICES,
    classes={elementary.SUCCESS: (elementary.SUCCESS,), table.REJECTION: ("*",)},
    causes={
        "radioNetwork.0": "unspecified",
        "radioNetwork.7": "handover failure in target",
        "radioNetwork.10": "handover preparation expired",
        "radioNetwork.13": "no radio resources in target cell",
        "radioNetwork.20": "user inactivity",
        "radioNetwork.21": "radio connection with UE lost",
        "radioNetwork.22": "radio resources not available",
        "radioNetwork.24": "failure in the radio interface procedure",
        "transport.0": "transport resource unavailable",
        "nas.0": "normal release",
        "nas.1": "authentication failure",
        "nas.2": "deregister",
        "misc.0": "control processing overload",
        "misc.2": "hardware failure",
        "misc.4": "unknown PLMN",
    },
    waits=tuple(Wait(procedure, "answer", _GIVEN_UP_S) for procedure in _ANSWERED),
)
