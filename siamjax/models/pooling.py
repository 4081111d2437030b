"""One summary of a window from the states of its real bins."""

import jax
import jax.numpy as jnp


def mean_and_max(h: jax.Array, real: jax.Array) -> jax.Array:
    """Mean and maximum over the real bins: `[T, B, H]`, `[T, B]` -> `[B, 2H]`."""
    real = real[:, :, None]  # [T, B, 1]
    count = jnp.maximum(real.sum(0), 1)  # [B, 1]
    mean = jnp.where(real, h, 0).sum(0) / count
    largest = jnp.where(real, h, -jnp.inf).max(0)
    return jnp.concatenate([mean, largest], -1)


def last(h: jax.Array, lengths: jax.Array) -> jax.Array:
    """The state after the last real bin: `[T, B, H]`, `[B]` -> `[B, H]`."""
    return jnp.take_along_axis(h, lengths[None, :, None] - 1, axis=0)[0]


def attention(h: jax.Array, scores: jax.Array, real: jax.Array) -> jax.Array:
    """Mean of states `[T, B, H]` by the softmax of their scores `[T, B]`: `[B, H]`."""
    weights = jax.nn.softmax(jnp.where(real, scores, -jnp.inf), axis=0)  # [T, B]
    return (weights[:, :, None] * jnp.where(real[:, :, None], h, 0)).sum(0)
