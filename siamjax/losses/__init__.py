"""Losses of metric learning: pure functions of embeddings and labels.

`resolve("triplet:margin=0.2,mining=hard")` gives a `Loss`; `LOSSES` has every name.
`health` gives scalars that tell how a training goes, whatever its loss is.
docs/own_loop.md shows how to use them in a training loop of your own.
"""

from siamjax.losses.adaptive_margins import (
    adaface,
    curricularface,
    elasticface,
    large_margin_softmax,
    magface,
    p2sgrad,
    sphereface,
)
from siamjax.losses.annotations import Distance, LosslessForm, Mining, Reduction
from siamjax.losses.classifiers import (
    arcface,
    center,
    cosface,
    normalized_softmax,
    sub_center_outliers,
)
from siamjax.losses.diagnostics import effective_rank, health
from siamjax.losses.distances import lp
from siamjax.losses.guard import Stateful, stateful
from siamjax.losses.learnt_pairs import margin_loss, sigmoid_pairs, weighted_l1
from siamjax.losses.lossless_triplet import lossless
from siamjax.losses.mining import (
    distance_weighted_negatives,
    easiest_positive,
    hardest_negative,
    hardest_pairs,
    hardest_positive,
    margin_pairs,
    multi_similarity_pairs,
    next_negative,
    semihard_negatives,
)
from siamjax.losses.pairs import contrastive, intra_pair_variance, manhattan_lstm, snr
from siamjax.losses.proxies import proxy_anchor, proxy_nca, proxy_nca_pp, soft_triple
from siamjax.losses.rank_surrogates import contextual, pnp, recall_at_k, roadmap, sup_ap
from siamjax.losses.ranking import fastap, histogram, ranked_list, smooth_ap
from siamjax.losses.reductions import class_weights, divisor, threshold
from siamjax.losses.registry import LOSSES, Loss, resolve
from siamjax.losses.regularisers import (
    covariance,
    embedding_norm,
    koleo,
    saturation,
    uniformity,
    variance,
    zero_mean,
)
from siamjax.losses.softmax import infonce, nca, npairs, ntxent, prototypical, supcon
from siamjax.losses.softmax_variants import decoupled, robust_infonce, sincere
from siamjax.losses.triplets import triplet
from siamjax.losses.tuples import Pairs, References, all_pairs, first_pairs, two_views
from siamjax.losses.view_pairs import (
    alignment,
    barlow_twins,
    negative_cosine,
    spectral_contrastive,
    vicreg,
)
from siamjax.losses.weighted_pairs import (
    angular,
    circle,
    generalized_lifted,
    lifted,
    multi_similarity,
    tuplet_margin,
)
from siamjax.losses.wrappers import matryoshka, memory, mined

_PUBLIC_LOSSES = (
    # pairs and triplets
    contrastive,
    snr,
    intra_pair_variance,
    manhattan_lstm,
    triplet,
    lossless,
    # a softmax over rows
    ntxent,
    supcon,
    infonce,
    npairs,
    nca,
    prototypical,
    sincere,
    decoupled,
    robust_infonce,
    # weighted pairs
    multi_similarity,
    circle,
    lifted,
    generalized_lifted,
    tuplet_margin,
    angular,
    # rankings and distributions
    smooth_ap,
    fastap,
    histogram,
    ranked_list,
    recall_at_k,
    sup_ap,
    roadmap,
    pnp,
    contextual,
    # with weights
    margin_loss,
    sigmoid_pairs,
    weighted_l1,
    proxy_nca,
    proxy_nca_pp,
    proxy_anchor,
    soft_triple,
    normalized_softmax,
    cosface,
    arcface,
    center,
    sphereface,
    large_margin_softmax,
    adaface,
    magface,
    elasticface,
    curricularface,
    p2sgrad,
    # two views of an example
    vicreg,
    barlow_twins,
    negative_cosine,
    alignment,
    spectral_contrastive,
    # regularisers
    variance,
    covariance,
    koleo,
    uniformity,
    zero_mean,
    embedding_norm,
    saturation,
    # around another loss
    memory,
    mined,
    matryoshka,
)
LOSSES.update((f.__name__.removesuffix("_loss"), f) for f in _PUBLIC_LOSSES)

__all__ = [
    "LOSSES",
    "Distance",
    "Loss",
    "LosslessForm",
    "Mining",
    "Pairs",
    "Reduction",
    "References",
    "Stateful",
    "adaface",
    "alignment",
    "all_pairs",
    "angular",
    "arcface",
    "barlow_twins",
    "center",
    "circle",
    "class_weights",
    "contextual",
    "contrastive",
    "cosface",
    "covariance",
    "curricularface",
    "decoupled",
    "distance_weighted_negatives",
    "divisor",
    "easiest_positive",
    "effective_rank",
    "elasticface",
    "embedding_norm",
    "fastap",
    "first_pairs",
    "generalized_lifted",
    "hardest_negative",
    "hardest_pairs",
    "hardest_positive",
    "health",
    "histogram",
    "infonce",
    "intra_pair_variance",
    "koleo",
    "large_margin_softmax",
    "lifted",
    "lossless",
    "lp",
    "magface",
    "manhattan_lstm",
    "margin_loss",
    "margin_pairs",
    "matryoshka",
    "memory",
    "mined",
    "multi_similarity",
    "multi_similarity_pairs",
    "nca",
    "negative_cosine",
    "next_negative",
    "normalized_softmax",
    "npairs",
    "ntxent",
    "p2sgrad",
    "pnp",
    "prototypical",
    "proxy_anchor",
    "proxy_nca",
    "proxy_nca_pp",
    "ranked_list",
    "recall_at_k",
    "resolve",
    "roadmap",
    "robust_infonce",
    "saturation",
    "semihard_negatives",
    "sigmoid_pairs",
    "sincere",
    "smooth_ap",
    "snr",
    "soft_triple",
    "spectral_contrastive",
    "sphereface",
    "stateful",
    "sub_center_outliers",
    "sup_ap",
    "supcon",
    "threshold",
    "triplet",
    "tuplet_margin",
    "two_views",
    "uniformity",
    "variance",
    "vicreg",
    "weighted_l1",
    "zero_mean",
]
