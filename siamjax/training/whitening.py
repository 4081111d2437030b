"""What a run keeps of its training windows besides its weights: WCCN, a few of them to
compare with, and what normal bins look like."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from siamjax.config import DataConfig
from siamjax.data import features
from siamjax.data.splits import Splits
from siamjax.data.windows import normal_bins, take
from siamjax.evaluation import baselines, wccn
from siamjax.evaluation.normal_bins import NormalBins, fit_normal_bins
from siamjax.evaluation.novelty import TrainingWindows
from siamjax.evaluation.wccn import Whitening
from siamjax.types import NORMAL, TRAIN, VALID

# The most windows of a condition that are kept.
KEPT = 24


def learn_whitening(splits: Splits) -> Whitening:
    """Fits WCCN on the training windows of known conditions; chooses its shrinkage.

    Raises:
      UsageError: there is no such window.
    """
    windows = splits.windows_of(TRAIN, splits.conditions.known)
    training = baselines.Training(
        splits.features(windows), windows.condition, windows.session
    )
    return baselines.learn_wccn(training)


def keep_windows(splits: Splits) -> TrainingWindows:
    """At most `KEPT` training windows of each known condition, drawn from its captures
    in turn.
    """
    rng, chosen = np.random.default_rng(0), [np.zeros(0, int)]
    for name in splits.conditions.known:
        rows = rng.permutation(np.flatnonzero(splits.window_mask(TRAIN, [name])))
        turns = _count_before(splits.windows.session[rows])
        chosen.append(rows[np.argsort(turns, kind="stable")][:KEPT])
    windows = take(splits.windows, np.concatenate(chosen))
    return TrainingWindows(
        tuple(splits.conditions.names[c] for c in windows.condition),
        tuple(splits.sessions.names[s] for s in windows.session),
        wccn.signed_log_moments(splits.features(windows)).astype(np.float32),
    )


def learn_normal_bins(splits: Splits, data: DataConfig) -> NormalBins | None:
    """The `NormalBins` of data whose faults are shorter than a window.

    That is so where windows are those of labelled stretches (`hop_s` is 0), and half of
    the faults of the training have fewer bins than a window.

    Args:
      splits: of the data.
      data: the config of these splits.
    Returns:
      None: faults are longer, or the training has no normal bin.
    """
    lengths = [
        min(label.clear_s, bins * data.bin_s) - label.onset_s
        for role, labels, bins in zip(
            splits.sessions.role, splits.sessions.labels, splits.sessions.bins
        )
        for label in labels
        if role == TRAIN and label.condition != NORMAL
    ]
    if data.hop_s or not lengths or np.median(lengths) >= data.bins * data.bin_s:
        return None
    training = partial(_normal_blocks, splits, TRAIN, data.bin_s)
    return fit_normal_bins(training, _normal_blocks(splits, VALID, data.bin_s))


def _normal_blocks(splits: Splits, role: str, bin_s: float) -> Iterator[np.ndarray]:
    """Features `[n, F]` of measured normal bins of sessions of a role, in blocks."""
    for i in np.flatnonzero(splits.sessions.role == role).tolist():
        bins = int(splits.sessions.bins[i])
        is_normal = normal_bins(splits.sessions.labels[i], bins, bin_s)
        first = 0
        for x in features.session_features(
            splits.counts, i, bins, splits.baseline, splits.scaler
        ):
            rows = slice(first, first + len(x))
            # A missing row has the features of the mean: it shows no variation.
            yield x[is_normal[rows] & np.isfinite(splits.counts[i, rows]).any(1)]
            first += len(x)


def _count_before(values):
    """`[N]` how many equal values come before each."""
    seen: dict[int, int] = {}
    counts = []
    for value in values.tolist():
        counts.append(seen.get(value, 0))
        seen[value] = counts[-1] + 1
    return np.array(counts, int)
