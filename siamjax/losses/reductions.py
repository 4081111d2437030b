"""From the terms of a loss to one number, by a named rule.

| name | the loss is |
|---|---|
| `active` | the mean over terms that are not 0 |
| `all` | the mean over all terms |
| `anchor` | the mean over anchors of the mean over the anchor's terms |
| `class` | `anchor` for the anchors of each class, then the mean over classes |
| `sum` | the sum of all terms |

Without a term the loss is 0, with gradient 0. `active` does not fall while the share
of active terms falls: `losses.health` gives both.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from siamjax.losses.annotations import Array, Reduction, check_choice
from siamjax.types import UsageError


class Terms(NamedTuple):
    """What each of A anchors contributes."""

    sums: jax.Array  # [A] the sum of its terms
    active: jax.Array  # [A] how many of them are not 0
    valid: jax.Array  # [A] how many there are


def sum_terms(costs: jax.Array, valid: jax.Array) -> Terms:
    """`Terms` of those costs `[A, ...]` that are `valid` (bool of the same shape)."""
    axes = tuple(range(1, costs.ndim))
    costs = jnp.where(valid, costs, jnp.zeros_like(costs))
    return Terms(costs.sum(axes), (costs != 0).sum(axes), valid.sum(axes))


def reduce_costs(
    costs: jax.Array, valid: jax.Array, how: Reduction, labels: Array | None = None
) -> jax.Array:
    """The loss of those costs `[A, ...]` that are `valid` (bool of the same shape)."""
    return reduce_terms(sum_terms(costs, valid), how, labels)


def reduce_terms(
    terms: Terms, how: Reduction, labels: Array | None = None
) -> jax.Array:
    """The loss of `Terms`; `class` needs the anchors' labels `[A]`."""
    check_choice("reduce", how, Reduction)
    sums, dtype = terms.sums, terms.sums.dtype
    active, valid = terms.active.astype(dtype), terms.valid.astype(dtype)
    if how == "active":
        return safe_ratio(sums.sum(), active.sum())
    if how == "all":
        return safe_ratio(sums.sum(), valid.sum())
    if how == "sum":
        return sums.sum()
    has_terms = valid > 0
    if how == "anchor":
        return masked_mean(safe_ratio(sums, valid), has_terms)
    if labels is None:
        raise UsageError("reduce=class needs the labels of the anchors")
    same_class = (labels[:, None] == labels[None]) & has_terms[None]
    class_size = jnp.maximum(same_class.sum(1), 1).astype(dtype)
    weight = jnp.where(has_terms, 1 / class_size, 0)
    return safe_ratio(jnp.sum(weight * safe_ratio(sums, valid)), weight.sum())


def safe_ratio(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    """numerator / denominator; 0 where the denominator is not above 0."""
    positive = denominator > 0
    return jnp.where(positive, numerator / jnp.where(positive, denominator, 1), 0)


def masked_mean(values: jax.Array, valid: jax.Array) -> jax.Array:
    """The mean of the values that count; 0 where none does."""
    kept = jnp.where(valid, values, jnp.zeros_like(values))
    return safe_ratio(kept.sum(), valid.sum().astype(values.dtype))
