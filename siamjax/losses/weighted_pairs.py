"""Losses that weigh all pairs of an anchor by how hard they are."""

import jax
import jax.numpy as jnp
from jax import lax

from siamjax.losses import distances, mining, reductions, tuples
from siamjax.losses.annotations import (
    AcuteDegrees,
    Array,
    Degrees,
    Distance,
    NotNegative,
    Positive,
    Reduction,
)
from siamjax.losses.guard import guarded
from siamjax.losses.logsumexp import log1p_sum_exp, masked_logsumexp
from siamjax.losses.positives_loop import first_index, sum_over_positives
from siamjax.losses.tuples import References


@guarded
def multi_similarity(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    alpha: Positive = 2.0,
    beta: Positive = 50.0,
    base: float = 0.5,
    epsilon: NotNegative | None = 0.1,
    distance: Distance = "cosine",
    reduce: Reduction = "all",
) -> jax.Array:
    """Weighs a pair by its own similarity and by that of the anchor's other pairs.

    Over anchors a, with s the similarity:

      term = 1/alpha * log(1 + sum over p of exp(alpha * (base - s(a, p))))
           + 1/beta * log(1 + sum over n of exp(beta * (s(a, n) - base)))

    Only informative pairs count: p with s(a, p) - epsilon < max over n of s(a, n), and
    n with s(a, n) + epsilon > min over p of s(a, p).

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to compare with; the batch by default.
      alpha, beta: one over a similarity, for positives and negatives.
      base: a similarity.
      epsilon: a similarity; None keeps all pairs.
      distance: see `distances`; for a distance d the similarity is -d.
      reduce: see `reductions`, over anchors that have a pair.
    Returns:
      The scalar loss; 0 without a pair. An anchor with pairs of one kind only has one
      of the two sums; with epsilon it has neither.
    Reference: Wang et al. (multi-similarity), CVPR 2019.
    """
    batch = tuples.all_pairs(embeddings, labels, where, references)
    measure = distances.by_name(distance)
    s = measure.score(measure.matrix(batch.x, batch.y))
    pos, neg = batch.pos, batch.neg
    if epsilon is not None:
        pos, neg = mining.multi_similarity_pairs(-s, pos, neg, epsilon)
    cost = (
        log1p_sum_exp(alpha * (base - s), pos) / alpha
        + log1p_sum_exp(beta * (s - base), neg) / beta
    )
    valid = (batch.pos | batch.neg).any(1)
    return reductions.reduce_costs(cost, valid, reduce, labels)


@guarded
def circle(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    margin: float = 0.4,
    scale: Positive = 80.0,
    reduce: Reduction = "all",
) -> jax.Array:
    """Pulls each similarity harder the farther it is from its optimum.

    Over anchors a with both kinds, with s the cosine:

      term = log(1 + sum over n of exp(scale * w_n * (s_n - margin))
                   * sum over p of exp(-scale * w_p * (s_p - 1 + margin)))
      w_n = max(0, s_n + margin), w_p = max(0, 1 + margin - s_p), held constant

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to compare with; the batch by default.
      margin: a similarity.
      scale: one over a similarity (gamma of the paper).
      reduce: see `reductions`, over anchors with both kinds.
    Returns:
      The scalar loss; 0 without an anchor that has both kinds.
    Reference: Sun et al., CVPR 2020.
    """
    batch = tuples.all_pairs(embeddings, labels, where, references)
    s = distances.cosine(batch.x, batch.y)
    held = lax.stop_gradient(s)
    pull = -scale * jnp.maximum(1 + margin - held, 0) * (s - 1 + margin)
    push = scale * jnp.maximum(held + margin, 0) * (s - margin)
    valid = batch.pos.any(1) & batch.neg.any(1)
    both = jnp.where(
        valid, masked_logsumexp(pull, batch.pos) + masked_logsumexp(push, batch.neg), 0
    )
    cost = jax.nn.softplus(both)
    return reductions.reduce_costs(cost, valid, reduce, labels)


@guarded
def lifted(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    margin: float = 1.0,
    distance: Distance = "euclidean",
    reduce: Reduction = "all",
) -> jax.Array:
    """Compares a positive pair with all negatives of both its rows.

    Over all pairs of a and p, with n_a, n_p the negatives of either:

      term = 1/2 * max(0, D(a, p) + log(sum over n_a of exp(margin - D(a, n_a))
                                      + sum over n_p of exp(margin - D(p, n_p))))^2

    With references p, n_a and n_p are among them, in R² E time; `References.allowed`
    then chooses p and n_a alone.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to compare with; the batch by default.
      margin: a distance.
      distance: see `distances`.
      reduce: see `reductions`.
    Returns:
      The scalar loss; 0 without a positive or without a negative.
    Reference: Song et al., CVPR 2016, eq. 4.
    """
    batch = tuples.all_pairs(embeddings, labels, where, references)
    measure = distances.by_name(distance)
    distances.check_difference(measure, margin=margin)
    d = measure.cost(measure.matrix(batch.x, batch.y))
    push = partner_push = masked_logsumexp(margin - d, batch.neg)
    partner_neg = batch.neg
    if references is not None:
        y, others, counted, *_ = references
        partner_neg = tuples.all_pairs(y, others, counted).neg
        between = measure.cost(measure.matrix(batch.y, batch.y))
        partner_push = masked_logsumexp(margin - between, partner_neg)
    both = jnp.logaddexp(push[:, None], partner_push[None])
    cost = jnp.maximum(jnp.where(batch.pos, d + both, 0), 0) ** 2 / 2
    has_negative = batch.neg.any(1)[:, None] | partner_neg.any(1)[None]
    return reductions.reduce_costs(cost, batch.pos & has_negative, reduce, labels)


