"""Argument checks: each message says what was given, what is allowed, what to do."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from siamjax.types import UsageError

Array = jax.Array | np.ndarray
INT32 = np.iinfo(np.int32)
NUMBER_CLASSES = (
    "number the classes 0, 1, 2, ... (numpy.unique(labels, return_inverse=True) does)"
)


def require(condition: Any, message: str) -> None:
    """Raises `UsageError(message)` if the condition, no traced value, is false."""
    if not condition:
        raise UsageError(message)


def is_integer(value: Any) -> bool:
    """Whether a value is a single known integer; a bool is none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def check_sizes(**sizes: Any) -> None:
    """Raises `UsageError` unless each is a known whole number of at least 1."""
    for name, size in sizes.items():
        require(
            is_integer(size) and size >= 1,
            f"{name} is {size}: give a whole number of at least 1, also inside of "
            "jax.jit, since it decides a shape",
        )


def positive(**arguments: Any) -> None:
    """Raises `UsageError` if a number is not above 0; traced values are not checked."""
    for name, value in arguments.items():
        if isinstance(value, int | float) and not value > 0:
            raise UsageError(f"{name}={value} must be greater than 0")


def check_batch(
    embeddings: Array, labels: Array, where: Array | None = None, owner: str = ""
) -> jax.Array:
    """Checks the arguments of a loss and gives `where`.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int. If they are concrete, they must fit 32 bits. `jax.jit` cuts
        its arguments to 32 bits before any code sees them: check such labels outside.
      where: `[B]` bool, the rows that count; None: all.
      owner: begins the name of an argument in an error, such as `References.`.
    Returns:
      `[B]` bool.
    Raises:
      UsageError: an argument is no array, a shape or dtype is wrong, or labels do not
        fit 32 bits.
    """
    _require_array(f"{owner}embeddings", embeddings)
    if not _has_kind(embeddings, np.floating, np.integer):
        raise UsageError(
            f"{owner}embeddings must be real numbers, got {embeddings.dtype}"
        )
    if embeddings.ndim != 2:
        raise UsageError(
            f"{owner}embeddings have the shape {list(embeddings.shape)}: they must be "
            "[B, E], one row of E coordinates for each example"
        )
    _require_array(f"{owner}labels", labels)
    if labels.shape != embeddings.shape[:1]:
        raise UsageError(
            f"{owner}labels have the shape {list(labels.shape)}, embeddings "
            f"{list(embeddings.shape)}: labels must be [{embeddings.shape[0]}], one "
            "integer for each row"
        )
    if not _has_kind(labels, np.integer, np.bool_):
        why = (
            "1.2 and 1.4 would become one class"
            if _has_kind(labels, np.floating)
            else NUMBER_CLASSES
        )
        raise UsageError(f"{owner}labels must be integers, got {labels.dtype}: {why}")
    _fit_32_bits(f"{owner}labels", labels)
    if where is None:
        return jnp.ones(labels.shape, bool)
    return check_mask(f"{owner}where", where, labels.shape)[0]


def check_mask(
    name: str, mask: Any, shape: tuple[int, ...]
) -> tuple[jax.Array, jax.Array | bool]:
    """Checks a mask of bools, or of the numbers 0 and 1.

    Returns:
      The mask as a JAX array of bool; and whether it has another number, a `[]` bool,
      which can be true for a traced mask only.
    Raises:
      UsageError: it is no array or of another shape, or a concrete one has another
        number.
    """
    _require_array(name, mask)
    if mask.shape != shape:
        raise UsageError(
            f"{name} has the shape {list(mask.shape)}: it must be {list(shape)}, one "
            f"bool for each {'row' if len(shape) == 1 else 'pair'}"
        )
    if _has_kind(mask, np.bool_):
        return jnp.asarray(mask), False
    if not _has_kind(mask, np.number):
        raise UsageError(f"{name} must be bools, got {mask.dtype}")
    if isinstance(mask, jax.core.Tracer):
        return mask != 0, jnp.any((mask != 0) & (mask != 1))
    mask = np.asarray(mask)
    other = (mask != 0) & (mask != 1)
    if other.any():
        raise UsageError(
            f"{name} has the number {mask[other][0]}: it must hold bools, or 0 and 1, "
            "which say what counts"
        )
    return jnp.asarray(mask != 0), False


def widen_labels(labels: Array) -> jax.Array:
    """Labels `[B]` as a JAX array of at least 32 bits."""
    labels = jnp.asarray(labels)
    return labels.astype(jnp.int32) if labels.dtype.itemsize < 4 else labels


def check_classes(
    labels: Array, where: Array | None, classes: int, loss: str
) -> jax.Array | bool:
    """Checks that the labels that count are classes of a loss with weights for each.

    Args:
      labels: `[B]` int.
      where: `[B]` bool or 0 and 1, the rows that count; None: all.
      classes: their number; they are 0 to classes - 1.
      loss: its name.
    Returns:
      Whether a label is no class, a `[]` bool, which can be true for traced ones only.
    Raises:
      UsageError: a concrete label is no class.
    """
    counted = np.ones(labels.shape, bool) if where is None else where
    counted = counted.astype(bool)
    if any(isinstance(array, jax.core.Tracer) for array in (labels, counted)):
        labels = widen_labels(labels)  # int8 cannot be compared with 200 classes
        return jnp.any(((labels < 0) | (labels >= classes)) & counted)
    labels, counted = np.asarray(labels), np.asarray(counted)
    outside = ((labels < 0) | (labels >= classes)) & counted
    if outside.any():
        raise UsageError(
            f"labels have {labels[outside][0]}, but the state of loss {loss} is for "
            f"{classes} classes: use labels 0 to {classes - 1}, leave other rows out "
            "with where, or give init more classes"
        )
    return False


def check_key(key: Any) -> None:
    """Raises `UsageError` unless a value is one JAX key, of the new kind or the old."""
    array = key if isinstance(key, jax.Array | np.ndarray) else None
    is_new = array is not None and jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
    is_old = array is not None and array.dtype == np.uint32
    if array is None or array.ndim != (0 if is_new else 1) or not (is_new or is_old):
        given = type(key).__name__ if array is None else f"{array.dtype}{array.shape}"
        raise UsageError(
            f"key must be one JAX key, got {given}: give jax.random.key(0)"
        )


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
    try:
        index = index if traced else np.asarray(index)
    except ValueError:
        raise UsageError(
            f"{name} have rows of different lengths: they must be an array of integers"
        ) from None
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


def _require_array(name, value):
    if isinstance(value, Array) or hasattr(value, "__jax_array__"):
        return
    raise UsageError(
        f"{name} must be a NumPy or JAX array, got {type(value).__name__}: give "
        f"numpy.asarray({name.rpartition('.')[2]})"
    )


def _has_kind(array, *kinds):
    return any(jnp.issubdtype(array.dtype, kind) for kind in kinds)


def _fit_32_bits(name, labels):
    # JAX would cut them to 32 bits, so that classes could become one. A tracer is
    # already cut.
    fits = np.can_cast(labels.dtype, np.int32) or not labels.size
    if fits or isinstance(labels, jax.core.Tracer):
        return
    labels = np.asarray(labels)
    low, high = int(labels.min()), int(labels.max())
    if low < INT32.min or high > INT32.max:
        raise UsageError(
            f"{name} go from {low} to {high}: they must fit 32 bits, or classes would "
            f"become one; {NUMBER_CLASSES}"
        )
