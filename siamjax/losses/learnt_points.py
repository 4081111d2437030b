"""Losses with trained points or numbers: plain softmax, rings, fields and manifolds."""

import functools
import math

import jax
import jax.numpy as jnp

from siamjax.losses import distances, over_devices, reductions
from siamjax.losses.annotations import (
    NotNegative,
    Positive,
    Reduction,
    ShareBelowAll,
    Size,
)
from siamjax.losses.guard import Stateful, stateful
from siamjax.losses.logsumexp import log1p_sum_exp, masked_logsumexp
from siamjax.losses.proxies import init_proxies
from siamjax.losses.tuples import checked_rows
from siamjax.types import UsageError


@stateful
def softmax_classifier(*, reduce: Reduction = "all") -> Stateful:
    """Cross-entropy of a linear layer: the baseline of every metric loss.

      term = -log softmax(W x + b)_y

    With the number of the instance as label it is the paper's instance loss.

    Args:
      reduce: see `reductions`.
    Returns:
      `Stateful`, with params `weights` `[C, E]` and `bias` `[C]`. The loss is 0 without
      a row that counts, and with one class.
    Reference: Zhai, Wu, BMVC 2019, section 3; Zheng et al., ACM TOMM 2020.
    """

    def init(key, classes, dim):
        weights = jax.random.normal(key, (classes, dim)) / jnp.sqrt(dim)
        return dict(params=dict(weights=weights, bias=jnp.zeros(classes)), memory={})

    def apply(state, embeddings, labels, *, where=None):
        x, valid = checked_rows(embeddings, labels, where)
        w, b = (state["params"][name].astype(x.dtype) for name in ("weights", "bias"))
        logits = distances.dot(x, w) + b[None]
        is_own = labels[:, None] == jnp.arange(len(w))[None]
        target = jnp.sum(jnp.where(is_own, logits, 0), 1)
        cost = jax.nn.softplus(masked_logsumexp(logits, ~is_own) - target)
        return reductions.reduce_costs(cost, valid, reduce, labels), state

    return Stateful(init, apply)


@stateful
def ring(*, radius: Positive = 1.0, reduce: Reduction = "all") -> Stateful:
    """Draws the norms of all rows to one that is learnt; add it to a softmax.

      loss = 1/2 * mean of (|x| - R)²

    Args:
      radius: R at the start, in the unit of the embeddings.
      reduce: see `reductions`.
    Returns:
      `Stateful`, with params `radius` `[]`. The loss is 0 without a row that counts.
    Reference: Zheng, Pal, Savvides (ring loss), CVPR 2018.
    """

    def init(key, classes, dim):
        return dict(params=dict(radius=jnp.asarray(radius, float)), memory={})

    def apply(state, embeddings, labels, *, where=None):
        x, valid = checked_rows(embeddings, labels, where)
        norm = distances.by_name("euclidean").rows(x, jnp.zeros_like(x))
        gap = norm - state["params"]["radius"].astype(x.dtype)
        return reductions.reduce_costs(gap**2 / 2, valid, reduce, labels), state

    return Stateful(init, apply, False)


