"""The whitening of a run: WCCN, learnt on its training windows."""

from siamjax.data.splits import Splits
from siamjax.evaluation import baselines
from siamjax.evaluation.wccn import Whitening
from siamjax.types import TRAIN


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
