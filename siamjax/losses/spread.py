"""Losses that spread classes over the sphere, by similarities of pairs of rows."""

import jax
import jax.numpy as jnp

from siamjax.losses import distances, reductions, tuples
from siamjax.losses.annotations import (
    Array,
    NotNegative,
    Positive,
    Reduction,
    ShareBelowAll,
)
from siamjax.losses.guard import guarded, without_reduction
from siamjax.losses.logsumexp import log1p_sum_exp, masked_logsumexp
from siamjax.losses.tuples import References


@guarded
def instance(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    scale: Positive = 64.0,
    reduce: Reduction = "all",
) -> jax.Array:
    """Classifies each row as itself, against the rows of other classes in the batch.

    Over anchors a, with s the cosine, which is 1 to the row itself:

      term = log(1 + sum over negatives n of exp(scale * (s(a, n) - 1)))

    This is the form without weights, on a batch. The paper classifies with a trained
    vector for each instance: `softmax_classifier` with the number of the instance as
    label. An anchor of norm 0 counts as if it had one. pytorch-metric-learning instead
    classifies row i by the column whose number is its label.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to compare with; the batch by default.
      scale: one over a cosine.
      reduce: see `reductions`, over anchors with a negative.
    Returns:
      The scalar loss; 0 without a negative.
    Reference: Zheng et al. (instance loss), ACM TOMM 2020.
    """
    batch = tuples.all_pairs(embeddings, labels, where, references)
    s = distances.cosine(batch.x, batch.y)
    cost = log1p_sum_exp(scale * (s - 1), batch.neg)
    return reductions.reduce_costs(cost, batch.neg.any(1), reduce, labels)


@guarded
def hard_contrastive(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    temperature: Positive = 0.5,
    prior: ShareBelowAll = 0.1,
    hardness: NotNegative = 1.0,
    reduce: Reduction = "all",
) -> jax.Array:
    """NT-Xent with harder negatives, and less of what false negatives add to them.

    Over all pairs of an anchor a and a positive p, with N negatives, s the cosine over
    temperature, w_n = exp(hardness * s_n) / mean over n of exp(hardness * s_n):

      g = (sum over n of w_n * exp(s_n) - N * prior * exp(s_p)) / (1 - prior),
          at least N * exp(-1 / temperature)
      term = -s_p + log(exp(s_p) + g)

    With hardness 0 this is the debiased contrastive loss.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int; both views of an example have one label.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to compare with; the batch by default.
      temperature: a similarity.
      prior: the share of false negatives, in [0, 1) (tau+ of the papers); 0 with
        labels that are all right.
      hardness: weight of hard negatives (beta).
      reduce: see `reductions`.
    Returns:
      The scalar loss; 0 without a positive or without a negative.
    Reference: Robinson et al. (hard negatives), ICLR 2021; Chuang et al.
      (debiased), NeurIPS 2020.
    """
    batch = tuples.all_pairs(embeddings, labels, where, references)
    s = distances.cosine(batch.x, batch.y) / temperature
    valid = batch.pos & batch.neg.any(1)[:, None]
    number = batch.neg.sum(1).astype(s.dtype)
    log_number = jnp.log(jnp.maximum(number, 1))
    weighted = masked_logsumexp((1 + hardness) * s, batch.neg)
    log_mean = masked_logsumexp(hardness * s, batch.neg) - log_number
    has_negative = batch.neg.any(1)
    push = jnp.where(has_negative, weighted - log_mean, 0)  # log of sum of w_n exp(s_n)
    s = jnp.where(valid, s, 0)
    # Logarithms, in units of exp(s_p): at a low temperature the numbers overflow.
    push, log_number = push[:, None] - s, log_number[:, None]
    share = number[:, None] * prior * jnp.exp(-jnp.maximum(push, -80.0))
    kept = jnp.log1p(-jnp.where(share < 1, share, 0)) - jnp.log1p(-prior)
    least = log_number - 1 / temperature - s
    away = jnp.where(share < 1, jnp.maximum(push + kept, least), least)
    cost = jax.nn.softplus(jnp.where(valid, away, 0))
    return reductions.reduce_costs(cost, valid, reduce, labels)


