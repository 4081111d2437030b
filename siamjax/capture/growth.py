"""Counters that only grow: which they are, and their growth in each step."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

# A column counts as growing with at least so many rises, and so many for each reset.
RISES = 10
# With so many rises, one may be undone: a step back is then an error of the table.
RISES_FOR_STEP_BACK = 50


class Growth(NamedTuple):
    """The growth of a counter of N rows."""

    values: np.ndarray  # [N] float64 in each step; NaN where nothing was measured
    resets: int  # it began again, or ran over
    glitches: int  # rows that were left out, and steps back


def find_growing(
    tables: Iterable[np.ndarray], rests: Iterable[np.ndarray | None]
) -> np.ndarray:
    """`[F]` bool: which columns only grow, in the tables `[N, F]` of all sessions.

    Such a counter may be reset to about 0. It goes back by less only in one of 50 rises
    or more seldom.

    Args:
      tables: values `[N, F]` of each session.
      rests: what these lost of large integers, see `quantities`.
    """
    total: Any = 0
    for values, rest in zip(tables, rests):
        counts = np.zeros((3, values.shape[1]), int)
        for f, column in enumerate(values.T):
            rows, change = _changes(column, None if rest is None else rest[:, f])
            fell, reset = change < 0, column[rows[1:]] < 0.5 * column[rows[:-1]]
            counts[:, f] = (
                (change > 0).sum(),
                (fell & reset).sum(),
                (fell & ~reset).sum(),
            )
        total = total + counts
    rises, resets, backs = total
    return (
        (backs * RISES_FOR_STEP_BACK <= rises)
        & (rises >= RISES)
        & (resets * RISES <= rises)
    )


def growth_of_columns(
    values: np.ndarray, rest: np.ndarray | None, growing: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Replaces the columns that only grow by their growth.

    Args:
      values: `[N, F]`.
      rest: `[N, F]`, what these lost of large integers; None: nothing.
      growing: `[F]` bool.
    Returns:
      Values `[N, F]`, resets `[F]` and glitches `[F]`.
    """
    values, counts = values.copy(), np.zeros((2, values.shape[1]), int)
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
    rows, change = _changes(column, rest)
    glitches = _glitches(column[rows], change)
    glitch_rows = rows[glitches]
    if len(glitches):
        column = column.copy()
        column[glitch_rows] = np.nan
        rows, change = _changes(column, rest)
    growth_of_rows = np.full(len(column), np.nan)
    before, after = column[rows[:-1]], column[rows[1:]]
    usual = change[change >= 0].max(initial=0.0)
    fell, reset = change < 0, after < 0.5 * before
    growth = np.where(fell, after, change)
    for bits in (32, 64):
        # before - 2^bits is exact where before is near it; so digits are kept.
        over = (after - (before - 2.0**bits)) + _rest_change(rest, rows)
        ran_over = fell & (before < 2.0**bits) & (over <= usual)
        growth = np.where(ran_over, over, growth)
        reset = reset | ran_over
    growth = np.where(fell & ~reset, np.nan, growth)
    growth_of_rows[rows[1:]] = growth / np.diff(rows)
    return Growth(
        growth_of_rows,
        int((fell & reset).sum()),
        len(glitches) + int((fell & ~reset).sum()),
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
