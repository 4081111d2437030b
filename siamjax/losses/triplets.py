"""Triplet losses: an anchor nearer to its own class than to others."""

from typing import Literal

import jax
import jax.numpy as jnp

from siamjax.losses import distances, reductions, triplet_sums
from siamjax.losses import mining as miners
from siamjax.losses.annotations import (
    Array,
    Distance,
    Mining,
    Positive,
    Reduction,
    check_choice,
)
from siamjax.losses.guard import guarded
from siamjax.losses.positives_loop import first_index, sum_over_positives, value_at
from siamjax.losses.tuples import References, all_pairs, gather_tuples
from siamjax.types import UsageError


@guarded
def triplet(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    triplets: Array | None = None,
    key: jax.Array | None = None,
    margin: float | Literal["soft"] = 0.2,
    scale: Positive = 1.0,
    soft_margin: float = 0.0,
    mining: Mining = "all",
    swap: bool = False,
    distance: Distance = "euclidean",
    reduce: Reduction = "active",
) -> jax.Array:
    """Draws an anchor nearer to its own class than to others, by a margin.

    Over triplets of an anchor a, a positive p of its class and a negative n of
    another, with D the distance (or minus the similarity):

      term = max(0, D(a, p) - D(a, n) + margin)   a number as margin
      term = log(1 + exp(scale * (D(a, p) - D(a, n) + soft_margin)))   margin=soft

    `mining` chooses the triplets:
      all: all triplets, in O(B² log B) time with a number as margin, else O(B² P).
      semihard_set: all triplets with D(a, p) < D(a, n) < D(a, p) + margin.
      semihard: for each (a, p) the nearest n with D(a, n) > D(a, p); if there is none,
        the farthest n (FaceNet in most implementations).
      hard: for each a the farthest p and the nearest n (batch-hard).
      easy_positive: for each a the nearest p and the nearest n.
      easy_positive_semihard: for each a the nearest p, and n as in semihard.
      distance_weighted: for each (a, p) one n, drawn evenly over distance (Wu et al.).

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to take p and n from; the batch by default.
      triplets: `[N, 3]` int, rows a, p, n of the batch, in place of mining; -1 is
        padding. Labels are then read for reduce=class only.
      key: a JAX key, for distance_weighted.
      margin: a distance, in the unit of the embedding space, or `soft`.
      scale: of margin=soft, one over a distance.
      soft_margin: of margin=soft, a distance.
      mining: as above.
      swap: the lesser of D(a, n) and D(p, n) replaces D(a, n) (Balntas et al.); with
        `mining=all` only, without references or triplets.
      distance: see `distances`.
      reduce: see `reductions`.
    Returns:
      The scalar loss; without a triplet it is 0, with gradient 0. If all points are
      equal, it is the margin (log 2 for soft) with gradient 0: such a run is stuck.
    Reference: Schroff et al., CVPR 2015, eq. 3; Hermans et al., 2017 (hard, soft);
      Xuan et al., WACV 2020 (easy positive); Balntas et al., BMVC 2016 (swap);
      Wu et al., ICCV 2017 (distance_weighted).
    """
    measure = distances.by_name(distance)
    _check_settings(measure, margin, mining)
    if swap and (mining != "all" or references is not None or triplets is not None):
        raise UsageError("swap needs mining=all, without references or triplets")
    penalty = _penalty(margin, scale, soft_margin)
    if triplets is not None:
        rows, row_labels, valid = gather_tuples(
            embeddings, labels, where, triplets, "triplets"
        )
        anchor, positive, negative = rows
        gap = measure.cost(measure.rows(anchor, positive))
        gap = gap - measure.cost(measure.rows(anchor, negative))
        return reductions.reduce_costs(penalty(gap), valid, reduce, row_labels[0])
    batch = all_pairs(embeddings, labels, where, references)
    cost = measure.cost(measure.matrix(batch.x, batch.y))
    one_by_one = swap or margin == "soft" or reductions.is_threshold(reduce)
    if mining == "all" and not one_by_one:
        terms = _all_hinges(batch, cost, margin)
    elif mining == "all":
        terms = _all_triplets(batch, cost, measure, penalty, swap, reduce)
    elif mining == "semihard_set":
        reductions.refuse_threshold(reduce, "mining=semihard_set has their sums only")
        terms = _semihard_hinges(batch, cost, margin)
    elif mining == "distance_weighted":
        column, valid = miners.distance_weighted_negatives(batch, key)
        gap = jnp.where(valid, cost - miners.take_columns(cost, column), 0)
        terms = reductions.sum_terms(penalty(gap), valid, reduce)
    else:
        gap, valid = miners.triplet_gaps(mining, cost, batch.pos, batch.neg)
        terms = reductions.sum_terms(penalty(gap), valid, reduce)
    return reductions.reduce_terms(terms, reduce, labels)


def _all_hinges(batch, cost, margin):
    margin = jnp.asarray(margin, cost.dtype)
    key = jnp.where(batch.pos, cost + margin, cost)
    sums, active = triplet_sums.hinge_sums(key, batch.pos, batch.neg)
    return reductions.Terms(sums, active, _number_of_triplets(batch))


def _semihard_hinges(batch, cost, margin):
    margin = jnp.asarray(margin, cost.dtype)
    sums, active = triplet_sums.semihard_sums(cost, margin, batch.pos, batch.neg)
    return reductions.Terms(sums, active, active)


def _all_triplets(batch, cost, measure, penalty, swap, reduce):
    def term(picked, x, cost, neg):
        negative_cost = cost
        if swap:
            positive = x[first_index(picked)]  # [A, E]
            from_positive = measure.cost(measure.matrix(positive, x))
            negative_cost = jnp.minimum(cost, from_positive)
        valid = neg & picked.any(1)[:, None]
        gap = jnp.where(valid, value_at(picked, cost)[:, None] - negative_cost, 0)
        return tuple(reductions.sum_terms(penalty(gap), valid, reduce))

    arrays = batch.x, cost, batch.neg
    return reductions.Terms(*sum_over_positives(term, batch.pos, *arrays))


def _number_of_triplets(batch):
    return batch.pos.sum(1) * batch.neg.sum(1)


def _penalty(margin, scale, soft_margin):
    """The cost of a triplet, as a function of D(a, p) - D(a, n)."""
    if isinstance(margin, str):
        return lambda gap: jax.nn.softplus(scale * (gap + soft_margin))
    return lambda gap: jnp.maximum(gap + margin, 0)


def _check_settings(measure, margin, mining):
    check_choice("mining", mining, Mining)
    if not isinstance(margin, str):
        distances.check_difference(measure, margin=margin)
    elif margin != "soft":
        raise UsageError(f"margin={margin} must be a number or soft")
    elif mining == "semihard_set":
        raise UsageError("mining=semihard_set needs a number as margin, not soft")
