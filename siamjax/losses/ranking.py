"""Losses that are a smooth form of a ranking measure or of a whole distribution."""

import jax
import jax.numpy as jnp
from jax import lax

from siamjax import checks
from siamjax.losses import distances, reductions, tuples
from siamjax.losses.annotations import (
    Array,
    Distance,
    NotNegative,
    Positive,
    Reduction,
    Share,
    Size,
)
from siamjax.losses.guard import guarded, without_reduction
from siamjax.losses.positives_loop import sum_over_positives, value_at
from siamjax.losses.tuples import References
from siamjax.losses.varying import zeros


@guarded
def smooth_ap(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    temperature: Positive = 0.01,
    count_self: bool = False,
    reduce: Reduction = "all",
) -> jax.Array:
    """One minus the average precision, its steps replaced by sigmoids.

    Over anchors a with P positives, s the cosine, g(x) = sigmoid(x / temperature):

      term = 1 - 1/P * sum over p of (1 + sum over p' != p of g(s_p' - s_p))
                                   / (1 + sum over j != p of g(s_j - s_p))

    j runs over all positives and negatives of a. Classes may have any number of
    rows; O(B² P) time and O(B²) memory.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to rank; the batch by default.
      temperature: a similarity.
      count_self: the anchor is its own first positive, as in the authors' code; not
        allowed with references.
      reduce: see `reductions`, over anchors with a positive.
    Returns:
      The scalar loss; 0 without a positive or without a negative.
    Reference: Brown et al., ECCV 2020.
    """
    checks.require(
        not count_self or references is None,
        "count_self=True counts each anchor in its own ranking, so it takes no "
        "references: leave out one of the two",
    )
    batch = tuples.all_pairs(embeddings, labels, where, references)
    s = distances.cosine(batch.x, batch.y)
    pos, neg = batch.pos, batch.neg
    if count_self:
        itself = jnp.eye(len(labels), dtype=bool)
        pos = pos | (itself & tuples.counted_rows(labels, where)[:, None])

    def term(picked, s, pos, neg):
        above = jax.nn.sigmoid((s - value_at(picked, s)[:, None]) / temperature)
        above = jnp.where(picked, 0, above)
        rank_in_pos = 1 + jnp.sum(jnp.where(pos, above, 0), 1)
        rank = rank_in_pos + jnp.sum(jnp.where(neg, above, 0), 1)
        return jnp.where(picked.any(1), 1 - rank_in_pos / rank, 0)

    lost = sum_over_positives(term, pos, s, pos, neg)
    valid = batch.pos.any(1)
    cost = jnp.where(valid, lost / jnp.maximum(pos.sum(1), 1).astype(s.dtype), 0)
    return reductions.reduce_costs(cost, valid, reduce, labels)


@guarded
def fastap(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    bins: Size = 10,
    reduce: Reduction = "all",
) -> jax.Array:
    """One minus the average precision, from distances in soft bins.

    Over anchors a with P positives, on unit rows: h+ and h are the anchor's histograms
    of squared distances in [0, 4], of positives and of all, each value shared between
    the two nearest edges; H+ and H their running sums:

      term = 1 - 1/P * sum over edges of h+ * H+ / H

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to rank; the batch by default.
      bins: how many bins; there is one edge more.
      reduce: see `reductions`, over anchors with a positive.
    Returns:
      The scalar loss; 0 without a positive or without a negative.
    Reference: Cakir et al., CVPR 2019.
    """
    batch = tuples.all_pairs(embeddings, labels, where, references)
    d = distances.squared(distances.unit(batch.x), distances.unit(batch.y))
    width = 4 / bins

    @jax.checkpoint
    def add(running, edge):
        share = jnp.maximum(1 - jnp.abs(d - edge) / width, 0)
        in_pos = jnp.sum(jnp.where(batch.pos, share, 0), 1)
        in_all = in_pos + jnp.sum(jnp.where(batch.neg, share, 0), 1)
        up_pos, up_all = running[0] + in_pos, running[1] + in_all
        return (up_pos, up_all), in_pos * reductions.safe_ratio(up_pos, up_all)

    start = zeros((len(labels),), d.dtype, d, batch.pos)
    edges = width * jnp.arange(bins + 1, dtype=d.dtype)
    hits = lax.scan(add, (start, start), edges)[1].sum(0)
    valid = batch.pos.any(1)
    number = jnp.maximum(batch.pos.sum(1), 1).astype(d.dtype)
    # Without a negative every edge has H+ = H: the loss is 0 but for rounding.
    cost = jnp.where(valid & batch.neg.any(1), 1 - hits / number, 0)
    return reductions.reduce_costs(cost, valid, reduce, labels)


