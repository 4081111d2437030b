"""Losses that let a positive compete with all others in a softmax."""

import jax
import jax.numpy as jnp

from siamjax import checks
from siamjax.losses import reductions, tuples
from siamjax.losses.distances import distance as kind_of
from siamjax.losses.guard import guarded
from siamjax.losses.logs import lse


@guarded
def ntxent(
    embeddings,
    labels,
    *,
    where=None,
    references=None,
    temperature=0.1,
    distance="cosine",
    reduce="all",
):
    """Makes each positive the most similar of itself and all negatives.

    Over all pairs of an anchor a and a positive p, with s the similarity over
    temperature:

      term = -s(a, p) + log(exp(s(a, p)) + sum over negatives n of exp(s(a, n)))

    The other positives are not in the sum: that is SupCon.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to compare with; the batch by default.
      temperature: a similarity; the lower, the more the hardest negative counts alone.
      distance: see `distances`; of a distance, minus it is the similarity.
      reduce: see `reductions`.
    Returns:
      The scalar loss; 0 without a positive, and without a negative.
    Reference: Sohn, NeurIPS 2016; Chen et al. (SimCLR), ICML 2020, eq. 1.
    """
    batch, s = _scores(embeddings, labels, where, references, distance, temperature)
    others = lse(s, batch.neg)
    cost = jax.nn.softplus(others[:, None] - jnp.where(batch.pos, s, 0))
    return reductions.reduce(reductions.terms(cost, batch.pos), reduce, labels)


@guarded
def supcon(
    embeddings,
    labels,
    *,
    where=None,
    references=None,
    temperature=0.1,
    distance="cosine",
    reduce="all",
):
    """Makes the positives of an anchor share the softmax over all other rows.

    Over anchors a with P positives, with s the similarity over temperature:

      term = 1/P * sum over p of (-s(a, p) + log(sum over all others j of exp(s(a, j))))

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to compare with; the batch by default.
      temperature: a similarity.
      distance: see `distances`; of a distance, minus it is the similarity.
      reduce: see `reductions`.
    Returns:
      The scalar loss; 0 without a positive. Its least value with P positives is log P.
    Reference: Khosla et al., NeurIPS 2020, eq. 2.
    """
    batch, s = _scores(embeddings, labels, where, references, distance, temperature)
    number = jnp.maximum(batch.pos.sum(1), 1).astype(s.dtype)
    mean = jnp.where(batch.pos, s, 0).sum(1) / number
    valid = batch.pos.any(1)
    cost = jnp.where(valid, lse(s, batch.pos | batch.neg) - mean, 0)
    return reductions.reduce(reductions.terms(cost, valid), reduce, labels)


@guarded
def infonce(
    embeddings,
    labels,
    *,
    where=None,
    pairs=None,
    temperature=0.05,
    symmetric=False,
    distance="cosine",
    reduce="all",
):
    """Makes the second row of a pair the most similar to its first of all second rows.

    Over pairs (a_i, p_i), with s the similarity over temperature:

      term = -s(a_i, p_i) + log(exp(s(a_i, p_i)) + sum over j of exp(s(a_i, p_j)))

    where j runs over the pairs of other classes. Also known as multiple negatives
    ranking.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      pairs: `[N, 2]` int, rows of the batch, both of one class; -1 is
        padding. By default the first two rows of each class.
      temperature: a similarity.
      symmetric: the mean of this and of the same with a and p exchanged.
      distance: see `distances`; of a distance, minus it is the similarity.
      reduce: see `reductions`.
    Returns:
      The scalar loss; 0 without a pair, or with pairs of one class only.
    Reference: Oord et al., 2018; Henderson et al., 2017 (one over the temperature: 20).
    """
    s, own, others, valid, of_anchor = _paired(
        embeddings, labels, where, pairs, distance, temperature
    )
    cost = jax.nn.softplus(lse(s, others) - own)
    if symmetric:
        cost = (cost + jax.nn.softplus(lse(s, others, axis=0) - own)) / 2
    return reductions.reduce(reductions.terms(cost, valid), reduce, of_anchor)


