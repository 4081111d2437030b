"""Losses whose value is near a ranking measure, or bounds it: recall, AP, context."""

import jax
import jax.numpy as jnp
from jax import lax

from siamjax.losses import distances, over_devices, reductions, tuples
from siamjax.losses.annotations import (
    Array,
    NotNegative,
    PenaltyForm,
    Positive,
    Reduction,
    Share,
    Size,
    check_choice,
)
from siamjax.losses.guard import guarded
from siamjax.losses.pairs import pair_costs
from siamjax.losses.positives_loop import sum_over_positives, value_at
from siamjax.losses.tuples import References
from siamjax.types import UsageError


@guarded
def recall_at_k(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    ks: tuple[int, ...] = (1, 2, 4, 8, 16),
    temperature: Positive = 0.01,
    rank_temperature: Positive = 1.0,
    reduce: Reduction = "all",
) -> jax.Array:
    """One minus recall at k, its two steps replaced by sigmoids, over several k.

    Over anchors a with P positives, s the cosine, g the sigmoid:

      rank_p = 1 + sum over j != p of g((s_j - s_p) / temperature)
      hits_k = sum over p of g((k - rank_p) / (k * rank_temperature))
      term = 1 - mean over k of min(hits_k, k) / min(k, P)

    j runs over all positives and negatives of a. The paper divides by P; its authors'
    code by min(k, P), as here, with which recall at k can be 1. Their code counts the
    anchor in its own ranks, which this does not.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to rank; the batch by default.
      ks: how many of the nearest rows are looked at, one or several numbers.
      temperature: a similarity.
      rank_temperature: of ranks, in units of k.
      reduce: see `reductions`, over anchors with a positive.
    Returns:
      The scalar loss; 0 without a positive or without a negative.
    Reference: Patel, Tolias, Matas, CVPR 2022.
    """
    _check_ks(ks)
    batch = tuples.all_pairs(embeddings, labels, where, references)
    s = distances.cosine(batch.x, batch.y)

    def term(picked, s, others):
        above = jax.nn.sigmoid((s - value_at(picked, s)[:, None]) / temperature)
        rank = 1 + jnp.sum(jnp.where(others & ~picked, above, 0), 1)
        hits = [jax.nn.sigmoid((k - rank) / (k * rank_temperature)) for k in ks]
        return jnp.where(picked.any(1)[:, None], jnp.stack(hits, 1), 0)

    hits = sum_over_positives(term, batch.pos, s, batch.pos | batch.neg)  # [A, K]
    number = batch.pos.sum(1).astype(s.dtype)[:, None]
    limit = jnp.asarray(ks, s.dtype)[None]
    recall = jnp.minimum(hits, limit) / jnp.maximum(jnp.minimum(limit, number), 1)
    valid = batch.pos.any(1) & batch.neg.any(1)
    return reductions.reduce_costs(1 - recall.mean(1), valid, reduce, labels)


def _check_ks(ks):
    good = isinstance(ks, tuple) and ks and all(isinstance(k, int) for k in ks)
    if not good or min(ks) < 1:
        raise UsageError(f"ks={ks} must be whole numbers from 1 on, such as (1,2,4)")


