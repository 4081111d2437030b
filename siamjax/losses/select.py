"""Order statistics of a masked matrix by bisection: a sort would gather it all on every
device."""

import jax
import jax.numpy as jnp


def quantiles(values, mask, shares):
    """Of the values `[A, R]` where mask, for each share the least one that this share
    of them does not exceed, to 2^-30 of their range; 0 where there is none."""
    number = mask.sum()
    top = jnp.max(jnp.where(mask, values, -jnp.inf), initial=-jnp.inf)
    low = jnp.min(jnp.where(mask, values, jnp.inf), initial=jnp.inf)
    top, low = (jnp.where(number > 0, v, 0).astype(values.dtype) for v in (top, low))
    wanted = jnp.ceil(jnp.asarray(shares) * number)

    def halve(_, bounds):
        low, high = bounds
        middle = low + (high - low) / 2
        under = jnp.stack([jnp.sum(mask & (values <= m)) for m in middle])
        enough = under >= wanted
        return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

    start = jnp.full(len(shares), low), jnp.full(len(shares), top)
    return jax.lax.fori_loop(0, 30, halve, start)[1]
