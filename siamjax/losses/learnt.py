"""Pair losses with a few weights of their own, none or one for a class."""

import jax
import jax.numpy as jnp
from jax import lax

from siamjax import checks
from siamjax.losses import distances, reductions, tuples
from siamjax.losses import mining as miners
from siamjax.losses.guard import guarded
from siamjax.losses.registry import Stateful
from siamjax.types import UsageError


@guarded
def margin_loss(
    *,
    margin=0.2,
    boundary=1.2,
    nu=0.0,
    per_class=False,
    mining="all",
    distance="euclidean",
):
    """Positives nearer, negatives farther than a boundary that is learnt.

    Over triplets (a, p, n), with b the boundary (that of a's class with per_class):

      loss = sum of (max(0, D(a, p) - b + margin) + max(0, b - D(a, n) + margin))
             / number of these that are not 0, + nu * mean b

    Args:
      margin: a distance.
      boundary: b at the start.
      nu: weight of b.
      per_class: a boundary for each class.
      mining: `all` takes every triplet; `distance_weighted` draws for each (a, p) one
        n, evenly over distance (unit rows; needs a key), as the paper.
      distance: see `distances`.
    Returns:
      `Stateful`, with params `boundary` `[1]` or `[C]`. The loss is nu * mean b without
      a triplet.
    Reference: Wu et al. (sampling matters), ICCV 2017.
    """
    kind = distances.distance(distance)
    if mining not in ("all", "distance_weighted"):
        raise UsageError(f"mining={mining} is not known: all or distance_weighted")
    if isinstance(margin, int | float) and margin < 0:
        raise UsageError(f"margin={margin} must not be negative")
    distances.check_values(kind, boundary=boundary)

    def init(key, classes, dim):
        number = classes if per_class else 1
        return dict(params=dict(boundary=jnp.full(number, float(boundary))), memory={})

    def apply(state, embeddings, labels, *, where=None, references=None, key=None):
        batch = tuples.pairs(embeddings, labels, where, references)
        d = kind.cost(kind.matrix(batch.x, batch.y))
        b = state["params"]["boundary"].astype(d.dtype)
        pos, neg = batch.pos, batch.neg
        own = b
        if per_class:
            pos = pos & ((labels >= 0) & (labels < len(b)))[:, None]
            own = b[jnp.clip(labels, 0, len(b) - 1)]
        pull = jnp.maximum(d - own[:, None] + margin, 0)
        push = jnp.maximum(own[:, None] - d + margin, 0)
        pos_weight, neg_weight = pos * neg.sum(1)[:, None], neg * pos.sum(1)[:, None]
        if mining == "distance_weighted":
            at, pos_weight = miners.distance_weighted(batch, key)
            push = miners.at_columns(push, at)
            neg_weight = pos_weight = pos_weight & pos
        part = _weighted(pull, pos_weight), _weighted(push, neg_weight)
        sums, active = (a + b for a, b in zip(*part))
        return reductions.ratio(sums, active) + nu * b.mean(), state

    return Stateful(init, apply, per_class)


def _weighted(cost, weight):
    """Sum of cost times weight, and the sum of weight where cost is not 0."""
    weight = weight.astype(cost.dtype)
    used = weight > 0
    cost = jnp.where(used, cost, 0)
    return jnp.sum(weight * cost), jnp.sum(jnp.where(cost > 0, weight, 0))


@guarded
def sigmoid_pairs(*, scale=10.0, bias=-10.0):
    """Each pair alone: are these two of one class? The SigLIP form, for any positives.

    Over all pairs of a row i and another j, with t and b learnt and s the cosine:

      loss = mean over i of sum over j of log(1 + exp(-z_ij * (t * s_ij + b)))

    z is 1 for a pair of one class, else -1. t = exp(log_scale).

    Args:
      scale: t at the start.
      bias: b at the start.
    Returns:
      `Stateful`, with params `log_scale`, `bias`, both `[]`. The loss is 0 without a
      pair.
    Reference: Zhai et al. (SigLIP), ICCV 2023.
    """

    checks.positive(scale=scale)

    def init(key, classes, dim):
        log_scale = jnp.log(jnp.float32(scale))
        return dict(params=dict(log_scale=log_scale, bias=jnp.float32(bias)), memory={})

    def apply(state, embeddings, labels, *, where=None, references=None):
        batch = tuples.pairs(embeddings, labels, where, references)
        s = distances.cosine(batch.x, batch.y)
        log_scale, b = (
            state["params"][name].astype(s.dtype) for name in ("log_scale", "bias")
        )
        logits = jnp.exp(log_scale) * s + b
        cost = jax.nn.softplus(jnp.where(batch.pos, -logits, logits))
        both = batch.pos | batch.neg
        cost = jnp.sum(jnp.where(both, cost, 0), 1)
        return reductions.mean(cost, both.any(1)), state

    return Stateful(init, apply, False)


@guarded
def weighted_l1():
    """Each pair alone, by a weighted sum of its coordinates' differences.

    The first deep Siamese network's head. Over all pairs, with w and b learnt:

      loss = mean of the cross-entropy of sigmoid(sum over e of w_e * |x_e - y_e| + b)

    against 1 for a pair of one class, 0 for another.

    Returns:
      `Stateful`, with params `weights` `[E]` and `bias` `[]`. The loss is 0 without a
      pair.
    Reference: Koch, Zemel, Salakhutdinov, ICML deep learning workshop 2015.
    """

    def init(key, classes, dim):
        weights = jnp.full(dim, -1 / dim)
        return dict(params=dict(weights=weights, bias=jnp.float32(0.0)), memory={})

    def apply(state, embeddings, labels, *, where=None, pairs=None, references=None):
        w, b = (state["params"][name] for name in ("weights", "bias"))
        if pairs is not None:
            (x, y), (of_x, of_y), valid = tuples.take(
                embeddings, labels, where, pairs, "pairs"
            )
            logits, same = jnp.abs(x - y) @ w.astype(x.dtype), of_x == of_y
        else:
            batch = tuples.pairs(embeddings, labels, where, references)
            logits = _sum_of_differences(batch.x, batch.y, w.astype(batch.x.dtype))
            same, valid = batch.pos, batch.pos | batch.neg
        logits = logits + b.astype(logits.dtype)
        cost = jax.nn.softplus(jnp.where(same, -logits, logits))
        return reductions.mean(cost, valid), state

    return Stateful(init, apply, False)


def _sum_of_differences(x, y, w):
    """`[A, R]`: sum over e of w_e |x_e - y_e|, one coordinate at a time."""

    @jax.checkpoint
    def add(total, coordinate):
        a, b, weight = coordinate
        return total + weight * jnp.abs(a[:, None] - b[None]), None

    start = jnp.zeros((len(x), len(y)), x.dtype)
    return lax.scan(add, start, (x.T, y.T, w))[0]
