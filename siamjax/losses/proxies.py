"""Losses with proxies: points of each class that are trained along."""

import functools

import jax
import jax.numpy as jnp

from siamjax import checks
from siamjax.losses import distances, reductions
from siamjax.losses.guard import guarded
from siamjax.losses.logs import log1p_sum_exp, lse
from siamjax.losses.registry import Stateful
from siamjax.losses.tuples import known_rows


@guarded
def proxy_nca(*, scale=1.0, own=False, reduce="all"):
    """NCA with one proxy for each class in place of all rows.

    On unit rows x and unit proxies, D the squared distance, y the row's class:

      term = scale * D(x, proxy_y) + log(sum over other classes k of
                                         exp(-scale * D(x, proxy_k)))

    Args:
      scale: one over a squared distance.
      own: the own proxy is in the sum as well, as in most code; the term is then not
        negative.
      reduce: see `reductions`.
    Returns:
      `Stateful`, with params `proxies` `[C, E]`. The loss is 0 without a row of a known
      class, and with one class.
    Reference: Movshovitz-Attias et al., ICCV 2017, eq. 4.
    """
    checks.positive(scale=scale)

    def apply(state, embeddings, labels, *, where=None):
        x, mine, valid = _against(state, embeddings, labels, where)
        s = -scale * distances.squared(distances.unit(x), _proxies(state, x))
        near, far = _own(s, mine), lse(s, ~mine)
        cost = jax.nn.softplus(far - near) if own else far - near
        cost = jnp.where(valid & (~mine).any(1), cost, 0)
        return reductions.reduce(reductions.terms(cost, valid), reduce, labels), state

    return Stateful(functools.partial(init, each=1), apply)


@guarded
def proxy_nca_pp(*, temperature=1 / 9, reduce="all"):
    """ProxyNCA++: the softmax over all proxies, at a low temperature.

      term = -log(exp(-D(x, proxy_y) / temperature) / sum over all classes k of
                  exp(-D(x, proxy_k) / temperature))

    The paper's other parts (pooling, a faster rate for proxies) are not of the loss.

    Args:
      temperature: a squared distance of unit rows.
      reduce: see `reductions`.
    Returns:
      `Stateful`, with params `proxies` `[C, E]`. The loss is 0 without a row of a known
      class, and with one class.
    Reference: Teh, DeVries, Taylor, ECCV 2020.
    """
    checks.positive(temperature=temperature)
    return proxy_nca(scale=1 / temperature, own=True, reduce=reduce)


@guarded
def proxy_anchor(*, scale=32.0, margin=0.1):
    """Proxies as anchors: each draws its rows and drives off the others, hardest first.

    With s the cosine, C classes, C+ of them in the batch:

      loss = 1/C+ * sum over them of log(1 + sum over own rows of
                                         exp(-scale * (s - margin)))
           + 1/C * sum over all of log(1 + sum over other rows of
                                       exp(scale * (s + margin)))

    Args:
      scale: one over a cosine (alpha of the paper).
      margin: a cosine (delta).
    Returns:
      `Stateful`, with params `proxies` `[C, E]`. The loss is 0 without a row of a known
      class.
    Reference: Kim et al., CVPR 2020, eq. 4.
    """
    checks.positive(scale=scale)

    def apply(state, embeddings, labels, *, where=None):
        x, mine, valid = _against(state, embeddings, labels, where)
        s = distances.dot(distances.unit(x), _proxies(state, x))
        pos, neg = mine & valid[:, None], ~mine & valid[:, None]
        pull = log1p_sum_exp(-scale * (s - margin), pos, axis=0)
        push = log1p_sum_exp(scale * (s + margin), neg, axis=0)
        present = pos.any(0).sum().astype(s.dtype)
        loss = reductions.ratio(pull.sum(), present) + push.sum() / s.shape[1]
        return loss, state

    return Stateful(functools.partial(init, each=1), apply)


@guarded
def soft_triple(*, centers=10, scale=20.0, gamma=10.0, margin=0.01, tau=0.2):
    """A softmax over classes with several centers each, like ones drawn together.

    With s_k the cosines to the K centers of class c:

      S_c = sum over k of softmax(gamma * s)_k * s_k
      term = -log softmax(scale * (S_c - margin at the own class))_own
      loss = mean term + tau / (C K (K - 1)) * sum of distances within classes

    Args:
      centers: K, of each class.
      scale: one over a cosine (lambda of the paper).
      gamma: one over a cosine; its inverse is what some code calls gamma.
      margin: a cosine.
      tau: weight of the distances between the centers of a class, over pairs.
    Returns:
      `Stateful`, with params `proxies` `[C * K, E]`, class by class. The loss is that
      of the centers alone without a row of a known class.
    Reference: Qian et al., ICCV 2019.
    """
    checks.positive(centers=centers, scale=scale, gamma=gamma)

    def apply(state, embeddings, labels, *, where=None):
        classes = len(state["params"]["proxies"]) // centers
        x, mine, valid = _against(state, embeddings, labels, where, centers)
        w = _proxies(state, x)
        s = distances.dot(distances.unit(x), w).reshape(len(x), classes, centers)
        s = jnp.sum(jax.nn.softmax(gamma * s, 2) * s, 2)
        logits = scale * jnp.where(mine, s - margin, s)
        cost = jax.nn.softplus(lse(logits, ~mine) - _own(logits, mine))
        loss = reductions.mean(cost, valid)
        if tau and centers > 1:
            w = w.reshape(classes, centers, -1)
            apart = jax.vmap(distances.euclidean)(w, w).sum()
            loss = loss + tau * apart / (2 * classes * centers * (centers - 1))
        return loss, state

    return Stateful(functools.partial(init, each=centers), apply)


def init(key, classes, dim, each):
    """Proxies on random directions, `each` for each class."""
    proxies = jax.random.normal(key, (classes * each, dim)) / jnp.sqrt(dim)
    return dict(params=dict(proxies=proxies), memory={})


def _proxies(state, x):
    return distances.unit(state["params"]["proxies"].astype(x.dtype))


def _against(state, embeddings, labels, where, each=1):
    """Rows, whether a class `[B, C]` is the row's own, and which rows count."""
    classes = len(state["params"]["proxies"]) // each
    x, valid = known_rows(embeddings, labels, where, classes)
    return x, labels[:, None] == jnp.arange(classes)[None], valid


def _own(values, mine):
    return jnp.sum(jnp.where(mine, values, 0), 1)
