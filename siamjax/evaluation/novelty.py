"""How new a window is: its distance to the nearest windows that a run was trained on.

One example of each condition shows little of how a condition varies. The windows of the
training show more, and their statistics are small, so they are stored with the run.
Rejection by the distance to the nearest training windows: Sun, Ming, Zhu, Li, ICML
2022.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from siamjax.evaluation import pairwise
from siamjax.evaluation.wccn import Whitening

# What is added to the sizes of two windows, in sizes of typical normal windows: the
# direction of a small deviation is chance. Chosen, like the form of the distance, on
# validation captures of twelve trainings on seven networks (docs/identification.md).
FLOOR = 0.5


class TrainingWindows(NamedTuple):
    """M windows that a run was trained on."""

    names: tuple[str, ...]  # M conditions
    captures: tuple[str, ...]  # M
    moments: np.ndarray  # [M, 2 * F] signed-log moments


class Others(NamedTuple):
    """M windows to which others are compared, whitened once."""

    points: np.ndarray  # [M, 2 * F]
    sizes: np.ndarray  # [M]
    least: float  # c of `distances_to`
    whitening: Whitening


def whiten_others(
    others: np.ndarray, training: TrainingWindows, whitening: Whitening
) -> Others:
    """The `Others` of `relative_distances`."""
    sizes = np.linalg.norm(_whitened(training.moments, whitening), axis=1)
    names = np.array(training.names)
    typical = [np.median(sizes[names == name]) for name in dict.fromkeys(names)]
    points = _whitened(others, whitening)
    least = FLOOR * min(typical, default=0.0)
    return Others(points, np.linalg.norm(points, axis=1), least, whitening)


def distances_to(moments: np.ndarray, others: Others) -> np.ndarray:
    """`[N, M]` distances of windows to others, relative to their sizes: from 0 to 1.

      |a - b| / (|a| + |b| + c)

    where a and b are whitened statistics, and c is half the size of a typical window of
    the condition that deviates least, which is normal traffic.

    Args:
      moments: `[N, 2 * F]` signed-log moments of windows.
      others: M windows.
    """
    points = _whitened(moments, others.whitening)
    total = np.linalg.norm(points, axis=1)[:, None] + others.sizes
    total += others.least
    # As one product: there are many training windows. Both are around the centre.
    distances = np.sqrt(pairwise.fast_squared(points, others.points))
    return distances / np.maximum(total, 1e-12)


def relative_distances(
    moments: np.ndarray,
    others: np.ndarray,
    training: TrainingWindows,
    whitening: Whitening,
) -> np.ndarray:
    """`[N, M]` of `distances_to`.

    Args:
      moments: `[N, 2 * F]` signed-log moments of windows.
      others: `[M, 2 * F]`.
      training: of the run, which has the typical sizes.
      whitening: of the run, perhaps adapted to a network.
    """
    return distances_to(moments, whiten_others(others, training, whitening))


def nearest_of_names(
    distances: np.ndarray, names: Sequence[str], wanted: Sequence[str]
) -> np.ndarray:
    """`[N, K]` the smallest of `[N, M]` distances for each wanted name; inf: none."""
    listed = np.array(names)
    columns = [listed == name for name in wanted]
    nearest = [
        distances[:, column].min(1) if column.any() else np.full(len(distances), np.inf)
        for column in columns
    ]
    return np.stack(nearest, 1)


def _whitened(moments, whitening):
    centred = np.asarray(moments, np.float64) - whitening.mean
    return centred @ whitening.matrix
