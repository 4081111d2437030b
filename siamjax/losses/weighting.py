"""Losses that weigh all pairs of an anchor by how hard they are."""

import math

import jax
import jax.numpy as jnp
from jax import lax

from siamjax import checks
from siamjax.losses import distances, mining, reductions, tuples
from siamjax.losses.distances import distance as kind_of
from siamjax.losses.guard import guarded
from siamjax.losses.logs import log1p_sum_exp, lse
from siamjax.losses.positives_loop import index_of, sum_over_positives


@guarded
def multi_similarity(
    embeddings,
    labels,
    *,
    where=None,
    references=None,
    alpha=2.0,
    beta=50.0,
    base=0.5,
    epsilon: float | None = 0.1,
    distance="cosine",
    reduce="all",
):
    """Weighs a pair by its own similarity and by that of the anchor's other pairs.

    Over anchors a, with s the similarity:

      term = 1/alpha * log(1 + sum over p of exp(alpha * (base - s(a, p))))
           + 1/beta * log(1 + sum over n of exp(beta * (s(a, n) - base)))

    Only pairs that say something count: p with s(a, p) - epsilon < max over n of s(a,
    n), n with s(a, n) + epsilon > min over p of s(a, p).

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to compare with; the batch by default.
      alpha, beta: one over a similarity, for positives and negatives.
      base: a similarity.
      epsilon: a similarity; None keeps all pairs.
      distance: see `distances`; of a distance, minus it is the similarity.
      reduce: see `reductions`, over anchors that have a pair.
    Returns:
      The scalar loss; 0 without a pair. An anchor without one kind has its other term,
      with epsilon none.
    Reference: Wang et al. (multi-similarity), CVPR 2019.
    """
    checks.positive(alpha=alpha, beta=beta)
    batch, kind = tuples.pairs(embeddings, labels, where, references), kind_of(distance)
    s = kind.scores(kind.matrix(batch.x, batch.y))
    pos, neg = batch.pos, batch.neg
    if epsilon is not None:
        pos, neg = mining.multi_similarity(-s, pos, neg, epsilon)
    cost = (
        log1p_sum_exp(alpha * (base - s), pos) / alpha
        + log1p_sum_exp(beta * (s - base), neg) / beta
    )
    valid = (batch.pos | batch.neg).any(1)
    return reductions.reduce(reductions.terms(cost, valid), reduce, labels)


@guarded
def circle(
    embeddings,
    labels,
    *,
    where=None,
    references=None,
    margin=0.4,
    scale=80.0,
    reduce="all",
):
    """Pulls each similarity the more the further it is from its optimum.

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
    checks.positive(scale=scale)
    batch = tuples.pairs(embeddings, labels, where, references)
    s = distances.cosine(batch.x, batch.y)
    fixed = lax.stop_gradient(s)
    pull = -scale * jnp.maximum(1 + margin - fixed, 0) * (s - 1 + margin)
    push = scale * jnp.maximum(fixed + margin, 0) * (s - margin)
    valid = batch.pos.any(1) & batch.neg.any(1)
    both = jnp.where(valid, lse(pull, batch.pos) + lse(push, batch.neg), 0)
    cost = jax.nn.softplus(both)
    return reductions.reduce(reductions.terms(cost, valid), reduce, labels)


@guarded
def lifted(
    embeddings,
    labels,
    *,
    where=None,
    margin=1.0,
    distance="euclidean",
    reduce="all",
):
    """Sets a positive pair against all negatives of both its rows.

    Over all pairs of a and p, with n_a, n_p the negatives of either:

      term = 1/2 * max(0, D(a, p) + log(sum over n_a of exp(margin - D(a, n_a))
                                      + sum over n_p of exp(margin - D(p, n_p))))^2

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      margin: a distance.
      distance: see `distances`.
      reduce: see `reductions`.
    Returns:
      The scalar loss; 0 without a positive, and without a negative.
    Reference: Song et al., CVPR 2016, eq. 4.
    """
    batch, kind = tuples.pairs(embeddings, labels, where), kind_of(distance)
    distances.check_difference(kind, margin=margin)
    d = kind.cost(kind.matrix(batch.x, batch.x))
    push = lse(margin - d, batch.neg)
    inside = jnp.where(batch.pos, d + jnp.logaddexp(push[:, None], push[None]), 0)
    cost = jnp.maximum(inside, 0) ** 2 / 2
    valid = batch.pos & batch.neg.any(1)[:, None]
    return reductions.reduce(reductions.terms(cost, valid), reduce, labels)


@guarded
def generalized_lifted(
    embeddings,
    labels,
    *,
    where=None,
    references=None,
    margin=1.0,
    distance="euclidean",
    reduce="all",
):
    """Sets a soft farthest positive against a soft nearest negative.

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
    batch, kind = tuples.pairs(embeddings, labels, where, references), kind_of(distance)
    distances.check_difference(kind, margin=margin)
    d = kind.cost(kind.matrix(batch.x, batch.y))
    valid = batch.pos.any(1) & batch.neg.any(1)
    both = jnp.where(valid, lse(d, batch.pos) + lse(margin - d, batch.neg), 0)
    cost = jnp.maximum(both, 0)
    return reductions.reduce(reductions.terms(cost, valid), reduce, labels)


