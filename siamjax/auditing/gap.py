"""The paired gap: the same weights and batches, in training and in prediction mode.

Whatever else differs between a training curve and a validation curve (other windows,
other weights) is the same on both sides here, so a gap is the normalisation's alone.
"""

from typing import NamedTuple

import numpy as np

from siamjax.evaluation import pairwise

REPLICATES, LEVEL = 2000, 0.95
# Share of the loss at chance that training must have left behind, at least: an encoder
# that has learnt nothing has no gap to speak of.
LEARNT = 0.1


class Gap(NamedTuple):
    """How much worse prediction is than training on the same batches."""

    share: float  # 0: no gap, 1: prediction is as good as chance
    low: float  # interval of 95 %, over batches
    high: float
    train_loss: float
    predict_loss: float
    chance_loss: float  # of training's points with labels dealt at random
    train_hits: float  # rows whose nearest neighbour in the batch has their label
    predict_hits: float
    shift: float  # mean way of a point, in mean distances between points


def gap(train, predict, seed=0):
    """`Gap` of two `subject.Seen` of the same batches.

    The share is (predict - train) / (chance - train) of the mean losses, so that it
    means the same for every loss.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(train.loss), size=(REPLICATES, len(train.loss)))
    low, high = np.quantile(
        _share(train.loss[drawn], predict.loss[drawn], train.chance[drawn]),
        [(1 - LEVEL) / 2, (1 + LEVEL) / 2],
    )
    way = np.linalg.norm(predict.points - train.points, axis=-1).mean()
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
        shift=float(way / max(between, 1e-12)),
    )


def _share(train, predict, chance):
    train, predict, chance = (x.mean(-1) for x in (train, predict, chance))
    return (predict - train) / np.maximum(chance - train, LEARNT * np.abs(chance))
