"""The whitening of a run: WCCN, learnt on its training windows."""

import numpy as np

from siamjax.data import features
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
    inputs = splits.inputs(windows)
    x = np.asarray(features.to_features(inputs.counts, inputs.baseline, splits.scaler))
    return baselines.learn_wccn(
        baselines.Training(x, windows.condition, windows.session)
    )
