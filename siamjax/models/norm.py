"""Normalisation of the encoder's input, with a type for each kind of statistics.

This project began with a very good training loss and a poor validation loss. Only the
removal of batch norm helped, because its statistics were not the same in training and
prediction. Here they are arguments and results of pure functions, in two types:

* `TrainStats`: the running ones. Training reads them and returns new ones.
* `FinalStats`: what `finalise` makes of them, once. Prediction accepts nothing else.

No form has a learnt scale and shift: the LSTM's input projection has them.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import flax
import jax
import jax.numpy as jnp

from siamjax import checks
from siamjax.models import moments
from siamjax.models.moments import wide
from siamjax.types import SiamjaxError, UsageError

# Added to a variance, which may be 0. Its unit is the square of that of the features.
EPSILON = 1e-5

# The most that renorm corrects a batch by: a ratio of deviations, a number of
# deviations.
RENORM_SCALE, RENORM_SHIFT = 3.0, 5.0


@flax.struct.dataclass
class TrainStats:
    """Running statistics of training."""

    updates: jax.Array  # [] int32, batches seen
    moments: dict[str, jax.Array]  # of the normalisation in use; empty for most


@flax.struct.dataclass
class FinalStats:
    """Statistics for prediction, which nothing writes to."""

    moments: dict[str, jax.Array]


class Norm(NamedTuple):
    """One way to normalise: pure functions of `x` `[B, T, F]` and `real` `[B, T]`."""

    init: Callable  # () -> TrainStats
    train: Callable  # (x, real, TrainStats, group) -> (x, TrainStats)
    predict: Callable  # (x, real, FinalStats, group) -> x
    finalise: Callable  # TrainStats -> FinalStats


def build_norm(
    name: str, features: int, *, momentum: float, frozen_after: int = 0
) -> Norm:
    """The `Norm` called `name`.

    | name | in training, a row is read against | kept for prediction |
    |---|---|---|
    | `none` | nothing | nothing |
    | `layer` | each bin's own features | nothing |
    | `batch` | the batch | moving average |
    | `renorm` | the batch, drawn to the moving average | moving average |
    | `frozen` | the batch, later all batches so far | all batches so far |
    | `session` | the rows of its group in the batch | its session's windows |

    The start value has no share in the moving average: see `moments.average_rate`.

    Two more are wrong on purpose, for the research of docs/norm.md and
    configs/riddle.py: `lag` is `batch` whose average starts at mean 0 and variance 1
    and is not corrected; `branch` is `session` with the branches of a Siamese network
    (anchors, positives, negatives) as groups.

    Args:
      name: as above.
      features: F.
      momentum: share of the moving average that a step leaves, in [0, 1).
      frozen_after: the step after which `frozen` stops; 1 or more.
    Raises:
      UsageError: no such name, a momentum outside [0, 1), nothing to freeze.
    """
    checks.require(
        0 <= momentum < 1, f"config.encoder.momentum is {momentum}, not in [0, 1)"
    )
    checks.require(
        name != "frozen" or frozen_after >= 1,
        "config.encoder.norm is 'frozen': config.encoder.frozen_share of config.steps "
        f"must leave a step to learn from, not {frozen_after}",
    )
    corrected = partial(_corrected, momentum=momentum)
    makers = {
        "none": lambda: _stateless(lambda x: x),
        "layer": lambda: _stateless(layer_norm),
        "batch": lambda: _moving(features, moments.of_batch, corrected, _by_batch),
        "renorm": lambda: _moving(features, moments.of_batch, corrected, _by_both),
        "frozen": lambda: _frozen(features, frozen_after),
        "session": lambda: _moving(features, moments.of_groups, corrected, _by_batch),
        "lag": lambda: _moving(
            features, moments.of_batch, partial(_lagging, momentum=momentum), _by_batch
        ),
        "branch": lambda: _moving(features, moments.of_groups, corrected, _by_batch),
    }
    choices = ", ".join(makers)
    checks.require(
        name in makers, f"config.encoder.norm is {name!r}: it is one of {choices}"
    )
    return makers[name]()


def check_stats(stats: TrainStats | FinalStats, train: bool) -> None:
    """Refuses statistics that are not for the mode they are given to.

    Raises:
      UsageError: not `TrainStats` with `train=True`, not `FinalStats` with
        `train=False`.
    """
    wanted = TrainStats if train else FinalStats
    hint = (
        "training needs the running statistics of the training state"
        if train
        else "prediction needs finished statistics: encoder.finalise(state.batch_stats)"
    )
    if not isinstance(stats, wanted):
        raise UsageError(
            f"apply(train={bool(train)}) was given {type(stats).__name__}, "
            f"not {wanted.__name__}: {hint}"
        )


def assert_moved(stats: TrainStats, steps: int) -> None:
    """Raises where a training loop did not keep the statistics its steps returned.

    Args:
      stats: concrete `TrainStats`, after `steps` steps.
    Raises:
      SiamjaxError: they have not seen exactly that many batches.
    """
    if int(stats.updates) != int(steps):
        raise SiamjaxError(
            f"the normalisation statistics saw {int(stats.updates)} batches in "
            f"{int(steps)} steps: keep those that encoder.apply(train=True) returns"
        )


def layer_norm(x: jax.Array) -> jax.Array:
    """Each bin `[F]` less its mean, by its deviation (Ba et al., arXiv 1607.06450)."""
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + EPSILON)


def _stateless(function):
    return Norm(
        init=lambda: TrainStats(jnp.zeros((), jnp.int32), {}),
        train=lambda x, real, stats, group: (
            function(x),
            stats.replace(updates=stats.updates + 1),
        ),
        predict=lambda x, real, stats, group: function(x),
        finalise=lambda stats: FinalStats({}),
    )


def _moving(features, measure, move, use):
    """Batch norm (Ioffe, Szegedy, ICML 2015) in its variants, one pass a step.

    Args:
      features: F.
      measure: (x, real, group) -> moments of the batch, `[F]` or `[B, F]`.
      move: (old, new, updates) -> the kept moments, dicts of `[F]`.
      use: (x, moments of the batch, kept moments, updates) -> x.
    """

    def init():
        start = dict(mean=jnp.zeros(features), variance=jnp.ones(features))
        return TrainStats(jnp.zeros((), jnp.int32), start)

    def train(x, real, stats, group):
        batch = measure(x, real, group)
        updates = stats.updates + 1
        weight = real.sum(1, keepdims=True) / jnp.maximum(real.sum(), 1)  # [B, 1]
        totals = [m if m.ndim == 1 else (weight * m).sum(0) for m in batch]
        new = jax.lax.stop_gradient(dict(zip(("mean", "variance"), totals)))
        kept = move(stats.moments, new, updates)
        return use(x, batch, kept, updates), TrainStats(updates, kept)

    return Norm(init, train, _predict, lambda stats: FinalStats(dict(stats.moments)))


def _frozen(features, after):
    """Batch norm that after some steps uses the kept moments and moves them no more.

    Args:
      features: F.
      after: the step after which they no longer move.
    """

    def move(old, new, updates):
        moved = moments.pooled(old, new, updates)
        return jax.tree.map(lambda o, n: jnp.where(updates <= after, n, o), old, moved)

    def use(x, batch, kept, updates):
        by_kept = _standardise(x, kept["mean"], kept["variance"])
        return jnp.where(updates <= after, _by_batch(x, batch, kept, updates), by_kept)

    return _moving(features, moments.of_batch, move, use)


def _corrected(old, new, updates, *, momentum):
    share = moments.average_rate(updates, momentum)
    return jax.tree.map(lambda o, n: o + share * (n - o), old, new)


def _lagging(old, new, updates, *, momentum):
    """The moving average of most libraries: the start value counts like a batch."""
    return jax.tree.map(lambda o, n: momentum * o + (1 - momentum) * n, old, new)


def _by_batch(x, batch, kept, updates):
    return _standardise(x, *batch)


def _by_both(x, batch, kept, updates):
    """Batch renormalisation (Ioffe, NeurIPS 2017), always at its final limits."""
    mean, variance = jax.lax.stop_gradient(batch)
    deviation = jnp.sqrt(kept["variance"] + EPSILON)
    scale = jnp.sqrt(variance + EPSILON) / deviation
    shift = (mean - kept["mean"]) / deviation
    scale = jnp.clip(scale, 1 / RENORM_SCALE, RENORM_SCALE)
    shift = jnp.clip(shift, -RENORM_SHIFT, RENORM_SHIFT)
    return _standardise(x, *batch) * wide(scale) + wide(shift)


def _predict(x, real, stats, group):
    mean, variance = stats.moments["mean"], stats.moments["variance"]
    if mean.ndim == 2:
        if group is None:
            raise UsageError("statistics by group: encoder.apply needs group=[B]")
        mean, variance = mean[group], variance[group]
    return _standardise(x, mean, variance)


def _standardise(x, mean, variance):
    return (x - wide(mean)) * wide(jax.lax.rsqrt(variance + EPSILON))
