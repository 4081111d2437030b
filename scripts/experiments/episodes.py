"""N-way one-shot episodes: examples from some captures, queries from others.

This is for data whose captures have many conditions each, such as the days of a
network. The examples were recorded on earlier days and name the faults of later days.

Methods are judged by distances, so that a method without points (DTW) is judged in the
same way. The draws depend on the labels and the seed alone, so that methods can be
compared in pairs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from siamjax.checks import require
from siamjax.evaluation import pairwise
from siamjax.evaluation.statistics import Interval, Table

REPLICATES = 2000


class Episodes(NamedTuple):
    """D draws of conditions, with one example of each condition."""

    classes: np.ndarray  # [D, ways] int, conditions that are told apart
    rows: np.ndarray  # [D, ways] int, example of each: a row of the support


def draw(
    queries: np.ndarray,
    support: np.ndarray,
    *,
    classes: Sequence[int],
    ways: int,
    draws: int,
    seed: int = 0,
) -> Episodes:
    """`Episodes` among conditions that have both queries and examples.

    Args:
      queries: `[Q]` int, condition of each query.
      support: `[S]` int, condition of each possible example.
      classes: conditions to draw from.
      ways: how many are told apart.
      draws: how many episodes.
      seed: of the draws.
    Raises:
      UsageError: fewer than `ways` conditions have both.
    """
    drawable = np.intersect1d(np.intersect1d(queries, support), classes)
    require(
        len(drawable) >= ways,
        f"ways is {ways}, but only {len(drawable)} conditions have both examples and "
        f"queries: give at most {len(drawable)}",
    )
    rng = np.random.default_rng(seed)
    rows_of = {c: np.flatnonzero(support == c) for c in drawable}
    chosen = [rng.choice(drawable, ways, replace=False) for _ in range(draws)]
    rows = [[rng.choice(rows_of[c]) for c in conditions] for conditions in chosen]
    return Episodes(np.array(chosen), np.array(rows))


def hits(gaps: np.ndarray, queries: np.ndarray, episodes: Episodes) -> np.ndarray:
    """Whether each query is named right in each episode, `[D, Q]`.

    1 where the nearest example is of the query's condition, 1/k where it ties with
    k - 1 others, else 0. NaN where the query's condition is not in the episode.

    Args:
      gaps: `[Q, S]` distances from queries to examples.
      queries: `[Q]` int, condition of each query.
      episodes: of `draw`.
    """
    hit = np.full((len(episodes.rows), len(queries)), np.nan)
    for d, (classes, rows) in enumerate(zip(*episodes)):
        inside = np.flatnonzero(np.isin(queries, classes))
        near = gaps[np.ix_(inside, rows)]
        best = near <= near.min(1, keepdims=True)
        right = queries[inside][:, None] == classes[None]
        hit[d, inside] = (best & right).any(1) / best.sum(1)
    return hit


def distances(queries: np.ndarray, examples: np.ndarray) -> np.ndarray:
    """`[Q, S]` squared Euclidean distances of points `[Q, E]` and `[S, E]`."""
    queries, examples = np.asarray(queries, float), np.asarray(examples, float)
    centre = examples.mean(0)
    return pairwise.fast_squared(queries - centre, examples - centre)


def table(
    hit: np.ndarray, queries: np.ndarray, captures: np.ndarray, conditions: int
) -> Table:
    """Sums of hits as `statistics.Table` over all captures and conditions.

    Unlike `statistics.sum_hits` it has a row for every capture, so that tables of
    several choices of conditions can be added up.

    Args:
      hit: `[D, Q]`, of `hits`.
      queries: `[Q]` int, condition of each query, in 0..conditions - 1.
      captures: `[Q]` names or numbers.
      conditions: how many there are.
    """
    judged = np.isfinite(hit)
    _, row = np.unique(captures, return_inverse=True)
    shape = (row.max(initial=-1) + 1, conditions)
    right, count = np.zeros((2, *shape))
    np.add.at(right, (row, queries), np.where(judged, hit, 0.0).sum(0))
    np.add.at(count, (row, queries), judged.sum(0))
    return Table(right, count)


def add(tables: Sequence[Table]) -> Table:
    """The sum of tables of the same captures and conditions."""
    right, judged = (np.sum(parts, axis=0) for parts in zip(*tables, strict=True))
    return Table(right, judged)


def recall(counts: Table, level: float = 0.95, seed: int = 0) -> Interval:
    """Mean recall over conditions, with a bootstrap interval.

    Conditions and captures are drawn again together, because a repetition would have
    other faults on other days. Episodes are not drawn again: they use the same windows,
    so more of them bring no new evidence.

    Args:
      counts: of `table`.
      level: share of the draws inside the interval.
      seed: of the draws.
    """
    drawn = _replicates([counts], seed)[0]
    low, high = np.nanquantile(drawn, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(_mean(counts), float(low), float(high), len(counts.right))


def difference(
    first: Table, second: Table, level: float = 0.95, seed: int = 0
) -> Interval:
    """`recall` of the first table less that of the second, on the same draws."""
    first_recalls, second_recalls = _replicates([first, second], seed)
    low, high = np.nanquantile(
        first_recalls - second_recalls, [0.5 - level / 2, 0.5 + level / 2]
    )
    value = _mean(first) - _mean(second)
    return Interval(value, float(low), float(high), len(first.right))


def _mean(counts):
    weights = np.ones((1, counts.right.shape[0])), np.ones((1, counts.right.shape[1]))
    return float(_recalls(counts, *weights)[0])


def _replicates(tables, seed):
    """`[tables, R]` recalls, of the same captures and conditions in each."""
    rng = np.random.default_rng(seed)
    k, c = tables[0].right.shape
    was_judged = tables[0].judged.any(0)
    captures = rng.multinomial(k, np.full(k, 1 / k), REPLICATES).astype(float)
    conditions = np.zeros((REPLICATES, c))
    n = was_judged.sum()
    conditions[:, was_judged] = rng.multinomial(n, np.full(n, 1 / n), REPLICATES)
    return np.stack([_recalls(t, captures, conditions) for t in tables])


def _recalls(counts, captures, conditions):
    """`[R]` recalls with weights of captures `[R, K]` and conditions `[R, C]`."""
    right, judged = captures @ counts.right, captures @ counts.judged
    recalls = np.divide(right, judged, out=np.zeros_like(right), where=judged > 0)
    weight = conditions * (judged > 0)
    total = weight.sum(-1)
    return np.divide(
        (weight * recalls).sum(-1),
        total,
        out=np.full(len(total), np.nan),
        where=total > 0,
    )
