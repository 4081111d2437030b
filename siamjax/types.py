"""The records that pass between the parts of the package, with shapes and units.

Shape letters are the same everywhere: B windows in a batch, T bins in a window, F
features of a bin, H hidden, E embedding, C conditions, S sessions, N anything counted.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

# Direction of an event relative to the session's server.
TO_SERVER, FROM_SERVER, UNCLEAR = 0, 1, 2

# Windows that belong to no class; the indices of conditions are 0, 1, 2, ...
TRANSITIONAL, RECOVERING = -1, -2

# What a capture is for.
TRAIN, VALID, TEST = "train", "valid", "test"

NORMAL = "normal"


class SiamjaxError(Exception):
    """An error that the user can fix: shown as one line, with exit code 1."""


class UsageError(SiamjaxError, ValueError):
    """A wrong flag, config or call: shown as one line, with exit code 2.

    It is a `ValueError`, which callers of a library catch.
    """


class Interrupted(Exception):
    """A signal stopped the work after the state was saved; `code` is the exit code."""

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


class Events(NamedTuple):
    """The signalling messages of one session, in order of time.

    A kind is `protocol:procedure` for a request and `protocol:procedure/outcome` for an
    answer, such as `sip:INVITE/200` (with the method of its CSeq), `diameter:CC/2001`.
    `icmp` and `other` are packets that are no message.
    """

    time_ns: np.ndarray  # [N] int64, since the session's first packet
    direction: np.ndarray  # [N] int8: TO_SERVER, FROM_SERVER or UNCLEAR
    kind: np.ndarray  # [N] int32, index into the data set's `kinds`
    retransmitted: np.ndarray  # [N] bool, repeats a message of its transaction
    latency_ns: np.ndarray  # [N] int64, from first request to answer; -1: none
    # [N] int64, how many packets a row stands for; None: each for one. Only packets of
    # kind `other` share a row, which has the time of the first of them.
    packets: np.ndarray | None = None

    def take(self, chosen: np.ndarray | slice) -> "Events":
        """The rows that are chosen by a mask, indices or a slice."""
        columns = self._asdict().items()
        return self._replace(**{k: x[chosen] for k, x in columns if x is not None})


class Series(NamedTuple):
    """The counters of one session, one row a step."""

    time_ns: np.ndarray  # [N] int64, since the session's first row, evenly spaced
    values: np.ndarray  # [N, F] float32; NaN where nothing was measured


class Label(NamedTuple):
    """One stretch of a session: [onset_s, clear_s) seconds after its first packet.

    If a session has stretches of `normal`, time outside of all its stretches has no
    condition. If it has none, everything before its first fault is normal.
    """

    condition: str
    onset_s: float
    clear_s: float  # inf: to the end


class Session(NamedTuple):
    """One prepared capture: splits assign whole sessions, never single windows."""

    name: str
    span_s: float  # first packet to last
    labels: tuple[Label, ...]  # in order of onset; none: normal throughout
    events: Events | None  # either events ...
    series: Series | None  # ... or counters

    @property
    def has_events(self) -> bool:
        return self.events is not None


class StoredSession(NamedTuple):
    """A `Session` on disk: its columns are read each time that they are asked for."""

    name: str
    span_s: float
    labels: tuple[Label, ...]
    has_events: bool
    read: Callable[[], Events | Series]
    hashes: Mapping[Any, str]  # see `data.prepared`

    @property
    def events(self) -> Events | None:
        columns = self.read() if self.has_events else None
        return columns if isinstance(columns, Events) else None

    @property
    def series(self) -> Series | None:
        columns = None if self.has_events else self.read()
        return columns if isinstance(columns, Series) else None


AnySession = Session | StoredSession


class DataSet(NamedTuple):
    """A prepared data set, as `data.prepared` reads it."""

    sessions: tuple[AnySession, ...]
    kinds: tuple[str, ...]  # of events; or the names of the counters
    meta: dict[str, Any]  # provenance: hashes, options, version


class Column(NamedTuple):
    """One feature of a bin. See `data.columns` for the fixed table."""

    name: str
    role: str  # request, class, code, retransmitted, latency, open, icmp, ...
    method: str = ""  # of the messages it counts; empty: any
    status: int = 0  # a code (503), or a class (5) where the role is `class`
    heavy: bool = True  # a heavy-tailed count: it takes log1p first
    empty: float = 0.0  # of a bin without events; NaN: not measured
    grows: bool = False  # a counter that only grows: its increase is used


class Baseline(NamedTuple):
    """Moments of a session's normal bins: features are deviations from them."""

    mean: Any  # [..., F], of the (log) counts; 0 if nothing was measured
    deviation: Any  # [..., F], without the floor


class Scaler(NamedTuple):
    """What turns counts into features; fixed by the training captures."""

    heavy: Any  # [F] bool, columns that take log1p
    empty: Any  # [F] float, counts of a bin without events
    floor: Any  # [F] float, added to the deviation of a baseline
    clip: Any  # [] float, largest absolute feature, in deviations
    scale: Any  # [F] float, factor after clipping
    own: Any = True  # [] bool, subtract the session's baseline


class Windows(NamedTuple):
    """N windows as views into the counts: session and first bin."""

    session: np.ndarray  # [N] int32
    start: np.ndarray  # [N] int32, bin
    condition: np.ndarray  # [N] int32, index into conditions; TRANSITIONAL, RECOVERING


class Inputs(NamedTuple):
    """What the encoder needs of N windows."""

    counts: np.ndarray  # [N, T, F]
    baseline: Baseline  # [N, F], of the session of each window
    session: np.ndarray  # [N] int, equal for windows of one session
