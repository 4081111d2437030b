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


def relative_distances(
    moments: np.ndarray,
    others: np.ndarray,
    training: TrainingWindows,
    whitening: Whitening,
) -> np.ndarray:
    """`[N, M]` distances of windows to others, relative to their sizes: from 0 to 1.

      |a - b| / (|a| + |b| + c)

    where a and b are whitened statistics, and c is half the size of a typical window of
    the condition that deviates least, which is normal traffic.

    Args:
      moments: `[N, 2 * F]` signed-log moments of windows.
      others: `[M, 2 * F]`.
      training: of the run, which has the typical sizes.
      whitening: of the run, perhaps adapted to a network.
    """
    a, b = _whitened(moments, whitening), _whitened(others, whitening)
    sizes = np.linalg.norm(_whitened(training.moments, whitening), axis=1)
    names = np.array(training.names)
    typical = [np.median(sizes[names == name]) for name in dict.fromkeys(names)]
    total = np.linalg.norm(a, axis=1)[:, None] + np.linalg.norm(b, axis=1)
    total += FLOOR * min(typical, default=0.0)
    # As one product: there are many training windows. Both are around the centre.
    return np.sqrt(pairwise.fast_squared(a, b)) / np.maximum(total, 1e-12)


def nearest_of_names(
    distances: np.ndarray, names: Sequence[str], wanted: Sequence[str]
) -> np.ndarray:
    """`[N, K]` the smallest of `[N, M]` distances for each wanted name; inf: none."""
    columns = [np.array(names) == name for name in wanted]
    nearest = [
        distances[:, column].min(1) if column.any() else np.full(len(distances), np.inf)
        for column in columns
    ]
    return np.stack(nearest, 1)


def _whitened(moments, whitening):
    centred = np.asarray(moments, np.float64) - whitening.mean
    return centred @ whitening.matrix
