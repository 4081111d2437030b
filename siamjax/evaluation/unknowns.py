"""When a window is like no example: a threshold of distance, and how well it tells."""

import numpy as np

from siamjax.checks import require

# Without anything unknown to learn from, this share of known windows stays below.
QUANTILE = 0.99


def fit_threshold(known, unknown):
    """The distance to the nearest example beyond which a window is called unknown.

    It maximises the balanced accuracy, half the share of known windows at or below it
    plus half the share of unknown ones above it. Among equally good places the middle
    of the widest gap is taken, which leaves most room on both sides.

    Args:
      known: `[N]` distances of windows whose condition has an example.
      unknown: `[M]` distances of windows of other conditions; if empty, the threshold
        is the
        0.99 quantile of `known`.
    """
    known, unknown = _sorted(known, "known"), _sorted(unknown, "unknown")
    require(len(known), "no known window to learn a threshold of distance from")
    if not len(unknown):
        return float(np.quantile(known, QUANTILE))
    # One place below all distances, one in each gap, one above all.
    at = np.unique(np.concatenate([known, unknown]))
    below, above = np.append(0.0, at), np.append(at, at[-1])
    accuracy = (
        np.searchsorted(known, below, "right") / len(known)
        + 1
        - np.searchsorted(unknown, below, "right") / len(unknown)
    )
    accuracy[0] = 1.0 if at[0] > 0 else -1.0  # below all: everything is unknown
    best = np.flatnonzero(accuracy >= accuracy.max() - 1e-12)
    i = best[np.argmax((above - below)[best])]
    return float((below[i] + above[i]) / 2)


def auroc(known, unknown):
    """The chance that an unknown window is farther than a known one, ties by half.

    NaN where either is empty. Equal to the area under the ROC curve (Hanley, McNeil,
    1982).
    """
    known, unknown = _sorted(known, "known"), _sorted(unknown, "unknown")
    if not len(known) or not len(unknown):
        return float("nan")
    return float(farther(known, unknown).mean())


def farther(known, unknown, weights=None):
    """`[M]` of each unknown window the chance that it is farther than a known one.

    Ties count by half. The mean is the area under the ROC curve.

    Args:
      known: `[N]` distances, at least one.
      unknown: `[M]` distances.
      weights: `[N]` of the known windows, such as one over how many windows their
        condition has; all alike by default.
    """
    known, unknown = np.asarray(known, np.float64), np.asarray(unknown, np.float64)
    weights = np.ones(len(known)) if weights is None else np.asarray(weights)
    order = np.argsort(known)
    share = np.concatenate([[0.0], np.cumsum(weights[order])]) / weights.sum()
    at = (np.searchsorted(known[order], unknown, side) for side in ("left", "right"))
    return sum(share[i] for i in at) / 2


def false_positive_rate(known, unknown, *, found=0.95):
    """The share of known windows called unknown when `found` of the unknown ones are.

    NaN where either is empty.
    """
    known, unknown = _sorted(known, "known"), _sorted(unknown, "unknown")
    if not len(known) or not len(unknown):
        return float("nan")
    missed = int(np.floor((1 - found) * len(unknown) + 1e-9))
    return float((known >= unknown[missed]).mean())


def _sorted(distances, name):
    distances = np.asarray(distances, np.float64)
    require(distances.ndim == 1, f"{name} distances must be [N], not {distances.shape}")
    require(np.isfinite(distances).all(), f"{name} distances are not all finite")
    return np.sort(distances)
