"""How new a window is: its distance to the nearest windows that a run was trained on.

One example of each condition shows little of how a condition varies. The windows of the
training show more, and their statistics are small, so they are stored with the run.
Rejection by the distance to the nearest training windows: Sun, Ming, Zhu, Li, ICML
2022.

Conditions do not vary alike, and a window between two of them is more often of neither.
So a distance counts less where the windows of its condition lie far from each other,
and more where another condition is almost as near.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from siamjax.evaluation import pairwise
from siamjax.evaluation.wccn import Whitening

# What is added to the sizes of two windows, in sizes of typical normal windows: the
# direction of a small deviation is chance. Chosen, like the form of the distance, on
# validation captures of twelve trainings on seven networks (docs/identification.md).
FLOOR = 0.5
# How far the windows of a condition lie from each other: this quantile of the distance
# to the nearest one of another capture; at least this share of the typical condition.
# Few captures show it badly: it counts as if so many more were typical.
SPREAD, LEAST_SPREAD, TYPICAL_CAPTURES = 0.8, 0.25, 2
# Smaller distances are rounding errors: of equal windows.
ROUNDING = 1e-6


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


def measure_spreads(
    training: TrainingWindows, whitening: Whitening
) -> dict[str, float]:
    """{condition: how far its training windows lie from each other}.

    Around the median over the conditions, in logarithms; a condition with windows of
    one capture has the median itself. Where all have one capture, or most have equal
    windows, all are 1.
    """
    moments, names = training.moments, np.array(training.names)
    captures = np.array(training.captures)
    distances = relative_distances(moments, moments, training, whitening)
    distances[captures[:, None] == captures] = np.inf
    spreads = {}
    for name in dict.fromkeys(training.names):
        rows = names == name
        nearest = distances[np.ix_(rows, rows)].min(1)
        nearest = nearest[np.isfinite(nearest)]
        spreads[name] = np.quantile(nearest, SPREAD) if len(nearest) else np.nan
    known = [spread for spread in spreads.values() if np.isfinite(spread)]
    typical = float(np.median(known)) if known else 0.0
    if typical < ROUNDING:
        return dict.fromkeys(spreads, 1.0)
    for name, spread in spreads.items():
        count = len(set(captures[names == name]))
        ratio = max(spread / typical, LEAST_SPREAD) if np.isfinite(spread) else 1.0
        spreads[name] = typical * ratio ** (count / (count + TYPICAL_CAPTURES))
    return spreads


def nearest_of_names(
    distances: np.ndarray,
    names: Sequence[str],
    wanted: Sequence[str],
    spreads: Mapping[str, float],
) -> np.ndarray:
    """`[N, K]` how far windows are from each wanted name; inf: it has no window.

    That is the smallest distance to a window of the name, over the root of its spread:
    the geometric mean of the distance and of the distance in spreads.

    Args:
      distances: `[N, M]`, of `distances_to`.
      names: M conditions.
      wanted: K conditions.
      spreads: of `measure_spreads`; a name that has none gets their median.
    """
    listed = np.array(names)
    typical = float(np.median(list(spreads.values())))
    scales = np.sqrt([spreads.get(name, typical) for name in wanted])
    columns = [listed == name for name in wanted]
    nearest = [
        distances[:, column].min(1) if column.any() else np.full(len(distances), np.inf)
        for column in columns
    ]
    return np.stack(nearest, 1) / scales


def score_novelty(distances: np.ndarray) -> np.ndarray:
    """`[N]` how new windows are, from `[N, K]` of `nearest_of_names`.

      d1 * sqrt(d1 / d2)

    where d1 and d2 are the distances to the nearest and to the second nearest name. The
    ratio: Mendes Junior et al., Machine Learning 2017. Without a second name it is 1.
    """
    if distances.shape[1] < 2:
        return distances.min(1, initial=np.inf)
    nearest, second = np.partition(distances, 1, axis=1)[:, :2].T
    ratio = np.ones(len(nearest))
    compared = np.isfinite(second) & (second > 0)
    np.divide(nearest, second, out=ratio, where=compared)
    return nearest * np.sqrt(ratio)


def _whitened(moments, whitening):
    centred = np.asarray(moments, np.float64) - whitening.mean
    return centred @ whitening.matrix
