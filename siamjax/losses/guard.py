"""What every loss is given passes here, so that no loss can hide a NaN.

Losses leave rows out by masks, take maxima and hold overflows at a bound: each of these
can turn a NaN into a plausible number. `guarded` looks at what goes in.
"""

import functools
import inspect
from collections.abc import Callable

import jax
import jax.numpy as jnp

from siamjax import checks
from siamjax.losses.tuples import finite_rows


def guarded(function: Callable) -> Callable:
    """The loss, whose value is NaN where it is given what it cannot judge:

    - a row that counts, of the batch or of the references, with a NaN or an infinity;
    - params with a NaN or an infinity;
    - a traced index below -1 or beyond the last row, of `pairs`, `triplets` or
      `References.own`. A concrete one is a UsageError.

    The gradient of such a value says nothing, but is 0 for rows that are left out; a
    memory stays as it was before. Otherwise value and gradient are those of the
    function, bit by bit.

    Args:
      function: of embeddings `[B, E]` and labels `[B]`, or one that makes a `Stateful`.
    """
    if takes_rows(function):
        return _guard_loss(function)

    @functools.wraps(function)
    def make(*args, **hyper):
        made = function(*args, **hyper)
        return made._replace(apply=_guard_apply(made.apply))

    return make


def takes_rows(function: Callable) -> bool:
    """Whether a loss takes embeddings and labels, rather than makes a `Stateful`."""
    first = list(inspect.signature(function).parameters.values())[:2]
    return len(first) == 2 and all(
        p.default is p.empty and p.kind <= p.POSITIONAL_OR_KEYWORD for p in first
    )


def _guard_loss(function):
    @functools.wraps(function)
    def loss(embeddings, labels, *args, **data):
        labels, data, bad = _inspect(embeddings, labels, data)
        return _nan_if(bad, function(embeddings, labels, *args, **data))

    return loss


def _guard_apply(function):
    @functools.wraps(function)
    def apply(state, embeddings, labels, **data):
        labels, data, bad = _inspect(embeddings, labels, data)
        for weights in jax.tree.leaves(state.get("params", {})):
            bad = bad | ~jnp.isfinite(weights).all()
        value, new = function(state, embeddings, labels, **data)
        if jax.tree.leaves(new.get("memory")):
            keep = functools.partial(jnp.where, bad)
            memory = jax.tree.map(keep, state["memory"], new["memory"])
            new = {**new, "memory": memory}
        return _nan_if(bad, value), new

    return apply


def _nan_if(bad, value):
    # A product, so that the gradient is NaN as well; times 1 changes no bit.
    return value * jnp.where(bad, jnp.nan, 1.0)


def _inspect(embeddings, labels, data):
    """Labels and index arrays as JAX arrays, and whether there is anything that cannot
    be judged (`[]` bool)."""
    bad = _any_not_finite(embeddings, labels, data.get("where"))
    references = data.get("references")
    if references is not None:
        bad = bad | _any_not_finite(*references[:3])
        if references.own is not None:
            rows = len(references.labels)
            own, outside = checks.check_row_numbers(
                "References.own", references.own, rows
            )
            data = {**data, "references": references._replace(own=own)}
            bad = bad | outside
    for name in ("pairs", "triplets"):
        if data.get(name) is not None:
            index, outside = checks.check_row_numbers(name, data[name], len(labels))
            data = {**data, name: index}
            bad = bad | outside
    return jnp.asarray(labels), data, bad


def _any_not_finite(embeddings, labels, where):
    counts = checks.check_batch(embeddings, labels, where)
    return jnp.any(counts & ~finite_rows(embeddings))
