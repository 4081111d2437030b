"""Retrieval: how pure the neighbourhood of each window is, whatever the storage order.

Definitions of Musgrave, Belongie, Lim, "A Metric Learning Reality Check", ECCV 2020,
where R is the number of other windows of the query's condition. Where neighbours are
equally far, each score is its expectation over the orders that they could stand in, so
that collapsed points score what chance would.
"""

from typing import NamedTuple

import numpy as np

from siamjax.checks import require

CHUNK = 256


class Retrieval(NamedTuple):
    """Means over the queries that have R >= 1; NaN where there is none."""

    precision_at_1: float
    r_precision: float
    map_at_r: float
    queries: int


def retrieval(points, conditions, captures=None):
    """Means of `scores` over all queries.

    Args:
      points: `[N, E]` finite floats.
      conditions: `[N]` int.
      captures: see `scores`.
    Returns:
      `Retrieval`. Memory is O(CHUNK * N).
    """
    each = scores(points, conditions, captures)
    each = each[~np.isnan(each).any(1)]
    if not len(each):
        return Retrieval(*[float("nan")] * 3, 0)
    return Retrieval(*each.mean(0).tolist(), len(each))


def scores(points, conditions, captures=None, queries=None):
    """Scores of each query's nearest neighbours among all other windows.

    Args:
      points: `[N, E]` finite floats.
      conditions: `[N]` int.
      captures: `[N]` int; if given, windows of the query's own capture are no
        neighbours.
      queries: `[N]` bool, the windows that are scored; all by default.
    Returns:
      `[N, 3]` expected P@1, R-precision and AP@R; NaN for no query, and where R is 0.
    """
    points, conditions = np.asarray(points, np.float64), np.asarray(conditions)
    require(points.ndim == 2, f"points must be [N, E], not {list(points.shape)}")
    require(
        conditions.dtype.kind in "iu", f"conditions must be ints: {conditions.dtype}"
    )
    require(np.isfinite(points).all(), "points are not all finite")
    x = points - points.mean(0) if len(points) else points
    squares, largest = (x * x).sum(-1), (points**2).sum(-1).max(initial=0.0)
    own = np.arange(len(x)) if captures is None else np.asarray(captures)
    chosen = np.flatnonzero(np.ones(len(x), bool) if queries is None else queries)
    out = np.full((len(x), 3), np.nan)
    for i in range(0, len(chosen), CHUNK):
        some = chosen[i : i + CHUNK]
        d = squares[some, None] - 2 * x[some] @ x.T + squares
        d = np.where(own[some, None] == own[None], np.inf, np.maximum(d, 0.0))
        same = (conditions[some, None] == conditions[None]) & np.isfinite(d)
        for row, distances, right in zip(some, d, same):
            if right.any():
                out[row] = _of_query(distances, right, 1e-12 * largest)
    return out


def _of_query(distances, same, tie):
    """Expected P@1, R-precision and AP@R of one query from `[N]` distances."""
    r = int(same.sum())
    near = np.argpartition(distances, r - 1)[:r]
    # All that tie with the R-th belong to the neighbourhood too.
    near = np.flatnonzero(distances <= distances[near].max() + tie)
    near = near[np.argsort(distances[near], kind="stable")]
    group = np.cumsum(np.diff(distances[near], prepend=distances[near[0]]) > tie)
    n = np.bincount(group)  # equally far, in each group
    good = np.bincount(group, same[near])  # of them of the query's condition
    before, right = np.cumsum(n) - n, np.cumsum(good) - good
    # The k-th place of a group of n with g right ones is right with chance g / n; given
    # that, the expected number right before it inside the group is (k - 1)(g - 1) / (n
    # - 1).
    place = np.arange(len(near))[:r]
    g, m, k = good[group[:r]], n[group[:r]], place - before[group[:r]]
    chance = g / m
    earlier = right[group[:r]] + k * (g - 1) / np.maximum(m - 1, 1)
    precision = (earlier + 1) / (place + 1)
    return chance[0], chance.mean(), (chance * precision).mean()