@guarded
def tuplet_margin(
    embeddings,
    labels,
    *,
    where=None,
    references=None,
    margin=5.73,
    scale=64.0,
    reduce="all",
):
    """A softmax of each positive, turned away by an angle, against all negatives.

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
      The scalar loss; 0 without a positive, and without a negative.
    Reference: Yu, Tao, ICCV 2019.
    """
    checks.positive(scale=scale)
    batch = tuples.pairs(embeddings, labels, where, references)
    x, y, beta = distances.unit(batch.x), distances.unit(batch.y), math.radians(margin)
    cos, sin = cos_and_sin(distances.euclidean(x, y))
    turned = scale * (cos * math.cos(beta) + sin * math.sin(beta))
    negatives = lse(scale * distances.dot(x, y), batch.neg)
    cost = jax.nn.softplus(negatives[:, None] - jnp.where(batch.pos, turned, 0))
    valid = batch.pos & batch.neg.any(1)[:, None]
    return reductions.reduce(reductions.terms(cost, valid), reduce, labels)


def cos_and_sin(chord):
    """Of the angle between unit rows, from their distance: digits where acos has none,
    and slopes that are finite at 0 and at 180 degrees."""
    half = jnp.clip(chord / 2, 0, 1)
    return 1 - 2 * half**2, 2 * half * distances.safe_sqrt(1 - half**2)


@guarded
def angular(
    embeddings,
    labels,
    *,
    where=None,
    references=None,
    angle=40.0,
    reduce="all",
):
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
      The scalar loss; 0 without a positive, and without a negative.
    Reference: Wang et al. (angular), ICCV 2017.
    """
    batch = tuples.pairs(embeddings, labels, where, references)
    t2 = math.tan(math.radians(angle)) ** 2
    x, y = distances.unit(batch.x), distances.unit(batch.y)

    def term(picked, x, y, neg):
        partner = y[index_of(picked)]  # [A, E]
        near = 2 * (1 + t2) * jnp.sum(x * partner, 1)
        logits = 4 * t2 * distances.dot(x + partner, y) - near[:, None]
        cost = jnp.where(picked.any(1), log1p_sum_exp(logits, neg), 0)
        return cost, (cost != 0).astype(jnp.int32)

    sums, active = sum_over_positives(term, batch.pos, x, y, batch.neg)
    valid = batch.pos.sum(1) * batch.neg.any(1)
    return reductions.reduce(reductions.Terms(sums, active, valid), reduce, labels)
