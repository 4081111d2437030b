"""N-way one-shot episodes: examples from some captures, queries from others.

For data whose captures hold many conditions each, as days of a network do: a library of
examples was recorded earlier, and faults of later days are named by it. Methods are
judged by distances, so that one without points (DTW) is judged in the same way; draws
depend on the labels and the seed alone, so that methods can be compared in pairs.
"""

from typing import NamedTuple

import numpy as np

from siamjax.checks import require
from siamjax.evaluation import pairwise
from siamjax.evaluation.statistics import Interval, Table

REPLICATES = 2000


class Episodes(NamedTuple):
    """D draws of conditions with one example each."""

    classes: np.ndarray  # [D, ways] int, conditions that are told apart
    rows: np.ndarray  # [D, ways] int, example of each: a row of the support


def draw(queries, support, *, classes, ways, draws, seed=0):
    """`Episodes` among conditions that have both queries and examples.

    Args:
      queries: `[Q]` int, condition of each query.
      support: `[S]` int, condition of each possible example.
      classes: conditions to draw from.
      ways: how many are told apart.
      draws: how many episodes.
      seed: of the draws.
    """
    there = np.intersect1d(np.intersect1d(queries, support), classes)
    require(
        len(there) >= ways,
        f"{ways} conditions are to be told apart, {len(there)} have both examples and "
        "queries",
    )
    rng = np.random.default_rng(seed)
    of = {c: np.flatnonzero(support == c) for c in there}
    chosen = [rng.choice(there, ways, replace=False) for _ in range(draws)]
    rows = [[rng.choice(of[c]) for c in some] for some in chosen]
    return Episodes(np.array(chosen), np.array(rows))


def hits(gaps, queries, episodes):
    """`[D, Q]`: 1 where the nearest example is of the query's condition, 1/k where it
    ties with k - 1 others, 0 else; NaN where the condition is not in the episode.

    Args:
      gaps: `[Q, S]` distances from queries to examples.
      queries: `[Q]` int.
      episodes: `Episodes`.
    """
    out = np.full((len(episodes.rows), len(queries)), np.nan)
    for d, (classes, rows) in enumerate(zip(*episodes)):
        inside = np.flatnonzero(np.isin(queries, classes))
        near = gaps[np.ix_(inside, rows)]
        best = near <= near.min(1, keepdims=True)
        right = queries[inside][:, None] == classes[None]
        out[d, inside] = (best & right).any(1) / best.sum(1)
    return out


def distances(queries, examples):
    """`[Q, S]` squared Euclidean distances of points `[Q, E]` and `[S, E]`."""
    queries, examples = np.asarray(queries, float), np.asarray(examples, float)
    centre = examples.mean(0)
    return pairwise.fast_squared(queries - centre, examples - centre)


def table(found, queries, captures, conditions):
    """Sums of hits `[D, Q]` as `statistics.Table` over all captures and conditions.

    Unlike `statistics.sum_hits` it has a row for every capture, so that tables of
    several choices of conditions can be added up.

    Args:
      found: hits.
      queries: `[Q]` int, in 0..conditions - 1.
      captures: `[Q]` int.
      conditions: how many there are.
    """
    judged = np.isfinite(found)
    _, row = np.unique(captures, return_inverse=True)
    shape = (row.max(initial=-1) + 1, conditions)
    right, count = np.zeros((2, *shape))
    np.add.at(right, (row, queries), np.where(judged, found, 0.0).sum(0))
    np.add.at(count, (row, queries), judged.sum(0))
    return Table(right, count)


def add(tables):
    """One `Table` of several over the same captures and conditions."""
    return Table(sum(t.right for t in tables), sum(t.judged for t in tables))


def recall(counts, level=0.95, seed=0):
    """Mean recall over conditions; its interval over conditions and captures, drawn
    together.

    Both are drawn again: a result is repeated with other faults on other days. The
    fault varies far more than the day, and episodes are no witnesses at all.
    """
    drawn = _replicates([counts], seed)[0]
    low, high = np.nanquantile(drawn, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(_mean(counts), float(low), float(high), len(counts.right))


def difference(first, second, level=0.95, seed=0):
    """`recall` of the first less that of the second, on the same draws, in pairs."""
    one, two = _replicates([first, second], seed)
    low, high = np.nanquantile(one - two, [0.5 - level / 2, 0.5 + level / 2])
    value = _mean(first) - _mean(second)
    return Interval(value, float(low), float(high), len(first.right))


def _mean(counts):
    whole = np.ones((1, counts.right.shape[0])), np.ones((1, counts.right.shape[1]))
    return float(_recalls(counts, *whole)[0])


def _replicates(tables, seed):
    """`[tables, R]` recalls, of the same captures and conditions in each."""
    rng = np.random.default_rng(seed)
    k, c = tables[0].right.shape
    there = tables[0].judged.any(0)
    captures = rng.multinomial(k, np.full(k, 1 / k), REPLICATES).astype(float)
    conditions = np.zeros((REPLICATES, c))
    n = there.sum()
    conditions[:, there] = rng.multinomial(n, np.full(n, 1 / n), REPLICATES)
    return np.stack([_recalls(t, captures, conditions) for t in tables])


def _recalls(counts, captures, conditions):
    """`[R]` recalls with weights of captures `[R, K]` and conditions `[R, C]`."""
    right, judged = captures @ counts.right, captures @ counts.judged
    each = np.divide(right, judged, out=np.zeros_like(right), where=judged > 0)
    weight = conditions * (judged > 0)
    total = weight.sum(-1)
    return np.divide(
        (weight * each).sum(-1), total, out=np.full(len(total), np.nan), where=total > 0
    )
