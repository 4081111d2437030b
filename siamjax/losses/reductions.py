"""From the terms of a loss to one number, by a named rule.

| name | the loss is |
|---|---|
| `active` | the mean over terms that are not 0 |
| `all` | the mean over all terms |
| `anchor` | the mean over anchors of the mean over the anchor's terms |
| `class` | the mean over classes of the mean over the class's anchors, as `anchor` |
| `sum` | the sum of all terms |

Nothing to reduce gives 0, with gradient 0. `active` does not fall while the share of
active terms does: `losses.health` says both.
"""

from typing import NamedTuple

import jax.numpy as jnp

from siamjax.types import UsageError

NAMES = ("active", "all", "anchor", "class", "sum")


class Terms(NamedTuple):
    """What each of A anchors contributes."""

    sums: jnp.ndarray  # [A] the sum of its terms
    active: jnp.ndarray  # [A] how many of them are not 0
    valid: jnp.ndarray  # [A] how many there are


def terms(costs, valid):
    """`Terms` of costs `[A, ...]`, of which those of `valid` (bool, alike) count."""
    axes = tuple(range(1, costs.ndim))
    costs = jnp.where(valid, costs, jnp.zeros_like(costs))
    return Terms(costs.sum(axes), (costs != 0).sum(axes), valid.sum(axes))


def reduce(terms, how, labels=None):
    """The loss of `Terms`. `labels` `[A]` are needed for `class`."""
    sums, dtype = terms.sums, terms.sums.dtype
    active, valid = terms.active.astype(dtype), terms.valid.astype(dtype)
    if how == "active":
        return ratio(sums.sum(), active.sum())
    if how == "all":
        return ratio(sums.sum(), valid.sum())
    if how == "sum":
        return sums.sum()
    has = valid > 0
    if how == "anchor":
        return mean(ratio(sums, valid), has)
    if how == "class":
        alike = (labels[:, None] == labels[None]) & has[None]
        weight = jnp.where(has, 1 / jnp.maximum(alike.sum(1), 1).astype(dtype), 0)
        return ratio(jnp.sum(weight * ratio(sums, valid)), weight.sum())
    raise UsageError(f"reduce={how} is not known: one of {', '.join(NAMES)}")


def ratio(part, whole):
    """part / whole, 0 where whole is 0."""
    return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1), 0)


def mean(values, valid):
    """The mean of the values that count; 0 where none does."""
    kept = jnp.where(valid, values, jnp.zeros_like(values))
    return ratio(kept.sum(), valid.sum().astype(values.dtype))
