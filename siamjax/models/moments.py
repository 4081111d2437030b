"""Means and variances of each window, of a batch, of its groups, and over batches.

They take two passes: the second subtracts the mean of the first, corrects the mean by
the mean of the differences, and squares them. So a large level costs no digits. Under
jit the sums run over the batch of all devices.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from siamjax.types import UsageError

Array = jax.Array | np.ndarray
Moments = tuple[jax.Array, jax.Array]  # mean and biased variance


def of_batch(x: jax.Array, real: jax.Array, group: object = None) -> Moments:
    """Mean and variance of each feature over the real bins of the whole batch.

    Args:
      x: `[B, T, F]`, anything in padding.
      real: `[B, T]` bool.
      group: not read.
    Returns:
      Mean `[F]` and (biased) variance `[F]`; 0 and 0 where nothing is real.
    """
    real = real[:, :, None]
    count = jnp.maximum(real.sum(), 1)
    return _two_passes(x, lambda v: jnp.where(real, v, 0).sum((0, 1)) / count)


def of_windows(x: jax.Array, real: jax.Array) -> Moments:
    """As `of_batch`, for each window alone: mean and variance `[B, F]`."""
    real = real[:, :, None]
    count = jnp.maximum(real.sum(1), 1)
    return _two_passes(x, lambda v: jnp.where(real, v, 0).sum(1) / count)


def of_groups(x: Array, real: Array, group: Array | None) -> Moments:
    """As `of_batch`, for each row over the rows of its group: mean, variance `[B, F]`.

    Args:
      x: `[B, T, F]`, anything in padding.
      real: `[B, T]` bool.
      group: `[B]` int.
    Raises:
      UsageError: no group was given.
    """
    if group is None:
        raise UsageError("normalisation by group: encoder.apply needs group=[B]")
    same = (group[:, None] == group[None, :]).astype(x.dtype)  # [B, B]
    total = partial(jnp.matmul, same, precision="highest")
    count = jnp.maximum(total(real.sum(1, keepdims=True).astype(x.dtype)), 1)
    real = real[:, :, None]
    return _two_passes(x, lambda v: total(jnp.where(real, v, 0).sum(1)) / count)


def pooled(
    old: dict[str, jax.Array], new: dict[str, jax.Array], updates: jax.Array
) -> dict[str, jax.Array]:
    """Moments of all batches so far, each with the same weight.

    By the law of total variance: the mean of the variances plus the variance of the
    means. `old` of `updates - 1` batches and `new` are dicts of mean and variance.
    """
    share = 1 / updates
    apart = new["mean"] - old["mean"]
    between = share * (1 - share) * apart**2
    wider = share * (new["variance"] - old["variance"])
    return dict(
        mean=old["mean"] + share * apart, variance=old["variance"] + wider + between
    )


def average_rate(updates: jax.Array, momentum: float) -> jax.Array:
    """Weight of the newest of `updates` batches in a bias-corrected moving average.

      (1 - m) / (1 - m ** n)

    With this rate the average `a += rate * (new - a)` is, at every n, the plain moving
    average divided by `1 - m ** n` (Kingma, Ba, ICLR 2015, section 3). The start value
    has no share in it, not even after one update.
    """
    log = jnp.log(momentum)
    return jnp.expm1(log) / jnp.expm1(updates * log)


def wide(moment: jax.Array) -> jax.Array:
    """Adds axes to `[F]` or `[B, F]`, so that it broadcasts with `[B, T, F]`."""
    return moment[None, None] if moment.ndim == 1 else moment[:, None]


def _two_passes(x, mean):
    """Mean and variance, by a `mean` that reduces `[B, T, F]` to `[F]` or `[B, F]`."""
    rough = mean(x)
    difference = x - wide(rough)
    correction = mean(difference)
    return rough + correction, mean((difference - wide(correction)) ** 2)
