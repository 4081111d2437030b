"""Losses of metric learning: pure functions of embeddings and labels.

`resolve("triplet:margin=0.2,mining=hard")` gives a `Loss`; `LOSSES` has every name;
`health` says beside any of them how the run does.
"""

from siamjax.losses.classifiers import arcface, center, cosface, normalized_softmax
from siamjax.losses.cross_batch import memory, mined
from siamjax.losses.diagnostics import health
from siamjax.losses.learnt import margin_loss, sigmoid_pairs, weighted_l1
from siamjax.losses.lossless_triplet import lossless
from siamjax.losses.pairs import contrastive, intra_pair_variance, manhattan_lstm, snr
from siamjax.losses.proxies import proxy_anchor, proxy_nca, proxy_nca_pp, soft_triple
from siamjax.losses.ranking import fastap, histogram, ranked_list, smooth_ap
from siamjax.losses.registry import LOSSES, Loss, Stateful, resolve
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
from siamjax.losses.triplets import triplet
from siamjax.losses.tuples import References
from siamjax.losses.weighting import (
    angular,
    circle,
    generalized_lifted,
    lifted,
    multi_similarity,
    tuplet_margin,
)

LOSSES.update(
    (loss.__name__.removesuffix("_loss"), loss)
    for loss in (
        contrastive, snr, intra_pair_variance, manhattan_lstm,
        triplet, lossless,
        ntxent, supcon, infonce, npairs, nca, prototypical,
        multi_similarity, circle, lifted, generalized_lifted, tuplet_margin, angular,
        smooth_ap, fastap, histogram, ranked_list,
        margin_loss, sigmoid_pairs, weighted_l1,
        proxy_nca, proxy_nca_pp, proxy_anchor, soft_triple,
        normalized_softmax, cosface, arcface, center,
        variance, covariance, koleo, uniformity, zero_mean, embedding_norm, saturation,
        memory, mined,
    )
)  # fmt: skip

__all__ = ["LOSSES", "Loss", "References", "Stateful", "health", "resolve"]
