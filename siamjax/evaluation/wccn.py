"""WCCN: statistics of a window, whitened within conditions, without a neural network.

Within-class covariance normalisation (Hatch, Kajarekar, Stolcke, Interspeech 2006) was
the standard last step of speaker verification before neural methods. It is the
strongest simple method on the test bed (docs/networks.md).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from siamjax.checks import require
from siamjax.evaluation import one_shot

# Shares of a plain scaling in the covariance, from which `choose_shrinkage` chooses.
SHRINKAGES = (0.03, 0.1, 0.3, 0.6)
# Used where the training windows are too few to choose.
SHRINKAGE = 0.3
# The weight of the normal windows of another network, see `adapt_whitening`.
NORMAL_SHARE = 0.5
# To choose the shrinkage: rounds, each of which holds conditions out, and draws of the
# examples in each round.
ROUNDS, DRAWS = 3, 20


class Whitening(NamedTuple):
    """A map after which windows of one condition vary alike in all directions."""

    mean: np.ndarray  # [E], which is subtracted first
    matrix: np.ndarray  # [E, E], symmetric
    covariance: np.ndarray  # [E, E], within conditions, from which it was made
    shrinkage: float


def signed_log_moments(windows: np.ndarray) -> np.ndarray:
    """Mean and deviation of `sign(x) * log1p(|x|)` of each column.

    Args:
      windows: `[N, T, F]`, features.
    Returns:
      `[N, 2 * F]` float64.
    """
    x = np.asarray(windows, np.float64)
    x = np.copysign(np.log1p(np.abs(x)), x)
    return np.concatenate([x.mean(1), x.std(1)], -1)


def fit_whitening(
    points: np.ndarray, conditions: np.ndarray, shrinkage: float = SHRINKAGE
) -> Whitening:
    """The whitening by the covariance within conditions, shrunk.

      W = (1 - s) C + s trace(C) / E I

    where C is the covariance of the points around the means of their conditions. The
    matrix is the symmetric root of the inverse of W. In directions that do not vary
    within a condition, W has its second term alone.

    Args:
      points: `[N, E]` finite floats.
      conditions: `[N]` int.
      shrinkage: s, above 0, at most 1.
    Raises:
      UsageError: there is no point, or the shrinkage is not in its range.
    """
    points, conditions = np.asarray(points, np.float64), np.asarray(conditions)
    require(
        len(points), "WCCN is fitted on windows, and there is none: give at least one"
    )
    require(
        0 < shrinkage <= 1,
        f"shrinkage is {shrinkage}: it must be above 0 and at most 1",
    )
    _, condition = np.unique(conditions, return_inverse=True)
    sums = np.zeros((condition.max() + 1, points.shape[1]))
    np.add.at(sums, condition, points)
    means = sums / np.bincount(condition)[:, None]
    within = points - means[condition]
    covariance = within.T @ within / len(points)
    return Whitening(
        points.mean(0), inverse_root(covariance, shrinkage), covariance, shrinkage
    )


def adapt_whitening(
    whitening: Whitening,
    normal: np.ndarray,
    share: float = NORMAL_SHARE,
    added: np.ndarray | float = 0.0,
) -> Whitening:
    """The whitening for another network, from windows of its normal traffic alone.

    The covariance of these windows is mixed into the covariance within conditions. The
    mean becomes 0: a feature is a deviation from the normal bins of its own session, so
    normal traffic is around 0 in every network.

    Args:
      whitening: of the training.
      normal: `[N, E]` points of normal windows of the other network.
      share: weight of their covariance, from 0 to 1.
      added: `[E, E]` covariance of what varies besides.
    Raises:
      UsageError: there are fewer than two windows.
    """
    require(
        len(normal) > 1,
        f"give at least two normal windows of the network, got {len(normal)}",
    )
    covariance = np.cov(np.asarray(normal, np.float64).T, bias=True)
    covariance = (1 - share) * whitening.covariance + share * covariance + added
    shrinkage = float(whitening.shrinkage)
    return Whitening(
        np.zeros_like(whitening.mean),
        inverse_root(covariance, shrinkage),
        covariance,
        shrinkage,
    )


def whiten_by_normal(points: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Learnt points `[N, E]` of another network, whitened by its normal traffic alone.

    What an encoder has learnt on one network varies on another one in directions that
    mean nothing there. No condition of the other network is needed. No mean is
    subtracted, as in `adapt_whitening`.

    Args:
      points: `[N, E]`.
      normal: `[M, E]` points of normal windows of the same network, two or more.
    Returns:
      Points of length 1.
    Raises:
      UsageError: there are fewer than two normal windows.
    """
    return whiten(points, fit_on_normal(normal))


