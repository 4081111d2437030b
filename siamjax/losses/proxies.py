"""Losses with proxies: trained points that stand for the classes."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from siamjax.losses import distances, reductions
from siamjax.losses.annotations import NotNegative, Positive, Reduction, Size
from siamjax.losses.guard import Stateful, stateful
from siamjax.losses.logsumexp import log1p_sum_exp, masked_logsumexp
from siamjax.losses.tuples import checked_rows


@stateful
def proxy_nca(
    *,
    scale: Positive = 1.0,
    own: bool = False,
    reduce: Reduction = "all",
) -> Stateful:
    """NCA with one proxy for each class in place of the other rows.

    On unit rows x and unit proxies, D the squared distance, y the row's class:

      term = scale * D(x, proxy_y) + log(sum over other classes k of
                                         exp(-scale * D(x, proxy_k)))

    Args:
      scale: one over a squared distance.
      own: the proxy of the row's class is in the sum too, as in most implementations;
        the term is then never negative.
      reduce: see `reductions`.
    Returns:
      `Stateful`, with params `proxies` `[C, E]`. The loss is 0 without a row that
      counts, and with one class.
    Reference: Movshovitz-Attias et al., ICCV 2017, eq. 4.
    """

    def apply(state, embeddings, labels, *, where=None):
        x, own_class, valid = _rows_and_classes(state, embeddings, labels, where)
        # A row's own norm is in all its terms and cancels, so dot products will do:
        # they cost a third of the time of distances.
        w = _proxies(state, x)
        dots = distances.dot(distances.unit(x), w)
        s = scale * (2 * dots - jnp.sum(w * w, 1)[None])
        near, far = _of_own_class(s, own_class), masked_logsumexp(s, ~own_class)
        cost = jax.nn.softplus(far - near) if own else far - near
        cost = jnp.where(valid & (~own_class).any(1), cost, 0)
        return reductions.reduce_costs(cost, valid, reduce, labels), state

    return Stateful(functools.partial(init_proxies, 1), apply)


@stateful
def proxy_nca_pp(
    *,
    temperature: Positive = 1 / 9,
    reduce: Reduction = "all",
) -> Stateful:
    """ProxyNCA++: the softmax over all proxies, at a low temperature.

      term = -log(exp(-D(x, proxy_y) / temperature) / sum over all classes k of
                  exp(-D(x, proxy_k) / temperature))

    It leaves out the paper's pooling and its higher learning rate for proxies.

    Args:
      temperature: a squared distance of unit rows.
      reduce: see `reductions`.
    Returns:
      `Stateful`, with params `proxies` `[C, E]`. The loss is 0 without a row that
      counts, and with one class.
    Reference: Teh, DeVries, Taylor, ECCV 2020.
    """
    return proxy_nca(scale=1 / temperature, own=True, reduce=reduce)


@stateful
def proxy_anchor(
    *,
    scale: Positive = 32.0,
    margin: float = 0.1,
    reduce: Reduction = "all",
) -> Stateful:
    """Proxies as anchors: each attracts its rows and repels the others, hardest first.

    With s the cosine, C classes, C+ of them in the batch:

      loss = 1/C+ * sum over them of log(1 + sum over own rows of
                                         exp(-scale * (s - margin)))
           + 1/C * sum over all of log(1 + sum over other rows of
                                       exp(scale * (s + margin)))

    Args:
      scale: one over a cosine (alpha of the paper).
      margin: a cosine (delta).
      reduce: see `reductions`; the anchors are the proxies, so `none` gives `[C]`. Each
        of the two means is taken by it.
    Returns:
      `Stateful`, with params `proxies` `[C, E]`. The loss is 0 without a row that
      counts.
    Reference: Kim et al., CVPR 2020, eq. 4.
    """

    def apply(state, embeddings, labels, *, where=None):
        x, own_class, valid = _rows_and_classes(state, embeddings, labels, where)
        s = distances.dot(distances.unit(x), _proxies(state, x))
        pos, neg = own_class & valid[:, None], ~own_class & valid[:, None]
        pull = log1p_sum_exp(-scale * (s - margin), pos, axis=0)
        push = log1p_sum_exp(scale * (s + margin), neg, axis=0)
        classes = jnp.arange(s.shape[1])
        has_rows, every = pos.any(0), jnp.ones(len(classes), bool)
        loss = reductions.reduce_sides(pull, has_rows, push, every, reduce, classes)
        return loss, state

    return Stateful(functools.partial(init_proxies, 1), apply)


@stateful
def soft_triple(
    *,
    centers: Size = 10,
    scale: Positive = 20.0,
    gamma: Positive = 10.0,
    margin: float = 0.01,
    tau: NotNegative = 0.2,
    reduce: Reduction = "all",
) -> Stateful:
    """A softmax over classes that have several centers each; similar centers merge.

    With s_k the cosines to the K centers of class c:

      S_c = sum over k of softmax(gamma * s)_k * s_k
      term = -log softmax(scale * (S_c - margin at the own class))_own
      loss = mean term + tau / (C K (K - 1)) * sum of the distances between two centers
                                               of one class, each pair once

    Args:
      centers: K, of each class.
      scale: one over a cosine (lambda of the paper).
      gamma: one over a cosine; some implementations call its inverse gamma.
      margin: a cosine.
      tau: weight of the distances between the centers of a class.
      reduce: see `reductions`.
    Returns:
      `Stateful`, with params `proxies` `[C * K, E]`, class by class. Without a row
      that counts only the term of the centers is left.
    Reference: Qian et al., ICCV 2019.
    """

    def apply(state, embeddings, labels, *, where=None):
        classes = len(state["params"]["proxies"]) // centers
        x, own_class, valid = _rows_and_classes(
            state, embeddings, labels, where, centers
        )
        w = _proxies(state, x)
        s = distances.dot(distances.unit(x), w).reshape(len(x), classes, centers)
        s = jnp.sum(jax.nn.softmax(gamma * s, 2) * s, 2)
        logits = scale * jnp.where(own_class, s - margin, s)
        cost = jax.nn.softplus(
            masked_logsumexp(logits, ~own_class) - _of_own_class(logits, own_class)
        )
        loss = reductions.reduce_costs(cost, valid, reduce, labels)
        if centers > 1:
            w = w.reshape(classes, centers, -1)
            apart = jax.vmap(distances.euclidean)(w, w).sum()
            penalty = tau * apart / (2 * classes * centers * (centers - 1))
            loss = reductions.add_penalty(loss, penalty, valid, reduce)
        return loss, state

    return Stateful(functools.partial(init_proxies, centers), apply)


def init_proxies(
    centers: int, key: jax.Array, classes: int, dim: int
) -> dict[str, Any]:
    """Proxies in random directions, `centers` for each class."""
    proxies = jax.random.normal(key, (classes * centers, dim)) / jnp.sqrt(dim)
    return dict(params=dict(proxies=proxies), memory={})


def _proxies(state, x):
    return distances.unit(state["params"]["proxies"].astype(x.dtype))


def _rows_and_classes(state, embeddings, labels, where, centers=1):
    """Rows, whether a class is the row's own `[B, C]`, and which rows count."""
    classes = len(state["params"]["proxies"]) // centers
    x, valid = checked_rows(embeddings, labels, where)
    return x, labels[:, None] == jnp.arange(classes)[None], valid


def _of_own_class(values, own_class):
    return jnp.sum(jnp.where(own_class, values, 0), 1)
