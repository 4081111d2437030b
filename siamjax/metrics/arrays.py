"""Checks of the arrays that metrics take; what was given comes back as NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

from siamjax.checks import require

Array = jax.Array | np.ndarray


def as_rows(
    owner: str, embeddings: Array, labels: Array
) -> tuple[np.ndarray, np.ndarray]:
    """Rows `[N, E]` in float64 and labels `[N]`.

    Args:
      owner: begins the name of an argument in an error.
      embeddings, labels: what is checked.
    Raises:
      UsageError: a shape or type is wrong, or a number is not finite.
    """
    x = as_points(f"{owner}embeddings", embeddings)
    return x, as_integers(f"{owner}labels", labels, len(x))


def as_points(name: str, values: Array) -> np.ndarray:
    """Finite real numbers `[N, E]` in float64; else a `UsageError`."""
    x = np.asarray(values)
    is_real = any(jnp.issubdtype(x.dtype, kind) for kind in (np.floating, np.integer))
    require(
        x.ndim == 2 and is_real,
        f"{name} are {x.dtype} {list(x.shape)}: they must be real numbers [N, E], one "
        "row for each example",
    )
    x = x.astype(np.float64)
    bad = int((~np.isfinite(x)).any(1).sum())
    require(
        not bad,
        f"{bad} of {len(x)} rows of {name} hold a NaN or an infinity: find out where "
        "they come from, or leave them out",
    )
    return x


def as_integers(name: str, values: Array, number: int) -> np.ndarray:
    """Integers `[number]`; else a `UsageError`."""
    integers = np.asarray(values)
    require(
        integers.shape == (number,) and (integers.dtype.kind in "iub" or not number),
        f"{name} are {integers.dtype} {list(integers.shape)}: they must be [{number}] "
        "integers",
    )
    return integers


def as_numbers(name: str, values: Array) -> np.ndarray:
    """Finite real numbers `[N]` in float64, at least one; else a `UsageError`."""
    numbers = np.asarray(values)
    require(
        numbers.ndim == 1 and numbers.dtype.kind in "fiu" and len(numbers),
        f"{name} are {numbers.dtype} {list(numbers.shape)}: they must be [N] real "
        "numbers, at least one",
    )
    require(np.isfinite(numbers).all(), f"{name} hold a NaN or an infinity")
    return numbers.astype(np.float64)