def fit_on_normal(normal: np.ndarray) -> Whitening:
    """The whitening of `whiten_by_normal`."""
    require(
        len(normal) > 1,
        f"give at least two normal windows of the network, got {len(normal)}",
    )
    covariance = np.cov(np.asarray(normal, np.float64).T, bias=True)
    return Whitening(
        np.zeros(len(covariance)),
        inverse_root(covariance, SHRINKAGE),
        covariance,
        SHRINKAGE,
    )


def inverse_root(covariance: np.ndarray, shrinkage: float) -> np.ndarray:
    """The symmetric root of the inverse of a covariance `[E, E]`, shrunk."""
    level = np.trace(covariance) / len(covariance)
    # Where nothing varies at all, every direction keeps its scale.
    shrunk = (1 - shrinkage) * covariance
    shrunk += (shrinkage * level if level > 0 else 1.0) * np.eye(len(covariance))
    values, vectors = np.linalg.eigh(shrunk)
    return (vectors / np.sqrt(values)) @ vectors.T


def whiten(points: np.ndarray, whitening: Whitening) -> np.ndarray:
    """Whitened points `[N, E]` of length 1: nearest by distance is nearest by cosine.

    A point at the mean of the whitening becomes 0, and is not scaled.

    Args:
      points: `[N, E]`.
      whitening: of `fit_whitening`.
    """
    whitened = (np.asarray(points, np.float64) - whitening.mean) @ whitening.matrix
    return whitened / np.maximum(np.linalg.norm(whitened, axis=1, keepdims=True), 1e-12)


def choose_shrinkage(
    points: np.ndarray,
    conditions: np.ndarray,
    captures: np.ndarray,
    shrinkages: Sequence[float] = SHRINKAGES,
) -> float:
    """The shrinkage with the best one-shot recall, on training windows alone.

    Every second capture is for the fit, and each round leaves another third of the
    conditions out of it. The other captures are judged, with all conditions. The first
    of equally good shrinkages is chosen.

    Args:
      points: `[N, E]`, of training windows.
      conditions: `[N]` int.
      captures: `[N]` int.
      shrinkages: to choose from.
    Returns:
      One of them; `SHRINKAGE` if no round can judge two conditions.
    """
    points = np.asarray(points, np.float64)
    conditions, captures = np.asarray(conditions), np.asarray(captures)
    classes, scores = np.unique(conditions), []
    for_fit = np.isin(captures, np.unique(captures)[::2])
    several = [
        c for c in classes if len(np.unique(captures[~for_fit & (conditions == c)])) > 1
    ]
    rows = ~for_fit & np.isin(conditions, several)
    for i in range(ROUNDS if len(several) > 1 else 0):
        fit = for_fit & ~np.isin(conditions, classes[i::ROUNDS])
        if not fit.any():
            continue
        scores.append(
            [
                one_shot.recognise(
                    whiten(
                        points[rows],
                        fit_whitening(points[fit], conditions[fit], shrinkage),
                    ),
                    conditions[rows],
                    captures[rows],
                    draws=DRAWS,
                ).mean
                for shrinkage in shrinkages
            ]
        )
    if not scores:
        return SHRINKAGE
    return shrinkages[int(np.mean(scores, 0).argmax())]
