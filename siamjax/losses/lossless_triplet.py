"""The lossless triplet loss of the project's origin, as it was and as it should be."""

import jax.numpy as jnp

from siamjax.losses import distances, reductions
from siamjax.losses.guard import guarded
from siamjax.losses.tuples import pairs as all_pairs
from siamjax.losses.tuples import take
from siamjax.types import UsageError

FORMS = ("safe", "original")


@guarded
def lossless(
    embeddings,
    labels,
    *,
    where=None,
    triplets=None,
    beta=None,
    form="safe",
    epsilon=None,
    reduce="all",
):
    """Never lets a triplet rest: logarithms where the triplet loss has a hinge.

    For embeddings in the unit cube [0, 1]^E (a sigmoid), over triplets of a, p, n with
    d_p and d_n the squared distances of p and n from a, and beta = E:

      safe:      cost(1 - d_p / beta) + cost((d_n + beta - E) / beta)
                 cost(r) = -log(r), and below e its tangent at e: 1 - log(e) - r / e
      original:  -log(-d_p / beta + 1 + e) - log(-(E - d_n) / beta + 1 + e)

    With beta = E both are -log(1 - d_p / E) - log(d_n / E): the cross-entropy of the
    pair similarity 1 - d / E, which never compares d_p with d_n. The original, with
    its e of 1e-8, loses the digits of a small d_n in float32 (3 times the right
    gradient at d_n = 9e-8), has a gradient of 7e7 at d_p = E, and is NaN outside its
    domain d_p < beta, d_n > E - beta. The safe form cancels nothing and goes on
    straight below e, so that it pulls points back from anywhere.

    Args:
      embeddings: `[B, E]` float in [0, 1].
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      triplets: `[N, 3]` int, rows a, p, n, instead of all; -1 is padding.
      beta: the squared distance at which a positive costs infinitely much; E by
        default.
      form: `safe` or `original`.
      epsilon: e; by default 1e-8 for `original`, the eps of the embeddings' dtype for
        `safe`.
      reduce: see `reductions`; the original sums over a batch of explicit triplets.
    Returns:
      The scalar loss; 0 without a triplet. All points at one place have gradient 0 in
      either form, for the squared distance is flat there; next to it the push is 2 /
      |a - n|.
    Reference: M. Arsenault, "Lossless Triplet loss", coffeeanddata.ca, 2018.
    """
    if form not in FORMS:
        raise UsageError(f"form={form} is not known: one of {', '.join(FORMS)}")
    if beta is not None and not beta > 0:
        raise UsageError(f"beta={beta} must be greater than 0")
    near, far = _sides(form, embeddings, beta, epsilon)
    if triplets is not None:
        (a, p, n), (of_anchor, *_), valid = take(
            embeddings, labels, where, triplets, "triplets"
        )
        square = distances.distance("squared").rows
        cost = jnp.where(valid, near(square(a, p)) + far(square(a, n)), 0)
        terms = reductions.terms(cost, valid)
        return reductions.reduce(terms, reduce, of_anchor)
    batch = all_pairs(embeddings, labels, where)
    d = distances.squared(batch.x, batch.y)
    # A sum over all (p, n) of near_p + far_n: each p as often as there are n, and back.
    p_cost = jnp.where(batch.pos, near(jnp.where(batch.pos, d, 0)), 0)
    n_cost = jnp.where(batch.neg, far(jnp.where(batch.neg, d, 1)), 0)
    positives, negatives = batch.pos.sum(1), batch.neg.sum(1)
    sums = p_cost.sum(1) * negatives + n_cost.sum(1) * positives
    number = positives * negatives
    return reductions.reduce(reductions.Terms(sums, number, number), reduce, labels)


def _sides(form, embeddings, beta, epsilon):
    """The cost of d_p and that of d_n, as functions."""
    size = embeddings.shape[-1]
    beta = size if beta is None else beta
    if form == "original":
        e = 1e-8 if epsilon is None else epsilon
        return (
            lambda d: -jnp.log(-d / beta + 1 + e),
            lambda d: -jnp.log(-(size - d) / beta + 1 + e),
        )
    wide = jnp.promote_types(embeddings.dtype, jnp.float32)  # as it is computed
    e = float(jnp.finfo(wide).eps) if epsilon is None else epsilon

    def cost(r):
        log = jnp.log(jnp.maximum(r, e))
        return jnp.where(r > e, -log, 1 - log - r / e)

    return lambda d: cost((beta - d) / beta), lambda d: cost((d + (beta - size)) / beta)
