"""Baselines: windows become points without a trained encoder.

The extra `bench` adds methods of other libraries: MiniRocket and catch22 features,
dynamic time warping, and classifiers of known conditions.
"""

import importlib
from types import ModuleType
from typing import NamedTuple

import numpy as np

from siamjax.evaluation import quant, wccn
from siamjax.types import UsageError

# Length of MiniRocket's kernels; shorter windows are padded with their last bin.
SHORTEST = 9
# Features of MiniRocket by default, as in the paper.
KERNELS = 9996
# So many windows are copied at once by a method with many features.
_BLOCK = 256
# Trees of the random forest.
TREES = 500


def whole_windows(windows: np.ndarray) -> np.ndarray:
    """Windows `[N, T, F]` -> points `[N, T * F]`: every bin of every column."""
    windows = np.asarray(windows, np.float32)
    return windows.reshape(len(windows), int(np.prod(windows.shape[1:])))


def moments(windows: np.ndarray) -> np.ndarray:
    """Windows `[N, T, F]` -> points `[N, 2 * F]`: mean and deviation of each column."""
    windows = np.asarray(windows, np.float32)
    return np.concatenate([windows.mean(1), windows.std(1)], -1)


def directions(windows: np.ndarray) -> np.ndarray:
    """`moments` scaled to length 1: nearest by distance is nearest by cosine."""
    return _unit(moments(windows))


def log_directions(windows: np.ndarray) -> np.ndarray:
    """`wccn.signed_log_moments` scaled to length 1."""
    return _unit(wccn.signed_log_moments(windows))


def quant_directions(windows: np.ndarray) -> np.ndarray:
    """`quant.quant_features` scaled to length 1."""
    # Block by block: each window has thousands of features.
    windows = np.asarray(windows)
    count = quant.quant_features(windows[:1]).shape[1] if len(windows) else 0
    points = np.empty((len(windows), count))
    for first in range(0, len(windows), _BLOCK):
        rows = slice(first, first + _BLOCK)
        points[rows] = _unit(quant.quant_features(windows[rows]))
    return points


# Name in the results -> representation. WCCN, which learns, is `wccn_points`.
BASELINES = {
    "whole windows": whole_windows,
    "mean and deviation": moments,
    "mean and deviation, cosine": directions,
    "signed-log moments, cosine": log_directions,
    "QUANT, cosine": quant_directions,
}


class Training(NamedTuple):
    """Windows of training, from which a baseline may learn."""

    windows: np.ndarray  # [M, T, F]
    conditions: np.ndarray  # [M] int
    captures: np.ndarray  # [M] int


def learn_wccn(training: Training) -> wccn.Whitening:
    """WCCN, with the shrinkage that is best on the training windows themselves."""
    points = wccn.signed_log_moments(training.windows)
    _, conditions, captures = training
    shrinkage = wccn.choose_shrinkage(points, conditions, captures)
    return wccn.fit_whitening(points, conditions, shrinkage)


def wccn_points(windows: np.ndarray, whitening: wccn.Whitening) -> np.ndarray:
    """Windows `[N, T, F]` -> whitened statistics `[N, 2 * F]` of length 1."""
    return wccn.whiten(wccn.signed_log_moments(windows), whitening)


def minirocket(
    windows: np.ndarray, fit: np.ndarray, *, kernels: int = KERNELS, seed: int = 0
) -> np.ndarray:
    """MiniRocket features scaled to length 1; implementation: aeon.

    Args:
      windows: `[N, T, F]`.
      fit: `[M, T, F]`, windows of training, from which the biases are taken.
      kernels: number of features, a multiple of 84.
      seed: of the choice of columns and biases.
    Returns:
      `[N, kernels]`.
    Reference: Dempster, Schmidt, Webb, KDD 2021.
    """
    rocket = import_bench("aeon.transformations.collection.convolution_based")
    transform = rocket.MiniRocket(n_kernels=kernels, random_state=seed)
    transform.fit(_channels_first(fit, SHORTEST))
    x = transform.transform(_channels_first(windows, SHORTEST))
    return _unit(np.asarray(x, np.float32))


def catch22(windows: np.ndarray, fit: np.ndarray) -> np.ndarray:
    """The 22 canonical characteristics of each column, scaled as in training.

    Mean and deviation are added: the 22 do not depend on the level. A value that is not
    a number, as of a constant column, counts as 0. Implementation: aeon.

    Args:
      windows: `[N, T, F]`.
      fit: `[M, T, F]`, windows of training, which give the scale.
    Returns:
      `[N, 24 * F]`.
    Reference: Lubba et al., DMKD 2019.
    """
    features = import_bench("aeon.transformations.collection.feature_based")
    transform = features.Catch22(catch24=True, replace_nans=True)
    fit_features = _finite(transform.fit_transform(_channels_first(fit)))
    window_features = _finite(transform.transform(_channels_first(windows)))
    mean, deviation = fit_features.mean(0), fit_features.std(0)
    return (window_features - mean) / np.where(deviation > 0, deviation, 1.0)


def dtw_distances(
    windows: np.ndarray, examples: np.ndarray, *, band: float = 0.4
) -> np.ndarray:
    """Distances `[N, M]` by dynamic time warping over all columns together.

    Args:
      windows: `[N, T, F]`.
      examples: `[M, T, F]`.
      band: how far apart in time two matched bins may be, as a share of T (Sakoe and
        Chiba, 1978).
    """
    aeon = import_bench("aeon.distances")
    return aeon.pairwise_distance(
        _channels_first(windows), _channels_first(examples), method="dtw", window=band
    )


def classify(
    name: str,
    fit: np.ndarray,
    labels: np.ndarray,
    windows: np.ndarray,
    *,
    seed: int = 0,
) -> np.ndarray:
    """The condition `[N]` of each window by a classifier of known conditions.

    Args:
      name: `random forest` or `logistic regression`.
      fit: `[M, T, F]`, windows of training.
      labels: `[M]` int, their conditions.
      windows: `[N, T, F]`.
      seed: of the forest.
    """
    if name == "random forest":
        ensemble = import_bench("sklearn.ensemble")
        model = ensemble.RandomForestClassifier(TREES, random_state=seed)
    else:
        linear = import_bench("sklearn.linear_model")
        model = linear.LogisticRegression(max_iter=1000)
    return model.fit(whole_windows(fit), labels).predict(whole_windows(windows))


def import_bench(name: str) -> ModuleType:
    """A module of the extra `bench`; UsageError if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.split(".")[0].replace("sklearn", "scikit-learn")
        raise UsageError(
            f"this baseline needs {package}: pip install {package}"
        ) from None


def _channels_first(windows, shortest=0):
    """Windows as aeon takes them: `[N, F, T]` float64, T at least `shortest`."""
    x = np.swapaxes(np.asarray(windows, np.float64), 1, 2)
    missing = max(shortest - x.shape[2], 0)
    return np.pad(x, ((0, 0), (0, 0), (0, missing)), mode="edge")


def _unit(x):
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def _finite(x):
    return np.nan_to_num(np.asarray(x, np.float64), posinf=0.0, neginf=0.0)
