"""Alarms as fault events of ONAP VES 7.2.1."""

import re
from typing import Any

from siamjax.alarms.alarm import Alarm
from siamjax.monitoring import records

_SEVERITY = {records.KNOWN: "MAJOR", records.UNKNOWN: "MINOR"}


def fault_event(alarm: Alarm, reporter: str) -> dict[str, Any]:
    """The body of one call; the end of an alarm has the severity NORMAL.

    Source: ONAP VES Event Listener 7.2.1, `commonEventHeader` and `faultFields`.

    Args:
      alarm: as it is now.
      reporter: name of the machine that says so.
    """
    ends = alarm.until is not None
    about = dict(alarm.details, network=alarm.network, action=alarm.action)
    header = dict(
        domain="fault",
        eventId=alarm.key,
        eventName=f"Fault_siamjax_{re.sub(r'[^A-Za-z0-9]+', '-', alarm.condition)}",
        eventType="applicationNf",
        lastEpochMicrosec=_microseconds(alarm.until or alarm.time),
        priority="Normal" if ends else "High",
        reportingEntityName=reporter,
        sequence=0,  # not counted: calls come in order
        sourceName=alarm.session or reporter,
        startEpochMicrosec=_microseconds(alarm.since),
        version="4.1",
        vesEventListenerVersion="7.2.1",
    )
    fault = dict(
        faultFieldsVersion="4.0",
        alarmCondition=alarm.condition,
        alarmAdditionalInformation={k: v for k, v in about.items() if v},
        eventCategory="signalling",
        eventSeverity="NORMAL" if ends else _SEVERITY[alarm.severity],
        eventSourceType="other",
        specificProblem=alarm.summary,
        vfStatus="Active",
    )
    return dict(event=dict(commonEventHeader=header, faultFields=fault))


def _microseconds(time):
    return records.parse_time(time) // 1000
