"""Quantiles of a masked matrix by bisection: a sort would gather it on every device."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

STEPS = 30  # halvings of the range


def quantiles(values: jax.Array, mask: jax.Array, shares: Sequence[float]) -> jax.Array:
    """For each share the smallest v such that at least this share of values is <= v.

    Args:
      values: `[A, R]` float.
      mask: `[A, R]` bool, the values that count.
      shares: `[N]`, in [0, 1].
    Returns:
      `[N]`, exact to 2^-30 of the range of the values; 0 where the mask is empty.
    """
    number = mask.sum()
    high = jnp.max(jnp.where(mask, values, -jnp.inf), initial=-jnp.inf)
    low = jnp.min(jnp.where(mask, values, jnp.inf), initial=jnp.inf)
    high, low = (jnp.where(number > 0, v, 0).astype(values.dtype) for v in (high, low))
    wanted = jnp.ceil(jnp.asarray(shares, values.dtype) * number.astype(values.dtype))

    def halve(_, bounds):
        low, high = bounds
        middle = low + (high - low) / 2
        below = jnp.stack([jnp.sum(mask & (values <= m)) for m in middle])
        enough = below.astype(values.dtype) >= wanted
        return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

    start = jnp.full(len(shares), low), jnp.full(len(shares), high)
    return jax.lax.fori_loop(0, STEPS, halve, start)[1]
