"""How points fill their space."""

import numpy as np

from siamjax.checks import require
from siamjax.metrics.arrays import Array, as_points


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
