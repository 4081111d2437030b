"""Losses that train an embedding by classifying with weights for each class."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from siamjax.losses import distances, reductions
from siamjax.losses.annotations import Array, Degrees, Positive, Reduction, Share, Size
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
    return _softmax(
        scale, lambda cos, sin: widen(cos, sin, jnp.radians(margin)), reduce, centers
    )


class ClassAngles(NamedTuple):
    """What rows and class weights have to do with each other."""

    x: jax.Array  # [B, E] rows, 0 where not counted
    norm: jax.Array  # [B], of the rows
    s: jax.Array  # [B, C] cosines to the nearest center of each class
    cos: jax.Array  # [B], of the angle to the row's own class
    sin: jax.Array  # [B]
    is_own: jax.Array  # [B, C] bool
    valid: jax.Array  # [B] bool, the rows that count


def class_angles(
    weights: jax.Array,
    embeddings: Array,
    labels: Array,
    where: Array | None,
    centers: int = 1,
) -> ClassAngles:
    """The `ClassAngles` of rows `[B, E]` and weights `[C * centers, E]`."""
    classes = len(weights) // centers
    rows, valid = checked_rows(embeddings, labels, where)
    x, w = distances.unit(rows), distances.unit(weights.astype(rows.dtype))
    # One matrix for each center, since a maximum over a short last axis is slow.
    cosines = (distances.dot(x, w[i::centers]) for i in range(centers))
    s = functools.reduce(jnp.maximum, cosines)
    is_own = labels[:, None] == jnp.arange(classes)[None]
    chord = _chord(x, w, labels, classes, centers)
    norm = distances.by_name("euclidean").rows(rows, jnp.zeros_like(rows))
    cos, sin = distances.cos_and_sin(chord)
    return ClassAngles(rows, norm, s, cos, sin, is_own, valid)


def cross_entropy(
    target: jax.Array,
    logits: jax.Array,
    angles: ClassAngles,
    reduce: Reduction,
    labels: Array,
) -> jax.Array:
    """Cross-entropy of the logits `[B]` of the own class and `[B, C]` of the others."""
    others = masked_logsumexp(logits, ~angles.is_own)
    cost = jax.nn.softplus(others - target)
    return reductions.reduce_costs(cost, angles.valid, reduce, labels)


def widen(cos: jax.Array, sin: jax.Array, margin: Any) -> jax.Array:
    """cos(theta + margin), for a margin in radians; where theta + margin is more than
    180 degrees, cos(theta) - margin * sin(margin)."""
    turned = cos * jnp.cos(margin) - sin * jnp.sin(margin)
    return jnp.where(cos >= -jnp.cos(margin), turned, cos - margin * jnp.sin(margin))


def _softmax(scale, own_logit, reduce, centers=1):
    """Cross-entropy of scale * cosines, with `own_logit(cos, sin)` at the label."""

    def apply(state, embeddings, labels, *, where=None):
        weights = state["params"]["weights"]
        angles = class_angles(weights, embeddings, labels, where, centers)
        target = scale * own_logit(angles.cos, angles.sin)
        return cross_entropy(target, scale * angles.s, angles, reduce, labels), state

    return Stateful(functools.partial(init_weights, centers), apply)


def _chord(x, w, labels, classes, centers):
    """`[B]`: the distance of each unit row from the nearest center of its class."""
    w = w.reshape(classes, centers, -1)[jnp.clip(labels, 0, classes - 1)]
    return jax.vmap(distances.euclidean)(x[:, None], w)[:, 0].min(1)


def init_weights(
    centers: int, key: jax.Array, classes: int, dim: int
) -> dict[str, Any]:
    """The state of a classifier: weights `[C * centers, E]`, and no memory."""
    weights = jax.random.normal(key, (classes * centers, dim)) / jnp.sqrt(dim)
    return dict(params=dict(weights=weights), memory={})


def sub_center_outliers(
    weights: Array,
    embeddings: Array,
    labels: Array,
    centers: int,
    *,
    where: Array | None = None,
    angle: Degrees = 75.0,
) -> jax.Array:
    """Rows that are probably labelled wrongly: far from the main center of their class.

    The main center of a class is the one that is nearest to most of its rows. After
    some training with `arcface:centers=3`, leave these rows out and train again.

    Args:
      weights: `[C * centers, E]`, the params of `arcface` with several centers.
      embeddings: `[B, E]` float, best of the whole training set.
      labels: `[B]` int.
      centers: of each class.
      where: `[B]` bool, the rows that count; all by default.
      angle: degrees from the main center; beyond it a row is an outlier.
    Returns:
      `[B]` bool, the outliers; False where not counted.
    Reference: Deng et al. (sub-center ArcFace), ECCV 2020, section 3.3.
    """
    rows, counted = checked_rows(embeddings, labels, where)
    classes = len(weights) // centers
    x, w = distances.unit(rows), distances.unit(jnp.asarray(weights, rows.dtype))
    class_centers = w.reshape(classes, centers, -1)[jnp.clip(labels, 0, classes - 1)]
    cos = jnp.sum(x[:, None] * class_centers, 2)  # [B, centers]
    number = jnp.zeros((classes, centers)).at[labels, cos.argmax(1)].add(counted)
    main = number.argmax(1)[jnp.clip(labels, 0, classes - 1)]
    main_cos = jnp.take_along_axis(cos, main[:, None], 1)[:, 0]
    return counted & (main_cos < jnp.cos(jnp.radians(angle)))


@stateful
def center(
    *,
    rate: Share = 0.5,
    reduce: Reduction = "all",
) -> Stateful:
    """Draws rows to the center of their class; the center follows them.

      loss = 1/2 * mean of |x - center_y|²

    After each step a center moves by rate * sum(x - center) / (1 + number) over its
    rows: it is memory, not a weight. Add it to a loss that separates classes:
    `cosface+0.01*center`.

    Args:
      rate: learning rate of the centers, in [0, 1].
      reduce: see `reductions`.
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
        cost = jnp.sum(gap * gap, 1) / 2
        loss = reductions.reduce_costs(cost, valid, reduce, labels)
        own_class = labels[:, None] == jnp.arange(len(centers))[None]
        member = (own_class & valid[:, None]).astype(x.dtype)
        pull = jnp.matmul(member.T, jax.lax.stop_gradient(gap), precision="highest")
        step = rate * pull / (1 + member.sum(0))[:, None]
        moved = centers + step.astype(centers.dtype)
        return loss, {**state, "memory": dict(centers=moved)}

    return Stateful(init, apply)
