"""Windows of sessions: the session, first bin and condition of each."""

import bisect
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from siamjax.data.counts import nanoseconds
from siamjax.data.counts_on_disk import StoredCounts
from siamjax.types import NORMAL, RECOVERING, TRANSITIONAL, Label, Windows

# A window after a fault is normal again when its mean absolute feature is at most this
# many times the largest of the session's normal windows.
RECOVERED = 1.2


def cut_every_hop(
    index: int,
    bins: int,
    labels: Sequence[Label],
    conditions: Sequence[str],
    *,
    deviations: Callable[[], np.ndarray],
    length: int,
    hop: int,
    first: int,
    bin_s: float,
) -> Windows:
    """Labelled windows of one session, one every `hop` bins, behind its baseline.

    A window has the condition of a fault where it lies completely inside the fault. It
    is normal where it ends before the first fault, and TRANSITIONAL where it contains
    an onset or an end. After a fault it is RECOVERING until the features are as small
    as in normal windows. Where labels say what is normal, windows inside them are
    normal and windows that no label contains are TRANSITIONAL.

    Args:
      index: the session's number.
      bins: how many the session has.
      labels: its `types.Label`s in order of onset.
      conditions: names of all conditions; the index into it is the class.
      deviations: gives the mean absolute feature `[bins]` of each bin: 0 where all is
        as in the baseline. It is asked only where a fault ends before the session.
      length: of a window in bins.
      hop: bins from one window to the next.
      first: the first bin of the first window.
      bin_s: seconds of a bin.
    """
    begin = np.arange(first, bins - length + 1, hop, dtype=np.int32)
    bin_ns = nanoseconds(bin_s)
    begin_ns = begin.astype(np.int64) * bin_ns
    end_ns = begin_ns + length * bin_ns
    if any(label.condition == NORMAL for label in labels):
        condition = np.full(len(begin), TRANSITIONAL, np.int32)
        for label in labels:
            inside = _inside(label, begin_ns, end_ns)
            condition[inside] = conditions.index(label.condition)
        return Windows(np.full(len(begin), index, np.int32), begin, condition)
    condition = np.full(len(begin), conditions.index(NORMAL), np.int32)
    for label in labels:
        condition[end_ns > nanoseconds(label.onset_s)] = TRANSITIONAL
        inside = _inside(label, begin_ns, end_ns)
        condition[inside] = conditions.index(label.condition)
        condition[begin_ns >= nanoseconds(label.clear_s)] = RECOVERING
    if labels and (condition == RECOVERING).any():
        baseline = np.arange(0, first - length + 1, max(hop // 2, 1))
        normal = np.concatenate([baseline, begin[condition == 0]])
        deviation = deviations()
        limit = RECOVERED * _mean_of_windows(deviation, normal, length).max(initial=0.0)
        calm = _mean_of_windows(deviation, begin, length) <= limit
        recovered = (condition == RECOVERING) & _until_end(calm)
        condition[recovered] = conditions.index(NORMAL)
    return Windows(np.full(len(begin), index, np.int32), begin, condition)


def cut_at_ends(
    index: int,
    bins: int,
    labels: Sequence[Label],
    conditions: Sequence[str],
    *,
    length: int,
    first: int,
    bin_s: float,
) -> Windows:
    """One window for each label of a session: both end with the same bin.

    A label may be shorter than a window. The window then begins before it. One of
    normal traffic that is longer has a window for each of its full lengths: what is
    normal is not learnt from its last moments alone.

    Args:
      index: the session's number.
      bins: how many the session has.
      labels, conditions, length, bin_s: see `cut_every_hop`.
      first: a window that would begin before this bin is left out.
    """
    ends, of_label = [], []
    for label in labels:
        end = round(min(label.clear_s / bin_s, bins))
        onset = math.ceil(round(label.onset_s / bin_s, 6))
        count = max((end - onset) // length, 1) if label.condition == NORMAL else 1
        ends += [end - i * length for i in reversed(range(count))]
        of_label += [conditions.index(label.condition)] * count
    begin = np.array(ends, np.int32) - length
    condition = np.array(of_label, np.int32)
    kept = begin >= first
    return Windows(np.full(kept.sum(), index, np.int32), begin[kept], condition[kept])


def normal_bins(labels: Sequence[Label], bins: int, bin_s: float) -> np.ndarray:
    """`[bins]` bool: bins that are labelled normal, or that end before the first fault
    where no label is of normal."""
    normal = [label for label in labels if label.condition == NORMAL]
    bin_ns = nanoseconds(bin_s)
    begin_ns = np.arange(bins) * bin_ns
    end_ns = begin_ns + bin_ns
    if not normal:
        return end_ns <= nanoseconds(labels[0].onset_s if labels else np.inf)
    return np.any([_inside(label, begin_ns, end_ns) for label in normal], axis=0)


def cut_counts(
    counts: np.ndarray | StoredCounts, windows: Windows, length: int
) -> np.ndarray:
    """Cuts the counts `[N, T, F]` of windows from `[S, bins, F]`, on the host."""
    if isinstance(counts, StoredCounts):
        return counts.read_windows(windows, length)
    views = np.lib.stride_tricks.sliding_window_view(counts, length, axis=1)
    return np.moveaxis(views[windows.session, windows.start], -1, 1)


def choose_evenly(windows: Windows, role: np.ndarray, most: int) -> np.ndarray:
    """`[N]` bool: about `most` windows of each role, or all where there are fewer.

    Each condition of a session has the same number, spaced evenly, or all it has.

    Args:
      windows: N of them.
      role: `[N]` of any values.
      most: at least one window of each condition of a session is chosen, also if these
        are more.
    """
    chosen = np.zeros(len(windows.start), bool)
    for name in np.unique(role):
        rows = np.flatnonzero(role == name)
        pairs = np.stack([windows.session[rows], windows.condition[rows]])
        order = np.lexsort((windows.start[rows], *pairs))
        ends = np.flatnonzero(np.diff(pairs[:, order], axis=1).any(0)) + 1
        size = np.diff(np.concatenate([[0], ends, [len(rows)]]))  # of each pair
        equal = bisect.bisect_right(
            range(int(size.max()) + 1),
            most,
            key=lambda limit: np.minimum(size, limit).sum(),
        )
        kept = np.minimum(size, max(equal - 1, 1)).repeat(size)
        rank = np.arange(len(rows)) - (np.cumsum(size) - size).repeat(size)
        chosen[rows[order[rank * kept % size.repeat(size) < kept]]] = True
    return chosen


def join(parts: Iterable[Windows]) -> Windows:
    """One `Windows` of many."""
    return Windows(*(np.concatenate(columns) for columns in zip(*parts)))


def take(windows: Windows, chosen: Any) -> Windows:
    """The windows at these rows (indices or mask)."""
    return Windows(*(column[chosen] for column in windows))


def _inside(label, begin_ns, end_ns):
    """`[N]` bool: which stretches from begin to end lie completely inside a label."""
    onset_ns, clear_ns = nanoseconds(label.onset_s), nanoseconds(label.clear_s)
    return (begin_ns >= onset_ns) & (end_ns <= clear_ns)


def _mean_of_windows(values, begin, length):
    """The mean `[N]` of `values [bins]` in each window."""
    # In float64: a float32 sum over the bins of a month has no digit left for a window.
    total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    begin = np.asarray(begin, int)
    return (total[begin + length] - total[begin]) / length


def _until_end(calm):
    """`[N]` bool: True where `calm [N]` is true and stays true to the end."""
    return np.flip(np.minimum.accumulate(np.flip(calm.astype(bool))))
