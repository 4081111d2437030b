"""Pair losses: two rows of one class close, two rows of different classes apart."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from siamjax.losses import distances, reductions
from siamjax.losses.annotations import Array, Distance, NotNegative, Power, Reduction
from siamjax.losses.guard import guarded
from siamjax.losses.regularisers import zero_mean
from siamjax.losses.tuples import References, all_pairs, gather_tuples


@guarded
def contrastive(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    pairs: Array | None = None,
    pos_margin: float = 0.0,
    neg_margin: float = 1.0,
    power: Power = 2,
    distance: Distance = "euclidean",
    reduce: Reduction = "all",
) -> jax.Array:
    """Draws pairs of one class together and pushes other pairs beyond a margin.

    Over all pairs i != j of rows that count, with D their distance:

      loss = mean over pairs of one class of max(0, D - pos_margin)^power
           + mean over other pairs of max(0, neg_margin - D)^power

    A similarity s enters with the signs turned: max(0, pos_margin - s) and
    max(0, s - neg_margin).

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to pair with; the batch by default.
      pairs: `[N, 2]` int, rows of the batch, instead of all; -1 is padding.
      pos_margin: what pairs of one class may differ by, in the unit of the distance.
      neg_margin: what other pairs must differ by.
      power: 2 as the paper, 1 for the linear form.
      distance: see `distances`.
      reduce: see `reductions`; each of the two means is taken by it.
    Returns:
      The scalar loss; a mean over no pair is 0.
    Reference: Hadsell, Chopra, LeCun, CVPR 2006, eq. 4 (with one mean over all pairs,
      and a factor 1/2).
    """
    costs = pair_costs(
        embeddings,
        labels,
        where=where,
        references=references,
        pairs=pairs,
        pos_margin=pos_margin,
        neg_margin=neg_margin,
        power=power,
        distance=distance,
    )
    return _reduce(costs, reduce)


class PairCosts(NamedTuple):
    """What pairs cost, `[A, R]`, or `[N]` for explicit pairs."""

    pull: jax.Array
    pos: jax.Array  # bool, the pairs of one class
    push: jax.Array
    neg: jax.Array  # bool, the pairs of two classes
    labels: jax.Array  # of the anchors


def pair_costs(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None,
    references: References | None,
    pairs: Array | None,
    pos_margin: float,
    neg_margin: float,
    power: float,
    distance: Distance,
) -> PairCosts:
    """The terms of `contrastive`, with its arguments."""
    measure = distances.by_name(distance)
    distances.check_sides(measure, pos_margin=pos_margin, neg_margin=neg_margin)
    near, far = (measure.cost(jnp.asarray(m)) for m in (pos_margin, neg_margin))
    if pairs is not None:
        rows, row_labels, valid = gather_tuples(
            embeddings, labels, where, pairs, "pairs"
        )
        anchor_labels, partner_labels = row_labels
        cost = measure.cost(measure.rows(*rows))
        pos = valid & (anchor_labels == partner_labels)
        neg = valid & (anchor_labels != partner_labels)
    else:
        batch = all_pairs(embeddings, labels, where, references)
        anchor_labels, pos, neg = jnp.asarray(labels), batch.pos, batch.neg
        cost = measure.cost(measure.matrix(batch.x, batch.y))
    near, far = near.astype(cost.dtype), far.astype(cost.dtype)
    pull = distances.safe_power(jnp.maximum(jnp.where(pos, cost - near, 0), 0), power)
    push = distances.safe_power(jnp.maximum(jnp.where(neg, far - cost, 0), 0), power)
    return PairCosts(pull, pos, push, neg, anchor_labels)


def _reduce(costs, how):
    """The loss of pairs of one class plus that of pairs of two."""
    pull, pos, push, neg, labels = costs
    return reductions.reduce_sides(pull, pos, push, neg, how, labels)


@guarded
def snr(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    pairs: Array | None = None,
    pos_margin: float = 0.0,
    neg_margin: float = 1.0,
    regulariser: NotNegative = 0.0,
    reduce: Reduction = "all",
) -> jax.Array:
    """The linear contrastive loss of noise over signal, which does not depend on scale.

      loss = mean over pairs of one class of max(0, D - pos_margin)
           + mean over other pairs of max(0, neg_margin - D)
           + regulariser * mean over rows of |sum over coordinates of x|

    D(a, j) = var(x_a - x_j) / var(x_a), variances over coordinates.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to pair with; the batch by default.
      pairs: `[N, 2]` int, rows of the batch; -1 is padding.
      pos_margin, neg_margin: of D, which has no unit.
      regulariser: weight of the rows' sums.
      reduce: see `reductions`; each of the two means is taken by it.
    Returns:
      The scalar loss; a mean over no pair is 0. A row without variance has distance 0
      to all rows.
    Reference: Yuan et al. (signal-to-noise ratio), CVPR 2019.
    """
    costs = pair_costs(
        embeddings,
        labels,
        where=where,
        references=references,
        pairs=pairs,
        pos_margin=pos_margin,
        neg_margin=neg_margin,
        power=1,
        distance="snr",
    )
    loss = _reduce(costs, reduce)
    # A weight of 0 times an overflow must be 0.
    sums = distances.bounded(zero_mean(embeddings, labels, where=where))
    has_terms = jnp.any((costs.pos | costs.neg).reshape(len(costs.labels), -1), 1)
    return reductions.add_penalty(loss, regulariser * sums, has_terms, reduce)


@guarded
def intra_pair_variance(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    pos_epsilon: NotNegative = 0.01,
    neg_epsilon: NotNegative = 0.01,
    reduce: Reduction = "all",
) -> jax.Array:
    """Draws each pair that is worse than the mean of its kind towards that mean.

    With s the cosine, m_p and m_n its means over positive and over negative pairs:

      loss = mean over p of max(0, (1 - pos_epsilon) * m_p - s)²
           + mean over n of max(0, s - (1 + neg_epsilon) * m_n)²

    Add it to another loss: the paper adds it to `tuplet_margin`.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to pair with; the batch by default.
      pos_epsilon, neg_epsilon: shares of the means.
      reduce: see `reductions`; each of the two means is taken by it.
    Returns:
      The scalar loss; a mean over no pair is 0.
    Reference: Yu, Tao (tuplet margin), ICCV 2019.
    """
    batch = all_pairs(embeddings, labels, where, references)
    s = distances.by_name("cosine").matrix(batch.x, batch.y)
    low = (1 - pos_epsilon) * reductions.masked_mean(s, batch.pos) - s
    high = s - (1 + neg_epsilon) * reductions.masked_mean(s, batch.neg)
    pull, push = jnp.maximum(low, 0) ** 2, jnp.maximum(high, 0) ** 2
    return reductions.reduce_sides(pull, batch.pos, push, batch.neg, reduce, labels)


@guarded
def manhattan_lstm(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    pairs: Array | None = None,
    reduce: Reduction = "all",
) -> jax.Array:
    """The squared error of exp(-Manhattan distance) as the similarity of a pair.

      loss = mean over pairs of (exp(-sum over e of |x_e - y_e|) - z)²

    z is 1 for a pair of one class, else 0.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to pair with; the batch by default.
      pairs: `[N, 2]` int, rows of the batch; -1 is padding.
      reduce: see `reductions`.
    Returns:
      The scalar loss; 0 without a pair. Rows far apart have no gradient: keep the
      embeddings small at the start.
    Reference: Mueller, Thyagarajan, AAAI 2016 (MaLSTM).
    """
    measure = distances.by_name("manhattan")
    if pairs is not None:
        rows, row_labels, valid = gather_tuples(
            embeddings, labels, where, pairs, "pairs"
        )
        anchor_labels, partner_labels = row_labels
        d, same = measure.rows(*rows), anchor_labels == partner_labels
    else:
        batch = all_pairs(embeddings, labels, where, references)
        anchor_labels = jnp.asarray(labels)
        d = measure.matrix(batch.x, batch.y)
        same, valid = batch.pos, batch.pos | batch.neg
    cost = (jnp.exp(-d) - same.astype(d.dtype)) ** 2
    return reductions.reduce_costs(cost, valid, reduce, anchor_labels)