@guarded
def npairs(embeddings, labels, *, where=None, pairs=None, distance="dot", reduce="all"):
    """The first of a pair against the seconds of all classes, by dot product.

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
        embeddings, labels, where=where, pairs=pairs, temperature=1.0,
        distance=distance, reduce=reduce,
    )  # fmt: skip


@guarded
def nca(
    embeddings,
    labels,
    *,
    where=None,
    references=None,
    scale=1.0,
    distance="squared",
    reduce="all",
):
    """The chance that a neighbour, drawn by nearness, is of another class.

    Over anchors a that have a positive:

      term = -log(sum over p of exp(-scale * D(a, p)) / sum over j != a of the same)

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to compare with; the batch by default.
      scale: one over a distance.
      distance: see `distances`.
      reduce: see `reductions`.
    Returns:
      The scalar loss; 0 without a positive, and without a negative.
    Reference: Goldberger et al., NeurIPS 2004 (the variant with the logarithm).
    """
    checks.positive(scale=scale)
    batch, s = _scores(embeddings, labels, where, references, distance, 1 / scale)
    valid = batch.pos.any(1)
    odds = jnp.where(valid, lse(s, batch.neg) - lse(s, batch.pos), 0)
    cost = jax.nn.softplus(odds)
    return reductions.reduce(reductions.terms(cost, valid), reduce, labels)


@guarded
def prototypical(
    embeddings,
    labels,
    *,
    where=None,
    shots=0,
    distance="squared",
    reduce="all",
):
    """Classifies each row by the nearest mean of a class, in a softmax.

    Over queries q, with c_k the mean of the examples of class k:

      term = -log(exp(-D(q, c_own)) / sum over classes k of exp(-D(q, c_k)))

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      shots: how many rows of a class, in the order of the batch, are its examples; the
        rest are queries. 0: every row is a query, and all others of its class examples.
      distance: see `distances`.
      reduce: see `reductions`.
    Returns:
      The scalar loss; 0 without a query whose class has an example, and for one class.
    Reference: Snell, Swersky, Zemel, NeurIPS 2017, eq. 2.
    """
    batch = tuples.pairs(embeddings, labels, where)
    kind, count = kind_of(distance), tuples.counting(labels, where)
    alike = (labels[:, None] == labels[None]) & count[:, None] & count[None]
    place = jnp.sum(jnp.tril(alike, -1), 1)  # of a row in its class
    examples = alike & (place < shots)[None] if shots else alike
    means = _means(examples, batch.x)  # [B, E], of each row's class
    one_each = count & (place == 0)  # [B], one row of each class
    s = kind.scores(kind.matrix(batch.x, means))
    if shots:
        own = jnp.sum(jnp.where(alike & one_each[None], s, 0), 1)
        valid = count & (place >= shots) & examples.any(1)
    else:
        own = kind.scores(kind.rows(batch.x, _means(batch.pos, batch.x)))
        valid = count & batch.pos.any(1)
    others = one_each[None] & ~alike & examples.any(1)[None]
    cost = jax.nn.softplus(lse(s, others) - jnp.where(valid, own, 0))
    return reductions.reduce(reductions.terms(cost, valid), reduce, labels)


def _scores(embeddings, labels, where, references, distance, temperature):
    checks.positive(temperature=temperature)
    batch, kind = tuples.pairs(embeddings, labels, where, references), kind_of(distance)
    return batch, kind.scores(kind.matrix(batch.x, batch.y)) / temperature


def _paired(embeddings, labels, where, pairs, distance, temperature):
    """Scores `[N, N]` of firsts and seconds, each pair's own `[N]`, which entries are
    negatives, which pairs count, and the firsts' labels."""
    checks.positive(temperature=temperature)
    if pairs is None:
        pairs = tuples.first_pairs(labels, tuples.counting(labels, where))
    (x, y), (of_x, of_y), valid = tuples.take(embeddings, labels, where, pairs, "pairs")
    kind, valid = kind_of(distance), valid & (of_x == of_y)
    s = kind.scores(kind.matrix(x, y)) / temperature
    own = kind.scores(kind.rows(x, y)) / temperature
    others = valid[:, None] & valid[None] & (of_x[:, None] != of_y[None])
    return s, own, others, valid, of_x


def _means(mask, x):
    """`[B, E]`: the mean of the rows of each row's mask `[B, B]`; 0 without one."""
    share = mask.astype(x.dtype) / jnp.maximum(mask.sum(1), 1).astype(x.dtype)[:, None]
    return jnp.matmul(share, x, precision="highest")
