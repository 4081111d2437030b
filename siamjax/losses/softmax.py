"""Losses that let a positive compete with all others in a softmax."""

from typing import Any

import jax
import jax.numpy as jnp

from siamjax.losses import distances, over_devices, reductions, tuples
from siamjax.losses.annotations import Array, Count, Distance, Positive, Reduction
from siamjax.losses.guard import guarded
from siamjax.losses.logsumexp import masked_logsumexp
from siamjax.losses.tuples import References
from siamjax.types import UsageError


@guarded
def ntxent(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    temperature: Positive = 0.1,
    distance: Distance = "cosine",
    reduce: Reduction = "all",
) -> jax.Array:
    """Makes each positive more similar to its anchor than all negatives are.

    Over all pairs of an anchor a and a positive p, with s the similarity over
    temperature:

      term = -s(a, p) + log(exp(s(a, p)) + sum over negatives n of exp(s(a, n)))

    The other positives are not in the sum; in SupCon they are.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to compare with; the batch by default.
      temperature: a similarity; at a low one the hardest negative outweighs all others.
      distance: see `distances`; for a distance d the similarity is -d.
      reduce: see `reductions`.
    Returns:
      The scalar loss; 0 without a positive or without a negative.
    Reference: Sohn, NeurIPS 2016; Chen et al. (SimCLR), ICML 2020, eq. 1.
    """
    batch, s = scored_pairs(
        embeddings, labels, where, references, distance, temperature
    )
    negatives = masked_logsumexp(s, batch.neg)
    cost = jax.nn.softplus(negatives[:, None] - jnp.where(batch.pos, s, 0))
    return reductions.reduce_costs(cost, batch.pos, reduce, labels)


@guarded
def supcon(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    temperature: Positive = 0.1,
    distance: Distance = "cosine",
    reduce: Reduction = "all",
) -> jax.Array:
    """Makes all positives of an anchor win the softmax over all other rows.

    Over anchors a with P positives, with s the similarity over temperature:

      term = 1/P * sum over p of (-s(a, p) + log(sum over all others j of exp(s(a, j))))

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to compare with; the batch by default.
      temperature: a similarity.
      distance: see `distances`; for a distance d the similarity is -d.
      reduce: see `reductions`.
    Returns:
      The scalar loss; 0 without a positive. Its least value with P positives is log P.
    Reference: Khosla et al., NeurIPS 2020, eq. 2.
    """
    batch, s = scored_pairs(
        embeddings, labels, where, references, distance, temperature
    )
    number = jnp.maximum(batch.pos.sum(1), 1).astype(s.dtype)
    mean = jnp.where(batch.pos, s, 0).sum(1) / number
    valid = batch.pos.any(1)
    cost = jnp.where(valid, masked_logsumexp(s, batch.pos | batch.neg) - mean, 0)
    return reductions.reduce_costs(cost, valid, reduce, labels)


@guarded
def infonce(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    pairs: Array | None = None,
    triplets: Array | None = None,
    temperature: Positive = 0.05,
    symmetric: bool = False,
    distance: Distance = "cosine",
    reduce: Reduction = "all",
) -> jax.Array:
    """Makes the first row of each pair most similar to the second row of the same pair.

    Over pairs (a_i, p_i), with s the similarity over temperature:

      term = -s(a_i, p_i) + log(exp(s(a_i, p_i)) + sum over j of exp(s(a_i, p_j)))

    where j runs over the pairs of other classes. With triplets (a_i, p_i, n_i) the sum
    has exp(s(a_i, n_j)) as well, for all n_j of other classes: hard negatives of one's
    own. Its other name is multiple negatives ranking loss.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      pairs: `[N, 2]` int, rows of the batch, both of one class; -1 is padding. By
        default the first two rows of each class.
      triplets: `[N, 3]` int, in place of pairs: the third row is of another class.
      temperature: a similarity.
      symmetric: the mean of this and of the same with a and p swapped, which has no
        hard negatives.
      distance: see `distances`; for a distance d the similarity is -d.
      reduce: see `reductions`.
    Returns:
      The scalar loss; 0 without a pair, or with pairs of one class only.
    Reference: Oord et al., 2018; Henderson et al., 2017 (one over the temperature: 20);
      Karpukhin et al. (DPR), EMNLP 2020, eq. 2, for hard negatives.
    """
    if triplets is not None and pairs is not None:
        raise UsageError("infonce takes pairs or triplets, not both")
    if triplets is None:
        rows, row_labels, valid = tuples.paired_rows(embeddings, labels, where, pairs)
    else:
        rows, row_labels, valid = tuples.gather_tuples(
            embeddings, labels, where, triplets, "triplets"
        )
    anchors, partners, *hard = rows
    anchors = over_devices.divide_rows(anchors)
    anchor_labels, partner_labels, *hard_labels = row_labels
    valid = valid & (anchor_labels == partner_labels)
    measure = distances.by_name(distance)

    def scores_and_negatives(others, other_labels):
        s = measure.score(measure.matrix(anchors, others)) / temperature
        negative = anchor_labels[:, None] != other_labels[None]
        return s, valid[:, None] & valid[None] & negative

    s, negative = scores_and_negatives(partners, partner_labels)  # [N, N]
    pair_s = measure.score(measure.rows(anchors, partners)) / temperature  # [N]
    away = masked_logsumexp(s, negative)
    if hard:
        more = scores_and_negatives(hard[0], hard_labels[0])
        away = jnp.logaddexp(away, masked_logsumexp(*more))
    cost = jax.nn.softplus(away - pair_s)
    if symmetric:
        swapped = jax.nn.softplus(masked_logsumexp(s, negative, axis=0) - pair_s)
        cost = (cost + swapped) / 2
    return reductions.reduce_costs(cost, valid, reduce, anchor_labels)


