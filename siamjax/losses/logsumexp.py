"""Logarithms of sums of exponentials over masks, safe where the mask is empty."""

import jax
import jax.numpy as jnp
from jax import lax


def masked_logsumexp(values: jax.Array, mask: jax.Array, axis: int = 1) -> jax.Array:
    """log of the sum of exp(values) where mask, along axis.

    An empty sum gives a finite number so low that its exp is 0, with gradient 0.
    """
    lowest = lowest_number(values.dtype)
    kept = jnp.where(mask, values, lowest)
    largest = lax.stop_gradient(jnp.max(kept, axis, keepdims=True, initial=lowest))
    # Where the mask is empty the logarithm of a count is lost beside the low number.
    total = jnp.exp(kept - largest).sum(axis)
    largest = jnp.squeeze(largest, axis)
    log = jnp.log(jnp.where(total > 0, total, 1)) + largest
    return jnp.where(total > 0, log, lowest)


def log1p_sum_exp(values: jax.Array, mask: jax.Array, axis: int = 1) -> jax.Array:
    """log(1 + sum of exp(values) where mask), along axis; 0 where the mask is empty."""
    return jax.nn.softplus(masked_logsumexp(values, mask, axis))


def lowest_number(dtype: jnp.dtype) -> float:
    """A very low number; the sum and the difference of two of them are finite."""
    return -float(jnp.finfo(dtype).max) / 8
