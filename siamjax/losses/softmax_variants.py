"""Softmax losses that weigh the positive or the sum of the negatives in another way."""

import functools

import jax
import jax.numpy as jnp

from siamjax.losses import distances, over_devices, reductions
from siamjax.losses.annotations import (
    Array,
    Distance,
    Positive,
    Reduction,
    ShareAboveNone,
)
from siamjax.losses.guard import guarded
from siamjax.losses.logsumexp import masked_logsumexp
from siamjax.losses.softmax import ntxent, scored_pairs
from siamjax.losses.tuples import References, counted_rows, first_pairs, gather_tuples


@guarded
def sincere(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    temperature: Positive = 0.1,
    distance: Distance = "cosine",
    reduce: Reduction = "anchor",
) -> jax.Array:
    """SupCon without the other positives in the sum: they do not repel each other.

    Over anchors a with P positives, with s the similarity over temperature:

      term = 1/P * sum over p of (-s(a, p) + log(exp(s(a, p))
                                     + sum over negatives n of exp(s(a, n))))

    These are the terms of `ntxent`, with the mean over anchors of their means.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to compare with; the batch by default.
      temperature: a similarity.
      distance: see `distances`; for a distance d the similarity is -d.
      reduce: see `reductions`.
    Returns:
      The scalar loss; 0 without a positive or without a negative.
    Reference: Feeney, Hughes (SINCERE), 2023.
    """
    return ntxent(
        embeddings,
        labels,
        where=where,
        references=references,
        temperature=temperature,
        distance=distance,
        reduce=reduce,
    )


@guarded
def decoupled(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    temperature: Positive = 0.1,
    sigma: Positive | None = None,
    distance: Distance = "cosine",
    reduce: Reduction = "all",
) -> jax.Array:
    """NT-Xent without the positive in the sum, which slows it down in small batches.

    Over all pairs of an anchor a and a positive p, with s the similarity over
    temperature:

      term = -w(a, p) * s(a, p) + log(sum over negatives n of exp(s(a, n)))

    w is 1 (DCL), or with sigma (DCLW) 2 - exp(cos / sigma) / mean over all positive
    pairs of exp(cos / sigma), which is more for a pair that is far apart.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int; both views of an example have one label.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to compare with; the batch by default.
      temperature: a similarity.
      sigma: a similarity, 0.5 in the paper; None: w is 1.
      distance: see `distances`; for a distance d the similarity is -d.
      reduce: see `reductions`.
    Returns:
      The scalar loss, which may be negative; 0 without a positive or without a
      negative.
    Reference: Yeh et al. (decoupled contrastive), ECCV 2022.
    """
    batch, s = scored_pairs(
        embeddings, labels, where, references, distance, temperature
    )
    valid = batch.pos & batch.neg.any(1)[:, None]
    pull = jnp.where(valid, s, 0)
    if sigma is not None:
        logits = (pull * (temperature / sigma)).reshape(-1)
        log_sum = masked_logsumexp(logits, valid.reshape(-1), 0)
        share = jnp.exp(jnp.where(valid, logits.reshape(s.shape) - log_sum, 0))
        pull = pull * (2 - share * valid.sum().astype(s.dtype))
    cost = jnp.where(valid, masked_logsumexp(s, batch.neg)[:, None] - pull, 0)
    return reductions.reduce_costs(cost, valid, reduce, labels)


@guarded
def robust_infonce(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    temperature: Positive = 0.5,
    robustness: ShareAboveNone = 0.5,
    density: Positive = 0.01,
    distance: Distance = "cosine",
    reduce: Reduction = "all",
) -> jax.Array:
    """A contrastive loss that false positives disturb less, the more robust it is.

    Over all pairs of an anchor a and a positive p, with s the similarity over
    temperature and q the robustness:

      term = 1/q * (-exp(q * s(a, p)) + (density * (exp(s(a, p))
                        + sum over negatives n of exp(s(a, n))))^q)

    For q near 0 its gradient is that of `ntxent`; q = 1 is the most robust. Its short
    name is RINCE, as is that of another loss (Hoffmann et al., AAAI 2022), which ranks
    several grades of positives and is not meant here.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int; both views of an example have one label.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to compare with; the batch by default.
      temperature: a similarity. Exponents are cut to 64, without a gradient beyond:
        give at least 0.02.
      robustness: q, in (0, 1].
      density: the weight of the negatives (lambda of the paper).
      distance: see `distances`; for a distance d the similarity is -d.
      reduce: see `reductions`.
    Returns:
      The scalar loss, which may be negative; 0 without a positive or without a
      negative.
    Reference: Chuang et al. (RINCE), CVPR 2022.
    """
    batch, s = scored_pairs(
        embeddings, labels, where, references, distance, temperature
    )
    valid = batch.pos & batch.neg.any(1)[:, None]
    near = jnp.where(valid, s, 0)
    negatives = jnp.where(valid, masked_logsumexp(s, batch.neg)[:, None], 0)
    both = jnp.log(density) + jnp.logaddexp(near, negatives)
    q = robustness
    away, pull = (jnp.exp(jnp.minimum(q * v, 64.0)) for v in (both, near))
    cost = jnp.where(valid, (away - pull) / q, 0)
    return reductions.reduce_costs(cost, valid, reduce, labels)


@guarded
def gist(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    pairs: Array | None = None,
    guide: Array | None = None,
    temperature: Positive = 0.01,
    reduce: Reduction = "all",
) -> jax.Array:
    """InfoNCE that leaves out negatives which a guide finds more alike than the pair.

    Over pairs (a_i, p_i), with s the cosine over temperature and g the cosine of the
    guide's rows:

      term = -s(a_i, p_i) + log(exp(s(a_i, p_i)) + sum over j != i of
                                exp(s(a_i, p_j)) + exp(s(a_i, a_j)) + exp(s(p_i, p_j)))

    each of the three only where its g is not above g(a_i, p_i).

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int, read only without `pairs`.
      where: `[B]` bool, the rows that count; all by default.
      pairs: `[N, 2]` int, rows of the batch; -1 is padding. By default the first two
        rows of each class.
      guide: `[B, G]` float, rows of another, trained model. By default the embeddings
        guide themselves.
      temperature: a similarity.
      reduce: see `reductions`.
    Returns:
      The scalar loss; 0 without a pair, or with one pair only.
    Reference: Solatorio (GISTEmbed), 2024.
    """
    if pairs is None:
        pairs = first_pairs(labels, counted_rows(labels, where))
    sides, (anchor_labels, _), valid = gather_tuples(
        embeddings, labels, where, pairs, "pairs"
    )
    guide = embeddings if guide is None else guide
    guides, _, _ = gather_tuples(guide, labels, where, pairs, "pairs")
    sides, guides = jax.tree.map(over_devices.divide_rows, (sides, guides))
    apart = ~jnp.eye(len(pairs), dtype=bool) & valid[:, None] & valid[None]
    pair_g = jnp.diagonal(distances.cosine(*guides))[:, None]
    away = []
    for first, second in ((0, 1), (0, 0), (1, 1)):
        s = distances.cosine(sides[first], sides[second]) / temperature
        allowed = apart & (distances.cosine(guides[first], guides[second]) <= pair_g)
        away.append(masked_logsumexp(s, allowed))
    pair_s = distances.by_name("cosine").rows(*sides) / temperature
    all_away = functools.reduce(jnp.logaddexp, away)
    cost = jax.nn.softplus(all_away - pair_s)
    return reductions.reduce_costs(cost, valid, reduce, anchor_labels)
