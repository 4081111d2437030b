"""Logarithms of sums of exponentials over masks, safe where the mask is empty."""

import jax
import jax.numpy as jnp
from jax import lax


def lse(values, mask, axis=1):
    """log of the sum of exp(values) where mask, along axis.

    An empty sum gives a finite number so low that exp of it is 0, with gradient 0.
    """
    lowest = lowest_of(values.dtype)
    kept = jnp.where(mask, values, lowest)
    top = lax.stop_gradient(jnp.max(kept, axis, keepdims=True, initial=lowest))
    parts = jnp.where(mask, jnp.exp(kept - top), jnp.zeros_like(values))
    total = parts.sum(axis)
    top = jnp.squeeze(top, axis)
    return jnp.where(total > 0, jnp.log(jnp.where(total > 0, total, 1)) + top, lowest)


def log1p_sum_exp(values, mask, axis=1):
    """log(1 + sum of exp(values) where mask), along axis; 0 where the mask is empty."""
    return jax.nn.softplus(lse(values, mask, axis))


def lowest_of(dtype):
    """A number low enough to be no value; sums and differences of two are finite."""
    return -float(jnp.finfo(dtype).max) / 8
