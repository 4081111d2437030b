"""What an audit looks at: an encoder, batches of its training, and their gap.

The gap compares training mode with prediction mode, with the same weights on the same
batches. A training curve and a validation curve also differ in their windows and
weights; here these are the same, so the gap comes from the normalisation alone.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from siamjax import streams
from siamjax.evaluation import pairwise
from siamjax.models.encoder import Encoder
from siamjax.models.norm import FinalStats, TrainStats

Array = jax.Array | np.ndarray

REPLICATES, LEVEL = 2000, 0.95
# The gap is divided by what training gained on the loss at chance, but by no less than
# this share of it: an encoder that has learnt nothing would divide by almost 0.
LEARNT = 0.1


class Subject(NamedTuple):
    """A trained encoder with its loss."""

    encoder: Encoder
    params: Any
    stats: TrainStats
    loss: Callable  # (points: head -> [B, E], labels [B], key) -> scalar
    head: str  # the one that decides
    norm: str  # config.encoder.norm
    momentum: float
    columns: tuple[str, ...]  # F names

    @property
    def final(self) -> FinalStats:
        """The statistics that its predictions read."""
        return self.encoder.finalise(self.stats)


class Batches(NamedTuple):
    """N batches of training, stacked."""

    windows: Array  # [N, B, T, F] features
    lengths: Array  # [N, B]
    labels: Array  # [N, B]
    session: Array  # [N, B] int
    group: Array  # [N, B] int, sessions or branches, for statistics by group
    keys: Array  # [N] JAX keys of the loss


class Outputs(NamedTuple):
    """What an encoder gives in one mode, batch by batch."""

    points: np.ndarray  # [N, B, E] of the deciding head
    loss: np.ndarray  # [N]
    chance: np.ndarray  # [N] loss with the labels in random order
    hits: np.ndarray  # [N] share of rows whose nearest other row has their label


class Gap(NamedTuple):
    """How much worse prediction is than training on the same batches."""

    share: float  # 0: no gap, 1: prediction is as good as chance
    low: float  # interval of 95 %, over batches
    high: float
    train_loss: float
    predict_loss: float
    chance_loss: float  # of training's points with labels in random order
    train_hits: float  # rows whose nearest neighbour in the batch has their label
    predict_hits: float
    shift: float  # how far points move on average, in mean distances between points


def encode_batches(
    subject: Subject,
    batches: Batches,
    final: FinalStats | None = None,
    group: np.ndarray | None = None,
) -> Outputs:
    """Encodes the batches: in training mode, or in prediction mode with `final`.

    Args:
      subject: the encoder; its own statistics do not change.
      batches: of its training.
      final: the statistics for prediction; None: training mode.
      group: `[N, B]` int, the row of `final` of each window; None: `final` has one.
    """
    stats, train = subject.stats, final is None
    if final is not None:
        stats = _by_row(final, batches.group.shape, group)
    outputs = _encode(
        subject.params,
        jax.tree.map(jnp.asarray, stats),
        batches,
        apply=subject.encoder.apply,
        loss=subject.loss,
        head=subject.head,
        train=train,
    )
    return jax.device_get(outputs)


def measure_gap(train: Outputs, predict: Outputs) -> Gap:
    """The gap of two `Outputs` of the same batches.

    The share is (predict - train) / (chance - train) of the mean losses: it means the
    same for every loss. The interval is a bootstrap over batches.
    """
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(train.loss), size=(REPLICATES, len(train.loss)))
    low, high = np.quantile(
        _share(train.loss[drawn], predict.loss[drawn], train.chance[drawn]),
        [(1 - LEVEL) / 2, (1 + LEVEL) / 2],
    )
    shift = np.linalg.norm(predict.points - train.points, axis=-1).mean()
    between = pairwise.distances(train.points, train.points).mean()
    return Gap(
        share=float(_share(train.loss, predict.loss, train.chance)),
        low=float(low),
        high=float(high),
        train_loss=float(train.loss.mean()),
        predict_loss=float(predict.loss.mean()),
        chance_loss=float(train.chance.mean()),
        train_hits=float(train.hits.mean()),
        predict_hits=float(predict.hits.mean()),
        shift=float(shift / max(between, 1e-12)),
    )


def real_bins(batches: Batches) -> np.ndarray:
    """`[N, B, T]` bool: bins that are not padding."""
    bins = np.arange(batches.windows.shape[2])
    return bins[None, None] < np.asarray(batches.lengths)[:, :, None]


def _share(train, predict, chance):
    train, predict, chance = (x.mean(-1) for x in (train, predict, chance))
    return (predict - train) / np.maximum(chance - train, LEARNT * np.abs(chance))


def _by_row(final, shape, group):
    """`FinalStats` by row, `[N, B, F]`: one program for all kinds of statistics."""

    def to_rows(moment):
        moment = np.asarray(moment)
        if moment.ndim == 1:
            return np.broadcast_to(moment, (*shape, len(moment)))
        return moment[np.asarray(group)]

    return jax.tree.map(to_rows, final)


@partial(jax.jit, static_argnames=("apply", "loss", "head", "train"))
def _encode(params, stats, batches, *, apply, loss, head, train):
    def encode_one(inputs):
        index, batch, row_stats = inputs
        if train:
            points, _ = apply(
                params,
                batch.windows,
                batch.lengths,
                stats,
                group=batch.group,
                train=True,
            )
        else:
            points = apply(
                params,
                batch.windows,
                batch.lengths,
                row_stats,
                group=jnp.arange(batch.group.shape[0]),
                train=False,
            )
        key = streams.stream(0, streams.DEALT, index)
        shuffled = jax.random.permutation(key, batch.labels)
        # A loop compiles the loss once.
        true, chance = jax.lax.map(
            lambda labels: loss(points, labels, batch.keys),
            jnp.stack([jnp.asarray(batch.labels), shuffled]),
        )
        return Outputs(points[head], true, chance, _hits(points[head], batch.labels))

    index = jnp.arange(batches.labels.shape[0])
    return jax.lax.map(encode_one, (index, batches, None if train else stats))


def _hits(points, labels):
    d2 = ((points[:, None] - points[None]) ** 2).sum(-1)
    d2 = jnp.where(jnp.eye(len(labels), dtype=bool), jnp.inf, d2)
    return (labels[d2.argmin(1)] == labels).mean()