@guarded
def sup_ap(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    temperature: Positive = 0.01,
    slope: NotNegative = 100.0,
    delta: Positive = 0.05,
    reduce: Reduction = "all",
) -> jax.Array:
    """An upper bound of one minus the average precision, whose gradient never dies.

    Over anchors a with P positives, s the cosine, g the sigmoid over temperature:

      term = 1 - 1/P * sum over p of r+ / (r+ + sum over n of h(s_n - s_p))
      r+ = number of positives with s >= s_p
      h(t) = g(t) for t <= 0, 1/2 + g(t) up to delta, then 1/2 + g(delta)
             + slope * (t - delta)

    r+ has no gradient. h jumps at 0, as the step that it bounds does.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to rank; the batch by default.
      temperature: a similarity (tau of the paper).
      slope: one over a similarity (rho).
      delta: a similarity.
      reduce: see `reductions`, over anchors with a positive.
    Returns:
      The scalar loss; 0 without a positive or without a negative.
    Reference: Ramzi et al. (ROADMAP), NeurIPS 2021.
    """
    batch = tuples.all_pairs(embeddings, labels, where, references)
    s = distances.cosine(batch.x, batch.y)

    def step(t):
        near = jax.nn.sigmoid(jnp.minimum(t, delta) / temperature)
        return jnp.where(t > 0, near + 0.5, near) + slope * jnp.maximum(t - delta, 0)

    def term(picked, s, pos, neg):
        gap = s - value_at(picked, s)[:, None]
        above = jnp.sum(pos & (gap >= 0), 1).astype(s.dtype)
        rank = above + jnp.sum(jnp.where(neg, step(gap), 0), 1)
        return jnp.where(picked.any(1), 1 - above / jnp.maximum(rank, 1), 0)

    lost = sum_over_positives(term, batch.pos, s, batch.pos, batch.neg)
    number = jnp.maximum(batch.pos.sum(1), 1).astype(s.dtype)
    return reductions.reduce_costs(lost / number, batch.pos.any(1), reduce, labels)


@guarded
def roadmap(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    balance: Share = 0.5,
    pos_margin: float = 0.9,
    neg_margin: float = 0.6,
    temperature: Positive = 0.01,
    slope: NotNegative = 100.0,
    delta: Positive = 0.05,
    reduce: Reduction = "all",
) -> jax.Array:
    """`sup_ap`, and a calibration that gives all anchors one scale of similarity.

      loss = (1 - balance) * sup_ap + balance * calibration

    The calibration is `contrastive` with the cosine and power 1: positives above
    pos_margin, negatives below neg_margin. Its terms are the means over the positives
    and over the negatives of an anchor; the authors' code takes the mean over pairs
    that cost something, and the sum of both losses.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to rank; the batch by default.
      balance: the share of the calibration, in [0, 1] (lambda of the paper).
      pos_margin, neg_margin: similarities (alpha, beta).
      temperature, slope, delta: of `sup_ap`.
      reduce: see `reductions`, over anchors with a positive, or with a negative; each
        of the three means is taken by it.
    Returns:
      The scalar loss; 0 without a pair.
    Reference: Ramzi et al. (ROADMAP), NeurIPS 2021.
    """
    ranking = sup_ap(
        embeddings,
        labels,
        where=where,
        references=references,
        temperature=temperature,
        slope=slope,
        delta=delta,
        reduce=reduce,
    )
    costs = pair_costs(
        embeddings,
        labels,
        where=where,
        references=references,
        pairs=None,
        pos_margin=pos_margin,
        neg_margin=neg_margin,
        power=1,
        distance="cosine",
    )
    pulls = reductions.sum_terms(costs.pull, costs.pos)
    pushes = reductions.sum_terms(costs.push, costs.neg)
    calibration = reductions.reduce_sides(
        reductions.reduce_terms(pulls, "none"),
        pulls.valid > 0,
        reductions.reduce_terms(pushes, "none"),
        pushes.valid > 0,
        reduce,
        labels,
    )
    return (1 - balance) * ranking + balance * calibration


