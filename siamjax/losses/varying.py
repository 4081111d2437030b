"""What a loop starts from, for `jax.shard_map`: it must vary over devices as what the
loop adds does, or JAX refuses the loop."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


def zeros(shape: tuple[int, ...], dtype: DTypeLike, *arrays: jax.Array) -> jax.Array:
    """Zeros that vary over the devices of a `shard_map` as the arrays do."""
    # False for any array; XLA leaves it out of the program.
    never = jnp.zeros((), bool)
    for array in arrays:
        never = never | (jnp.any(array != array) & False)
    return jnp.zeros(shape, dtype) + never.astype(dtype)
