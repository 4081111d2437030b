"""Counters that only grow: which they are, and their growth in each step."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

# A growing column has at least this many rises, and this many for each reset.
RISES = 10
# For each this many rises, one fall may be undone at once: an error of the table.
RISES_FOR_STEP_BACK = 50
# For each this many rises, one fall may be by half or more, but not to about 0.
RISES_FOR_DROP = 500
# About 0 is at most this many times the largest step.
_NEAR_ZERO_STEPS = 3
# A counter that falls to 0 is a gauge where it does so this often in one session, each
# time from the same height, up to this part of it.
_TEETH, _SAME_HEIGHT = 3, 0.05


# A growing counter that was not measured for this many rows begins anew.
KEPT_ROWS = 256


class Growth(NamedTuple):
    """The growth of a counter of N rows."""

    values: np.ndarray  # [N] float64 in each step; NaN where nothing was measured
    resets: int  # it began again
    overflows: int  # of 32 or 64 bits
    glitches: int  # rows that were left out, and steps back


class LiveGrowth:
    """`growth_of_columns` of a table that gets longer, in bounded memory.

    Attributes:
      values, rest: `[K, F]` the last rows, as they were measured; K is bounded.
      largest: `[F]` the largest growth so far.
    """

    def __init__(self, growing: Sequence[bool]) -> None:
        """Begins without a row; `growing` says which of F columns only grow."""
        self._growing = np.flatnonzero(growing)
        self.values = self.rest = np.zeros((0, len(growing)))
        self.largest = np.zeros(len(growing))

    def add(self, values: np.ndarray, rest: np.ndarray, ahead: int = 0) -> np.ndarray:
        """Takes the next rows, and returns them with growth in place of counters.

        Args:
          values: `[N, F]`.
          rest: `[N, F]`, what these lost of large integers.
          ahead: so many of them at the end only tell whether the rows before are
            glitches, and come again in the next call.
        Returns:
          `[N - ahead, F]`.
        """
        first, end = len(self.values), len(self.values) + len(values) - ahead
        values = np.concatenate([self.values, values])
        rest = np.concatenate([self.rest, rest])
        grown = values[first:end].copy()
        for f in self._growing:
            column, lost = values[:, f], rest[:, f] if rest[:, f].any() else None
            falls = _falls(column, lost, self.largest[f])
            grown[:, f] = _growth_of_falls(falls, len(column)).values[first:end]
            before = falls.change[falls.rows[1:] < end]
            self.largest[f] = before.max(initial=self.largest[f])
        kept = slice(max(end - KEPT_ROWS, 0), end)
        self.values, self.rest = values[kept], rest[kept]
        return grown


def find_growing(
    tables: Iterable[np.ndarray], rests: Iterable[np.ndarray | None]
) -> np.ndarray:
    """`[F]` bool: which columns only grow, in the tables `[N, F]` of all sessions.

    Such a counter may be reset to about 0. It goes back by less only in one of 50 rises
    or more seldom. What falls to about 0 from the same height again and again, or often
    by half to another value than 0, is a gauge with the form of a saw.

    Args:
      tables: values `[N, F]` of each session.
      rests: what these lost of large integers, see `quantities`.
    """
    total: Any = 0
    for values, rest in zip(tables, rests):
        counts = [
            _count_falls(column, None if rest is None else rest[:, f])
            for f, column in enumerate(values.T)
        ]
        total = total + np.array(counts, int).T
    rises, resets, backs, drops, saws = total
    return (
        (rises >= RISES)
        & (resets * RISES <= rises)
        & (backs * RISES_FOR_STEP_BACK <= rises)
        & (drops * RISES_FOR_DROP <= rises)
        & (saws == 0)
    )


def _count_falls(column, rest):
    """How often a column rises, is reset, goes back, drops; and whether it is a saw."""
    _, change, before, after, length, over, dips, glitches = _falls(column, rest)
    step = (change / length).max(initial=0.0)
    fell, is_over = change < 0, ~np.isnan(over)
    is_low = fell & ~is_over & (after < 0.5 * before)
    is_zero = is_low & (after <= _NEAR_ZERO_STEPS * step * length)
    heights = before[is_zero]
    is_saw = len(heights) >= _TEETH and np.ptp(heights) <= _SAME_HEIGHT * heights.max()
    return (
        (change > 0).sum(),
        is_zero.sum() + is_over.sum() + dips,
        (fell & ~is_low & ~is_over).sum() + glitches - dips,
        (is_low & ~is_zero).sum(),
        is_saw,
    )


def growth_of_columns(
    values: np.ndarray, rest: np.ndarray | None, growing: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Replaces the columns that only grow by their growth.

    Args:
      values: `[N, F]`.
      rest: `[N, F]`, what these lost of large integers; None: nothing.
      growing: `[F]` bool.
    Returns:
      Values `[N, F]`; resets, overflows and glitches, each `[F]`.
    """
    values, counts = values.copy(), np.zeros((3, values.shape[1]), int)
    for f in np.flatnonzero(growing):
        grown = measure_growth(values[:, f], None if rest is None else rest[:, f])
        values[:, f], counts[:, f] = grown.values, grown[1:]
    return values, *counts


