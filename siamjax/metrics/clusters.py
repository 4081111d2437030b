"""Agreement of clusters with classes: how well groups without labels are the classes.

Every score is a function of two arrays of integers `[N]`, symmetric but for `purity`,
and does not change where classes or clusters get other numbers.
"""

import warnings
from typing import NamedTuple

import numpy as np
from scipy import sparse, special
from scipy.cluster import vq

from siamjax.checks import check_sizes, is_integer, require
from siamjax.metrics.arrays import Array, as_integers, as_points

# Numbers in memory at once, for the expected mutual information.
_BLOCK = 2**22


class Counts(NamedTuple):
    """How many rows are of each class and cluster, of those pairs that have any."""

    both: np.ndarray  # [P]
    of_class: np.ndarray  # [C]
    of_cluster: np.ndarray  # [K]
    class_of_pair: np.ndarray  # [P] int
    cluster_of_pair: np.ndarray  # [P] int


def k_means(
    embeddings: Array, clusters: int, *, seed: int = 0, starts: int = 3
) -> np.ndarray:
    """`[N]` int, the cluster of each row, by Lloyd's k-means with k-means++ starts.

    Args:
      embeddings: `[N, E]` finite floats.
      clusters: their number K, at most N.
      seed: of the starts.
      starts: the best of so many, by the sum of squared distances.
    Raises:
      UsageError: shapes or types do not fit, K is below 1 or above N, or there is no
        start.
    Reference: Arthur, Vassilvitskii, SODA 2007.
    """
    x = as_points("embeddings", embeddings)
    require(
        is_integer(clusters) and 1 <= clusters <= len(x),
        f"clusters is {clusters!r}, and there are {len(x)} rows: give a whole number "
        f"from 1 to {len(x)}",
    )
    check_sizes(starts=starts)
    if not x.shape[1]:
        return np.zeros(len(x), np.int64)
    x = x - x.mean(0)
    x = x / max(np.abs(x).max(initial=0.0), np.finfo(np.float64).tiny)
    best, least = np.zeros(len(x), np.int64), np.inf
    for rng in np.random.default_rng(seed).spawn(starts):
        with warnings.catch_warnings(), np.errstate(invalid="ignore"):
            # Fewer distinct rows than clusters leave a cluster empty: that is allowed.
            warnings.simplefilter("ignore", UserWarning)
            centres, assigned = vq.kmeans2(x, clusters, minit="++", rng=rng, iter=50)
        cost = float(((x - centres[assigned]) ** 2).sum())
        if cost < least:
            best, least = assigned.astype(np.int64), cost
    return best


def normalized_mutual_information(labels: Array, clusters: Array) -> float:
    """NMI in [0, 1]: mutual information over the mean of both entropies; 1 for one
    class in one cluster, NaN without rows.

    It grows with the number of clusters, also by chance: see
    `adjusted_mutual_information`.

    Args:
      labels: `[N]` int.
      clusters: `[N]` int.
    Raises:
      UsageError: shapes or types do not fit.
    Reference: Strehl, Ghosh, JMLR 2002; the arithmetic mean, as scikit-learn has it.
    """
    counts = _count(labels, clusters)
    if not len(counts.both):
        return np.nan
    entropy = (_entropy(counts.of_class) + _entropy(counts.of_cluster)) / 2
    return _share(_mutual_information(counts), entropy)


def adjusted_mutual_information(labels: Array, clusters: Array) -> float:
    """AMI, at most 1: the mutual information above that of random clusters of the same
    sizes, over the largest possible one; 0 by chance, NaN without rows.

    Args:
      labels: `[N]` int.
      clusters: `[N]` int.
    Raises:
      UsageError: shapes or types do not fit.
    Reference: Vinh, Epps, Bailey, JMLR 2010; the arithmetic mean, as scikit-learn.
    """
    counts = _count(labels, clusters)
    if not len(counts.both):
        return np.nan
    if len(counts.of_class) == len(counts.of_cluster) == 1:
        return 1.0
    if len(counts.of_class) == len(counts.of_cluster) == counts.both.sum():
        return 1.0
    expected = _expected_mutual_information(counts)
    entropy = (_entropy(counts.of_class) + _entropy(counts.of_cluster)) / 2
    above = entropy - expected
    # Where all clusterings of these sizes are alike, none is better than chance.
    above = np.copysign(max(abs(above), np.finfo(np.float64).eps), above)
    # By rounding, it may be just above 1.
    return min(float((_mutual_information(counts) - expected) / above), 1.0)