@guarded
def npairs(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    pairs: Array | None = None,
    distance: Distance = "dot",
    reduce: Reduction = "all",
) -> jax.Array:
    """The first row of each pair against the second rows of all pairs, by dot product.

    The N-pair loss: `infonce` with temperature 1 and the plain dot product. The paper
    adds 0.02 times the mean squared norm: `npairs+0.02*embedding_norm:power=2`.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      pairs: `[N, 2]` int; by default the first two rows of each class.
      distance: see `distances`.
      reduce: see `reductions`.
    Returns:
      The scalar loss; 0 without a pair, or with pairs of one class only.
    Reference: Sohn, NeurIPS 2016 (N-pair-mc).
    """
    return infonce(
        embeddings,
        labels,
        where=where,
        pairs=pairs,
        temperature=1.0,
        distance=distance,
        reduce=reduce,
    )


@guarded
def nca(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    scale: Positive = 1.0,
    distance: Distance = "squared",
    reduce: Reduction = "all",
) -> jax.Array:
    """Minus the log of the chance that a neighbour, drawn by nearness, is of one class.

    Over anchors a that have a positive:

      term = -log(sum over p of exp(-scale * D(a, p))
                  / sum over j != a of exp(-scale * D(a, j)))

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to compare with; the batch by default.
      scale: one over a distance.
      distance: see `distances`.
      reduce: see `reductions`.
    Returns:
      The scalar loss; 0 without a positive or without a negative.
    Reference: Goldberger et al., NeurIPS 2004 (the variant with the logarithm).
    """
    batch, s = scored_pairs(embeddings, labels, where, references, distance, 1 / scale)
    valid = batch.pos.any(1)
    odds = jnp.where(
        valid, masked_logsumexp(s, batch.neg) - masked_logsumexp(s, batch.pos), 0
    )
    cost = jax.nn.softplus(odds)
    return reductions.reduce_costs(cost, valid, reduce, labels)


@guarded
def prototypical(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    shots: Count = 0,
    distance: Distance = "squared",
    reduce: Reduction = "all",
) -> jax.Array:
    """Classifies each row by its distances to the class means, in a softmax.

    Over queries q, with c_k the mean of the examples of class k:

      term = -log(exp(-D(q, c_own)) / sum over classes k of exp(-D(q, c_k)))

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      shots: how many rows of a class, the first in the batch, are its examples; the
        others are queries. 0: every row is a query, and the other rows of its class are
        the examples.
      distance: see `distances`.
      reduce: see `reductions`.
    Returns:
      The scalar loss; 0 without a query whose class has an example, and for one class.
    Reference: Snell, Swersky, Zemel, NeurIPS 2017, eq. 2.
    """
    batch = tuples.all_pairs(embeddings, labels, where)
    measure, counted = distances.by_name(distance), tuples.counted_rows(labels, where)
    same_class = (labels[:, None] == labels[None]) & counted[:, None] & counted[None]
    place = jnp.sum(jnp.tril(same_class, -1), 1)  # of a row in its class
    examples = same_class & (place < shots)[None] if shots else same_class
    means = _masked_means(examples, batch.x)  # [B, E], of each row's class
    first_of_class = counted & (place == 0)  # [B], one row of each class
    s = measure.score(measure.matrix(batch.x, means))
    if shots:
        own_s = jnp.sum(jnp.where(same_class & first_of_class[None], s, 0), 1)
        valid = counted & (place >= shots) & examples.any(1)
    else:
        own_means = _masked_means(batch.pos, batch.x)
        own_s = measure.score(measure.rows(batch.x, own_means))
        valid = counted & batch.pos.any(1)
    others = first_of_class[None] & ~same_class & examples.any(1)[None]
    cost = jax.nn.softplus(masked_logsumexp(s, others) - jnp.where(valid, own_s, 0))
    return reductions.reduce_costs(cost, valid, reduce, labels)


def scored_pairs(
    embeddings: Array,
    labels: Array,
    where: Array | None,
    references: References | None,
    distance: Distance,
    temperature: Any,
) -> tuple[tuples.Pairs, jax.Array]:
    """All `Pairs`, and their similarities `[A, R]` divided by the temperature."""
    batch = tuples.all_pairs(embeddings, labels, where, references)
    measure = distances.by_name(distance)
    return batch, measure.score(measure.matrix(batch.x, batch.y)) / temperature


def _masked_means(mask, x):
    """`[B, E]`: the mean of the rows of each row's mask `[B, B]`; 0 without one."""
    share = mask.astype(x.dtype) / jnp.maximum(mask.sum(1), 1).astype(x.dtype)[:, None]
    return jnp.matmul(share, x, precision="highest")
