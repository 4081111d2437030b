"""Retrieval: how many of a window's nearest neighbours are of its own condition.

Definitions of Musgrave, Belongie, Lim, "A Metric Learning Reality Check", ECCV 2020,
where R is the number of other windows of the query's condition. Where neighbours are
equally far, a score is the mean over all their orders: the order of storage has no
effect, and points that are all equal score as a guess does.
"""

import numpy as np

from siamjax.checks import require
from siamjax.evaluation import pairwise

# Queries whose distances are in memory at once.
CHUNK = 256
# Squared distances that differ by less than this share of the largest squared norm
# count as equal.
_TIE = 1e-12


def score_queries(
    points: np.ndarray,
    conditions: np.ndarray,
    captures: np.ndarray | None = None,
    queries: np.ndarray | None = None,
) -> np.ndarray:
    """Scores of each query's nearest neighbours among all other windows.

    Args:
      points: `[N, E]` finite floats.
      conditions: `[N]` int.
      captures: `[N]` int; if given, windows of the query's own capture do not count
        as neighbours.
      queries: `[N]` bool, the windows that are scored; all by default.
    Returns:
      `[N, 3]` expected P@1, R-precision and AP@R; NaN where R is 0, and for windows
      that are no queries.
    """
    points, conditions = np.asarray(points, np.float64), np.asarray(conditions)
    require(points.ndim == 2, f"points must be [N, E], not {list(points.shape)}")
    require(
        conditions.dtype.kind in "iu",
        f"conditions must be integers, not {conditions.dtype}",
    )
    require(np.isfinite(points).all(), "points are not all finite")
    x = points - points.mean(0) if len(points) else points
    tie = _TIE * (points**2).sum(-1).max(initial=0.0)
    capture = np.arange(len(x)) if captures is None else np.asarray(captures)
    chosen = np.flatnonzero(np.ones(len(x), bool) if queries is None else queries)
    scores = np.full((len(x), 3), np.nan)
    for i in range(0, len(chosen), CHUNK):
        rows = chosen[i : i + CHUNK]
        d2 = pairwise.fast_squared(x[rows], x)
        d2 = np.where(capture[rows, None] == capture[None], np.inf, d2)
        same = (conditions[rows, None] == conditions[None]) & np.isfinite(d2)
        for row, distances, right in zip(rows, d2, same):
            if right.any():
                scores[row] = _score(distances, right, tie)
    return scores


def _score(distances, same, tie):
    """Expected P@1, R-precision and AP@R of one query from `[N]` distances."""
    r = int(same.sum())
    near = np.argpartition(distances, r - 1)[:r]
    # All neighbours that tie with the R-th one can stand among the first R.
    near = np.flatnonzero(distances <= distances[near].max() + tie)
    near = near[np.argsort(distances[near], kind="stable")]
    group = np.cumsum(np.diff(distances[near], prepend=distances[near[0]]) > tie)
    n = np.bincount(group)  # neighbours in each group of equally far ones
    good = np.bincount(group, same[near])  # those of the query's condition in it
    before, right = np.cumsum(n) - n, np.cumsum(good) - good
    # In a group of n with g right ones, the k-th place is right with chance g / n.
    # Where it is, the expected number of right ones before it in the group is
    # (k - 1)(g - 1) / (n - 1).
    place = np.arange(len(near))[:r]
    g, m, k = good[group[:r]], n[group[:r]], place - before[group[:r]]
    chance = g / m
    earlier = right[group[:r]] + k * (g - 1) / np.maximum(m - 1, 1)
    precision = (earlier + 1) / (place + 1)
    return chance[0], chance.mean(), (chance * precision).mean()
