"""Alarms in the form in which Alertmanager calls a webhook."""

from collections.abc import Sequence
from typing import Any

from siamjax.alarms.alarm import Alarm
from siamjax.monitoring import records

# What Alertmanager gives as the end of an alert that lasts.
_NEVER = "0001-01-01T00:00:00Z"
_SEVERITY = {records.KNOWN: "critical", records.UNKNOWN: "warning"}


def notification(alarms: Sequence[Alarm], url: str) -> dict[str, Any]:
    """The body of one call, version 4 of the form.

    Source: Prometheus, Alertmanager documentation, "Webhook receiver".

    Args:
      alarms: of one record, at least one, of one session.
      url: of the receiver.
    """
    alerts = [_alert(alarm) for alarm in alarms]
    firing = any(alert["status"] == "firing" for alert in alerts)
    grouped = {
        name: alerts[0]["labels"][name]
        for name in ("alertname", "session")
        if name in alerts[0]["labels"]
    }
    group = ", ".join(f'{name}="{value}"' for name, value in grouped.items())
    return dict(
        version="4",
        groupKey=f"{{}}:{{{group}}}",
        truncatedAlerts=0,
        status="firing" if firing else "resolved",
        receiver=url,
        groupLabels=grouped,
        commonLabels=_common([alert["labels"] for alert in alerts]),
        commonAnnotations=_common([alert["annotations"] for alert in alerts]),
        externalURL="",
        alerts=alerts,
    )


def _alert(alarm):
    labels = dict(
        alertname="siamjax",
        condition=alarm.condition,
        session=alarm.session,
        network=alarm.network,
        severity=_SEVERITY[alarm.severity],
    )
    annotations = dict(alarm.details, summary=alarm.summary, action=alarm.action)
    return dict(
        status="firing" if alarm.until is None else "resolved",
        labels={name: value for name, value in labels.items() if value},
        annotations={name: value for name, value in annotations.items() if value},
        startsAt=alarm.since,
        endsAt=alarm.until or _NEVER,
        generatorURL="",
        fingerprint=alarm.key,
    )


def _common(parts):
    """The items that all parts have."""
    first, *others = parts
    return {
        name: value
        for name, value in first.items()
        if all(part.get(name) == value for part in others)
    }