def measure_growth(column: np.ndarray, rest: np.ndarray | None = None) -> Growth:
    """The `Growth` of a growing counter.

    The first row, and rows where nothing was measured, are NaN. The growth over a gap
    is divided equally among its steps. After a reset the counter is taken to start at
    0. If it can have overflowed 32 or 64 bits instead, the growth is computed that way,
    unless that is more than the largest other growth of the counter.

    A single row below or above both of its neighbours, which grow, was not measured. A
    smaller step back has no growth.

    Args:
      column: `[N]` float64, NaN where nothing was measured.
      rest: `[N]` float64, what `column` lost of large integers; None: nothing.
    """
    return _growth_of_falls(_falls(column, rest), len(column))


def _growth_of_falls(falls, rows):
    fell, is_over = falls.change < 0, ~np.isnan(falls.over)
    is_reset = fell & ~is_over & (falls.after < 0.5 * falls.before)
    growth = np.where(is_reset, falls.after, np.where(fell, falls.over, falls.change))
    growth_of_rows = np.full(rows, np.nan)
    growth_of_rows[falls.rows[1:]] = growth / falls.length
    return Growth(
        growth_of_rows,
        int(is_reset.sum()),
        int(is_over.sum()),
        falls.glitches + int((fell & ~is_over & ~is_reset).sum()),
    )


class _Falls(NamedTuple):
    """Changes of a column between its M measured rows that are no glitches."""

    rows: np.ndarray  # [M] int64
    change: np.ndarray  # [M - 1] float64, exact
    before: np.ndarray  # [M - 1] float64
    after: np.ndarray  # [M - 1] float64
    length: np.ndarray  # [M - 1] int64, in rows
    over: np.ndarray  # [M - 1] float64, growth past the end of 32 or 64 bits; else NaN
    dips: int  # glitches to less than half
    glitches: int  # rows that were left out


def _falls(column, rest, largest=0.0):
    """`_Falls`; `largest` is the largest growth that is known of rows before."""
    rows, change = _changes(column, rest)
    glitches = _glitches(column[rows], change)
    dips = column[rows[glitches]] < 0.5 * column[rows[glitches - 1]]
    if len(glitches):
        column = column.copy()
        column[rows[glitches]] = np.nan
        rows, change = _changes(column, rest)
    before, after = column[rows[:-1]], column[rows[1:]]
    usual = change[change >= 0].max(initial=largest)
    over = np.full(len(change), np.nan)
    for bits in (32, 64):
        # before - 2^bits is exact where before is near it; so digits are kept.
        past = (after - (before - 2.0**bits)) + _rest_change(rest, rows)
        over = np.where(
            (change < 0) & (before <= 2.0**bits) & (past <= usual), past, over
        )
    return _Falls(
        *(rows, change, before, after, np.diff(rows), over),
        *(int(dips.sum()), len(glitches)),
    )


def _changes(column, rest):
    """Rows `[M]` that were measured, and the exact changes `[M - 1]` between them."""
    rows = np.flatnonzero(~np.isnan(column))
    return rows, np.diff(column[rows]) + _rest_change(rest, rows)


def _rest_change(rest, rows):
    return 0.0 if rest is None else np.diff(rest[rows])


def _glitches(values, change):
    """Indices of single values off a line that grows: a dip, or a peak.

    At a fall from i to i + 1, value i + 1 is a dip where value i + 2 is not below value
    i; value i is a peak where value i + 1 is not below value i - 1.
    """
    single = []
    for i in np.flatnonzero(change < 0):
        if i + 2 < len(values) and values[i + 2] >= values[i]:
            single.append(i + 1)
        elif i > 0 and values[i + 1] >= values[i - 1]:
            single.append(i)
    return np.array(single, int)
