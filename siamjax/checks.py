"""Argument checks: each says what was asked, what is there, and what to do."""

import jax.numpy as jnp

from siamjax.types import UsageError


def require(condition, message):
    """Raises `UsageError(message)` unless condition, a Python bool, holds."""
    if not condition:
        raise UsageError(message)


def positive(**given):
    """Refuses a number that is not greater than 0; what is traced passes."""
    for name, value in given.items():
        if isinstance(value, int | float) and not value > 0:
            raise UsageError(f"{name}={value} must be greater than 0")


def rows(embeddings, labels, where=None):
    """Checks `[B, E]`, `[B]`, `[B]`; gives `where` `[B]` bool, all by default."""
    if embeddings.ndim != 2:
        raise UsageError(f"embeddings must be [B, E], not {list(embeddings.shape)}")
    if labels.shape != embeddings.shape[:1]:
        raise UsageError(
            f"labels must be [{embeddings.shape[0]}], one for each embedding, "
            f"not {list(labels.shape)}"
        )
    if jnp.issubdtype(labels.dtype, jnp.floating):
        raise UsageError(
            f"labels must be integers, not {labels.dtype}: they would merge"
        )
    if where is None:
        return jnp.ones(labels.shape, bool)
    if where.shape != labels.shape:
        raise UsageError(f"where must be {list(labels.shape)}, not {list(where.shape)}")
    return where.astype(bool)
