"""Intervals over captures: these are independent of each other, windows are not.

Windows of one capture vary together, and so do draws of examples: intervals that treat
them as independent are many times too narrow. `recall_interval` and `recall_difference`
are bootstraps over whole captures; `clustered_mean` takes conditions, captures and
seeds as clusters.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

REPLICATES = 2000
# Of all intervals.
LEVEL = 0.95
# With which `least_difference` is found.
POWER = 0.8
# Two clusters leave one degree of freedom. In simulations with two repeats an interval
# of 95 % held the truth in 0.90 to 0.91 of the cases and its width varied by a factor
# of 20; with three it held in 0.94 to 0.96 (docs/compare.md).
LEAST_CLUSTERS = 3
# A mean below this share of the largest value is rounding: it counts as 0.
_ROUNDING = 1e-12
# If less than half a capture in all is wrong (or right), the variance says little.
_RARE = 0.5


class Interval(NamedTuple):
    """An estimate and its interval of 95 %."""

    value: float
    low: float
    high: float
    captures: int  # how many it rests on
    widened: bool = False  # because failures are rare, see `recall_interval`


class Table(NamedTuple):
    """Hits per capture and condition, K captures x C conditions."""

    right: np.ndarray  # [K, C], sum of the hits of judged windows over all draws
    judged: np.ndarray  # [K, C], how many hits were summed


def sum_hits(
    hits: np.ndarray,
    conditions: np.ndarray,
    captures: np.ndarray,
    classes: Sequence[int] | np.ndarray,
) -> Table:
    """Sums hits by capture and condition.

    Args:
      hits: `[D, N]`, of windows or of (condition, capture) pairs; NaN: not judged.
      conditions: `[N]` int.
      captures: `[N]` int.
      classes: `[C]`, the conditions whose recalls are averaged.
    """
    judged = np.isfinite(hits)
    count, right = judged.sum(0), np.where(judged, hits, 0.0).sum(0)
    names, row = np.unique(captures, return_inverse=True)
    is_class = (conditions[:, None] == np.asarray(classes)[None]).astype(float)
    sums = np.zeros((2, len(names), len(classes)))
    np.add.at(sums[0], row.reshape(-1), right[:, None] * is_class)
    np.add.at(sums[1], row.reshape(-1), count[:, None] * is_class)
    kept = sums[1].any(1)
    return Table(sums[0][kept], sums[1][kept])


def mean_recall(table: Table) -> float:
    """The mean over conditions of the recall of each; NaN where nothing was judged."""
    return float(_means(table.right.sum(0)[None], table.judged.sum(0)[None])[0])


def recall_interval(table: Table) -> Interval:
    """The mean recall over conditions with its interval over captures.

    Whole captures are drawn again, within strata of captures that hold the same
    conditions: n - 1 of the n captures of a stratum, weighted n / (n - 1), which makes
    the variance unbiased down to n = 2 (Rao and Wu, 1988). The half width is the
    deviation of the replicates times the quantile of Student's t, with as many degrees
    of freedom as captures minus strata. (Percentiles of the replicates give too narrow
    intervals below some twenty captures.) A stratum of one capture cannot be drawn
    again: such captures form one stratum together.

    If less than half a capture in all is wrong (or right), the variance says little:
    a capture that fails may just be missing. Then the half width is at least
    that of Clopper and Pearson for no failure in so many captures, and the interval is
    `widened`.

    The captures of the examples are fixed: the interval is about new captures to
    recognise.
    """
    value, captures = mean_recall(table), len(table.right)
    if captures < 2 or not np.isfinite(value):
        return Interval(value, 0.0, 1.0, captures)
    half = _half_width([table])
    shares = _shares(table.right, table.judged)
    rare = min(np.nansum(shares), np.nansum(1 - shares))
    half, widened = _widened(half, rare, captures)
    low, high = max(0.0, value - half), min(1.0, value + half)
    return Interval(value, low, high, captures, widened)


def recall_difference(first: Table, second: Table) -> Interval:
    """Recall of `first` minus that of `second`; both use the same bootstrap draws.

    Args:
      first: of one method.
      second: of another method on the same windows and draws.
    """
    value, captures = mean_recall(first) - mean_recall(second), len(first.right)
    if captures < 2 or not np.isfinite(value):
        return Interval(value, -1.0, 1.0, captures)
    half = _half_width([first, second])
    apart = _shares(first.right - second.right, first.judged)
    half, widened = _widened(half, np.nansum(np.abs(apart)), captures)
    low, high = max(-1.0, value - half), min(1.0, value + half)
    return Interval(value, low, high, captures, widened)


def _shares(right, judged):
    """`[K, C]` share of the judged; NaN where a capture does not hold a condition."""
    return np.divide(right, judged, out=np.full(right.shape, np.nan), where=judged > 0)


def _widened(half, rare, captures):
    """The half width, and whether it was widened because failures are rare.

    Args:
      half: the half width of the bootstrap.
      rare: in how many captures in all the rarer outcome happens.
      captures: how many there are.
    """
    # The largest share of failing captures with which none of so many may fail.
    limit = 1 - ((1 - LEVEL) / 2) ** (1 / captures)
    widened = bool(rare < _RARE and limit > half)
    return (limit if widened else half), widened


def _half_width(tables):
    """Half the interval of a table's recall, or of the difference of two tables'."""
    from scipy import special  # slow to import, and training starts without it

    stratum = _strata(tables[0].judged > 0)
    weights = _weights(stratum, np.random.default_rng(0))  # [R, K]
    drawn = [_means(weights @ table.right, weights @ table.judged) for table in tables]
    replicates = drawn[0] - drawn[1] if len(drawn) == 2 else drawn[0]
    freedom = max(1, len(stratum) - len(np.unique(stratum)))
    return float(special.stdtrit(freedom, 0.5 + LEVEL / 2) * np.nanstd(replicates))


def _weights(stratum, rng):
    """`[REPLICATES, K]`, the weight of each capture in each bootstrap draw."""
    weights = np.empty((REPLICATES, len(stratum)))
    for s in np.unique(stratum):
        rows = np.flatnonzero(stratum == s)
        n = len(rows)
        drawn = rng.multinomial(max(n - 1, 1), np.full(n, 1 / n), size=REPLICATES)
        weights[:, rows] = drawn * (n / max(n - 1, 1))
    return weights


def _strata(holds):
    """`[K]` stratum of each capture, from the conditions `[K, C]` that it holds."""
    _, stratum, size = np.unique(holds, axis=0, return_inverse=True, return_counts=True)
    stratum = stratum.reshape(-1)
    return np.where(size[stratum] == 1, -1, stratum)


def _means(right, judged):
    """`[R]` means over judged conditions of their recalls, from sums `[R, C]`."""
    recalls = np.divide(right, judged, out=np.zeros(right.shape), where=judged > 0)
    count = (judged > 0).sum(-1)
    nothing = np.full(len(recalls), np.nan)
    return np.divide(recalls.sum(-1), count, out=nothing, where=count > 0)


class Clustered(NamedTuple):
    """A mean, or a mean difference, with its interval over clusters."""

    value: float
    low: float  # of the interval
    high: float
    p_value: float  # that it is 0, by Student's t
    deviation: float  # of the estimate
    freedom: int


def clustered_mean(
    values: np.ndarray,
    weights: np.ndarray,
    ways: Sequence[np.ndarray],
) -> Clustered:
    """A weighted mean with its interval over several crossed ways of clustering.

    Values of one condition, of one capture or of one repeat vary together. The variance
    is that of Cameron, Gelbach and Miller (2011):

      variance = sum over S of (-1)^(|S| + 1) V_S
      V_S = G / (G - 1) * sum over the G clusters of S of (sum of e_n)^2
      e_n = w_n (x_n - mean)

    where S is a set of one or more ways and its clusters are the cells of these ways
    crossed. The sum can be too small or negative, so at least the V_S of each single
    way is taken. It is the limit of a bootstrap of whole clusters. Student's t has the
    G - 1 degrees of freedom of the way with the largest V_S.

    Args:
      values: `[N]`, paired differences or scores.
      weights: `[N]`, their sum is 1.
      ways: list of `[N]` int, the cluster of each value in each way.
    Returns:
      `Clustered`. If a way has fewer than `LEAST_CLUSTERS` clusters, the interval is
      infinite and p is 1. If all values are 0, p is 1.
    """
    from scipy import special

    values, weights = np.asarray(values, float), np.asarray(weights, float)
    value = float(weights @ values)
    ways = [np.unique(way, return_inverse=True)[1].reshape(-1) for way in ways]
    count = [int(way.max(initial=-1)) + 1 for way in ways]
    if not len(values) or not np.isfinite(value):
        return Clustered(np.nan, -np.inf, np.inf, 1.0, np.inf, 1)
    if min(count) < LEAST_CLUSTERS:
        return Clustered(value, -np.inf, np.inf, 1.0, np.inf, 1)
    apart = weights * (values - value)
    total, single = 0.0, []
    for size in range(1, len(ways) + 1):
        for crossed in itertools.combinations(ways, size):
            variance = _between(apart, crossed)
            total += variance if size % 2 else -variance
            single += [variance] * (size == 1)
    deviation = float(np.sqrt(max(total, *single)))
    freedom = count[int(np.argmax(single))] - 1
    half = float(special.stdtrit(freedom, 0.5 + LEVEL / 2)) * deviation
    if abs(value) <= _ROUNDING * max(float(np.abs(values).max()), 1.0):
        t = 0.0
    else:
        t = abs(value) / deviation if deviation > 0 else np.inf
    p_value = 2 * float(special.stdtr(freedom, -t))
    return Clustered(value, value - half, value + half, p_value, deviation, freedom)


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """p-values corrected for testing all of them (Holm, 1979), in the same order."""
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def least_difference(deviation: float, freedom: int, *, level: float = LEVEL) -> float:
    """The true difference that a test finds with probability `POWER`.

    Args:
      deviation: of the estimate, see `Clustered`.
      freedom: its degrees of freedom.
      level: of confidence of the test.
    """
    from scipy import special

    t = special.stdtrit(freedom, 0.5 + level / 2) + special.stdtrit(freedom, POWER)
    return float(t * deviation)


def _between(apart, ways):
    """V_S of `clustered_mean`: `ways` are crossed."""
    _, cell = np.unique(np.stack(ways), axis=1, return_inverse=True)
    sums = np.bincount(cell.reshape(-1), apart)
    return float((sums**2).sum() * len(sums) / max(len(sums) - 1, 1))
