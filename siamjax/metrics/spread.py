"""How points fill their space: functions of the points alone, or of classes, too."""

import numpy as np

from siamjax.checks import require
from siamjax.metrics.arrays import Array, as_points, as_rows


def principal_share(embeddings: Array, variance: float = 0.9) -> float:
    """PCF in (0, 1]: the least share of principal components that holds so much of the
    variance; small: the points use few dimensions. NaN where all points are equal.

    Args:
      embeddings: `[N, E]` finite floats.
      variance: the share of it, in (0, 1].
    Raises:
      UsageError: shapes or types do not fit, a number is not finite, or `variance` is
        beyond (0, 1].
    Reference: "pcf" of OpenMetricLearning; `losses.effective_rank` needs no share.
    """
    require(0 < variance <= 1, f"variance is {variance}: give a share in (0, 1]")
    x = as_points("embeddings", embeddings)
    if not x.size:
        return np.nan
    x = x - x.mean(0)
    largest = np.abs(x).max()
    if not largest:
        return np.nan
    x = x / largest
    values = np.linalg.eigvalsh(x.T @ x)[::-1].clip(0)
    held = np.cumsum(values) / values.sum()
    # Sums of shares are rounded.
    components = int(np.argmax(held >= variance - 1e-12)) + 1
    return components / x.shape[1]


def alignment(embeddings: Array, labels: Array) -> float:
    """The mean squared distance of two rows of a class, over all such pairs; 0: each
    class is a point. NaN without a pair.

    Its counterpart is `losses.uniformity`. Give rows of unit length, as the paper does.

    Args:
      embeddings: `[N, E]` finite floats.
      labels: `[N]` int.
    Raises:
      UsageError: shapes or types do not fit, or a number is not finite.
    Reference: Wang, Isola, ICML 2020 (alpha = 2).
    """
    x, labels = as_rows("", embeddings, labels)
    _, group, size = np.unique(labels, return_inverse=True, return_counts=True)
    pairs = float((size * (size - 1)).sum())
    if not pairs:
        return np.nan
    centre = np.zeros((len(size), x.shape[1]))
    np.add.at(centre, group, x)
    # The squared distances of all ordered pairs of n rows sum to 2 n times their
    # squared distances to the centre.
    gaps = ((x - (centre / size[:, None])[group]) ** 2).sum(1)
    return float(2 * (gaps * size[group]).sum() / pairs)