def adjusted_rand_index(labels: Array, clusters: Array) -> float:
    """ARI, at most 1: agreement on pairs of rows, above that of random clusters of the
    same sizes; 0 by chance, NaN without rows.

    Args:
      labels: `[N]` int.
      clusters: `[N]` int.
    Raises:
      UsageError: shapes or types do not fit.
    Reference: Hubert, Arabie, Journal of Classification 1985.
    """
    counts = _count(labels, clusters)
    if not len(counts.both):
        return np.nan
    both, of_class, of_cluster, every = _pairs(counts)
    expected = of_class * of_cluster / every if every else 0.0
    most = (of_class + of_cluster) / 2
    return 1.0 if most == expected else float((both - expected) / (most - expected))


def pair_f1(labels: Array, clusters: Array) -> float:
    """F1 in [0, 1] of the pairs of rows that are in one cluster, against the pairs of
    one class; NaN where there is no pair of either kind.

    Args:
      labels: `[N]` int.
      clusters: `[N]` int.
    Raises:
      UsageError: shapes or types do not fit.
    Reference: Song et al. (lifted structure), CVPR 2016.
    """
    both, of_class, of_cluster, _ = _pairs(_count(labels, clusters))
    return 2 * both / (of_class + of_cluster) if of_class + of_cluster else np.nan


def purity(labels: Array, clusters: Array) -> float:
    """The share in (0, 1] of the rows that are of the most common class of their
    cluster; NaN without rows. It is 1 where every row is a cluster.

    Args:
      labels: `[N]` int.
      clusters: `[N]` int.
    Raises:
      UsageError: shapes or types do not fit.
    Reference: Manning, Raghavan, Schütze, 2008, section 16.3.
    """
    counts = _count(labels, clusters)
    if not len(counts.both):
        return np.nan
    most = np.zeros(len(counts.of_cluster))
    np.maximum.at(most, counts.cluster_of_pair, counts.both)
    return float(most.sum() / counts.both.sum())


def _count(labels, clusters):
    labels, clusters = np.asarray(labels), np.asarray(clusters)
    require(labels.ndim == 1, f"labels have the shape {list(labels.shape)}: give [N]")
    labels = as_integers("labels", labels, len(labels))
    clusters = as_integers("clusters", clusters, len(labels))
    classes, row = np.unique(labels, return_inverse=True)
    names, column = np.unique(clusters, return_inverse=True)
    shape = (len(classes), len(names))
    if not len(labels):
        nothing = np.zeros(0, np.int64)
        return Counts(*[nothing] * 5)
    table = sparse.coo_array((np.ones(len(row)), (row, column)), shape).tocsr().tocoo()
    return Counts(table.data, np.bincount(row), np.bincount(column), *table.coords)


def _pairs(counts):
    """Numbers of pairs of rows: of one class and one cluster, of one class, of one
    cluster, and all."""
    sizes = counts.both, counts.of_class, counts.of_cluster, np.sum(counts.of_class)
    return [float(np.sum(special.comb(size, 2))) for size in sizes]


def _entropy(sizes):
    share = sizes / sizes.sum()
    return float(-(share * np.log(share)).sum())


def _mutual_information(counts):
    number = counts.both.sum()
    of_class = counts.of_class[counts.class_of_pair]
    of_cluster = counts.of_cluster[counts.cluster_of_pair]
    log_ratio = np.log(counts.both * number) - np.log(of_class) - np.log(of_cluster)
    return max(float((counts.both / number * log_ratio).sum()), 0.0)


def _expected_mutual_information(counts):
    """Of random clusters with these sizes: Vinh et al., eq. 24a.

    Classes of one size count together, and so do clusters.
    """
    number = counts.both.sum()
    rows, times_rows = np.unique(counts.of_class, return_counts=True)
    columns, times_columns = np.unique(counts.of_cluster, return_counts=True)
    log_factorial = special.gammaln(np.arange(number + 2) + 1)
    total = 0.0
    for a, times_a in zip(rows.tolist(), times_rows):
        step = max(1, _BLOCK // (a + 1))
        for start in range(0, len(columns), step):
            b = columns[start : start + step][:, None].astype(np.int64)
            n = np.arange(1, a + 1)[None]
            valid = (n <= b) & (n >= a + b - number)
            n_safe = np.where(valid, n, np.maximum(1, a + b - int(number)))
            rest = [a - n_safe, b - n_safe, int(number) - a - b + n_safe, n_safe]
            rest = [np.maximum(r, 0) for r in rest]
            log_chance = log_factorial[[a]] + log_factorial[b]
            log_chance = log_chance + log_factorial[int(number) - a]
            log_chance = log_chance + log_factorial[int(number) - b]
            log_chance = log_chance - log_factorial[int(number)]
            log_chance = log_chance - sum(log_factorial[r] for r in rest)
            gain = n_safe / number * np.log(number * n_safe / (a * b))
            terms = np.where(valid, gain * np.exp(log_chance), 0.0).sum(1)
            total += times_a * float(terms @ times_columns[start : start + step])
    return total


def _share(part, whole):
    return min(float(part / whole), 1.0) if whole > 0 else 1.0
