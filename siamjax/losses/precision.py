"""Wider numbers where they cost little and save digits, whatever JAX is set to."""

import jax
import jax.numpy as jnp

from siamjax.losses.annotations import Array

try:
    enable_x64 = (
        jax.enable_x64
    )  # arrays made inside `with enable_x64(True):` have 64 bits
except AttributeError:  # JAX before 0.8
    from jax.experimental import enable_x64  # type: ignore

__all__ = ["at_least_float32", "enable_x64"]


def at_least_float32(x: Array) -> Array:
    """Half precision becomes float32; float32 and float64 stay."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
