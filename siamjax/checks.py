"""Argument checks: each message says what was given, what is allowed, what to do."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from siamjax.types import UsageError

Array = jax.Array | np.ndarray
INT32 = np.iinfo(np.int32)


def require(condition: Any, message: str) -> None:
    """Raises `UsageError(message)` if the condition, no traced value, is false."""
    if not condition:
        raise UsageError(message)


def positive(**arguments: Any) -> None:
    """Raises `UsageError` if a number is not above 0; traced values are not checked."""
    for name, value in arguments.items():
        if isinstance(value, int | float) and not value > 0:
            raise UsageError(f"{name}={value} must be greater than 0")


def check_batch(
    embeddings: Array, labels: Array, where: Array | None = None
) -> jax.Array:
    """Checks the arguments of a loss and gives `where`.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int. If they are concrete, they must fit 32 bits. `jax.jit` cuts
        its arguments to 32 bits before any code sees them: check such labels outside.
      where: `[B]` bool, the rows that count; None: all.
    Returns:
      `[B]` bool.
    Raises:
      UsageError: a shape or dtype is wrong, or labels do not fit 32 bits.
    """
    if embeddings.ndim != 2:
        raise UsageError(
            f"embeddings have the shape {list(embeddings.shape)}: they must be [B, E], "
            "one row of E coordinates for each example"
        )
    if labels.shape != embeddings.shape[:1]:
        raise UsageError(
            f"labels have the shape {list(labels.shape)}, embeddings "
            f"{list(embeddings.shape)}: labels must be [{embeddings.shape[0]}], one "
            "integer for each row"
        )
    if jnp.issubdtype(labels.dtype, jnp.inexact):
        raise UsageError(
            f"labels must be integers, got {labels.dtype}: 1.2 and 1.4 would become "
            "one class"
        )
    _fit_32_bits(labels)
    if where is None:
        return jnp.ones(labels.shape, bool)
    if where.shape != labels.shape:
        raise UsageError(
            f"where has the shape {list(where.shape)}: it must be "
            f"{list(labels.shape)}, one bool for each row"
        )
    return jnp.asarray(where, bool)


def check_row_numbers(
    name: str, index: Any, number: int
) -> tuple[jax.Array, jax.Array | bool]:
    """Checks indices of rows, of which there are `number`; -1 means no row.

    Returns:
      The indices as a JAX array; and whether one is out of range, a `[]` bool, which
      can be true for traced indices only.
    Raises:
      UsageError: they are no integers, or a concrete one is out of range.
    """
    traced = isinstance(index, jax.core.Tracer)
    index = index if traced else np.asarray(index)
    if not jnp.issubdtype(index.dtype, jnp.integer):
        raise UsageError(
            f"{name} must be integers, got {index.dtype}: each is the index of a row"
        )
    outside = (index < -1) | (index >= number)
    if traced:
        return index, jnp.any(outside)
    if outside.any():
        raise UsageError(
            f"{name} has the index {index[outside][0]}, but there are {number} rows: "
            f"use 0 to {number - 1}, or -1 for none"
        )
    return jnp.asarray(index), False


def _fit_32_bits(labels):
    # JAX would cut them to 32 bits, so that classes could become one. A tracer is
    # already cut.
    fits = np.can_cast(labels.dtype, np.int32) or not labels.size
    if fits or isinstance(labels, jax.core.Tracer):
        return
    labels = np.asarray(labels)
    low, high = int(labels.min()), int(labels.max())
    if low < INT32.min or high > INT32.max:
        raise UsageError(
            f"labels go from {low} to {high}: they must fit 32 bits, or classes would "
            "become one; number the classes 0, 1, 2, ... "
            "(numpy.unique(labels, return_inverse=True) does)"
        )
