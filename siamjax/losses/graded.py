"""Losses of pairs that are more or less alike: a similarity in place of a class.

`similarity` is `[B, R]`, for each anchor and reference, or `[N]` beside explicit pairs:
any real numbers for `cosent` and `angle`, which read their order only. Without it, 1
stands for a pair of one class and 0 for a pair of two.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from siamjax.losses import distances, reductions, tuples
from siamjax.losses.annotations import Array, Distance, NotNegative, Positive, Reduction
from siamjax.losses.guard import guarded, without_reduction
from siamjax.losses.logsumexp import lowest_number, masked_logsumexp
from siamjax.losses.softmax import scored_pairs
from siamjax.losses.tuples import References
from siamjax.types import UsageError


def jaccard(sets: Array, others: Array | None = None) -> jax.Array:
    """How much sets of labels overlap: the size of the common part over that of both.

    Args:
      sets: `[B, C]` bool, or 0 and 1: which of C labels each row has.
      others: `[R, C]`; the same by default.
    Returns:
      `[B, R]` float, a `similarity`; 0 for two empty sets.
    """
    x = jnp.asarray(sets).astype(jnp.float32)
    y = x if others is None else jnp.asarray(others).astype(jnp.float32)
    common = jnp.matmul(x, y.T, precision="highest")
    return reductions.safe_ratio(common, x.sum(1)[:, None] + y.sum(1)[None] - common)


@guarded
def soft_supcon(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    similarity: Array | None = None,
    threshold: NotNegative = 0.0,
    temperature: Positive = 0.1,
    distance: Distance = "cosine",
    reduce: Reduction = "all",
) -> jax.Array:
    """SupCon with a weight for each pair; with `jaccard` of label sets, MultiSupCon.

    Over anchors a, with s the similarity of embeddings over temperature and w the given
    similarity, 0 where it is below the threshold:

      term = sum over j of w_aj * (-s(a, j) + log(sum over k != a of exp(s(a, k))))
             / sum over j of w_aj

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int, read only without `similarity`.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to compare with; the batch by default.
      similarity: `[B, R]` float, not negative; 1 for one class, else 0, by default.
      threshold: a given similarity; the paper has 0.3 for `jaccard`.
      temperature: a similarity of embeddings.
      distance: see `distances`; for a distance d the similarity is -d.
      reduce: see `reductions`.
    Returns:
      The scalar loss; 0 without a pair that has a weight.
    Reference: Khosla et al., NeurIPS 2020, eq. 2; Zaigrajew, Zieba (MultiSupCon),
      NeurIPS workshop 2022, for the weights.
    """
    batch, s = scored_pairs(
        embeddings, labels, where, references, distance, temperature
    )
    others = batch.pos | batch.neg
    w = batch.pos.astype(s.dtype) if similarity is None else similarity.astype(s.dtype)
    w = jnp.where(others & (w >= threshold), w, 0)
    total = w.sum(1)
    pull = reductions.safe_ratio(jnp.sum(w * jnp.where(w > 0, s, 0), 1), total)
    cost = jnp.where(total > 0, masked_logsumexp(s, others) - pull, 0)
    return reductions.reduce_costs(cost, total > 0, reduce, labels)


@guarded
def cosine_regression(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    pairs: Array | None = None,
    similarity: Array | None = None,
    reduce: Reduction = "all",
) -> jax.Array:
    """Makes the cosine of a pair its given similarity.

    Over all pairs, or those given: term = (cos(x, y) - similarity)².

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int, read only without `similarity`.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to compare with; the batch by default.
      pairs: `[N, 2]` int, rows of the batch; -1 is padding. All pairs by default.
      similarity: `[B, R]`, or `[N]` beside pairs; 1 for one class, else 0, by default.
      reduce: see `reductions`.
    Returns:
      The scalar loss; 0 without a pair.
    Reference: Reimers, Gurevych (SBERT), EMNLP 2019, section 3, regression.
    """
    measure = distances.by_name("cosine")
    given = Given(embeddings, labels, where, references, pairs, similarity)
    score, wanted, valid, anchor_labels = _graded(given, measure.matrix, measure.rows)
    return reductions.reduce_costs((score - wanted) ** 2, valid, reduce, anchor_labels)


@without_reduction("its one logarithm is of all pairs of pairs in the batch")
@guarded
def cosent(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    pairs: Array | None = None,
    similarity: Array | None = None,
    scale: Positive = 20.0,
) -> jax.Array:
    """Puts the cosines of pairs in the order of their given similarities.

      loss = log(1 + sum over pairs i, j with similarity_i > similarity_j of
                         exp(scale * (cos_j - cos_i)))

    O(P log P) time for P pairs.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int, read only without `similarity`.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to compare with; the batch by default.
      pairs: `[N, 2]` int, rows of the batch; -1 is padding. All pairs by default.
      similarity: `[B, R]`, or `[N]` beside pairs; 1 for one class, else 0, by default.
      scale: one over a cosine.
    Returns:
      The scalar loss; 0 without two pairs of different similarity.
    Reference: Su (CoSENT), 2022; Huang et al., IEEE/ACM TASLP 2024.
    """
    measure = distances.by_name("cosine")
    given = Given(embeddings, labels, where, references, pairs, similarity)
    return _order_loss(given, measure.matrix, measure.rows, scale)


@without_reduction("its one logarithm is of all pairs of pairs in the batch")
@guarded
def angle(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    pairs: Array | None = None,
    similarity: Array | None = None,
    scale: Positive = 20.0,
) -> jax.Array:
    """`cosent` with an angle between complex vectors, whose gradient does not vanish.

    The two halves of a unit row are real and imaginary part of E / 2 complex numbers:

      score(x, y) = |sum over coordinates of real + imaginary part of x * conj(y)|
      loss = log(1 + sum over pairs i, j with similarity_i > similarity_j of
                         exp(scale * (score_j - score_i)))

    The score depends on which row comes first. The paper adds it to others:
    `cosent+infonce+angle`. It divides complex numbers; the sum of the quotient
    over all coordinates, as here, is that of the authors' code.

    Args:
      embeddings: `[B, E]` float; an odd E is filled up with a 0.
      labels: `[B]` int, read only without `similarity`.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to compare with; the batch by default.
      pairs: `[N, 2]` int, rows of the batch; -1 is padding. All pairs by default.
      similarity: `[B, R]`, or `[N]` beside pairs; 1 for one class, else 0, by default.
      scale: one over a score; one over tau of the paper, 0.05.
    Returns:
      The scalar loss; 0 without two pairs of different similarity.
    Reference: Li, Li (AnglE), ACL 2024.
    """

    def halves(x):
        x = distances.unit(x)
        return jnp.split(jnp.pad(x, ((0, 0), (0, x.shape[1] % 2))), 2, axis=1)

    def turned(x):
        real, imaginary = halves(x)
        return jnp.concatenate([real + imaginary, imaginary - real], 1)

    def matrix(x, y):
        y = jnp.concatenate(halves(y), 1)
        return distances.absolute(distances.dot(turned(x), y))

    def rows(x, y):
        y = jnp.concatenate(halves(y), 1)
        return distances.absolute(jnp.sum(turned(x) * y, 1))

    given = Given(embeddings, labels, where, references, pairs, similarity)
    return _order_loss(given, matrix, rows, scale)


class Given(NamedTuple):
    """What a loss of graded pairs is given."""

    embeddings: Array
    labels: Array
    where: Array | None
    references: References | None
    pairs: Array | None
    similarity: Array | None


def _graded(given, matrix: Callable, rows: Callable):
    """Scores, given similarities and which count, all `[A, R]` or `[N]`; and the labels
    of the anchors."""
    x, labels, where, references, pairs, similarity = given
    if pairs is not None:
        if references is not None:
            raise UsageError("pairs are rows of the batch: give no references as well")
        sides, side_labels, valid = tuples.gather_tuples(
            x, labels, where, pairs, "pairs"
        )
        score, same = rows(*sides), side_labels[0] == side_labels[1]
        labels = side_labels[0]
    else:
        batch = tuples.all_pairs(x, labels, where, references)
        score, same = matrix(batch.x, batch.y), batch.pos
        valid = batch.pos | batch.neg
    wanted = same if similarity is None else similarity
    return score, wanted.astype(score.dtype), valid, labels


def _order_loss(given, matrix, rows, scale):
    score, wanted, valid, _ = _graded(given, matrix, rows)
    score, wanted, valid = (a.reshape(-1) for a in (scale * score, wanted, valid))
    if given.similarity is None:
        alike = wanted > 0
        sums = [
            masked_logsumexp(s, mask, 0)
            for s, mask in ((-score, valid & alike), (score, valid & ~alike))
        ]
        return jax.nn.softplus(sums[0] + sums[1])
    return jax.nn.softplus(_log_sum_of_wrong_orders(score, wanted, valid))


def _log_sum_of_wrong_orders(score, wanted, valid):
    """log of the sum over i, j with wanted_i > wanted_j of exp(score_j - score_i)."""
    lowest = lowest_number(score.dtype)
    order = jnp.argsort(jnp.where(valid, wanted, jnp.inf))
    wanted = jnp.where(valid, wanted, jnp.inf)[order]
    score, valid = score[order], valid[order]
    running = lax.cumlogsumexp(jnp.where(valid, score, lowest))
    below = jnp.searchsorted(wanted, wanted, side="left")  # how many are less alike
    sums = running[jnp.maximum(below - 1, 0)]
    counted = valid & (below > 0)
    return masked_logsumexp(jnp.where(counted, sums - score, 0), counted, 0)