@guarded
def generalized_lifted(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    margin: float = 1.0,
    distance: Distance = "euclidean",
    reduce: Reduction = "all",
) -> jax.Array:
    """Compares a soft farthest positive with a soft nearest negative.

    Over anchors a with both kinds:

      term = max(0, log(sum over p of exp(D(a, p)))
                  + log(sum over n of exp(margin - D(a, n))))

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to compare with; the batch by default.
      margin: a distance.
      distance: see `distances`.
      reduce: see `reductions`, over anchors with both kinds.
    Returns:
      The scalar loss; 0 without an anchor that has both kinds.
    Reference: Hermans, Beyer, Leibe, 2017.
    """
    batch = tuples.all_pairs(embeddings, labels, where, references)
    measure = distances.by_name(distance)
    distances.check_difference(measure, margin=margin)
    d = measure.cost(measure.matrix(batch.x, batch.y))
    valid = batch.pos.any(1) & batch.neg.any(1)
    both = jnp.where(
        valid,
        masked_logsumexp(d, batch.pos) + masked_logsumexp(margin - d, batch.neg),
        0,
    )
    cost = jnp.maximum(both, 0)
    return reductions.reduce_costs(cost, valid, reduce, labels)


@guarded
def tuplet_margin(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    margin: Degrees = 5.73,
    scale: Positive = 64.0,
    reduce: Reduction = "all",
) -> jax.Array:
    """A softmax of each positive, at a wider angle, against all negatives.

    Over all pairs of a and p, with theta the angle between rows:

      term = log(1 + sum over n of
                 exp(scale * (cos theta(a, n) - cos(theta(a, p) - margin))))

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to compare with; the batch by default.
      margin: degrees.
      scale: one over a cosine.
      reduce: see `reductions`.
    Returns:
      The scalar loss; 0 without a positive or without a negative.
    Reference: Yu, Tao, ICCV 2019.
    """
    batch = tuples.all_pairs(embeddings, labels, where, references)
    x, y, beta = distances.unit(batch.x), distances.unit(batch.y), jnp.radians(margin)
    cos, sin = distances.cos_and_sin(distances.euclidean(x, y))
    turned = scale * (cos * jnp.cos(beta) + sin * jnp.sin(beta))
    negatives = masked_logsumexp(scale * distances.dot(x, y), batch.neg)
    cost = jax.nn.softplus(negatives[:, None] - jnp.where(batch.pos, turned, 0))
    valid = batch.pos & batch.neg.any(1)[:, None]
    return reductions.reduce_costs(cost, valid, reduce, labels)


@guarded
def angular(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    angle: AcuteDegrees = 40.0,
    reduce: Reduction = "all",
) -> jax.Array:
    """Bounds the angle at the negative of the triangle with anchor and positive.

    Over all pairs of a and p, on unit rows, with t = tan(angle):

      term = log(1 + sum over n of exp(4 t² (a + p) · n - 2 (1 + t²) a · p))

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to compare with; the batch by default.
      angle: degrees.
      reduce: see `reductions`.
    Returns:
      The scalar loss; 0 without a positive or without a negative.
    Reference: Wang et al. (angular), ICCV 2017.
    """
    batch = tuples.all_pairs(embeddings, labels, where, references)
    x, y = distances.unit(batch.x), distances.unit(batch.y)
    t2 = (jnp.tan(jnp.radians(angle)) ** 2).astype(x.dtype)

    def term(picked, x, y, neg, t2):
        positive = y[first_index(picked)]  # [A, E]
        near = 2 * (1 + t2) * jnp.sum(x * positive, 1)
        logits = 4 * t2 * distances.dot(x + positive, y) - near[:, None]
        cost, valid = log1p_sum_exp(logits, neg), picked.any(1) & neg.any(1)
        return tuple(reductions.sum_terms(cost, valid, reduce))

    terms = reductions.Terms(*sum_over_positives(term, batch.pos, x, y, batch.neg, t2))
    return reductions.reduce_terms(terms, reduce, labels)
