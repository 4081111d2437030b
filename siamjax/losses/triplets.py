"""Triplet losses: an anchor nearer to its own class than to others."""

import jax
import jax.numpy as jnp

from siamjax import checks
from siamjax.losses import counting, distances, mining, reductions
from siamjax.losses.distances import distance as kind_of
from siamjax.losses.guard import guarded
from siamjax.losses.positives_loop import index_of, pick, sum_over_positives
from siamjax.losses.tuples import pairs as all_pairs
from siamjax.losses.tuples import take
from siamjax.types import UsageError

MINING = ("all", "semihard_set", "distance_weighted", *mining.CHOICES)


@guarded
def triplet(
    embeddings,
    labels,
    *,
    where=None,
    references=None,
    triplets=None,
    key=None,
    margin: float | int | str = 0.2,
    scale=1.0,
    mining="all",
    swap=False,
    distance="euclidean",
    reduce="active",
):
    """Draws an anchor nearer to its own class than to others, by a margin.

    Over triplets of an anchor a, a positive p of its class and a negative n of
    another, with D the distance (or minus the similarity):

      term = max(0, D(a, p) - D(a, n) + margin)        a number as margin
      term = log(1 + exp(scale * (D(a, p) - D(a, n)))) margin=soft

    Which triplets, by `mining`:
      all: every one. With a number as margin exact in O(B² log B) time; else O(B² P).
      semihard_set: every one with D(a, p) < D(a, n) < D(a, p) + margin.
      semihard: of each (a, p) the nearest n with D(a, n) > D(a, p); where there is
        none, the farthest n (FaceNet as most code has it).
      hard: of each a its farthest p and its nearest n (batch-hard).
      easy_positive: of each a its nearest p and its nearest n.
      easy_positive_semihard: its nearest p, and of that p n as in semihard.
      distance_weighted: of each (a, p) one n, drawn evenly over distance (Wu et al.).

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to take p and n from; the batch by default.
      triplets: `[N, 3]` int, rows a, p, n of the batch, instead of mining; the labels
        are then not read, and -1 is padding.
      key: a JAX key, for distance_weighted.
      margin: a distance, in the unit of the embedding space, or `soft`.
      scale: of the soft margin, one over a distance.
      mining: as above.
      swap: with `mining=all`, the lesser of D(a, n) and D(p, n) (Balntas et al.).
      distance: see `distances`.
      reduce: see `reductions`.
    Returns:
      The scalar loss; 0, with gradient 0, without a triplet. All points at one place
      give the margin (log 2 for soft) and gradient 0: such a run is stuck.
    Reference: Schroff et al., CVPR 2015, eq. 3; Hermans et al., 2017 (hard, soft);
      Xuan et al., WACV 2020 (easy positive); Balntas et al., BMVC 2016 (swap);
      Wu et al., ICCV 2017 (distance_weighted).
    """
    kind = kind_of(distance)
    _check(kind, margin, mining, swap, references, triplets)
    checks.positive(scale=scale)
    hinge = _cost(margin, scale)
    if triplets is not None:
        (a, p, n), (of_anchor, *_), valid = take(
            embeddings, labels, where, triplets, "triplets"
        )
        gap = kind.cost(kind.rows(a, p)) - kind.cost(kind.rows(a, n))
        terms = reductions.terms(hinge(gap), valid)
        return reductions.reduce(terms, reduce, of_anchor)
    batch = all_pairs(embeddings, labels, where, references)
    cost = kind.cost(kind.matrix(batch.x, batch.y))
    terms = _terms(batch, cost, kind, mining, margin, hinge, swap, key)
    return reductions.reduce(terms, reduce, labels)


def _terms(batch, cost, kind, how, margin, hinge, swap, key):
    pos, neg = batch.pos, batch.neg
    number = pos.sum(1) * neg.sum(1)
    if how == "semihard_set":
        width = jnp.asarray(margin, cost.dtype)
        sums, active = counting.band_sums(cost, width, pos, neg)
        return reductions.Terms(sums, active, active)
    if how == "all" and not swap and not isinstance(margin, str):
        key = jnp.where(pos, cost + jnp.asarray(margin, cost.dtype), cost)
        return reductions.Terms(*counting.hinge_sums(key, pos, neg), number)
    if how == "all":
        sums, active = _one_by_one(batch, cost, kind, hinge, swap)
        return reductions.Terms(sums, active, number)
    if how == "distance_weighted":
        at, valid = mining.distance_weighted(batch, key)
        gap = jnp.where(valid, cost - mining.at_columns(cost, at), 0)
    else:
        gap, valid = mining.choose(how, cost, pos, neg)
    return reductions.terms(hinge(gap), valid)


def _one_by_one(batch, cost, kind, hinge, swap):
    def term(picked, x, cost, neg):
        negative = cost
        if swap:
            partner = x[index_of(picked)]  # [A, E]
            negative = jnp.minimum(cost, kind.cost(kind.matrix(partner, x)))
        valid = neg & picked.any(1)[:, None]
        gap = jnp.where(valid, pick(picked, cost)[:, None] - negative, 0)
        costs = jnp.where(valid, hinge(gap), 0)
        return costs.sum(1), (costs > 0).sum(1)

    return sum_over_positives(term, batch.pos, batch.x, cost, batch.neg)


def _cost(margin, scale):
    if isinstance(margin, str):
        return lambda gap: jax.nn.softplus(scale * gap)
    return lambda gap: jnp.maximum(gap + margin, 0)


def _check(kind, margin, how, swap, references, triplets):
    if how not in MINING:
        raise UsageError(f"mining={how} is not known: one of {', '.join(MINING)}")
    soft = isinstance(margin, str)
    if soft and margin != "soft":
        raise UsageError(f"margin={margin} is neither a number nor soft")
    if not soft:
        distances.check_difference(kind, margin=margin)
    if soft and how == "semihard_set":
        raise UsageError("mining=semihard_set needs a number as margin")
    if swap and (how != "all" or references is not None or triplets is not None):
        raise UsageError("swap needs mining=all, without references or triplets")