@guarded
def threshold_consistent(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    pos_margin: float = 0.9,
    neg_margin: float = 0.5,
    pos_weight: NotNegative = 1.0,
    neg_weight: NotNegative = 1.0,
    reduce: Reduction = "all",
) -> jax.Array:
    """Makes one threshold right for all classes; add it to another loss.

    With s the cosine:

      loss = pos_weight * mean of (pos_margin - s) over positive pairs below pos_margin
           + neg_weight * mean of (s - neg_margin) over negative pairs above neg_margin

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to compare with; the batch by default.
      pos_margin, neg_margin: cosines.
      pos_weight, neg_weight: of the two means (lambda+ and lambda- of the paper).
      reduce: see `reductions`, over the pairs beyond their margin; each of the two
        means is taken by it.
    Returns:
      The scalar loss; 0 without a pair beyond its margin.
    Reference: Zhang et al. (threshold-consistent margin), ICLR 2024.
    """
    distances.check_sides(
        distances.by_name("cosine"), pos_margin=pos_margin, neg_margin=neg_margin
    )
    batch = tuples.all_pairs(embeddings, labels, where, references)
    s = distances.cosine(batch.x, batch.y)
    pull, push = pos_margin - s, s - neg_margin
    pos, neg = batch.pos & (pull >= 0), batch.neg & (push >= 0)
    pull_loss = reductions.reduce_costs(pull, pos, reduce, labels)
    push_loss = reductions.reduce_costs(push, neg, reduce, labels)
    return pos_weight * pull_loss + neg_weight * push_loss


@without_reduction("the absolute value is of a mean over all negative pairs")
@guarded
def orthogonal_projection(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    balance: NotNegative = 1.0,
) -> jax.Array:
    """Makes classes orthogonal, beside the cross-entropy of a classifier.

    With s the cosine:

      loss = 1 - mean of s over positive pairs
             + balance * |mean of s over negative pairs|

    The authors' code takes the mean of |s| over negative pairs.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to compare with; the batch by default.
      balance: weight of the second part (gamma of the paper).
    Returns:
      The scalar loss; each part is 0 without a pair of its kind.
    Reference: Ranasinghe et al. (OPL), ICCV 2021.
    """
    batch = tuples.all_pairs(embeddings, labels, where, references)
    s = distances.cosine(batch.x, batch.y)
    pull = reductions.masked_mean(1 - s, batch.pos)
    push = reductions.masked_mean(s, batch.neg)
    return pull + balance * distances.absolute(push)


@without_reduction("the square is of a mean over all negative pairs")
@guarded
def global_orthogonal(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
) -> jax.Array:
    """Spreads rows of two classes as random points of the sphere are; GOR.

    With s the cosine of negative pairs:

      loss = (mean of s)² + max(0, mean of s² - 1 / E)

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to compare with; the batch by default.
    Returns:
      The scalar loss; 0 without a negative pair.
    Reference: Zhang et al. (spread-out descriptors), ICCV 2017.
    """
    batch = tuples.all_pairs(embeddings, labels, where, references)
    s = distances.cosine(batch.x, batch.y)
    first = reductions.masked_mean(s, batch.neg)
    second = reductions.masked_mean(s * s, batch.neg)
    return first**2 + jnp.maximum(second - 1 / embeddings.shape[1], 0)


@without_reduction("the coding rate is of all rows together")
@guarded
def anti_collapse(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    epsilon: Positive = 0.5,
) -> jax.Array:
    """Spreads unit rows over all dimensions: minus their coding rate.

    With Z the n unit rows that count:

      loss = -1/2 * log det(I + E / (n * epsilon²) * Z^T Z)

    The paper maximises the rate of rows, or of proxies, beside another loss.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int, not read.
      where: `[B]` bool, the rows that count; all by default.
      epsilon: the precision of the code, a distance.
    Returns:
      The scalar loss, at most 0; 0 without a row.
    Reference: Jiang et al. (anti-collapse), IEEE TMM 2024; Yu et al. (MCR²), NeurIPS
      2020, eq. 1.
    """
    rows, counted = tuples.checked_rows(embeddings, labels, where)
    x, size = distances.unit(rows), rows.shape[1]
    number = jnp.maximum(counted.sum(), 1).astype(x.dtype)
    # Of [a Z; I], whose R^T R is I + a² Z^T Z: that matrix itself is not positive in
    # float32 at a small epsilon.
    scaled = x * (jnp.sqrt(size / number) / epsilon)
    r = jnp.linalg.qr(jnp.concatenate([scaled, jnp.eye(size, dtype=x.dtype)]))[1]
    return -jnp.sum(jnp.log(jnp.abs(jnp.diagonal(r))))
