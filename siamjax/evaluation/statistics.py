"""Intervals over captures: a result is repeated with a new capture, not a new window.

Windows of one capture are no independent witnesses, nor are draws of examples:
intervals from them come out many times too narrow. `interval` and `difference` draw
whole captures again; `clustered` counts conditions, captures and seeds together.
"""

import itertools
from typing import NamedTuple

import numpy as np

REPLICATES = 2000
# Two clusters leave one degree of freedom. In simulations with two repeats an interval
# of 95 % held the truth in 0.90 to 0.91 and was at times 20 times as wide as at others;
# with three it held in 0.94 to 0.96 (docs/compare.md).
LEAST_CLUSTERS = 3


class Interval(NamedTuple):
    """An estimate and its interval of 95 %, from so many captures."""

    value: float
    low: float
    high: float
    captures: int
    widened: bool = False  # to what captures that were not met could change


class Table(NamedTuple):
    """Hits per capture and condition, K captures x C conditions."""

    right: np.ndarray  # [K, C], sum of the hits of judged windows over all draws
    judged: np.ndarray  # [K, C], how many they are


def table(hits, conditions, captures, classes):
    """Sums hits `[D, N]` (NaN: not judged) by capture and condition: `Table`.

    Args:
      hits: `[D, N]`, of windows or of (condition, capture) pairs.
      conditions: `[N]` int.
      captures: `[N]` int.
      classes: `[C]`, the conditions whose recalls are averaged.
    """
    judged = np.isfinite(hits)
    count, right = judged.sum(0), np.where(judged, hits, 0.0).sum(0)
    names, row = np.unique(captures, return_inverse=True)
    of = (conditions[:, None] == np.asarray(classes)[None]).astype(float)  # [N, C]
    out = np.zeros((2, len(names), len(classes)))
    np.add.at(out[0], row.reshape(-1), right[:, None] * of)
    np.add.at(out[1], row.reshape(-1), count[:, None] * of)
    kept = out[1].any(1)
    return Table(out[0][kept], out[1][kept])


def recall(counts):
    """The mean over conditions of the recall of each, from a `Table`; NaN for none."""
    return float(_means(counts.right.sum(0)[None], counts.judged.sum(0)[None])[0])


def interval(counts, *, seed=0, level=0.95):
    """The mean recall over conditions with its interval over captures.

    Captures are drawn again whole, within strata of captures that hold the same
    conditions: n - 1 of the n captures of a stratum, weighted n / (n - 1), which makes
    the variance unbiased down to n = 2 (Rao and Wu, 1988). The half width is the
    deviation of the replicates times the quantile of Student's t with captures less
    strata degrees of freedom; percentiles of the replicates cover too little below some
    twenty captures. A stratum of one capture cannot be drawn again: such captures form
    one stratum together.

    Where less than half a capture in all is wrong (or right) about a condition, the
    variance says little: one that fails was just not met yet. Then the half width is at
    least that of Clopper and Pearson where none of so many captures fails, and the
    interval says `widened`.

    The examples' captures are held fixed: the interval speaks of captures to be
    recognised.

    Args:
      counts: a `Table`.
      seed: of the bootstrap.
      level: of confidence.
    """
    value, captures = recall(counts), len(counts.right)
    if captures < 2 or not np.isfinite(value):
        return Interval(value, 0.0, 1.0, captures)
    half = _half_width([counts], seed, level)
    mean = _each(counts.right, counts.judged)
    rare = min(np.nansum(mean), np.nansum(1 - mean))
    half, widened = _widened(half, rare, captures, level)
    low, high = max(0.0, value - half), min(1.0, value + half)
    return Interval(value, low, high, captures, widened)


def difference(first, second, *, seed=0, level=0.95):
    """Recall of `first` less that of `second`, on the same captures drawn together.

    Args:
      first: `Table` of one method.
      second: `Table` of another on the same windows and draws.
    """
    value, captures = recall(first) - recall(second), len(first.right)
    if captures < 2 or not np.isfinite(value):
        return Interval(value, -1.0, 1.0, captures)
    half = _half_width([first, second], seed, level)
    apart = _each(first.right - second.right, first.judged)
    half, widened = _widened(half, np.nansum(np.abs(apart)), captures, level)
    low, high = max(-1.0, value - half), min(1.0, value + half)
    return Interval(value, low, high, captures, widened)


def _each(right, judged):
    """`[K, C]` share of the judged; NaN where a capture does not hold a condition."""
    return np.divide(right, judged, out=np.full(right.shape, np.nan), where=judged > 0)


def _widened(half, rare, captures, level):
    """The half width, and whether it is that of captures that were not met.

    Args:
      half: the half width from the captures that were met.
      rare: in how many captures in all the rarer thing happens.
      captures: how many there are.
      level: of confidence.
    """
    # The largest share of captures that may fail where none of so many does.
    unmet = 1 - ((1 - level) / 2) ** (1 / captures)
    widened = bool(rare < 0.5 and unmet > half)
    return (unmet if widened else half), widened


