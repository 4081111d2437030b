"""Pair losses with a few weights of their own."""

import jax
import jax.numpy as jnp
from jax import lax

from siamjax.losses import distances, reductions, tuples
from siamjax.losses import mining as miners
from siamjax.losses.annotations import (
    Distance,
    MarginMining,
    NotNegative,
    Positive,
    Reduction,
    check_choice,
)
from siamjax.losses.guard import Stateful, stateful
from siamjax.losses.varying import zeros


@stateful
def margin_loss(
    *,
    margin: NotNegative = 0.2,
    boundary: float = 1.2,
    nu: float = 0.0,
    per_class: bool = False,
    mining: MarginMining = "all",
    distance: Distance = "euclidean",
    reduce: Reduction = "active",
) -> Stateful:
    """Positives nearer, negatives farther than a boundary that is learnt.

    Over triplets (a, p, n), with b the boundary (with per_class that of a's class):

      two terms: max(0, D(a, p) - b + margin) and max(0, b - D(a, n) + margin)
      loss = mean of the terms that are not 0, + nu * mean b

    Args:
      margin: a distance.
      boundary: b at the start.
      nu: weight of the mean b.
      per_class: a boundary for each class.
      mining: `all` takes every triplet; `distance_weighted` draws for each (a, p) one
        n, evenly over distance, as the paper does (for unit rows; it needs a key).
      distance: see `distances`.
      reduce: see `reductions`.
    Returns:
      `Stateful`, with params `boundary` `[1]` or `[C]`. The loss is nu * mean b without
      a triplet.
    Reference: Wu et al. (sampling matters), ICCV 2017.
    """
    measure = distances.by_name(distance)
    check_choice("mining", mining, MarginMining)
    distances.check_values(measure, boundary=boundary)

    def init(key, classes, dim):
        number = classes if per_class else 1
        return dict(params=dict(boundary=jnp.full(number, boundary, float)), memory={})

    def apply(state, embeddings, labels, *, where=None, references=None, key=None):
        batch = tuples.all_pairs(embeddings, labels, where, references)
        d = measure.cost(measure.matrix(batch.x, batch.y))
        b = state["params"]["boundary"].astype(d.dtype)
        pos, neg = batch.pos, batch.neg
        anchor_b = b[jnp.clip(labels, 0, len(b) - 1)] if per_class else b
        pull = jnp.maximum(d - anchor_b[:, None] + margin, 0)
        push = jnp.maximum(anchor_b[:, None] - d + margin, 0)
        pos_weight = jnp.where(pos, neg.sum(1)[:, None], 0)
        neg_weight = jnp.where(neg, pos.sum(1)[:, None], 0)
        if mining == "distance_weighted":
            column, pos_weight = miners.distance_weighted_negatives(batch, key)
            push = miners.take_columns(push, column)
            neg_weight = pos_weight = pos_weight & pos
        pulls = _weighted_terms(pull, pos_weight, reduce)
        pushes = _weighted_terms(push, neg_weight, reduce)
        terms = jax.tree.map(jnp.add, pulls, pushes)
        loss = reductions.reduce_terms(terms, reduce, labels)
        has_terms = terms.valid > 0
        return reductions.add_penalty(loss, nu * b.mean(), has_terms, reduce), state

    return Stateful(init, apply, per_class)


def _weighted_terms(cost, weight, reduce):
    """`Terms` of costs `[A, R]`, each of which stands for `weight` equal ones."""
    weight = weight.astype(cost.dtype)
    used = reductions.within(reduce, cost, weight > 0)
    weight = jnp.where(used, weight, 0)
    cost = jnp.where(used, cost, 0)
    active = jnp.where(cost > 0, weight, 0)
    return reductions.Terms((weight * cost).sum(1), active.sum(1), weight.sum(1))


@stateful
def sigmoid_pairs(
    *,
    scale: Positive = 10.0,
    bias: float = -10.0,
    reduce: Reduction = "all",
) -> Stateful:
    """Classifies each pair as of one class or of two, by its cosine; SigLIP's loss.

    Over rows i, with t and b learnt and s the cosine to another row j:

      term = sum over j of log(1 + exp(-z_ij * (t * s_ij + b)))

    z is 1 for a pair of one class, else -1. t = exp(log_scale).

    Args:
      scale: t at the start.
      bias: b at the start.
      reduce: see `reductions`, over rows that have a pair.
    Returns:
      `Stateful`, with params `log_scale`, `bias`, both `[]`. The loss is 0 without a
      pair.
    Reference: Zhai et al. (SigLIP), ICCV 2023.
    """

    def init(key, classes, dim):
        log_scale = jnp.log(jnp.asarray(scale, float))
        return dict(
            params=dict(log_scale=log_scale, bias=jnp.asarray(bias, float)), memory={}
        )

    def apply(state, embeddings, labels, *, where=None, references=None):
        batch = tuples.all_pairs(embeddings, labels, where, references)
        s = distances.cosine(batch.x, batch.y)
        log_scale, b = (
            state["params"][name].astype(s.dtype) for name in ("log_scale", "bias")
        )
        logits = jnp.exp(log_scale) * s + b
        cost = jax.nn.softplus(jnp.where(batch.pos, -logits, logits))
        pairs = batch.pos | batch.neg
        cost = jnp.sum(jnp.where(pairs, cost, 0), 1)
        return reductions.reduce_costs(cost, pairs.any(1), reduce, labels), state

    return Stateful(init, apply, False)


@stateful
def weighted_l1(*, reduce: Reduction = "all") -> Stateful:
    """Classifies each pair as of one class or of two, by weighted differences.

    The head of the first deep Siamese network. Over all pairs, with w and b learnt:

      loss = mean of the cross-entropy of sigmoid(sum over e of w_e * |x_e - y_e| + b)

    against 1 for a pair of one class, and 0 for a pair of two classes.

    Args:
      reduce: see `reductions`.
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
            (x, y), (x_labels, y_labels), valid = tuples.gather_tuples(
                embeddings, labels, where, pairs, "pairs"
            )
            logits, same = jnp.abs(x - y) @ w.astype(x.dtype), x_labels == y_labels
            labels = x_labels
        else:
            batch = tuples.all_pairs(embeddings, labels, where, references)
            logits = _sum_of_differences(batch.x, batch.y, w.astype(batch.x.dtype))
            same, valid = batch.pos, batch.pos | batch.neg
        logits = logits + b.astype(logits.dtype)
        cost = jax.nn.softplus(jnp.where(same, -logits, logits))
        return reductions.reduce_costs(cost, valid, reduce, labels), state

    return Stateful(init, apply, False)


def _sum_of_differences(x, y, w):
    """`[A, R]`: sum over e of w_e |x_e - y_e|, one coordinate at a time."""

    @jax.checkpoint
    def add(total, coordinate):
        a, b, weight = coordinate
        return total + weight * jnp.abs(a[:, None] - b[None]), None

    start = zeros((len(x), len(y)), x.dtype, x, y, w)
    return lax.scan(add, start, (x.T, y.T, w))[0]
