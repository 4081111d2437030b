"""Counts -> features: one pure function for training, evaluation, identify and live.

A column that is a heavy-tailed count takes log1p; then it is read against the session's
own normal bins, clipped and scaled. Nothing here knows a label or a model.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from siamjax import checks
from siamjax.types import Baseline, Column, Scaler

# What the windows of a session may be read against.
BASELINES = ("session", "none")
# The largest feature where it is nothing.
LARGEST = 1e6
# Of a count whose gaps follow no rhythm (exponential) the deviation is the mean.
HEAVY_TAILED = 1.0
# What never goes this high is a flag or a level, not a count.
FEW = 10
# The least unit of a column, as a share of its mean: what never changes has no
# deviation.
LEAST_UNIT = 0.01


def make_scaler(columns: Sequence[Column], *, floor: Any, clip: float) -> Scaler:
    """The `Scaler` of a table of columns.

    Args:
      columns: `types.Column`s, F of them.
      floor: added to every deviation of a baseline, in log counts, or `[F]`: it keeps a
        column that was silent in normal times from making much of its first message.
      clip: the largest absolute feature, in deviations.
    """
    return Scaler(
        heavy=np.array([column.heavy for column in columns]),
        empty=np.array([column.empty for column in columns], np.float32),
        floor=np.broadcast_to(np.float32(floor), (len(columns),)),
        clip=np.float32(clip),
        scale=np.ones(len(columns), np.float32),
        own=np.bool_(True),
    )


def with_baseline(scaler: Scaler, baseline: str) -> Scaler:
    """The `Scaler` with windows read against what `config.data.baseline` says.

    Against `none`, features are the (log) counts, with the session's level in them.
    """
    checks.require(
        baseline in BASELINES,
        f"config.data.baseline is {baseline!r}: it is one of {', '.join(BASELINES)}",
    )
    if baseline == "session":
        return scaler
    return scaler._replace(own=np.bool_(False), clip=np.float32(LARGEST))


def find_heavy_tailed(normal: np.ndarray) -> np.ndarray:
    """`[F]` bool: columns of counters that are counts with a heavy tail.

    Their deviation in normal bins `[N, F]` of training is above their mean. log1p of
    other columns only blurs them.
    """
    mean, deviation = _moments(normal)
    least, most = _extremes(normal)
    return (least >= 0) & (most >= FEW) & (deviation > HEAVY_TAILED * mean)


def column_units(normal: np.ndarray, heavy: np.ndarray) -> np.ndarray:
    """`[F]` what counts as much in each column of counters: 1 in log counts.

    For the others their deviation in normal bins `[N, F]` of training, at least a
    hundredth of their mean; 1 where they were always 0.
    """
    mean, deviation = _moments(normal)
    unit = np.maximum(deviation, LEAST_UNIT * np.abs(mean))
    return np.where(heavy | (unit == 0), 1.0, unit).astype(np.float32)


def _moments(x):
    """Mean and deviation `[F]` of what is measured in `[N, F]`; 0 where nothing is."""
    measured = ~np.isnan(x)
    n = np.maximum(measured.sum(0), 1)
    mean = np.where(measured, x, 0.0).sum(0, dtype=float) / n
    squares = np.where(measured, x - mean, 0.0) ** 2
    return mean, np.sqrt(squares.sum(0) / n)


def _extremes(x):
    measured = ~np.isnan(x)
    least = np.where(measured, x, np.inf).min(0, initial=np.inf)
    return least, np.where(measured, x, -np.inf).max(0, initial=-np.inf)


def log_counts(counts: Any, scaler: Scaler) -> jax.Array:
    """`[..., F]` counts with log1p on the heavy-tailed columns."""
    heavy = jnp.broadcast_to(scaler.heavy, counts.shape)
    return jnp.where(heavy, jnp.log1p(jnp.maximum(counts, 0.0)), counts)


def session_baseline(counts: Any, scaler: Scaler) -> Baseline:
    """Mean and deviation `[F]` of a session's normal bins `[bins, F]`.

    A column that measured nothing in them has mean and deviation 0.
    """
    x = log_counts(counts, scaler)
    measured = ~jnp.isnan(x)
    n = jnp.maximum(measured.sum(0), 1)
    mean = jnp.where(measured, x, 0.0).sum(0) / n
    squares = jnp.where(measured, (x - mean[None]) ** 2, 0.0).sum(0) / n
    return Baseline(mean, jnp.sqrt(squares))


def to_features(counts: Any, baseline: Baseline, scaler: Scaler) -> jax.Array:
    """Counts `[B, T, F]`, baselines `[B, F]` -> features `[B, T, F]` within the clip.

    Where nothing was measured (NaN) a feature is as in the session's normal times.
    """
    level, deviation = baseline.mean[..., None, :], baseline.deviation[..., None, :]
    unit = deviation + jnp.broadcast_to(scaler.floor, deviation.shape)
    x = log_counts(counts, scaler)
    x = jnp.where(jnp.isnan(x), level, x)
    z = (x - jnp.where(scaler.own, level, 0.0)) / jnp.where(scaler.own, unit, 1.0)
    z = jnp.clip(z, -scaler.clip, scaler.clip)
    return z * jnp.broadcast_to(scaler.scale, z.shape)
