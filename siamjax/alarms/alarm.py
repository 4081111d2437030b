"""Records of the monitor -> alarms that begin, change and end."""

from collections.abc import Mapping
from typing import NamedTuple

from siamjax.identification import reasons
from siamjax.monitoring import records

# Beginnings of the keys of alarms about the source of packets, not about traffic.
_SOURCE = "source"


class Alarm(NamedTuple):
    """One alarm as it is now; the fields are plain values."""

    key: str  # the same from its beginning to its end
    condition: str
    session: str
    network: str | None
    since: str  # RFC 3339: the onset
    until: str | None  # RFC 3339: its end; None: it lasts
    time: str  # RFC 3339, of packets, when this was known
    severity: str  # `records.KNOWN` or `records.UNKNOWN`
    summary: str  # one sentence
    details: dict[str, str]  # numbers and names behind it
    action: str | None  # named by a policy


def is_alarm(change: records.Change) -> bool:
    """Whether a condition is an alarm.

    The time after a fault is none, nor is a name where nothing is known of what is
    normal in the network.
    """
    return change.calibrated and change.severity in (records.KNOWN, records.UNKNOWN)


def follow(
    lasting: Mapping[str, Alarm], record: records.Record
) -> tuple[dict[str, Alarm], list[Alarm]]:
    """The alarms that last after a record, and those that it begins, changes or ends.

    A session has one alarm at a time. If its name is corrected, the one of the old name
    ends, and one of the new name begins.

    Args:
      lasting: the alarms that last, by key of their session or source.
      record: the next one.
    """
    lasting = dict(lasting)
    if isinstance(record, records.Change):
        place = record.session
        begins = _of_change(record) if is_alarm(record) else None
        end = record.onset
    elif isinstance(record, records.Start) or (
        isinstance(record, records.Source)
        and record.what in (records.SILENT, records.LOST, records.BACK)
    ):
        place = f"{_SOURCE}:{record.session}"
        # A source that is opened again is there: nobody else would end its alarm.
        is_back = isinstance(record, records.Start) or record.what == records.BACK
        begins = None if is_back else _of_source(record)
        end = record.time
    else:
        return lasting, []
    last, steps = lasting.pop(place, None), []
    if last is not None and (begins is None or last.key != begins.key):
        steps.append(
            last._replace(until=max(end, last.since), time=record.time, action=None)
        )
    if begins is not None:
        steps.append(begins)
        lasting[place] = begins
    return lasting, steps


def _of_change(change):
    details = dict(
        threshold=_number(change.threshold),
        example=change.example,
        onset_error_s=_number(change.onset_error_s),
        distance=_number(change.distance),
        p_value=_number(change.p_value),
        candidates=", ".join(change.candidates),
    )
    if change.runner_up is not None:
        details["runner_up"] = change.runner_up[0]
        details["runner_up_distance"] = _number(change.runner_up[1])
    return Alarm(
        key=f"{change.stretch}/{change.condition}",
        condition=change.condition,
        session=change.session,
        network=change.network,
        since=change.onset,
        until=None,
        time=change.time,
        severity=change.severity,
        summary=summarise(change),
        details={name: text for name, text in details.items() if text},
        action=change.action,
    )


def _of_source(record):
    return Alarm(
        key=f"{_SOURCE}:{record.session}/{record.what}",
        condition=f"{_SOURCE}_{record.what}",
        session=record.session,
        network=record.network,
        since=record.time,
        until=None,
        time=record.time,
        severity=records.UNKNOWN,
        summary=record.detail,
        details={},
        action=None,
    )


def summarise(change: records.Change) -> str:
    """One sentence for people: what, since when, and what moved."""
    moved = reasons.describe_moved(reasons.Moved(**column) for column in change.moved)
    what = f"{change.condition} since {change.onset[:19]}Z"
    return f"{what}: {', '.join(moved)}" if moved else what


def _number(value):
    return "" if value is None else f"{value:.4g}"
