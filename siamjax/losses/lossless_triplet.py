"""The lossless triplet loss, as it was published and in a safe form."""

import jax
import jax.numpy as jnp

from siamjax.losses import distances, reductions
from siamjax.losses.annotations import (
    Array,
    LosslessForm,
    Positive,
    Reduction,
    check_choice,
)
from siamjax.losses.guard import guarded
from siamjax.losses.tuples import all_pairs, computed_in, gather_tuples


@guarded
def lossless(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    triplets: Array | None = None,
    beta: Positive | None = None,
    form: LosslessForm = "safe",
    epsilon: Positive | None = None,
    reduce: Reduction = "all",
) -> jax.Array:
    """Pulls at every triplet: logarithms in place of the triplet loss's hinge.

    For embeddings in the unit cube [0, 1]^E (a sigmoid), over triplets of a, p, n with
    d_p and d_n the squared distances of p and n from a, and beta = E:

      safe:      cost(1 - d_p / beta) + cost((d_n + beta - E) / beta)
                 cost(r) = -log(r), and below e its tangent at e: 1 - log(e) - r / e
      original:  -log(-d_p / beta + 1 + e) - log(-(E - d_n) / beta + 1 + e)

    With beta = E both are -log(1 - d_p / E) - log(d_n / E): the cross-entropy of the
    pair similarity 1 - d / E, which never compares d_p with d_n. With its e of 1e-8 the
    original loses the digits of a small d_n in float32 (3 times the right gradient at
    d_n = 9e-8), has a gradient of 7e7 at d_p = E, and is NaN outside its domain d_p <
    beta, d_n > E - beta. The safe form has no cancellation, and below e it is a
    straight line, so that it pulls points back from anywhere.

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
      reduce: see `reductions`; the published code sums over explicit triplets.
    Returns:
      The scalar loss; 0 without a triplet. If all points are equal, the gradient of
      either form is 0, because the squared distance is flat there; close to it the push
      is 2 / |a - n|.
    Reference: M. Arsenault, "Lossless Triplet loss", coffeeanddata.ca, 2018.
    """
    check_choice("form", form, LosslessForm)
    pos_cost, neg_cost = _costs(form, embeddings, beta, epsilon)
    if triplets is not None:
        (a, p, n), row_labels, valid = gather_tuples(
            embeddings, labels, where, triplets, "triplets"
        )
        squared = distances.by_name("squared").rows
        cost = jnp.where(valid, pos_cost(squared(a, p)) + neg_cost(squared(a, n)), 0)
        return reductions.reduce_costs(cost, valid, reduce, row_labels[0])
    reductions.refuse_threshold(reduce, "lossless adds those of all triplets as sums")
    batch = all_pairs(embeddings, labels, where)
    d = distances.squared(batch.x, batch.y)
    # In the sum over all (p, n) each p counts as often as there are n, and each n as
    # often as there are p.
    pulls = jnp.where(batch.pos, pos_cost(jnp.where(batch.pos, d, 0)), 0)
    pushes = jnp.where(batch.neg, neg_cost(jnp.where(batch.neg, d, 1)), 0)
    positives, negatives = batch.pos.sum(1), batch.neg.sum(1)
    sums = pulls.sum(1) * negatives.astype(d.dtype)
    sums = sums + pushes.sum(1) * positives.astype(d.dtype)
    number = positives * negatives
    return reductions.reduce_terms(
        reductions.Terms(sums, number, number), reduce, labels
    )


def _costs(form, embeddings, beta, epsilon):
    """The cost of d_p and that of d_n, as functions."""
    size = embeddings.shape[-1]
    beta = size if beta is None else beta
    if form == "original":
        e = 1e-8 if epsilon is None else epsilon
        return (
            lambda d: -jnp.log(-d / beta + 1 + e),
            lambda d: -jnp.log(-(size - d) / beta + 1 + e),
        )
    dtype = computed_in(embeddings.dtype)
    e = float(jnp.finfo(dtype).eps) if epsilon is None else epsilon

    def cost(r):
        log = jnp.log(jnp.maximum(r, e))
        return jnp.where(r > e, -log, 1 - log - r / e)

    return lambda d: cost((beta - d) / beta), lambda d: cost((d + (beta - size)) / beta)
