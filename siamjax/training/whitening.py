"""What a run keeps of its training windows besides its weights: WCCN, and a few of them
to compare with."""

import numpy as np

from siamjax.data.splits import Splits
from siamjax.data.windows import take
from siamjax.evaluation import baselines, wccn
from siamjax.evaluation.novelty import TrainingWindows
from siamjax.evaluation.wccn import Whitening
from siamjax.types import TRAIN

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


def _count_before(values):
    """`[N]` how many equal values come before each."""
    seen: dict[int, int] = {}
    counts = []
    for value in values.tolist():
        counts.append(seen.get(value, 0))
        seen[value] = counts[-1] + 1
    return np.array(counts, int)
