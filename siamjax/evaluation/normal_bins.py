"""What the normal bins of a table of counters look like, one at a time.

A fault that lasts for fewer bins than a window is never alone in it, and where such
faults come often a window is hardly ever normal. So there the newest bin of a window
decides whether it is normal, by its distance from the normal bins of the training, in
units of their variation (Mahalanobis, 1936). The limit is learnt on other captures.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from siamjax.checks import require
from siamjax.evaluation import wccn
from siamjax.evaluation.wccn import Whitening

# The share of a plain scaling in the covariance of normal bins. Chosen, like the
# quantile, on learning days of the tables of KDDI (docs/counters.md).
SHRINKAGE = 0.01
# The share of the normal bins of other captures that is below the limit.
QUANTILE = 0.95
# The smallest limit, for bins that are all equal: features are of 32 bits.
LEAST = 1e-6


class NormalBins(NamedTuple):
    """How far normal bins are from their mean, and how many ways."""

    whitening: Whitening  # [F], of the signed logs of features
    limit: float  # a bin that is farther than this from the mean is not normal


def fit_normal_bins(
    training: Callable[[], Iterable[np.ndarray]], others: Iterable[np.ndarray]
) -> NormalBins | None:
    """The `NormalBins` of a run; None if the training has no normal bin.

    Args:
      training: gives features `[n, F]` of normal bins in blocks, of which one is in
        memory at a time.
      others: such blocks of other captures. If they have no bin, the limit is learnt on
        the training.
    """
    count, total, products, first = 0, 0.0, 0.0, None
    for block in training():
        x = _signed_logs(block)
        # Around the first bin: a column that does not vary has a variance of exactly 0.
        first = x[0] if first is None and len(x) else first
        x = x if first is None else x - first
        count, total, products = count + len(x), total + x.sum(0), products + x.T @ x
    if first is None:
        return None
    mean = np.asarray(total / count)
    covariance = products / count - np.outer(mean, mean)
    matrix = wccn.inverse_root(covariance, SHRINKAGE)
    whitening = Whitening(first + mean, matrix, covariance, SHRINKAGE)
    sizes = [_sizes(block, whitening) for block in others]
    if not sum(map(len, sizes)):
        sizes = [_sizes(block, whitening) for block in training()]
    return NormalBins(whitening, _limit(sizes))


def adapt_normal_bins(normal: NormalBins, captures: Sequence[np.ndarray]) -> NormalBins:
    """The `NormalBins` of another network.

    Its limit is learnt on each capture beside the others, on each half of all bins
    beside the other half where one capture has almost all of them.

    Args:
      normal: of the run.
      captures: features `[n, F]` of its normal traffic.
    Raises:
      UsageError: there are fewer than four bins in all.
    """
    parts, count = [x for x in captures if len(x)], sum(map(len, captures))
    require(
        count >= 4,
        f"the normal traffic of the network has {count} rows with a measured value: "
        "give four or more",
    )
    if any(count - len(part) < 2 for part in parts):
        parts = np.array_split(np.concatenate(parts), 2)
    sizes = []
    for i, part in enumerate(parts):
        others = [x for k, x in enumerate(parts) if k != i]
        sizes.append(_sizes(part, _adapt_whitening(normal.whitening, others)))
    return NormalBins(_adapt_whitening(normal.whitening, parts), _limit(sizes))


def newest_oddness(
    windows: np.ndarray, counts: np.ndarray, normal: NormalBins
) -> np.ndarray:
    """`[N]` how odd the newest bin of each window is: above 1 it is not normal.

    A bin in which nothing was measured says nothing: the bin before it decides.

    Args:
      windows: `[N, T, F]`, features.
      counts: `[N, T, F]`, from which they are; NaN where nothing was measured.
      normal: of the run, or of the network that it is adapted to.
    """
    measured = np.isfinite(counts).any(2)
    newest = windows.shape[1] - 1 - np.argmax(measured[:, ::-1], axis=1)
    bins = windows[np.arange(len(windows)), newest]
    return _sizes(bins, normal.whitening) / normal.limit


def _adapt_whitening(whitening, captures):
    points = _signed_logs(np.concatenate(captures))
    first = points[0]  # the variance of equal bins is exactly 0, as in the run
    adapted = wccn.adapt_whitening(whitening, points - first)
    return adapted._replace(mean=first + (points - first).mean(0))


def _sizes(bins, whitening):
    """`[n]` distances of bins `[n, F]` from the mean."""
    centred = _signed_logs(bins) - whitening.mean
    return np.linalg.norm(centred @ whitening.matrix, axis=1)


def _limit(sizes):
    return max(float(np.quantile(np.concatenate(sizes), QUANTILE)), LEAST)


def _signed_logs(bins):
    """`[n, F]` float64: `sign(x) * log1p(|x|)`, as in `wccn.signed_log_moments`."""
    x = np.asarray(bins, np.float64)
    return np.copysign(np.log1p(np.abs(x)), x)