@without_reduction("its histograms are of the pairs of the whole batch")
@guarded
def histogram(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    bins: Size = 100,
) -> jax.Array:
    """The chance that a negative pair is more similar than a positive pair.

    On the cosines of all pairs, put into soft bins of [-1, 1]:

      loss = sum over edges of h-(edge) * (sum over edges up to it of h+)

    h+ and h- are the histograms of positive and negative pairs, each of sum 1, each
    value shared between the two nearest edges.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to pair with; the batch by default.
      bins: how many bins; there is one edge more.
    Returns:
      The scalar loss in [0, 1]; 0 without a positive or without a negative pair.
    Reference: Ustinova, Lempitsky, NeurIPS 2016.
    """
    batch = tuples.all_pairs(embeddings, labels, where, references)
    s = distances.cosine(batch.x, batch.y)
    place = jnp.clip((s + 1) * (bins / 2), 0, bins)
    lower = jnp.minimum(lax.stop_gradient(jnp.floor(place)), bins - 1)
    share = place - lower

    def density(mask):
        number = jnp.maximum(mask.sum(), 1).astype(s.dtype)
        rows = jax.vmap(soft_counts, (0, 0, 0, None))(
            lower.astype(jnp.int32), share, mask, bins + 1
        )
        return rows.sum(0) / number

    below = jnp.cumsum(density(batch.pos))
    loss = jnp.sum(density(batch.neg) * below)
    return jnp.where(batch.pos.any() & batch.neg.any(), loss, 0)


def soft_counts(
    lower: jax.Array, share: jax.Array, mask: jax.Array, edges: int
) -> jax.Array:
    """`[edges]`: each value of a row shared between edge `lower` and the next."""
    upper_share = jnp.where(mask, share, 0)
    lower_share = jnp.where(mask, 1 - share, 0)
    counts = jnp.zeros(edges, share.dtype).at[lower].add(lower_share)
    return counts.at[lower + 1].add(upper_share)


@guarded
def ranked_list(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    margin: NotNegative = 0.4,
    limit: float | None = None,
    pos_scale: NotNegative = 0.0,
    neg_scale: NotNegative = 10.0,
    balance: Share = 0.5,
    distance: Distance = "euclidean",
    reduce: Reduction = "all",
) -> jax.Array:
    """Keeps positives inside a ball about the anchor, negatives outside a larger one.

    Over anchors, with W the weighted mean over pairs that break their bound:

      term = (1 - balance) * W_p(D(a, p) - (limit - margin)), weights
                                     exp(pos_scale * (D(a, p) - (limit - margin)))
                 + balance * W_n(limit - D(a, n)), weights
                                     exp(neg_scale * (limit - D(a, n)))

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to rank; the batch by default.
      margin: a distance, between the two balls.
      limit: the greater radius; 1 + margin / 2 by default, for unit rows.
      pos_scale, neg_scale: one over a distance.
      balance: the share of negatives, in [0, 1].
      distance: see `distances`.
      reduce: see `reductions`, over anchors that have a pair.
    Returns:
      The scalar loss; 0 without a pair that breaks its bound. If all points are equal,
      it is balance * limit with gradient 0: such a run is stuck.
    Reference: Wang et al. (ranked list), CVPR 2019.
    """
    batch = tuples.all_pairs(embeddings, labels, where, references)
    measure = distances.by_name(distance)
    limit = 1 + margin / 2 if limit is None else limit
    bounds = {"limit": limit, "limit - margin": limit - margin}
    distances.check_values(measure, **bounds)
    d = measure.cost(measure.matrix(batch.x, batch.y))
    outside = d - (limit - margin)
    inside = limit - d
    pull = _weighted_mean(outside, batch.pos & (outside > 0), pos_scale)
    push = _weighted_mean(inside, batch.neg & (inside > 0), neg_scale)
    cost = (1 - balance) * pull + balance * push
    valid = (batch.pos | batch.neg).any(1)
    return reductions.reduce_costs(cost, valid, reduce, labels)


def _weighted_mean(values, mask, scale):
    """`[A]`: the mean of values where mask, with weights exp(scale * value)."""
    top = jnp.max(jnp.where(mask, values, 0), 1, keepdims=True, initial=0.0)
    shifted = jnp.where(mask, scale * (values - lax.stop_gradient(top)), 0)
    weight = jnp.where(mask, jnp.exp(shifted), 0)
    part = jnp.sum(weight * jnp.where(mask, values, 0), 1)
    return reductions.safe_ratio(part, weight.sum(1))
