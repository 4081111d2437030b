"""A triplet loss without a margin: past triplets say how hard a triplet is."""

import jax.numpy as jnp
from jax import lax

from siamjax.losses import distances, mining, reductions, tuples
from siamjax.losses.annotations import Reduction, Share, Size
from siamjax.losses.guard import Stateful, stateful
from siamjax.losses.ranking import soft_counts
from siamjax.losses.varying import zeros


@stateful
def dynamic_soft_margin(
    *, bins: Size = 512, rate: Share = 0.01, reduce: Reduction = "all"
) -> Stateful:
    """Weighs a triplet by the share of past triplets that were easier.

    On unit rows, over pairs of a and p, with n the nearest negative of either row and
    F the running distribution of t:

      t = D(a, p) - D(., n), term = F(t) * t, F(t) held constant

    F is a histogram over [-2, 2], each value shared between the two nearest edges, of
    which each batch makes up the share `rate`, the first one all.
    pytorch-metric-learning has 10 bins, and with labels takes every negative, not the
    nearest one.

    Args:
      bins: how many; there is one edge more.
      rate: share of a new batch, in [0, 1].
      reduce: see `reductions`.
    Returns:
      `Stateful`, with memory `histogram` `[bins + 1]`. The loss, which may be negative,
      is 0 without a triplet.
    Reference: Zhang, Rusinkiewicz, ICCV 2019.
    """

    def init(key, classes, dim):
        return dict(params={}, memory=dict(histogram=jnp.zeros(bins + 1)))

    def apply(state, embeddings, labels, *, where=None):
        batch = tuples.all_pairs(embeddings, labels, where)
        x = distances.unit(batch.x)
        d = distances.euclidean(x, x)
        nearest = mining.hardest_negative(d, batch.neg)
        valid = batch.pos & batch.neg.any(1)[:, None]
        nearest = jnp.minimum(nearest[:, None], nearest[None])
        t = jnp.where(valid, d - nearest, 0)
        old = state["memory"]["histogram"].astype(t.dtype)
        histogram = _mixed(old, _histogram(t, valid, bins), rate)
        easier = jnp.cumsum(histogram)[_place(t, bins)[0]]
        loss = reductions.reduce_costs(easier * t, valid, reduce, labels)
        kept = histogram.astype(state["memory"]["histogram"].dtype)
        return loss, {**state, "memory": dict(histogram=kept)}

    return Stateful(init, apply, False)


def _mixed(old, new, rate):
    """The running histogram; the old one where the new one is empty."""
    mixed = jnp.where(old.sum() > 0, (1 - rate) * old + rate * new, new)
    return jnp.where(new.sum() > 0, mixed, old)


def _histogram(t, valid, bins):
    """The shares of the values at each edge; one column of the matrix at a time, since
    the indices of all would take as much memory as the rest of the loss."""

    def add(total, column):
        values, counted = column
        return total + soft_counts(*_place(values, bins), counted, bins + 1), None

    columns = lax.stop_gradient(t).T, valid.T
    start = zeros((bins + 1,), t.dtype, *columns)
    total = lax.scan(add, start, columns)[0]
    return reductions.safe_ratio(total, valid.sum().astype(t.dtype))


def _place(t, bins):
    """The lower edge of each value, int32, and how far it is on the way to the next."""
    place = jnp.clip((lax.stop_gradient(t) + 2) * (bins / 4), 0, bins)
    lower = jnp.minimum(jnp.floor(place), bins - 1).astype(jnp.int32)
    return lower, place - lower.astype(place.dtype)
