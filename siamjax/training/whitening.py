"""The whitening of a run: WCCN, learnt on its training windows."""

import numpy as np

from siamjax.data import features
from siamjax.data.splits import Splits
from siamjax.evaluation import wccn
from siamjax.evaluation.wccn import Whitening
from siamjax.types import TRAIN


def learn_whitening(splits: Splits) -> Whitening:
    """Fits WCCN on the training windows of known conditions; chooses its shrinkage.

    Raises:
      UsageError: there is no such window.
    """
    windows = splits.windows_of(TRAIN, splits.conditions.known)
    inputs = splits.inputs(windows)
    x = features.to_features(inputs.counts, inputs.baseline, splits.scaler)
    moments = wccn.signed_log_moments(np.asarray(x))
    shrinkage = wccn.choose_shrinkage(moments, windows.condition, windows.session)
    return wccn.fit_whitening(moments, windows.condition, shrinkage)
