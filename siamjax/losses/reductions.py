"""From the terms of a loss to one number, by a named rule.

| name | the loss is |
|---|---|
| `active` | the mean over terms that are not 0 |
| `all` | the mean over all terms |
| `anchor` | the mean over anchors of the mean over the anchor's terms |
| `class` | `anchor` for the anchors of each class, then the mean over classes |
| `sum` | the sum of all terms |
| `none` | an array: of each anchor the mean over its terms, 0 without one |
| `divisor(n)` | the sum of all terms, divided by n |
| `threshold(low,high)` | the mean over the terms above `low` and below `high` |
| `class_weights(w0,w1,...)` | `all`, each term times the weight of its anchor's class |

Without a term the loss is 0, with gradient 0. `active` does not fall while the share
of active terms falls: `losses.health` gives both. An anchor is a row of the batch, or
one of the explicit pairs or triplets. A class that has no weight makes the loss NaN.
A penalty beside the terms, such as one on proxies, is added once; with `none` to each
anchor that has a term.
"""

import math
import re
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp

from siamjax.losses.annotations import Array, Reduction, ReductionText
from siamjax.types import UsageError

_NAMES = get_args(get_args(Reduction)[0])


def divisor(number: float) -> ReductionText:
    """The reduction that divides the sum of all terms by a number above 0."""
    return _text("divisor", number)


def threshold(low: float, high: float) -> ReductionText:
    """The reduction to the mean over the terms between two numbers."""
    return _text("threshold", low, high)


def class_weights(*weights: float) -> ReductionText:
    """The reduction that gives each class 0, 1, ... a weight."""
    return _text("class_weights", *weights)


def _text(name, *numbers):
    text = f"{name}({','.join(f'{float(number)!r}' for number in numbers)})"
    _parse(text)
    return ReductionText(text)


def is_text(value: Any) -> bool:
    """Whether a value is the text of a reduction with numbers."""
    try:
        return _parse(value)[0] not in _NAMES
    except UsageError:
        return False


def _parse(how):
    """The name of a reduction, and its numbers."""
    if how in _NAMES:
        return how, ()
    match = re.fullmatch(r"(divisor|threshold|class_weights)\((.*)\)", str(how))
    try:
        numbers = tuple(map(float, match.group(2).split(","))) if match else ()
    except ValueError:
        numbers = ()
    name = match.group(1) if match else ""
    fits = dict(
        divisor=len(numbers) == 1 and numbers[0] > 0,
        threshold=len(numbers) == 2 and numbers[0] < numbers[1],
        class_weights=len(numbers) > 0 and min(numbers, default=0) >= 0,
    )
    if not fits.get(name) or any(map(math.isnan, numbers)):
        raise UsageError(
            f"reduce={how} is not known: use one of {', '.join(_NAMES)}, divisor(n) "
            "with n above 0, threshold(low,high) with low below high, or "
            "class_weights(w0,w1,...) with weights that are not negative"
        )
    return name, numbers


class Terms(NamedTuple):
    """What each of A anchors contributes."""

    sums: jax.Array  # [A] the sum of its terms
    active: jax.Array  # [A] how many of them are not 0
    valid: jax.Array  # [A] how many there are


def is_threshold(how: Reduction) -> bool:
    """Whether a reduction is a threshold, which looks at each term."""
    return _parse(how)[0] == "threshold"


def within(how: Reduction, costs: jax.Array, valid: jax.Array) -> jax.Array:
    """Those of the `valid` costs that a reduction counts; all but for a threshold."""
    name, numbers = _parse(how)
    if name != "threshold":
        return valid
    return valid & (costs > numbers[0]) & (costs < numbers[1])


def refuse_threshold(how: Reduction, why: str) -> None:
    """Raises `UsageError` for a threshold, for a loss that has no single terms."""
    if is_threshold(how):
        raise UsageError(f"reduce={how} needs each term, but {why}")


def sum_terms(costs: jax.Array, valid: jax.Array, how: Reduction = "all") -> Terms:
    """`Terms` of those costs `[A, ...]` that are `valid` (bool of the same shape)."""
    valid = within(how, costs, valid)
    axes = tuple(range(1, costs.ndim))
    costs = jnp.where(valid, costs, jnp.zeros_like(costs))
    return Terms(costs.sum(axes), (costs != 0).sum(axes), valid.sum(axes))


def reduce_costs(
    costs: jax.Array, valid: jax.Array, how: Reduction, labels: Array | None = None
) -> jax.Array:
    """The loss of those costs `[A, ...]` that are `valid` (bool of the same shape)."""
    return reduce_terms(sum_terms(costs, valid, how), how, labels)


def reduce_terms(
    terms: Terms, how: Reduction, labels: Array | None = None
) -> jax.Array:
    """The loss of `Terms`, which hold only the terms `within` a threshold.

    `class` and `class_weights` need the anchors' labels `[A]`.
    """
    name, numbers = _parse(how)
    sums, dtype = terms.sums, terms.sums.dtype
    active, valid = terms.active.astype(dtype), terms.valid.astype(dtype)
    if name == "active":
        return safe_ratio(sums.sum(), active.sum())
    if name in ("all", "threshold"):
        return safe_ratio(sums.sum(), valid.sum())
    if name == "sum":
        return sums.sum()
    if name == "divisor":
        return sums.sum() / numbers[0]
    has_terms = valid > 0
    if name == "none":
        return safe_ratio(sums, valid)
    if name == "anchor":
        return masked_mean(safe_ratio(sums, valid), has_terms)
    if labels is None:
        raise UsageError(f"reduce={how} needs the labels of the anchors")
    if name == "class_weights":
        table = jnp.asarray(numbers, dtype)
        known = (labels >= 0) & (labels < len(numbers))
        weight = table[jnp.clip(labels, 0, len(numbers) - 1)]
        weight = jnp.where(known, weight, jnp.nan)
        weighted = jnp.where(has_terms, weight * sums, 0)
        return safe_ratio(weighted.sum(), valid.sum())
    same_class = (labels[:, None] == labels[None]) & has_terms[None]
    class_size = jnp.maximum(same_class.sum(1), 1).astype(dtype)
    weight = jnp.where(has_terms, 1 / class_size, 0)
    return safe_ratio(jnp.sum(weight * safe_ratio(sums, valid)), weight.sum())


def reduce_sides(
    pull: jax.Array,
    pos: jax.Array,
    push: jax.Array,
    neg: jax.Array,
    how: Reduction,
    labels: Array | None,
) -> jax.Array:
    """The loss of the costs of positive pairs plus that of the costs of negative pairs,
    each reduced by itself; arguments as in `reduce_costs`."""
    loss = reduce_costs(pull, pos, how, labels)
    return loss + reduce_costs(push, neg, how, labels)


def add_penalty(
    loss: jax.Array, penalty: jax.Array, has_terms: jax.Array, how: Reduction
) -> jax.Array:
    """The loss, and a penalty `[]` that is no term of an anchor: once, or with `none`
    for each anchor that has terms (`[A]` bool)."""
    if _parse(how)[0] == "none":
        return loss + jnp.where(has_terms, penalty, 0)
    return loss + penalty


def safe_ratio(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    """numerator / denominator; 0 where the denominator is not above 0."""
    positive = denominator > 0
    return jnp.where(positive, numerator / jnp.where(positive, denominator, 1), 0)


def masked_mean(values: jax.Array, valid: jax.Array) -> jax.Array:
    """The mean of the values that count; 0 where none does."""
    kept = jnp.where(valid, values, jnp.zeros_like(values))
    return safe_ratio(kept.sum(), valid.sum().astype(values.dtype))
