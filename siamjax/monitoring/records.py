"""What the monitor says: one record for each change, heartbeat, and event of a source.

A record is a line of JSON with the names of the fields below and `kind`. Receivers get
it at least once: after a crash the last ones may come again, with the same `id`.
"""

import dataclasses
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Severities of a condition.
NORMAL, KNOWN, UNKNOWN, RECOVERING = "normal", "known", "unknown", "recovering"
# States of a change.
RAISED, REVISED, CLEARED = "raised", "revised", "cleared"
# What happens to a source.
SILENT, LOST, BACK, CLOCK_STEP, SHED = "silent", "lost", "back", "clock_step", "shed"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """What all kinds have."""

    kind: ClassVar[str]

    time: str  # of packets, RFC 3339 in UTC, see `format_time`
    id: str  # of this record; the same if it is sent again, also after a restart
    session: str = ""  # a server, or a name of all traffic; empty: of no session
    network: str | None = None  # that the run was adapted to


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change(Record):
    """A session has another condition, or the last one is known better.

    A session has one condition at a time. A stretch is the time in one condition. Its
    first record is `raised`, or `cleared` if it is normal. Later records of the same
    stretch are `revised`: the condition or the onset is another one.
    """

    kind = "change"

    state: str  # RAISED, REVISED or CLEARED
    stretch: str  # names the stretch, the same in all its records
    ends: str | None  # the stretch, not normal, that ended with it
    condition: str
    previous: str  # condition before this change or revision; empty: the first
    severity: str  # NORMAL, KNOWN, UNKNOWN or RECOVERING
    onset: str  # of the stretch, RFC 3339
    onset_error_s: float | None  # plus or minus; None: not known
    distance: float | None  # to the nearest example; None: nothing was measured
    threshold: float  # a window farther than this from every example is unknown
    # The nearest other condition and its distance; None: there is no other.
    runner_up: tuple[str, float] | None
    example: str  # the nearest example, CAPTURE@SECONDS; empty: none
    # The columns that moved most, as `identification.reasons.Moved` has them.
    moved: tuple[Mapping[str, Any], ...] = ()
    p_value: float | None = None
    candidates: tuple[str, ...] = ()  # conditions that it may be
    calibrated: bool = True  # what is normal in this network is known
    action: str | None = None  # named by a policy


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stretch(Record):
    """A stretch is over and no later packet changes it: what `identify` says of it."""

    kind = "stretch"

    stretch: str  # as in its changes
    condition: str
    start: str  # RFC 3339
    end: str
    start_s: float  # seconds after the first packet
    end_s: float
    distance: float | None  # as of `Change`, over the whole stretch
    runner_up: tuple[str, float] | None
    example: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heartbeat(Record):
    """The monitor is alive; counts are since its start, over restarts."""

    kind = "heartbeat"

    packets: int
    messages: int
    windows: int  # that were compared
    dropped: int  # packets that the source lost before they came here
    shed: int  # packets that the monitor left out, because it was too slow
    not_read: Mapping[str, int]  # by cause of `capture.cleaning.CAUSES`
    lag_s: float  # from a packet to the verdict on it, the longest since the last one
    memory_bytes: int  # resident
    conditions: Mapping[str, str]  # of each session
    is_table: bool = False  # `packets` are lines of a table, `messages` its rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source(Record):
    """Something happened to the source of packets or counters."""

    kind = "source"

    what: str  # SILENT, LOST, BACK, CLOCK_STEP or SHED
    detail: str  # a sentence


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start(Record):
    """The monitor begins."""

    kind = "start"

    source: str
    workdir: str
    checkpoint: int  # steps of training
    version: str  # of siamjax
    resumed: bool  # it goes on from a saved state


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stop(Record):
    """The monitor ends."""

    kind = "stop"

    reason: str


KINDS = {kind.kind: kind for kind in (Change, Stretch, Heartbeat, Source, Start, Stop)}


def as_json(record: Record) -> dict[str, Any]:
    """A record as plain values; numbers that are not finite are None."""
    return {"kind": record.kind, **_plain(dataclasses.asdict(record))}


def from_json(value: Mapping[str, Any]) -> Record:
    """The record of `as_json`.

    Raises:
      ValueError: the kind is unknown, a field is missing, or there is one more.
    """
    fields = dict(value)
    kind = KINDS.get(fields.pop("kind", None))
    if kind is None:
        raise ValueError(f"a record is of kind {', '.join(KINDS)}, not {value!r:.80}")
    for name in ("runner_up", "moved", "candidates"):
        if isinstance(fields.get(name), list):
            fields[name] = tuple(fields[name])
    try:
        return kind(**fields)
    except TypeError as error:
        raise ValueError(f"a record of kind {kind.kind}: {error}") from None


def format_time(time_ns: int) -> str:
    """A time in ns since 1970 in RFC 3339, with microseconds, in UTC."""
    moment = _EPOCH + timedelta(microseconds=time_ns // 1000)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_time(text: str) -> int:
    """The ns since 1970 of a time in RFC 3339; ValueError if it has another form."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def _plain(value):
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
