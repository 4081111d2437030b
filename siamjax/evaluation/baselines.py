"""What needs no training of ours: windows themselves as points, judged in the same way.

Also the bars that libraries give, with the extra `bench`: MiniRocket features, catch22
features, dynamic time warping, and classifiers for known conditions.
"""

import importlib

import numpy as np

from siamjax.types import UsageError

# MiniRocket's kernels are so long; shorter windows go on with their last bin.
SHORTEST = 9


def whole(windows):
    """Windows `[N, T, F]` -> points `[N, T * F]`: every bin of every column alike."""
    windows = np.asarray(windows, np.float32)
    return windows.reshape(len(windows), int(np.prod(windows.shape[1:])))


def moments(windows):
    """Windows `[N, T, F]` -> points `[N, 2 * F]`: mean and deviation of each column."""
    windows = np.asarray(windows, np.float32)
    return np.concatenate([windows.mean(1), windows.std(1)], -1)


def directions(windows):
    """`moments` of length 1, so that the nearest is that by cosine."""
    return _unit(moments(windows))


# Name in the results -> representation.
BASELINES = {
    "whole windows": whole,
    "mean and deviation": moments,
    "mean and deviation, cosine": directions,
}


def minirocket(windows, fit, *, kernels=9996, seed=0):
    """MiniRocket features of unit norm, so that the nearest is that by cosine.

    Dempster, Schmidt, Webb, KDD 2021, as aeon has it.

    Args:
      windows: `[N, T, F]`.
      fit: `[M, T, F]`, windows of training, from which the biases are taken.
      kernels: number of features, a multiple of 84.
      seed: of the choice of columns and biases.
    Returns:
      `[N, kernels]`.
    """
    rocket = library("aeon.transformations.collection.convolution_based")
    found = rocket.MiniRocket(n_kernels=kernels, random_state=seed)
    found.fit(_channels_first(fit, SHORTEST))
    x = found.transform(_channels_first(windows, SHORTEST))
    return _unit(np.asarray(x, np.float32))


def catch22(windows, fit):
    """The 22 canonical characteristics of each column, in deviations of training.

    Lubba et al., DMKD 2019, as aeon has it; with mean and deviation, for the others do
    not see the level. What is no number (a column that stands still) counts as 0.

    Args:
      windows: `[N, T, F]`.
      fit: `[M, T, F]`, windows of training, which give the scale.
    Returns:
      `[N, 24 * F]`.
    """
    features = library("aeon.transformations.collection.feature_based")
    make = features.Catch22(catch24=True, replace_nans=True)
    of_fit = _finite(make.fit_transform(_channels_first(fit)))
    of_windows = _finite(make.transform(_channels_first(windows)))
    mean, deviation = of_fit.mean(0), of_fit.std(0)
    return (of_windows - mean) / np.where(deviation > 0, deviation, 1.0)


def warped(windows, examples, *, band=0.4):
    """Distances `[N, M]` by dynamic time warping over all columns together.

    Args:
      windows: `[N, T, F]`.
      examples: `[M, T, F]`.
      band: how far bins may be apart in time, as a share of T (Sakoe and Chiba).
    """
    aeon = library("aeon.distances")
    return aeon.pairwise_distance(
        _channels_first(windows), _channels_first(examples), method="dtw", window=band
    )


def classified(name, fit, labels, windows, *, seed=0):
    """The condition `[N]` of each window by a classifier of known conditions.

    Args:
      name: `random forest` or `logistic regression`.
      fit: `[M, T, F]`, windows of training.
      labels: `[M]` int, their conditions.
      windows: `[N, T, F]`.
      seed: of the forest.
    """
    if name == "random forest":
        ensemble = library("sklearn.ensemble")
        model = ensemble.RandomForestClassifier(500, random_state=seed)
    else:
        linear = library("sklearn.linear_model")
        model = linear.LogisticRegression(max_iter=1000)
    return model.fit(whole(fit), labels).predict(whole(windows))


def library(name):
    """A module of the extra `bench`; UsageError, in one line, where it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.split(".")[0].replace("sklearn", "scikit-learn")
        raise UsageError(
            f"this baseline needs {package}: pip install {package}"
        ) from None


def _channels_first(windows, shortest=0):
    """`[N, F, T]` float64 as aeon has it, as long as it asks for."""
    x = np.swapaxes(np.asarray(windows, np.float64), 1, 2)
    missing = max(shortest - x.shape[2], 0)
    return np.pad(x, ((0, 0), (0, 0), (0, missing)), mode="edge")


def _unit(x):
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def _finite(x):
    return np.nan_to_num(np.asarray(x, np.float64), posinf=0.0, neginf=0.0)
