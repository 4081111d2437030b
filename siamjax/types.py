"""The records that pass between the parts, with shapes and units.

Shape letters are the same everywhere: B windows in a batch, T bins in a window, F
features of a bin, H hidden, E embedding, C conditions, S sessions, N anything counted.
"""

from typing import Any, NamedTuple

import numpy as np

# Direction of an event relative to the session's server.
TO_SERVER, FROM_SERVER, UNCLEAR = 0, 1, 2

# Conditions of windows that are nobody's class; real conditions are 0, 1, 2, ...
TRANSITIONAL, RECOVERING = -1, -2

# What a capture is for.
TRAIN, VALID, TEST = "train", "valid", "test"

NORMAL = "normal"


class SiamjaxError(Exception):
    """What the user can mend: shown as one line, with exit code 1."""


class UsageError(SiamjaxError):
    """Wrong flags, config or call: shown as one line, with exit code 2."""


class Interrupted(Exception):
    """A signal ended the work after the state was saved; `code` is the exit code."""

    def __init__(self, message, code):
        super().__init__(message)
        self.code = code


class Events(NamedTuple):
    """The signalling messages of one session, in order of time.

    A kind is `METHOD` for a request, `METHOD/status` for an answer (method of its
    CSeq), or a bare word for what is no message but counts (`icmp`, `other`).
    """

    time_ns: np.ndarray  # [N] int64, since the session's first packet
    direction: np.ndarray  # [N] int8: TO_SERVER, FROM_SERVER or UNCLEAR
    kind: np.ndarray  # [N] int32, index into the data set's `kinds`
    retransmitted: np.ndarray  # [N] bool, seen before in this transaction
    latency_ns: np.ndarray  # [N] int64, of an answer since its first request; -1: none


class Series(NamedTuple):
    """The counters of one session, one row a step."""

    time_ns: np.ndarray  # [N] int64, since the session's first row, evenly spaced
    values: np.ndarray  # [N, F] float32; NaN where nothing was measured


class Label(NamedTuple):
    """One stretch of a session: [onset_s, clear_s) seconds after its first packet.

    Where a session has stretches of `normal`, what is outside of all its stretches has
    no condition; where it has none, all before its first fault is normal.
    """

    condition: str
    onset_s: float
    clear_s: float  # inf: to the end


class Session(NamedTuple):
    """One capture, prepared: the unit of every split."""

    name: str
    span_s: float  # first packet to last
    labels: tuple[Label, ...]  # in order of onset; none: normal throughout
    events: Events | None  # either events ...
    series: Series | None  # ... or counters


class DataSet(NamedTuple):
    """A prepared data set, as `data.prepared` reads it."""

    sessions: tuple[Session, ...]
    kinds: tuple[str, ...]  # of events; or the names of the counters
    meta: dict[str, Any]  # provenance: hashes, options, version


class Column(NamedTuple):
    """What one feature of a bin is. See `data.columns` for the fixed table."""

    name: str
    role: str  # request, class, code, retransmitted, latency, open, icmp, ...
    method: str = ""  # the method it is about; empty: any
    status: int = 0  # a code (503), or a class (5) where the role is `class`
    heavy: bool = True  # a heavy-tailed count: log1p before anything else
    empty: float = 0.0  # in a bin that saw nothing; NaN: as the session's baseline
    grows: bool = False  # a counter that only grows: read as its growth in each step


class Baseline(NamedTuple):
    """A session's own normal bins, against which all its windows are read."""

    mean: Any  # [..., F], of the (log) counts; 0 where nothing was measured
    deviation: Any  # [..., F], without the floor


class Scaler(NamedTuple):
    """What turns counts into features, fixed with the training captures."""

    heavy: Any  # [F] bool, columns that take log1p
    empty: Any  # [F] float, of a bin that saw nothing
    floor: Any  # [F] added to a baseline's deviation
    clip: Any  # [] largest absolute feature, in deviations
    scale: Any  # [F] factor after clipping
    own: Any = True  # [] bool, whether a session is read against its own baseline


class Windows(NamedTuple):
    """Windows as views into the counts: session and start. N of them."""

    session: np.ndarray  # [N] int32
    start: np.ndarray  # [N] int32, bin
    condition: np.ndarray  # [N] int32, index into conditions; TRANSITIONAL, RECOVERING
