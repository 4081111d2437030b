"""What an audit looks at: a trained encoder, and batches as its training saw them."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from siamjax import streams
from siamjax.models.encoder import Encoder
from siamjax.models.norm import FinalStats, TrainStats


class Subject(NamedTuple):
    """A trained encoder with its loss."""

    encoder: Encoder
    params: Any
    stats: TrainStats
    final: FinalStats  # what its predictions read
    loss: Callable  # (points: head -> [B, E], labels [B], key) -> scalar
    head: str  # that decisions use
    norm: str  # config.encoder.norm
    momentum: float
    columns: tuple  # F names


class Batches(NamedTuple):
    """N batches of training, stacked."""

    windows: jax.Array  # [N, B, T, F] features
    lengths: jax.Array  # [N, B]
    labels: jax.Array  # [N, B]
    session: jax.Array  # [N, B] int
    group: jax.Array  # [N, B] int, what statistics by group went by in training
    keys: jax.Array  # [N] of the loss


class Seen(NamedTuple):
    """What came out of one mode, batch by batch."""

    points: jax.Array  # [N, B, E] of the deciding head
    loss: jax.Array  # [N]
    chance: jax.Array  # [N] loss when the labels are dealt at random
    hits: jax.Array  # [N] share of rows whose nearest other row has their label


def look(subject, batches, final=None, group=None):
    """Encodes the batches: in training mode, or in prediction mode with `final`.

    Args:
      subject: `Subject`.
      batches: `Batches`.
      final: the statistics of prediction; training mode without them.
      group: `[N, B]`, for statistics by group in prediction.
    Returns:
      `Seen`. Nothing is written: statistics that training mode returns are dropped.
    """
    stats, train = subject.stats, final is None
    if final is not None:
        stats = _by_row(final, batches.group.shape, group)
    seen = _look(
        subject.params, jax.tree.map(jnp.asarray, stats), batches,
        apply=subject.encoder.apply, loss=subject.loss, head=subject.head, train=train,
    )  # fmt: skip
    return jax.device_get(seen)


def _by_row(final, shape, group):
    """`FinalStats` by row, `[N, B, F]`: one program for all kinds of statistics."""

    def of_rows(moment):
        moment = np.asarray(moment)
        if moment.ndim == 1:
            return np.broadcast_to(moment, (*shape, len(moment)))
        return moment[np.asarray(group)]

    return jax.tree.map(of_rows, final)


@partial(jax.jit, static_argnames=("apply", "loss", "head", "train"))
def _look(params, stats, batches, *, apply, loss, head, train):
    def one(inputs):
        index, batch, own = inputs
        group = batch.group if train else jnp.arange(batch.group.shape[0])
        out = apply(
            params, batch.windows, batch.lengths, stats if train else own, group=group,
            train=train,
        )  # fmt: skip
        points = out[0] if train else out
        key = streams.stream(0, streams.DEALT, index)
        dealt = jax.random.permutation(key, batch.labels)
        # In a loop, so that the loss is compiled once.
        true, chance = jax.lax.map(
            lambda labels: loss(points, labels, batch.keys),
            jnp.stack([jnp.asarray(batch.labels), dealt]),
        )
        return Seen(points[head], true, chance, _hits(points[head], batch.labels))

    index = jnp.arange(batches.labels.shape[0])
    return jax.lax.map(one, (index, batches, None if train else stats))


def real(batches):
    """Which bins are no padding, `[N, B, T]` bool."""
    bins = np.arange(batches.windows.shape[2])
    return bins[None, None] < np.asarray(batches.lengths)[:, :, None]


def _hits(points, labels):
    d2 = ((points[:, None] - points[None]) ** 2).sum(-1)
    d2 = jnp.where(jnp.eye(len(labels), dtype=bool), jnp.inf, d2)
    return (labels[d2.argmin(1)] == labels).mean()
