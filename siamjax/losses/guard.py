"""Checks the input of every loss, so that no loss can hide a NaN.

Losses mask rows, take maxima and clip overflows: each of these can turn a NaN into a
plausible number.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from siamjax import checks
from siamjax.losses.annotations import AnyFunction
from siamjax.losses.settings import check_numbers
from siamjax.losses.states import StateForms, form_change
from siamjax.losses.tuples import check_references, check_similarity, finite_rows
from siamjax.types import UsageError

_MARK = "makes_stateful"
_NO_REDUCTION = "why_no_reduction"


class Stateful(NamedTuple):
    """A loss with weights or memory; a function marked `@stateful` makes it.

    `init(key, classes, dim)` gives `dict(params=..., memory=...)`; the optimiser trains
    `params`. `apply(state, embeddings, labels, *, where)` gives the loss and the state
    with the new memory.
    """

    init: Callable[..., dict[str, Any]]
    apply: Callable[..., tuple[jax.Array, dict[str, Any]]]
    per_class: bool = True  # it has weights for each class: labels 0 to classes - 1


def guarded(loss: AnyFunction) -> AnyFunction:
    """Makes the value of a loss NaN for input that it cannot judge:

    - a row that counts, of the batch, of the references or of the guide, or a
      similarity of two of them, with a NaN or an infinity;
    - a traced index below -1 or beyond the last row, in `pairs`, `triplets` or
      `References.anchor_rows`. A concrete one is a `UsageError`;
    - a traced mask (`where`, `References.where`, `References.allowed`) with a number
      other than 0 and 1. A concrete one is a `UsageError`.

    The gradient of such a value means nothing, but it is 0 for rows that are left out.
    For all other input, value and gradient are bit by bit those of the function.

    Args:
      loss: a function of embeddings `[B, E]` and labels `[B]`.
    """

    @functools.wraps(loss)
    def guarded_loss(embeddings, labels, *args, **data):
        check_numbers(loss, data)
        labels, data, bad = _inspect(embeddings, labels, data)
        value = loss(embeddings, labels, *args, **data)
        if isinstance(value, Stateful):
            raise UsageError(_unmarked(loss))
        return _nan_if(bad, _as_array(loss.__name__, value))

    return cast(AnyFunction, guarded_loss)


def stateful(factory: AnyFunction) -> AnyFunction:
    """Marks a function of hyper-parameters that makes a `Stateful`.

    The loss that it makes is guarded as by `guarded`, and its value is also NaN for:

    - params that hold a NaN or an infinity;
    - a traced label of a row that counts that is no class of the state, if the loss is
      `per_class`. A concrete one is a `UsageError`.

    Whenever the value is NaN by this, the memory stays as it was. A state that `init`
    does not make is a `UsageError`.
    """
    name = factory.__name__.removesuffix("_loss")

    @functools.wraps(factory)
    def make_guarded(*args, **hyper):
        check_numbers(factory, hyper)
        loss = factory(*args, **hyper)
        init = _check_init(name, loss.init)
        return loss._replace(init=init, apply=_guard_apply(name, loss))

    setattr(make_guarded, _MARK, True)
    return cast(AnyFunction, make_guarded)


def without_reduction(why: str) -> Callable[[AnyFunction], AnyFunction]:
    """Marks a loss that has no term for each row: `reduce` is a `UsageError` that says
    why."""

    def mark(loss):
        @functools.wraps(loss)
        def refuse_reduction(*args, **settings):
            if "reduce" in settings:
                raise UsageError(no_reduction(loss.__name__, why))
            return loss(*args, **settings)

        setattr(refuse_reduction, _NO_REDUCTION, why)
        return cast(AnyFunction, refuse_reduction)

    return mark


def no_reduction(loss: str, why: str) -> str:
    """What an error says of a loss that takes no reduction."""
    return f"loss {loss} takes no reduce: {why}"


def why_no_reduction(function: Callable) -> str | None:
    """The reason that `without_reduction` gave; None for another loss."""
    return getattr(function, _NO_REDUCTION, None)


def is_stateful(function: Callable) -> bool:
    """Whether a function is marked by `stateful`."""
    return getattr(function, _MARK, False)


def check_takes_rows(function: Callable) -> None:
    """Raises `UsageError` unless a function can take embeddings and labels."""
    try:
        inspect.signature(function).bind_partial(None, None)
    except TypeError:
        raise UsageError(_unmarked(function)) from None


def _unmarked(function):
    return (
        f"{function.__name__} is not a loss of (embeddings, labels): if it makes a "
        "Stateful, mark it with @siamjax.losses.stateful"
    )


def _check_init(name, init):
    @functools.wraps(init)
    def checked_init(key, classes, dim):
        checks.check_key(key)
        for argument, value in dict(classes=classes, dim=dim).items():
            checks.require(
                isinstance(value, int | np.integer) and value >= 1,
                f"init of loss {name} got {argument}={value!r}: give a whole number "
                "from 1 on",
            )
        return init(key, classes, dim)

    return checked_init


def _guard_apply(name, loss):
    forms = StateForms(name, loss.init)

    @functools.wraps(loss.apply)
    def guarded_apply(state, embeddings, labels, **data):
        # Inside a program, what `_inspect` gives of concrete labels is traced.
        given_labels, given_where = labels, data.get("where")
        labels, data, bad = _inspect(embeddings, labels, data)
        classes = forms.check(state, embeddings.shape[1])
        if loss.per_class and classes is not None:
            bad = bad | checks.check_classes(given_labels, given_where, classes, name)
        for weights in jax.tree.leaves(state.get("params", {})):
            bad = bad | ~jnp.isfinite(weights).all()
        returned = loss.apply(state, embeddings, labels, **data)
        if not isinstance(returned, tuple) or len(returned) != 2:
            kind = type(returned).__name__
            form = "one array" if isinstance(returned, jax.Array) else f"a {kind}"
            raise UsageError(
                f"apply of loss {name} must return the value and the state, got {form}"
            )
        value, new_state = returned
        if jax.tree.leaves(new_state.get("memory")):
            _check_memory(name, state["memory"], new_state["memory"])
            keep_old = functools.partial(jnp.where, bad)
            memory = jax.tree.map(keep_old, state["memory"], new_state["memory"])
            new_state = {**new_state, "memory": memory}
        return _nan_if(bad, _as_array(name, value)), new_state

    return guarded_apply


def _check_memory(name, before, after):
    if jax.tree.structure(before) != jax.tree.structure(after):
        change = form_change(dict(memory=before), dict(memory=after))
        raise UsageError(
            f"apply of loss {name}: {change}; return a memory like the one that init "
            "gives"
        )


def _as_array(name, value):
    if not isinstance(value, jax.Array | np.ndarray | np.generic | int | float):
        raise UsageError(
            f"loss {name} must return a number, got {type(value).__name__}"
        )
    return jnp.asarray(value)


def _nan_if(bad, value):
    # A product, so that the gradient is NaN as well; times 1 changes no bit.
    return value * jnp.where(bad, jnp.nan, 1.0)


def _inspect(embeddings, labels, data):
    """Labels and data as JAX arrays, and whether the loss cannot judge them (`[]`
    bool)."""
    where, references = data.get("where"), data.get("references")
    counted = checks.check_batch(embeddings, labels, where)
    bad = _any_not_finite(embeddings, counted)
    if where is not None:
        data = {**data, "where": counted}
        bad = bad | checks.check_mask("where", where, labels.shape)[1]
    if references is not None:
        references, outside = check_references(references, embeddings)
        data = {**data, "references": references}
        bad = bad | outside | _any_not_finite(references.embeddings, references.where)
    for name in ("pairs", "triplets"):
        if data.get(name) is not None:
            index, outside = checks.check_row_numbers(name, data[name], len(labels))
            data = {**data, name: index}
            bad = bad | outside
    if data.get("similarity") is not None:
        similarity, outside = check_similarity(data, counted)
        data, bad = {**data, "similarity": similarity}, bad | outside
    if data.get("guide") is not None:
        rows = counted if where is not None else None
        checks.check_batch(data["guide"], labels, rows, owner="guide: ")
        bad = bad | _any_not_finite(data["guide"], counted)
    if data.get("enqueue") is not None:
        enqueue, outside = checks.check_mask("enqueue", data["enqueue"], labels.shape)
        data, bad = {**data, "enqueue": enqueue}, bad | outside
    if data.get("key") is not None:
        checks.check_key(data["key"])
    return checks.widen_labels(labels), data, bad


def _any_not_finite(embeddings, counted):
    return jnp.any(counted & ~finite_rows(embeddings))
