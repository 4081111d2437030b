"""siamjax behind the interface of pytorch-metric-learning, in memory, for its tests.

`install` puts siamjax's losses, miners and metrics in place of the library's own. Its
classes keep their constructors, weights, distances and reducers; what a test reads from
them stays as it is. Only what computes is replaced: `forward` of a loss, `mine` of a
miner, the scores of `AccuracyCalculator`. What siamjax does not have raises
`NoCounterpart` with a reason.
"""

import jax
from pytorch_metric_learning import miners as peer_miners
from pytorch_metric_learning.losses import base_metric_loss_function
from pytorch_metric_learning.utils import accuracy_calculator

from scripts.peer.bridge import counted
from scripts.peer.losses import forward
from scripts.peer.metrics import CLUSTER_SCORES, SCORES
from scripts.peer.miners import MINERS


def install():
    jax.config.update("jax_enable_x64", True)
    base_metric_loss_function.BaseMetricLossFunction.forward = forward
    for name, mine in MINERS.items():
        getattr(peer_miners, name).mine = counted(mine)
    for name, score in {**SCORES, **CLUSTER_SCORES}.items():
        setattr(accuracy_calculator, name, counted(score))
