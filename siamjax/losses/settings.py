"""Checks the settings of a loss against the annotations of its signature."""

import difflib
import functools
import inspect
import numbers
import sys
import types
from collections.abc import Callable, Iterable
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    NewType,
    Union,
    get_args,
    get_origin,
)

import jax
import numpy as np

from siamjax.losses import distances, reductions
from siamjax.losses.annotations import Bound, Lp, ReductionText
from siamjax.types import UsageError


class Choice(NamedTuple):
    """One kind of value that an annotation allows: a type, or a text as it is."""

    kind: Any
    bound: Bound = Bound()


_WORDS: dict[Any, str] = {
    float: "a number",
    int: "a whole number",
    bool: "True or False",
    str: "a text",
    types.NoneType: "None",
    Lp: "l<p> with p >= 1",
    ReductionText: "divisor(n), threshold(low,high) or class_weights(w0,w1,...)",
}


def signature(function: Callable) -> inspect.Signature:
    """The signature of a loss; annotations are types where they can be evaluated."""
    try:
        return inspect.signature(function, eval_str=True)
    except NameError:  # a name that exists for type checkers only
        return inspect.signature(function)


def check_value(loss: str, parameter: inspect.Parameter, value: Any) -> None:
    """Raises `UsageError` for a value that is not of the annotation, or of the type of
    the default.

    Args:
      loss: begins the error: the name of the loss, or "" for none.
      parameter: of the loss's signature.
      value: a Python value, or an array; the number of a traced one is not checked.
    """
    annotation, default = parameter.annotation, parameter.default
    if annotation is parameter.empty and default is not parameter.empty:
        annotation = Any if default is None else type(default)
    choices = allowed_choices(annotation)
    if choices is None or any(_fits(value, choice) for choice in choices):
        return
    start = f"loss {loss}: " if loss else ""
    if isinstance(value, jax.core.Tracer) and not value.ndim:
        raise UsageError(
            f"{start}{parameter.name} is traced: it decides what the program does, so "
            "it must be a Python value; name it in static_argnames of jax.jit"
        )
    if isinstance(value, jax.Array | np.ndarray):
        value = f"an array of shape {list(value.shape)}"
    nearest = _nearest_choice(value, choices)
    raise UsageError(f"{start}{parameter.name}={value} must {nearest}")


def check_numbers(function: Callable, given: dict[str, Any]) -> None:
    """Raises `UsageError` for a value of a setting that should be a number and is none,
    or is out of bounds."""
    for name, parameter in _number_parameters(function).items():
        if name in given:
            check_value("", parameter, given[name])


@functools.cache
def _number_parameters(function):
    return {
        name: parameter
        for name, parameter in signature(function).parameters.items()
        if any(
            c.kind in (float, int) for c in allowed_choices(parameter.annotation) or ()
        )
    }


def allowed_choices(annotation: Any) -> list[Choice] | None:
    """What an annotation allows; None where it does not say."""
    if get_origin(annotation) is Annotated:
        kind, *notes = get_args(annotation)
        bounds = [note for note in notes if isinstance(note, Bound)]
        return [Choice(kind, bounds[0])] if bounds else allowed_choices(kind)
    if get_origin(annotation) in (Union, types.UnionType):
        members = [allowed_choices(member) for member in get_args(annotation)]
        known = [member for member in members if member is not None]
        return [c for m in known for c in m] if len(known) == len(members) else None
    if get_origin(annotation) is Literal:
        return [Choice(text) for text in get_args(annotation)]
    if annotation in (Any, inspect.Parameter.empty):
        return None
    return [Choice(annotation)] if isinstance(annotation, type | NewType) else None


def _fits(value, choice):
    return _has_kind(value, choice.kind) and choice.bound.holds(value)


def _has_kind(value, kind):
    if kind is Lp:
        return distances.is_lp(value)
    if kind is ReductionText:
        return reductions.is_text(value)
    if not isinstance(kind, type):
        return isinstance(value, str) and value == kind
    if isinstance(value, bool | np.bool_):
        return kind is bool
    if kind is int:
        return isinstance(value, numbers.Integral)
    if kind is float and isinstance(value, jax.Array | np.ndarray):
        return not value.ndim and value.dtype.kind in "fiu"
    if kind is float:
        value = value.item() if isinstance(value, np.generic) else value
        return isinstance(value, numbers.Real) and abs(value) <= sys.float_info.max
    return isinstance(value, kind)


def _nearest_choice(value, choices):
    """What an error says that a value must be."""
    bounds = [c.bound.words for c in choices if _has_kind(value, c.kind)]
    if bounds and all(bounds):
        return " or ".join(bounds)
    words = [
        _WORDS.get(c.kind) or getattr(c.kind, "__name__", str(c.kind)) for c in choices
    ]
    nearest = nearest_name(value, words)
    *first, last = words
    allowed = f"{', '.join(first)} or {last}" if first else last
    return f"be {allowed}" + (f"; did you mean {nearest}?" if nearest else "")


def nearest_name(name: Any, known: Iterable[str]) -> str | None:
    """The known name that is most like a name; None if none is."""
    matches = difflib.get_close_matches(str(name), known, 1)
    return matches[0] if matches else None
