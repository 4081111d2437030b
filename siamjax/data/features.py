"""Counts -> features: one pure function for training, evaluation, identify and live.

A column that is a heavy-tailed count takes log1p; then it is read against the session's
own normal bins, clipped and scaled. Nothing here knows a label or a model.
"""

import jax.numpy as jnp
import numpy as np

from siamjax.types import Baseline, Scaler


def scaler(columns, *, floor, clip):
    """The `Scaler` of a table of columns.

    Args:
      columns: `types.Column`s, F of them.
      floor: added to every deviation of a baseline, in log counts: it keeps a column
        that was silent in normal times from making much of its first message.
      clip: the largest absolute feature, in deviations.
    """
    return Scaler(
        heavy=np.array([column.heavy for column in columns]),
        empty=np.array([column.empty for column in columns], np.float32),
        floor=np.float32(floor),
        clip=np.float32(clip),
        scale=np.ones(len(columns), np.float32),
    )


def logs(counts, scaler):
    """`[..., F]` counts with log1p on the heavy-tailed columns."""
    heavy = jnp.broadcast_to(scaler.heavy, counts.shape)
    return jnp.where(heavy, jnp.log1p(jnp.maximum(counts, 0.0)), counts)


def baseline(counts, scaler):
    """Mean and deviation `[F]` of a session's normal bins `[bins, F]`.

    A column that measured nothing in them has mean and deviation 0.
    """
    x = logs(counts, scaler)
    measured = ~jnp.isnan(x)
    n = jnp.maximum(measured.sum(0), 1)
    mean = jnp.where(measured, x, 0.0).sum(0) / n
    squares = jnp.where(measured, (x - mean[None]) ** 2, 0.0).sum(0) / n
    return Baseline(mean, jnp.sqrt(squares))


def features(counts, baseline, scaler):
    """Counts `[B, T, F]`, baselines `[B, F]` -> features `[B, T, F]` within the clip.

    Where nothing was measured (NaN) a feature is 0: as in the session's normal times.
    """
    mean, deviation = baseline.mean[..., None, :], baseline.deviation[..., None, :]
    z = (logs(counts, scaler) - mean) / (deviation + scaler.floor)
    z = jnp.clip(jnp.nan_to_num(z), -scaler.clip, scaler.clip)
    return z * jnp.broadcast_to(scaler.scale, z.shape)


def empty(baseline, scaler):
    """Features `[B, F]` of a bin that saw nothing."""
    count = jnp.broadcast_to(scaler.empty, baseline.mean.shape)
    return features(count[..., None, :], baseline, scaler)[..., 0, :]
