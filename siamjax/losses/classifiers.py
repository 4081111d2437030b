"""Losses that train an embedding by classifying with weights for each class."""

import functools

import jax
import jax.numpy as jnp

from siamjax.losses import distances, reductions
from siamjax.losses.annotations import Degrees, Positive, Reduction, Share, Size
from siamjax.losses.guard import Stateful, stateful
from siamjax.losses.logsumexp import masked_logsumexp
from siamjax.losses.tuples import checked_rows


@stateful
def normalized_softmax(
    *,
    temperature: Positive = 0.05,
    reduce: Reduction = "all",
) -> Stateful:
    """Cross-entropy over the cosines to one weight vector for each class.

      term = -log softmax(cos(x, w) / temperature)_y

    Args:
      temperature: a cosine.
      reduce: see `reductions`.
    Returns:
      `Stateful`, with params `weights` `[C, E]`. The loss is 0 without a row that
      counts, and with one class.
    Reference: Zhai, Wu, BMVC 2019 (NormSoftmax).
    """
    return _softmax(1 / temperature, lambda cos, sin: cos, reduce)


@stateful
def cosface(
    *,
    margin: float = 0.35,
    scale: Positive = 64.0,
    reduce: Reduction = "all",
) -> Stateful:
    """Cross-entropy over cosines, less a margin at the row's own class.

      term = -log softmax(scale * (cos(x, w) - margin at y))_y

    Args:
      margin: a cosine.
      scale: one over a cosine.
      reduce: see `reductions`.
    Returns:
      `Stateful`, with params `weights` `[C, E]`. The loss is 0 without a row that
      counts, and with one class.
    Reference: Wang et al., CVPR 2018, eq. 4.
    """
    return _softmax(scale, lambda cos, sin: cos - margin, reduce)


@stateful
def arcface(
    *,
    margin: Degrees = 28.6,
    scale: Positive = 64.0,
    centers: Size = 1,
    reduce: Reduction = "all",
) -> Stateful:
    """Cross-entropy over cosines, with a wider angle at the row's own class.

      term = -log softmax(scale * (cos(theta + margin) at y, cos(theta) elsewhere))_y

    Where theta + margin is more than 180 degrees, cos(theta) - margin * sin(margin)
    replaces cos(theta + margin). If a class has several centers, the nearest counts.

    Args:
      margin: degrees.
      scale: one over a cosine.
      centers: how many each class has (2 or more: sub-center ArcFace).
      reduce: see `reductions`.
    Returns:
      `Stateful`, with params `weights` `[C * centers, E]`, class by class. The loss is
      0 without a row that counts, and with one class.
    Reference: Deng et al., CVPR 2019, eq. 3; Deng et al., ECCV 2020 (sub-centers).
    """

    def widen(cos, sin):
        m = jnp.radians(margin)
        turned = cos * jnp.cos(m) - sin * jnp.sin(m)
        return jnp.where(cos >= -jnp.cos(m), turned, cos - m * jnp.sin(m))

    return _softmax(scale, widen, reduce, centers)


def _softmax(scale, own_logit, reduce, centers=1):
    """Cross-entropy of scale * cosines, with `own_logit(cos, sin)` at the label."""

    def apply(state, embeddings, labels, *, where=None):
        weights = state["params"]["weights"]
        classes = len(weights) // centers
        x, valid = checked_rows(embeddings, labels, where)
        x, w = distances.unit(x), distances.unit(weights.astype(x.dtype))
        # One matrix for each center, since a maximum over a short last axis is slow.
        cosines = (distances.dot(x, w[i::centers]) for i in range(centers))
        s = functools.reduce(jnp.maximum, cosines)
        own_class = labels[:, None] == jnp.arange(classes)[None]
        chord = _chord(x, w, labels, classes, centers)
        own_s = own_logit(*distances.cos_and_sin(chord))
        others = masked_logsumexp(scale * s, ~own_class)
        cost = jax.nn.softplus(others - scale * own_s)
        return reductions.reduce_costs(cost, valid, reduce, labels), state

    return Stateful(functools.partial(_init, centers), apply)


def _chord(x, w, labels, classes, centers):
    """`[B]`: the distance of each unit row from the nearest center of its class."""
    w = w.reshape(classes, centers, -1)[jnp.clip(labels, 0, classes - 1)]
    return jax.vmap(distances.euclidean)(x[:, None], w)[:, 0].min(1)


def _init(centers, key, classes, dim):
    weights = jax.random.normal(key, (classes * centers, dim)) / jnp.sqrt(dim)
    return dict(params=dict(weights=weights), memory={})


@stateful
def center(
    *,
    rate: Share = 0.5,
) -> Stateful:
    """Draws rows to the center of their class; the center follows them.

      loss = 1/2 * mean of |x - center_y|²

    After each step a center moves by rate * sum(x - center) / (1 + number) over its
    rows: it is memory, not a weight. Add it to a loss that separates classes:
    `cosface+0.01*center`.

    Args:
      rate: learning rate of the centers, in [0, 1].
    Returns:
      `Stateful`, with memory `centers` `[C, E]`, 0 at the start. The loss is 0 without
      a row that counts.
    Reference: Wen et al., ECCV 2016, eq. 2 to 4.
    """

    def init(key, classes, dim):
        return dict(params={}, memory=dict(centers=jnp.zeros((classes, dim))))

    def apply(state, embeddings, labels, *, where=None):
        centers = state["memory"]["centers"]
        x, valid = checked_rows(embeddings, labels, where)
        row = jnp.clip(labels, 0, len(centers) - 1)
        gap = x - centers.astype(x.dtype)[row]
        loss = reductions.masked_mean(jnp.sum(gap * gap, 1) / 2, valid)
        own_class = labels[:, None] == jnp.arange(len(centers))[None]
        member = (own_class & valid[:, None]).astype(x.dtype)
        pull = jnp.matmul(member.T, jax.lax.stop_gradient(gap), precision="highest")
        step = rate * pull / (1 + member.sum(0))[:, None]
        moved = centers + step.astype(centers.dtype)
        return loss, {**state, "memory": dict(centers=moved)}

    return Stateful(init, apply)
