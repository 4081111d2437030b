"""Pair losses: two rows of one class close, two rows of different classes apart."""

import jax.numpy as jnp

from siamjax.losses import distances, reductions
from siamjax.losses.distances import distance as kind_of
from siamjax.losses.guard import guarded
from siamjax.losses.regularisers import zero_mean
from siamjax.losses.tuples import pairs as all_pairs
from siamjax.losses.tuples import take


@guarded
def contrastive(
    embeddings,
    labels,
    *,
    where=None,
    references=None,
    pairs=None,
    pos_margin=0.0,
    neg_margin=1.0,
    power: float = 2,
    distance="euclidean",
    reduce="all",
):
    """Draws pairs of one class together and pushes other pairs beyond a margin.

    Over all pairs i != j of rows that count, with D their distance:

      loss = mean over pairs of one class of max(0, D - pos_margin)^power
           + mean over other pairs of max(0, neg_margin - D)^power

    A similarity enters with both signs turned: max(0, pos_margin - s), max(0, s -
    neg_margin).

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to pair with; the batch by default.
      pairs: `[N, 2]` int, rows of the batch, instead of all; -1 is
        padding.
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
    kind = kind_of(distance)
    distances.check_sides(kind, pos_margin=pos_margin, neg_margin=neg_margin)
    near, far = (kind.cost(jnp.asarray(m)) for m in (pos_margin, neg_margin))
    if pairs is not None:
        (x, y), (of_x, of_y), valid = take(embeddings, labels, where, pairs, "pairs")
        cost, of_anchor = kind.cost(kind.rows(x, y)), of_x
        pos, neg = valid & (of_x == of_y), valid & (of_x != of_y)
    else:
        batch = all_pairs(embeddings, labels, where, references)
        cost, of_anchor = kind.cost(kind.matrix(batch.x, batch.y)), labels
        pos, neg = batch.pos, batch.neg
    near, far = near.astype(cost.dtype), far.astype(cost.dtype)
    pull = jnp.maximum(jnp.where(pos, cost - near, 0), 0) ** power
    push = jnp.maximum(jnp.where(neg, far - cost, 0), 0) ** power
    return sum(
        reductions.reduce(reductions.terms(part, valid), reduce, of_anchor)
        for part, valid in ((pull, pos), (push, neg))
    )


@guarded
def snr(
    embeddings,
    labels,
    *,
    where=None,
    references=None,
    pairs=None,
    pos_margin=0.0,
    neg_margin=1.0,
    regulariser=0.0,
    reduce="all",
):
    """The linear contrastive loss on noise over signal, which no scale changes.

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
      The scalar loss; a mean over no pair is 0. A row without variance is 0 from all.
    Reference: Yuan et al. (signal-to-noise ratio), CVPR 2019.
    """
    loss = contrastive(
        embeddings,
        labels,
        where=where,
        references=references,
        pairs=pairs,
        pos_margin=pos_margin,
        neg_margin=neg_margin,
        power=1,
        distance="snr",
        reduce=reduce,
    )
    # A weight of 0 times an overflow must be 0.
    sums = distances.bounded(zero_mean(embeddings, labels, where=where))
    return loss + regulariser * sums


@guarded
def intra_pair_variance(
    embeddings,
    labels,
    *,
    where=None,
    references=None,
    pos_epsilon=0.01,
    neg_epsilon=0.01,
    reduce="all",
):
    """Draws pairs that are worse than the mean of their kind towards it.

    With s the cosine, m_p and m_n its means over positive and over negative pairs:

      loss = mean over p of max(0, (1 - pos_epsilon) * m_p - s)²
           + mean over n of max(0, s - (1 + neg_epsilon) * m_n)²

    To be added to a loss: the paper has it beside `tuplet_margin`.

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
    s = kind_of("cosine").matrix(batch.x, batch.y)
    low = (1 - pos_epsilon) * reductions.mean(s, batch.pos) - s
    high = s - (1 + neg_epsilon) * reductions.mean(s, batch.neg)
    return sum(
        reductions.reduce(
            reductions.terms(jnp.maximum(gap, 0) ** 2, valid), reduce, labels
        )
        for gap, valid in ((low, batch.pos), (high, batch.neg))
    )


@guarded
def manhattan_lstm(
    embeddings, labels, *, where=None, references=None, pairs=None, reduce="all"
):
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
    kind = kind_of("manhattan")
    if pairs is not None:
        (x, y), (anchor, of_y), valid = take(embeddings, labels, where, pairs, "pairs")
        d, same = kind.rows(x, y), anchor == of_y
    else:
        batch, anchor = all_pairs(embeddings, labels, where, references), labels
        d, same, valid = kind.matrix(batch.x, batch.y), batch.pos, batch.pos | batch.neg
    cost = (jnp.exp(-d) - same.astype(d.dtype)) ** 2
    return reductions.reduce(reductions.terms(cost, valid), reduce, anchor)