def _half_width(tables, seed, level):
    """Half the interval of the first table's recall, less that of the second if any."""
    from scipy import special  # slow to import, and training starts without it

    stratum = _strata(tables[0].judged > 0)
    weights = _weights(stratum, np.random.default_rng(seed))  # [R, K]
    drawn = [
        _means(weights @ counts.right, weights @ counts.judged) for counts in tables
    ]
    replicates = drawn[0] - drawn[1] if len(drawn) == 2 else drawn[0]
    freedom = max(1, len(stratum) - len(np.unique(stratum)))
    return float(special.stdtrit(freedom, 0.5 + level / 2) * np.nanstd(replicates))


def _weights(stratum, rng):
    """`[REPLICATES, K]`, how often each capture counts."""
    out = np.empty((REPLICATES, len(stratum)))
    for s in np.unique(stratum):
        rows = np.flatnonzero(stratum == s)
        n = len(rows)
        drawn = rng.multinomial(max(n - 1, 1), np.full(n, 1 / n), size=REPLICATES)
        out[:, rows] = drawn * (n / max(n - 1, 1))
    return out


def _strata(holds):
    """`[K]` stratum of each capture, from the conditions `[K, C]` that it holds."""
    _, stratum, size = np.unique(holds, axis=0, return_inverse=True, return_counts=True)
    stratum = stratum.reshape(-1)
    return np.where(size[stratum] == 1, -1, stratum)


def _means(right, judged):
    """`[R]` means over judged conditions of their recalls, from sums `[R, C]`."""
    each = np.divide(right, judged, out=np.zeros(right.shape), where=judged > 0)
    known = (judged > 0).sum(-1)
    return np.divide(
        each.sum(-1), known, out=np.full(len(each), np.nan), where=known > 0
    )


class Clustered(NamedTuple):
    """A mean, or a mean difference, and what its clusters say of it."""

    value: float
    low: float  # of the interval
    high: float
    p_value: float  # that it is 0, by Student's t
    deviation: float  # of the estimate
    freedom: int


def clustered(values, weights, ways, *, level=0.95):
    """A weighted mean with its interval over several crossed ways of clustering.

    What lies in one condition, in one capture or in one repeat varies together. With
    e_n = w_n (x_n - mean), and V_S the sum over the clusters of S (cells of one or more
    ways crossed) of the squared sum of e, times G / (G - 1) for G clusters, the
    variance is that of Cameron, Gelbach and Miller (2011), sum over S of (-1)^(|S| + 1)
    V_S, but never below that of any single way, for it is a difference. This is the
    limit of drawing whole clusters again for ever. Student's t has G - 1 degrees of
    freedom of the way that varies most.

    Args:
      values: `[N]`, paired differences or scores.
      weights: `[N]`, their sum is 1.
      ways: list of `[N]` int, the cluster of each value in each way.
      level: of confidence.
    Returns:
      `Clustered`. Where a way has fewer than `LEAST_CLUSTERS` clusters nothing can be
      said: the interval is infinite and p is 1. Where all values are 0, p is 1.
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
        for some in itertools.combinations(ways, size):
            variance = _between(apart, some)
            total += variance if size % 2 else -variance
            single += [variance] * (size == 1)
    deviation = float(np.sqrt(max(total, *single)))
    freedom = count[int(np.argmax(single))] - 1
    half = float(special.stdtrit(freedom, 0.5 + level / 2)) * deviation
    # Differences of rounding alone are none.
    none = abs(value) <= 1e-12 * max(float(np.abs(values).max()), 1.0)
    t = 0.0 if none else abs(value) / deviation if deviation > 0 else np.inf
    p_value = 2 * float(special.stdtr(freedom, -t))
    return Clustered(value, value - half, value + half, p_value, deviation, freedom)


def holm(p_values):
    """p-values that hold for all of them together (Holm, 1979), in the same order."""
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    out = np.empty(len(p))
    out[order] = np.minimum(stepped, 1.0)
    return out


def least_difference(deviation, freedom, *, level=0.95, power=0.8):
    """The true difference that a test of this deviation finds with such a chance."""
    from scipy import special

    t = special.stdtrit(freedom, 0.5 + level / 2) + special.stdtrit(freedom, power)
    return float(t * deviation)


def _between(apart, ways):
    """Variance of a sum between the cells of some ways crossed."""
    _, cell = np.unique(np.stack(ways), axis=1, return_inverse=True)
    sums = np.bincount(cell.reshape(-1), apart)
    return float((sums**2).sum() * len(sums) / max(len(sums) - 1, 1))
