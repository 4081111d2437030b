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
    """Scores of nearest neighbours among all other windows.

    Args:
      points: `[N, E]` finite floats.
      conditions: `[N]` int.
      captures: `[N]` int; if given, windows of the query's own capture are no
        neighbours.
    Returns:
      `Retrieval`. Memory is O(CHUNK * N).
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
    scores = []
    for i in range(0, len(x), CHUNK):
        some = slice(i, i + CHUNK)
        d = squares[some, None] - 2 * x[some] @ x.T + squares
        d = np.where(own[some, None] == own[None], np.inf, np.maximum(d, 0.0))
        same = (conditions[some, None] == conditions[None]) & np.isfinite(d)
        scores += [
            _of_query(*row, 1e-12 * largest) for row in zip(d, same) if row[1].any()
        ]
    if not scores:
        return Retrieval(*[float("nan")] * 3, 0)
    return Retrieval(*np.mean(scores, 0).tolist(), len(scores))


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
