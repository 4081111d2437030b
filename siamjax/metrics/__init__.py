"""Metrics of embeddings: pure functions of arrays, NumPy or JAX, in float64.

docs/metrics.md lists them, with their papers and what ties do.
"""

from siamjax.metrics.clusters import (
    adjusted_mutual_information,
    adjusted_rand_index,
    k_means,
    normalized_mutual_information,
    pair_f1,
    purity,
)
from siamjax.metrics.queries import Gallery, average, score_distances, score_queries
from siamjax.metrics.spread import principal_share
from siamjax.metrics.verification import (
    PairDistances,
    auroc,
    decidability,
    draw_pair_distances,
    equal_error_rate,
    fnmr_at_fmr,
)

__all__ = [
    "Gallery",
    "PairDistances",
    "adjusted_mutual_information",
    "adjusted_rand_index",
    "auroc",
    "average",
    "decidability",
    "draw_pair_distances",
    "equal_error_rate",
    "fnmr_at_fmr",
    "k_means",
    "normalized_mutual_information",
    "pair_f1",
    "principal_share",
    "purity",
    "score_distances",
    "score_queries",
]
