"""What the monitor said last: the state of each session, and its last hour."""

import collections
import threading
from typing import Any, NamedTuple

from siamjax.alarms import alarm
from siamjax.monitoring import records

# Nanoseconds of a session that are kept, and how many events of sources.
HOUR_NS, _EVENTS = 3600 * 10**9, 50


class Stretch(NamedTuple):
    """A stretch of a session in one condition."""

    name: str  # the same in all records of the stretch
    change: records.Change  # the last record of it
    start_ns: int
    end_ns: int | None  # None: it lasts


class Snapshot(NamedTuple):
    """What is known at one moment."""

    start: records.Start | None
    now_ns: int  # time of the last record, of packets
    sessions: dict[str, tuple[Stretch, ...]]  # the last hour, in order
    changes: dict[tuple[str, str], int]  # begun, of (session, condition)
    heartbeat: records.Heartbeat | None  # the last one
    sources: tuple[records.Source, ...]  # the last events, in order
    source_is_up: bool


class Live:
    """Follows records; other threads may ask for a `Snapshot`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._snapshot = Snapshot(None, 0, {}, {}, None, (), True)

    def follow(self, record: records.Record) -> None:
        """Takes the next record."""
        with self._lock:
            self._snapshot = follow(self._snapshot, record)

    def snapshot(self) -> Snapshot:
        """What is known now."""
        with self._lock:
            return self._snapshot


def follow(state: Snapshot, record: records.Record) -> Snapshot:
    """The state after a record."""
    now_ns = max(state.now_ns, records.parse_time(record.time))
    state = state._replace(now_ns=now_ns)
    if isinstance(record, records.Start):
        return state._replace(start=record, source_is_up=True)
    if isinstance(record, records.Heartbeat):
        return state._replace(heartbeat=record)
    if isinstance(record, records.Source):
        up = {records.SILENT: False, records.LOST: False, records.BACK: True}
        return state._replace(
            sources=(*state.sources, record)[-_EVENTS:],
            source_is_up=up.get(record.what, state.source_is_up),
        )
    if isinstance(record, records.Change):
        return _with_change(state, record, now_ns)
    return state


def _with_change(state, change, now_ns):
    start_ns = records.parse_time(change.onset)
    stretches = list(state.sessions.get(change.session, ()))
    # The change takes the place of its own stretch, as it was told before, and of those
    # that began later: they turned out to be none.
    told = set()
    while stretches and (
        stretches[-1].name == change.stretch or stretches[-1].start_ns >= start_ns
    ):
        replaced = stretches.pop()
        told.add((replaced.name, replaced.change.condition))
    if stretches:
        stretches[-1] = stretches[-1]._replace(end_ns=start_ns)
    stretches.append(Stretch(change.stretch, change, start_ns, None))
    kept = [s for s in stretches if s.end_ns is None or s.end_ns > now_ns - HOUR_NS]
    counts = collections.Counter(state.changes)
    if (change.stretch, change.condition) not in told:
        counts[change.session, change.condition] += 1
    return state._replace(
        sessions=state.sessions | {change.session: tuple(kept)}, changes=dict(counts)
    )


def as_page_data(state: Snapshot) -> dict[str, Any]:
    """The state as plain values for the page, times in seconds since its beginning."""
    starts = [s[0].start_ns for s in state.sessions.values()]
    first_ns = max(min(starts, default=state.now_ns), state.now_ns - HOUR_NS)
    end_s = max((state.now_ns - first_ns) / 1e9, 1.0)
    beat = state.heartbeat
    return dict(
        first=records.format_time(first_ns),
        now=records.format_time(state.now_ns),
        end_s=end_s,
        source=state.start.source if state.start else "",
        source_is_up=state.source_is_up,
        heartbeat=records.as_json(beat) if beat else None,
        sources=[records.as_json(source) for source in reversed(state.sources)],
        sessions=[
            dict(
                session=name,
                network=stretches[-1].change.network,
                summary=alarm.summarise(stretches[-1].change),
                is_alarm=alarm.is_alarm(stretches[-1].change),
                last=records.as_json(stretches[-1].change),
                spans=[
                    dict(
                        condition=s.change.condition,
                        start_s=max((s.start_ns - first_ns) / 1e9, 0.0),
                        end_s=end_s
                        if s.end_ns is None
                        else (s.end_ns - first_ns) / 1e9,
                        distance=s.change.distance,
                        example=s.change.example,
                    )
                    for s in stretches
                    if s.end_ns is None or s.end_ns > first_ns
                ],
            )
            for name, stretches in sorted(state.sessions.items())
        ],
    )
