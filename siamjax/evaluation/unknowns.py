"""Unknown windows: a distance threshold, and how well distances separate them."""

import numpy as np

from siamjax.checks import require

# If there are no unknown windows to learn from, this share of known windows is below
# the threshold.
QUANTILE = 0.99
# So far from the known windows the limit lies in a gap. Out of fold, on three networks
# whose faults leave one, a half and a quarter give the same counts; a fault that is
# nearer to the known ones than those of the validation passes less at a quarter.
IN_GAP = 0.25
# The share of unknown windows at or above the threshold of `false_positives`.
FOUND = 0.95


def fit_threshold(known: np.ndarray, unknown: np.ndarray) -> float:
    """The distance to the nearest example beyond which a window is called unknown.

    It maximises the balanced accuracy: half the share of known windows at or below it
    plus half the share of unknown ones above it. Among equally good thresholds it is
    the middle of the widest gap.

    Args:
      known: `[N]` distances of windows whose condition has an example.
      unknown: `[M]` distances of windows of other conditions; if empty, the threshold
        is the 0.99 quantile of `known`.
    Raises:
      UsageError: there is no known window, or a distance is not finite.
    """
    known, unknown = _sorted(known, "known"), _sorted(unknown, "unknown")
    require(
        len(known),
        "no known window: the distance threshold is learnt from known conditions",
    )
    if not len(unknown):
        return float(np.quantile(known, QUANTILE))
    # One threshold below all distances, one in each gap, one above all.
    places = np.unique(np.concatenate([known, unknown]))
    below, above = np.append(0.0, places), np.append(places, places[-1])
    accuracy = (
        np.searchsorted(known, below, "right") / len(known)
        + 1
        - np.searchsorted(unknown, below, "right") / len(unknown)
    )
    accuracy[0] = 1.0 if places[0] > 0 else -1.0  # below all: everything is unknown
    best = np.flatnonzero(accuracy >= accuracy.max() - 1e-12)
    i = best[np.argmax((above - below)[best])]
    return float((below[i] + above[i]) / 2)


def fit_limit(known: np.ndarray, unknown: np.ndarray) -> float:
    """A threshold that stays near the known windows where the gap is wide.

    It lies between the 0.99 quantile of the known windows and `fit_threshold`, on a
    scale of logarithms: half of the way where these overlap. Where there is a gap, it
    is `IN_GAP` of the way: few unknown faults show where others lie, and an empty gap
    says nothing about that.

    Args:
      known, unknown: see `fit_threshold`.
    """
    threshold = fit_threshold(known, unknown)
    quantile = float(np.quantile(known, QUANTILE))
    share = IN_GAP if threshold > quantile else 0.5
    return quantile ** (1 - share) * threshold**share


def false_positives(
    known: np.ndarray, unknown: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """The share of known windows that are called unknown where `FOUND` of the unknown
    ones are: the FPR at 95 %.

    Args:
      known, unknown, weights: see `chance_farther`; at least one unknown window.
    """
    weights = np.ones(len(known)) if weights is None else np.asarray(weights)
    threshold = np.sort(unknown)[int(len(unknown) * (1 - FOUND) + 1e-9)]
    return float(weights[np.asarray(known) >= threshold].sum() / weights.sum())


def chance_farther(
    known: np.ndarray, unknown: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """`[M]` the chance of each unknown window that it is farther than a known one.

    Ties count by half. The mean is the area under the ROC curve (Hanley, McNeil, 1982).

    Args:
      known: `[N]` distances, at least one.
      unknown: `[M]` distances.
      weights: `[N]` of the known windows, such as 1 over how many windows their
        condition has; all equal by default.
    """
    known, unknown = np.asarray(known, np.float64), np.asarray(unknown, np.float64)
    weights = np.ones(len(known)) if weights is None else np.asarray(weights)
    order = np.argsort(known)
    share = np.concatenate([[0.0], np.cumsum(weights[order])]) / weights.sum()
    less = share[np.searchsorted(known[order], unknown, "left")]
    less_or_equal = share[np.searchsorted(known[order], unknown, "right")]
    return (less + less_or_equal) / 2


def _sorted(distances, name):
    distances = np.asarray(distances, np.float64)
    require(distances.ndim == 1, f"{name} distances must be [N], not {distances.shape}")
    require(np.isfinite(distances).all(), f"{name} distances are not all finite")
    return np.sort(distances)