@stateful
def potential_field(
    *,
    centers: Size = 2,
    power: Positive = 3.0,
    delta: Positive = 0.1,
    scale: Positive = 1.0,
    reduce: Reduction = "all",
) -> Stateful:
    """Rows attract their class and repel others, the less the farther they are apart.

    Between two unit points at distance d, among the rows and the proxies:

      potential = -scale / max(d, delta)^power for one class,
                  scale / max(d, delta)^power for two
      loss = mean over points i of the sum over points j != i of the potential

    The force falls as the distance grows, unlike that of most losses. Below delta there
    is none, for both kinds, so that equal points of two classes have a finite
    potential. This rule is this project's: the text of the paper's own was not at hand.
    The paper sums over points.

    Args:
      centers: proxies of each class (M of the paper).
      power: how fast the field decays (alpha).
      delta: a distance of unit points.
      scale: of the potential; the paper has none.
      reduce: see `reductions`; the anchors are all points, so `none` gives
        `[B + C * centers]`, the rows first.
    Returns:
      `Stateful`, with params `proxies` `[C * centers, E]`, class by class. Without a
      row that counts only the potential of the proxies is left.
    Raises:
      UsageError: scale / delta^power is above 1e30, near the end of float32.
    Reference: Bhatnagar, Ahuja (PFML), CVPR 2025.
    """
    given = (scale, power, delta)
    known = all(isinstance(value, int | float) for value in given)  # none is traced
    if known and math.log10(scale) - power * math.log10(delta) > 30:
        raise UsageError(
            f"scale={scale}, power={power}, delta={delta}: the highest potential, "
            "scale / delta^power, is above 1e30; give a larger delta or a lower power"
        )

    def apply(state, embeddings, labels, *, where=None):
        x, valid = checked_rows(embeddings, labels, where)
        proxies = state["params"]["proxies"].astype(x.dtype)
        points = distances.unit(jnp.concatenate([x, proxies]))
        classes = jnp.repeat(jnp.arange(len(proxies) // centers), centers)
        classes = jnp.concatenate([labels, classes.astype(labels.dtype)])
        counted = jnp.concatenate([valid, jnp.ones(len(proxies), bool)])
        d = jnp.maximum(distances.euclidean(points, points), delta)
        strength = scale / d**power
        sign = jnp.where(classes[:, None] == classes[None], -1, 1)
        apart = ~jnp.eye(len(points), dtype=bool) & counted[:, None] & counted[None]
        cost = jnp.where(apart, sign * strength, 0).sum(1)
        return reductions.reduce_costs(cost, counted, reduce, classes), state

    return Stateful(functools.partial(init_proxies, centers), apply)


@stateful
def manifold(
    *,
    proxies: Size = 50,
    passing: ShareBelowAll = 0.8,
    margin: NotNegative = 5e-4,
    context: NotNegative = 1.0,
    reduce: Reduction = "all",
) -> Stateful:
    """Compares rows by how a random walk over the whole batch reaches the proxies.

    Class k belongs to proxy k mod K. On rows and proxies together, with s the cosine:

      S = exp(2 * max(0, s)), 0 on the diagonal; S' = D^-1/2 S D^-1/2, D its row sums
      F = (1 - passing) * (I - passing * S')^-1
      cost(v) = log(1 + sum over other proxies p with gap > 0 of exp(gap)),
                gap = v_p - v_own + margin
      term_i = cost(F_ip) + context * cost(cos(F_i, F_p))

    The paper deals classes out to proxies at random, anew for each member of an
    ensemble. O((B + K)³) time.

    Args:
      proxies: K.
      passing: how much of its similarity a node passes on, in [0, 1) (alpha of the
        paper).
      margin: of both costs.
      context: weight of the second cost (lambda_C).
      reduce: see `reductions`.
    Returns:
      `Stateful`, with params `proxies` `[K, E]`. The loss is 0 without a row that
      counts.
    Reference: Aziere, Todorovic, CVPR 2019.
    """

    def init(key, classes, dim):
        return init_proxies(1, key, proxies, dim)

    def apply(state, embeddings, labels, *, where=None):
        rows, valid = checked_rows(embeddings, labels, where)
        points = [rows, state["params"]["proxies"].astype(rows.dtype)]
        points = over_devices.pad_rows(distances.unit(jnp.concatenate(points)))
        points = over_devices.divide_rows(points)
        counted = jnp.concatenate([valid, jnp.ones(proxies, bool)])
        counted = over_devices.pad_rows(counted)
        apart = ~jnp.eye(len(points), dtype=bool) & counted[:, None] & counted[None]
        s = jnp.maximum(distances.dot(points, points), 0)
        s = jnp.where(apart, jnp.exp(2 * s), 0)
        root = jnp.sqrt(jnp.maximum(s.sum(1), jnp.finfo(s.dtype).tiny))
        inverse = jnp.where(s.sum(1) > 0, 1 / root, 0)
        s = inverse[:, None] * s * inverse[None]
        itself = jnp.eye(len(points), dtype=s.dtype)
        f = (1 - passing) * over_devices.invert(itself - passing * s)
        of_proxies = slice(len(rows), len(rows) + proxies)
        reached, profiles = f[: len(rows), of_proxies], distances.unit(f)
        alike = distances.dot(profiles[: len(rows)], profiles[of_proxies])
        is_own = (labels % proxies)[:, None] == jnp.arange(proxies)[None]

        def cost(v):
            target = jnp.sum(jnp.where(is_own, v, 0), 1)
            gap = v - target[:, None] + margin
            return log1p_sum_exp(gap, ~is_own & (gap > 0))

        terms = cost(reached) + context * cost(alike)
        return reductions.reduce_costs(terms, valid, reduce, labels), state

    return Stateful(init, apply, False)
