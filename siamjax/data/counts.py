"""Events or counters of a session -> counts per bin and column, `[bins, F]`."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from siamjax.capture.protocols import PROTOCOLS, protocol_of, split_kind
from siamjax.capture.protocols.sip import SIP
from siamjax.capture.protocols.table import fits
from siamjax.data import columns
from siamjax.types import AnySession, Events, Series

# Bins that are counted together: 9 h of bins of 0.5 s.
BLOCK = 1 << 16
_LAST_S = np.iinfo(np.int64).max / 1e9


def bin_session(
    session: AnySession,
    kinds: Sequence[str],
    bin_s: float,
    protocols: Sequence[str],
) -> np.ndarray:
    """Counts `[bins, F]` float32 of the full bins of a session; NaN: not measured.

    Args:
      session: `types.Session` with events or a series.
      kinds: names of the events' kinds.
      bin_s: length of a bin in seconds.
      protocols: names of those whose columns are counted; of events only.
    """
    return np.concatenate(list(bin_in_blocks(session, kinds, bin_s, protocols)))


def bin_in_blocks(
    session: AnySession,
    kinds: Sequence[str],
    bin_s: float,
    protocols: Sequence[str],
    block: int = BLOCK,
) -> Iterator[np.ndarray]:
    """Yields `bin_session` in blocks of bins, so that few are in memory at a time."""
    if (series := session.series) is not None:
        yield from _series_in_blocks(series, bin_s, block)
        return
    events, bin_ns = session.events, nanoseconds(bin_s)
    assert events is not None  # one of the two is there
    bins = nanoseconds(session.span_s) // bin_ns
    binner = EventBinner(bin_ns, protocols)
    done = 0
    for end in _ends_of_blocks(bins, block):
        # Events are in order of time.
        stop = int(np.searchsorted(events.time_ns, end * bin_ns))
        yield binner.add(events.take(slice(done, stop)), kinds, end)
        binner.forget()
        done = stop


def _ends_of_blocks(bins, block):
    """The end of each block of bins; without a bin there is one empty block."""
    return [min(begin + block, bins) for begin in range(0, max(bins, 1), block)]


def count_bins(session: AnySession, bin_s: float) -> int:
    """How many full bins a session has: the length of `bin_session`."""
    bin_ns = nanoseconds(bin_s)
    if (series := session.series) is None:
        return nanoseconds(session.span_s) // bin_ns
    rows, step = len(series.time_ns), step_ns(series)
    bin_of = bin_of_row(np.arange(rows), step, bin_ns)
    return rows if (np.diff(bin_of) == 1).all() else bin_of_row(rows, step, bin_ns)


def bin_events(
    events: Events,
    kinds: Sequence[str],
    span_s: float,
    bin_s: float,
    protocols: Sequence[str] = (SIP.name,),
) -> np.ndarray:
    """Counts `[bins, F]` of events, without the last, partial bin.

    F columns are those of `columns.event_columns(protocols)`.
    """
    bin_ns = nanoseconds(bin_s)
    bins = nanoseconds(span_s) // bin_ns
    events = events.take(events.time_ns < bins * bin_ns)
    return EventBinner(bin_ns, protocols).add(events, kinds, bins)


class EventBinner:
    """`bin_events` of a stream: events come in batches, each of whole bins.

    They may be of several sessions in one time, which are counted together.

    Attributes:
      bins: how many were counted.
    """

    def __init__(self, bin_ns: int, protocols: Sequence[str]) -> None:
        self.bins = 0
        self._bin_ns = bin_ns
        self._protocols = tuple(protocols)
        names = columns.event_columns(protocols)
        self._index = {column.name: i for i, column in enumerate(names)}
        self._waits = [
            _Wait(name, wait, bin_ns)
            for name in protocols
            for wait in PROTOCOLS[name].waits
        ]

    def add(self, events: Events, kinds: Sequence[str], bins: int) -> np.ndarray:
        """Counts `[bins - self.bins, F]` of the next bins, up to the number `bins`.

        Args:
          events: all those in these bins; answers of a kind are in order of time.
          kinds: names of the events' kinds.
          bins: how many were counted after this.
        """
        session = np.zeros(len(events.time_ns), np.int64)
        return self.add_sessions(events, session, 1, kinds, bins)[0]

    def add_sessions(
        self,
        events: Events,
        session: np.ndarray,
        sessions: int,
        kinds: Sequence[str],
        bins: int,
    ) -> np.ndarray:
        """`add` of several sessions: counts `[sessions, bins - self.bins, F]`.

        Args:
          events: of all sessions.
          session: `[N]` int, the session of each event, less than `sessions`.
          sessions: how many there are; no fewer than in the call before.
          kinds, bins: see `add`.
        """
        first, self.bins = self.bins, bins
        count, index = bins - first, self._index
        rows = sessions * count
        row = session * count + events.time_ns // self._bin_ns - first
        table = _histogram(row, events, rows, len(kinds)) @ _kind_columns(kinds, index)
        for name in self._protocols:
            protocol = PROTOCOLS[name]
            prefix = _prefix(name)
            mine = [protocol_of(kind) == name for kind in kinds]
            is_answer = [
                m and protocol.is_answer(split_kind(k)[1]) for m, k in zip(mine, kinds)
            ]
            answer = _of_kinds(events, is_answer)
            again = events.retransmitted & _of_kinds(events, mine)
            for what, chosen in (
                ("requests", again & ~answer),
                ("answers", again & answer),
            ):
                table[:, index[f"{prefix}retransmitted {what}"]] = np.bincount(
                    row[chosen], minlength=rows
                )
        for wait in self._waits:
            latency_ms, still_open = wait.add(
                events, session, sessions, kinds, first, bins
            )
            table[:, index[f"{wait.name} ms"]] = latency_ms
            table[:, index[wait.open_name]] = still_open
        return table.astype(np.float32).reshape(sessions, count, len(index))

    def forget(self) -> None:
        """Drops the requests whose waits ended before the last call."""
        for wait in self._waits:
            wait.forget()


def _of_kinds(events, chosen):
    """`[N]` bool: whether the kind of each event is chosen."""
    return np.array(chosen, bool)[events.kind]


def bin_series(series: Series, bin_s: float) -> np.ndarray:
    """Counters `[bins, F]`: the mean of the measured rows of each full bin.

    A step must not be longer than a bin: `why_too_coarse` is asked before.
    """
    return np.concatenate(list(_series_in_blocks(series, bin_s, BLOCK)))


def _series_in_blocks(series, bin_s, block):
    """Yields `bin_series` in blocks of bins."""
    values, bin_ns = series.values, nanoseconds(bin_s)
    step = step_ns(series)
    bin_of = bin_of_row(np.arange(len(values)), step, bin_ns)
    if (np.diff(bin_of) == 1).all():
        for end in _ends_of_blocks(len(values), block):
            begin = max(end - 1, 0) // block * block
            yield values[begin:end].astype(np.float32)
        return
    bins = bin_of_row(len(values), step, bin_ns)
    for end in _ends_of_blocks(bins, block):
        begin = max(end - 1, 0) // block * block
        rows = slice(*np.searchsorted(bin_of, (begin, end)))
        yield average_rows(values[rows], bin_of[rows] - begin, end - begin)


def bin_of_row(row: Any, step_ns: int, bin_ns: int) -> Any:
    """The bin of a row on an even grid.

    The step was rounded to a nanosecond: three rows of 1/3 s, which are 333333333 ns
    each, must fill a bin of 1 s. So half a nanosecond is added to each step, and all
    times are counted in half nanoseconds.
    """
    return row * (2 * step_ns + 1) // (2 * bin_ns)


def average_rows(values: np.ndarray, bin_of: np.ndarray, bins: int) -> np.ndarray:
    """The mean `[bins, F]` of the measured values `[N, F]` of each bin.

    Args:
      values: `[N, F]`.
      bin_of: `[N]` int, the bin of each row.
      bins: how many.
    """
    values = values.astype(float)
    measured = ~np.isnan(values)
    total, count = np.zeros((2, bins, values.shape[1]))
    np.add.at(total, bin_of, np.where(measured, values, 0.0))
    np.add.at(count, bin_of, measured)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def why_too_coarse(series: Series, bin_s: float) -> str:
    """The reason why a series cannot be used with this bin; empty: it can be used."""
    if step_s(series) <= 1.001 * bin_s:
        return ""
    return (
        f"its rows are {step_s(series):g} s apart, longer than config.data.bin_s of "
        f"{bin_s:g} s"
    )


def step_s(series: Series) -> float:
    """Seconds from one row of a series to the next."""
    return step_ns(series) / 1e9


def step_ns(series: Series) -> int:
    """Nanoseconds from one row of a series to the next."""
    return int(series.time_ns[1] - series.time_ns[0])


def nanoseconds(seconds: float) -> int:
    """Seconds as integer nanoseconds, rounded; infinity is the largest int64.

    Times are compared and divided as integers: as floats, 0.3 s // 0.1 s is 2.
    """
    return min(round(min(seconds, _LAST_S) * 1e9), np.iinfo(np.int64).max)


def _kind_columns(kinds, index):
    """`[kinds, F]` float: 1 where an event of a kind counts in a column."""
    counts_in = np.zeros((len(kinds), len(index)))
    for i, kind in enumerate(kinds):
        names = [name for name in columns.names_of_kind(kind) if name in index]
        counts_in[i, [index[name] for name in names]] = 1
    return counts_in


def _histogram(row, events, rows, kinds):
    place = row * kinds + events.kind
    flat = np.bincount(place, events.packets, minlength=rows * kinds)
    return flat.reshape(rows, kinds).astype(float)


class _Wait:
    """The requests of a procedure that wait for an answer, from bin to bin.

    A request is known by its session and when it was sent: a column of `[2, N]` int64.
    """

    def __init__(self, protocol, wait, bin_ns):
        self.name = f"{_prefix(protocol)}{wait.procedure} to {wait.end}"
        self.open_name = f"{_prefix(protocol)}{wait.procedure} without {wait.end}"
        self._protocol, self._wait, self._bin_ns = protocol, wait, bin_ns
        self._open = _NONE  # those that wait
        # Those whose wait was ended by an answer, in two halves, in order.
        self._ended = self._ended_before = _NONE

    def add(self, events, session, sessions, kinds, first, bins):
        """Mean latency in ms `[sessions * (bins - first)]` of the bins from `first` to
        `bins`, NaN where nothing was answered, and how many requests were open at the
        end of each."""
        sent, requests, answers = self._find(events, session, kinds)
        count = bins - first
        answered_row = session[answers] * count
        answered_row += events.time_ns[answers] // self._bin_ns - first
        latency_ns, rows = events.latency_ns[answers], sessions * count
        with np.errstate(invalid="ignore"):  # 0/0 gives NaN where nothing was answered
            latency_ms = np.bincount(
                answered_row, latency_ns / 1e6, minlength=rows
            ) / np.bincount(answered_row, minlength=rows)
        asked = _in_order(np.concatenate([self._open, sent], 1))
        closed_ns = asked[1] + nanoseconds(self._wait.timer_s)
        place, is_known = _locate(requests, asked)
        closed_ns[place[is_known]] = np.minimum(
            closed_ns[place[is_known]], events.time_ns[answers[is_known]]
        )
        closed_bin = np.minimum(closed_ns // self._bin_ns - first, count)

        def per_bin(session, bin_of):
            row = session * (count + 1) + bin_of
            flat = np.bincount(row, minlength=sessions * (count + 1))
            return flat.reshape(sessions, count + 1).astype(float)

        change = per_bin(sent[0], sent[1] // self._bin_ns - first)
        change -= per_bin(asked[0], closed_bin)
        before = np.bincount(self._open[0], minlength=sessions)
        still_open = before[:, None] + np.cumsum(change, 1)[:, :count]
        self._open = asked[:, closed_bin == count]
        place, _ = _locate(requests, self._ended)
        self._ended = np.insert(self._ended, place, requests, 1)
        return latency_ms, still_open.reshape(-1)

    def forget(self):
        self._ended_before = self._ended
        self._ended = _NONE

    def _find(self, events, session, kinds):
        """Requests that were sent `[2, R]`; the requests `[2, A]` that are answered for
        the first time, and the rows of these answers `[A]`."""
        name, wait = self._protocol, self._wait
        of_requests = [split_kind(kind) == (name, wait.procedure) for kind in kinds]
        of_ends = [_ends(kind, name, wait) for kind in kinds]
        request = _of_kinds(events, of_requests) & ~events.retransmitted
        answered = _of_kinds(events, of_ends) & (events.latency_ns >= 0)
        answered = np.flatnonzero(answered & ~events.retransmitted)
        sent, _ = _unique(np.stack([session, events.time_ns])[:, request])
        # Events are in order of time: the first answer to a request ends its wait.
        sent_ns = (events.time_ns - events.latency_ns)[answered]
        requests, first = _unique(np.stack([session[answered], sent_ns]))
        is_first = ~_locate(requests, self._ended)[1]
        is_first &= ~_locate(requests, self._ended_before)[1]
        return sent, requests[:, is_first], answered[first[is_first]]


_NONE = np.zeros((2, 0), np.int64)


def _to_keys(*tables):
    """One number for each pair of each table `[2, N]`, in the same order."""
    times_ns = np.concatenate([table[1] for table in tables])
    if not len(times_ns):
        return [table[0] for table in tables]
    least = times_ns.min()
    span = times_ns.max() - least + 1
    return [table[0] * span + (table[1] - least) for table in tables]


def _in_order(pairs):
    """Pairs `[2, N]` in order of their first, then of their second number."""
    (keys,) = _to_keys(pairs)
    return pairs[:, np.argsort(keys, kind="stable")]


def _unique(pairs):
    """The pairs `[2, N]` in order, each once, and where each is first `[M]`."""
    (keys,) = _to_keys(pairs)
    _, first = np.unique(keys, return_index=True)
    return pairs[:, first], first


def _locate(pairs, others):
    """Where pairs `[2, N]` would be among others, and whether they are there; both are
    in order."""
    keys, among = _to_keys(pairs, others)
    place = np.searchsorted(among, keys)
    if not len(among):
        return place, np.zeros(len(keys), bool)
    return place, among[place % len(among)] == keys


def _prefix(protocol):
    """What the names of a protocol's columns begin with."""
    return "" if protocol == SIP.name else f"{protocol} "


def _ends(kind, name, wait):
    """Whether an event of this kind ends a wait of a protocol."""
    protocol, kind = split_kind(kind)
    procedure, slash, outcome = kind.partition("/")
    is_answer = protocol == name and procedure == wait.procedure and slash
    return bool(is_answer) and fits(outcome, wait.ends)
