"""Counts -> features: one pure function for training, evaluation and identification.

Columns that are heavy-tailed counts take log1p. Then the mean of the session's normal
bins is subtracted, the result is divided by their deviation, clipped and scaled. Labels
and models are not used.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from siamjax import checks
from siamjax.data.counts_on_disk import StoredCounts
from siamjax.types import Baseline, Column, Scaler

# What may be subtracted from the windows of a session: the mean of its normal bins, or
# nothing.
BASELINES = ("session", "none")
# The largest feature where nothing is subtracted.
LARGEST = 1e6
# A count is heavy-tailed where its deviation is more than this many times its mean.
# Both are equal for an exponential distribution.
HEAVY_TAILED = 1.0
# A column whose largest value is below this is a flag or a level, not a count.
FEW = 10
# The least unit of a column, as a share of its mean: a column that never changes has
# the deviation 0.
LEAST_UNIT = 0.01
# So many bins of a session become features at once.
_BLOCK_BINS = 4096


def make_scaler(columns: Sequence[Column], *, floor: Any, clip: float) -> Scaler:
    """The `Scaler` of a table of columns.

    Args:
      columns: `types.Column`s, F of them.
      floor: is added to the deviation of each column, in log counts; a number or `[F]`.
        Without it, the first message of a column that was always 0 in normal times
        would give a very large feature.
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
    """The `Scaler` for a value of `config.data.baseline`.

    With "session", features are relative to the session's normal bins. With "none",
    they are the (log) counts themselves.
    """
    checks.require(
        baseline in BASELINES,
        f"config.data.baseline is {baseline!r}: set one of {', '.join(BASELINES)}",
    )
    if baseline == "session":
        return scaler
    return scaler._replace(own=np.bool_(False), clip=np.float32(LARGEST))


def find_heavy_tailed(normal: Iterable[np.ndarray]) -> np.ndarray:
    """`[F]` bool: which columns of counters are counts with a heavy tail.

    Their deviation in the normal bins of training is larger than their mean. These
    columns take log1p. On other columns log1p only makes differences smaller.

    Args:
      normal: these bins in blocks `[n, F]`, of which one is in memory at a time. They
        are asked for more than once.
    """
    mean, deviation = _moments(normal)
    least, most = _extremes(normal)
    return (least >= 0) & (most >= FEW) & (deviation > HEAVY_TAILED * mean)


def column_units(normal: Iterable[np.ndarray], heavy: np.ndarray) -> np.ndarray:
    """`[F]` the unit of each column of counters: 1 where it takes log1p (`heavy`).

    For the others it is their deviation in the normal bins of training, at least a
    hundredth of their mean, and 1 where they were always 0.

    Args:
      normal: see `find_heavy_tailed`.
      heavy: `[F]` of `find_heavy_tailed`.
    """
    mean, deviation = _moments(normal)
    unit = np.maximum(deviation, LEAST_UNIT * np.abs(mean))
    return np.where(heavy | (unit == 0), 1.0, unit).astype(np.float32)


def _moments(blocks):
    """Mean and deviation `[F]` of the measured values of blocks `[n, F]`; 0 where none
    is."""
    n, total, squares = 0, 0.0, 0.0
    for x in blocks:
        n = n + (~np.isnan(x)).sum(0)
        total = _add_rows(total, np.where(np.isnan(x), 0.0, x))
    n = np.maximum(n, 1)
    mean = total / n
    for x in blocks:
        squares = _add_rows(squares, np.where(np.isnan(x), 0.0, x - mean) ** 2)
    return mean, np.sqrt(squares / n)


def _add_rows(total, rows):
    """A sum `[F]` and rows `[n, F]`, one after the other: blocks change no digit."""
    first = np.broadcast_to(np.float64(total), rows.shape[1:])
    return np.concatenate([first[None], rows]).sum(0)


def _extremes(blocks):
    least, most = np.inf, -np.inf
    for x in blocks:
        low, high = np.where(np.isnan(x), np.inf, x), np.where(np.isnan(x), -np.inf, x)
        least = np.minimum(least, low.min(0, initial=np.inf))
        most = np.maximum(most, high.max(0, initial=-np.inf))
    return least, most


def log_counts(counts: Any, scaler: Scaler) -> jax.Array:
    """`[..., F]` counts with log1p on the heavy-tailed columns."""
    heavy = jnp.broadcast_to(scaler.heavy, counts.shape)
    return jnp.where(heavy, jnp.log1p(jnp.maximum(counts, 0.0)), counts)


@jax.jit
def session_baseline(counts: Any, scaler: Scaler) -> Baseline:
    """Mean and deviation `[F]` of a session's normal bins `[bins, F]`.

    A column without a measured value has mean and deviation 0.
    """
    x = log_counts(counts, scaler)
    measured = ~jnp.isnan(x)
    n = jnp.maximum(measured.sum(0), 1)
    mean = jnp.where(measured, x, 0.0).sum(0) / n
    squares = jnp.where(measured, (x - mean[None]) ** 2, 0.0).sum(0) / n
    return Baseline(mean, jnp.sqrt(squares))


@jax.jit  # each number of windows is compiled once, not once an operation
def to_features(counts: Any, baseline: Baseline, scaler: Scaler) -> jax.Array:
    """Counts `[B, T, F]` and baselines `[B, F]` -> features `[B, T, F]`.

    Where nothing was measured (NaN) the count is replaced by the mean of the baseline.
    """
    level, deviation = baseline.mean[..., None, :], baseline.deviation[..., None, :]
    unit = deviation + jnp.broadcast_to(scaler.floor, deviation.shape)
    x = log_counts(counts, scaler)
    x = jnp.where(jnp.isnan(x), level, x)
    z = (x - jnp.where(scaler.own, level, 0.0)) / jnp.where(scaler.own, unit, 1.0)
    z = jnp.clip(z, -scaler.clip, scaler.clip)
    return z * jnp.broadcast_to(scaler.scale, z.shape)


def session_features(
    counts: np.ndarray | StoredCounts,
    session: int,
    bins: int,
    baseline: Baseline,
    scaler: Scaler,
) -> Iterator[np.ndarray]:
    """Yields the features `[n, F]` of a session in blocks, one in memory at a time.

    Args:
      counts: `[S, bins, F]` of all sessions.
      session: its number.
      bins: how many it has.
      baseline: `[S, F]`.
      scaler: of the data.
    """
    baseline = Baseline(*(np.asarray(x)[session : session + 1] for x in baseline))
    for first in range(0, bins, _BLOCK_BINS):
        block = counts[session, first : min(first + _BLOCK_BINS, bins)]
        # All blocks are of one size: a program is compiled for each.
        padded = np.pad(block, ((0, _BLOCK_BINS - len(block)), (0, 0)))[None]
        yield np.asarray(to_features(padded, baseline, scaler))[0, : len(block)]