@guarded
def pnp(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    form: PenaltyForm = "Dq",
    temperature: Positive = 0.01,
    alpha: Positive = 1.0,
    b: Positive = 2.0,
    reduce: Reduction = "all",
) -> jax.Array:
    """Penalises only the negatives that stand before a positive in a ranking.

    Over anchors a with P positives, s the cosine, g the sigmoid over temperature, with
    R_p = sum over n of g(s_n - s_p):

      term = 1/P * sum over p of f(R_p), with f(R) by form:
      O: R. Ds: log(1 + R). Dq: 1 - (1 + R)^-alpha.
      Iu: (1 + R) log(1 + R). Ib: (b R - log(1 + b R)) / b²

    With Ds and Dq a positive far behind pulls less, with Iu and Ib more. The authors'
    code, and pytorch-metric-learning, count the anchor as its own first positive, which
    this does not; the latter's default form is O.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to rank; the batch by default.
      form: as above.
      temperature: a similarity.
      alpha: of Dq.
      b: of Ib.
      reduce: see `reductions`, over anchors with a positive.
    Returns:
      The scalar loss; 0 without a positive or without a negative.
    Reference: Li et al. (PNP), AAAI 2022.
    """
    check_choice("form", form, PenaltyForm)
    batch = tuples.all_pairs(embeddings, labels, where, references)
    s = distances.cosine(batch.x, batch.y)
    penalty = {
        "O": lambda r: r,
        "Ds": jnp.log1p,
        "Dq": lambda r: -jnp.expm1(-alpha * jnp.log1p(r)),
        "Iu": lambda r: (1 + r) * jnp.log1p(r),
        "Ib": lambda r: (b * r - jnp.log1p(b * r)) / b**2,
    }[form]

    def term(picked, s, neg):
        before = jax.nn.sigmoid((s - value_at(picked, s)[:, None]) / temperature)
        cost = penalty(jnp.sum(jnp.where(neg, before, 0), 1))
        return jnp.where(picked.any(1), cost, 0)

    lost = sum_over_positives(term, batch.pos, s, batch.neg)
    number = jnp.maximum(batch.pos.sum(1), 1).astype(s.dtype)
    return reductions.reduce_costs(lost / number, batch.pos.any(1), reduce, labels)


@guarded
def contextual(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    neighbours: Size = 4,
    epsilon: NotNegative = 0.05,
    reduce: Reduction = "all",
) -> jax.Array:
    """Two rows of one class shall have the same nearest neighbours.

    On unit rows N_i are the rows as near to i as its k-th neighbour (i is its first),
    or epsilon farther, M_i the same with k / 2, and R_i the rows j with j in M_i and i
    in M_j:

      v_ij = 1/2 * (share of N_i that is in N_j + share of the rest that is in neither)
             for j in N_i, else 0
      w_ij = mean over r in R_i of v_rj, and c = (w + w^T) / 2
      term_i = 1/B * sum over j != i of (1 - c_ij)² for one class, c_ij² for two

    Being in N or M is a step; its gradient is that of 10 times the squared distance.
    The paper adds it to a contrastive loss: `0.2*contextual+0.8*contrastive:distance=
    cosine,pos_margin=0.9,neg_margin=0.6,power=1`. O(B³) time, as a product of matrices.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      neighbours: k, the rows of each class in a batch.
      epsilon: a squared distance of unit rows.
      reduce: see `reductions`, over rows.
    Returns:
      The scalar loss; 0 for fewer than two rows.
    Reference: Liao, Tsiligkaridis, Kulis, ICML 2023.
    """
    batch = tuples.all_pairs(embeddings, labels, where)
    counted = tuples.counted_rows(labels, where)
    both = counted[:, None] & counted[None]
    x = distances.unit(batch.x)
    d = distances.squared(x, x)

    def nearest(k):
        k = min(k, len(x))
        far = jnp.where(both, lax.stop_gradient(d), 8.0)  # rows of norm 1: at most 4
        limit = -over_devices.largest(-far, k)[:, -1] + epsilon if k else far.sum(1)
        inside = (far <= limit.reshape(-1, 1)).astype(d.dtype)
        slope = -10 * (d - lax.stop_gradient(d))  # 0, with a gradient
        return jnp.where(both, inside + slope, 0)

    def shared(member):
        number = lax.stop_gradient(member).sum(1)
        both_have = over_devices.multiply_transposed(member, member)
        return reductions.safe_ratio(both_have, number[:, None])

    inside = nearest(neighbours)
    rest = jnp.where(both, 1 - inside, 0)
    v = (shared(inside) + shared(rest)) / 2 * inside
    close = nearest(max(neighbours // 2, 1))
    mutual = close * close.T
    w = reductions.safe_ratio(over_devices.multiply(mutual, v), mutual.sum(1)[:, None])
    c = (w + w.T) / 2
    cost = jnp.where(batch.pos, (1 - c) ** 2, jnp.where(batch.neg, c**2, 0))
    cost = reductions.safe_ratio(cost.sum(1), counted.sum().astype(d.dtype))
    return reductions.reduce_costs(cost, counted, reduce, labels)
