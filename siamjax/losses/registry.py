"""From a text to a loss: `triplet:margin=0.3,mining=hard`, checked before it runs."""

import ast
import functools
import importlib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from siamjax import checks
from siamjax.losses.guard import (
    check_takes_rows,
    guarded,
    is_stateful,
    no_reduction,
    why_no_reduction,
)
from siamjax.losses.settings import check_value, nearest_name, signature
from siamjax.types import UsageError

# Every loss that has a name of its own; `siamjax.losses` fills it.
LOSSES: dict[str, Callable] = {}

_NEEDS_WHERE = ". Give it where=None: rows where it is False do not count"

# The arguments of a loss that are data; all others are hyper-parameters.
DATA = (
    "where",
    "references",
    "pairs",
    "triplets",
    "similarity",
    "guide",
    "enqueue",
    "key",
)


class Loss(NamedTuple):
    """A loss with all its hyper-parameters set."""

    name: str
    spec: str
    hyper: dict[str, Any]  # every one, also those left at their default
    init: Callable[..., dict[str, Any]]  # (key, classes, dim) -> state; {} without one
    apply: Callable  # (state, embeddings, labels, *, where, ...) -> (loss, state)
    per_class: bool  # has weights for each class: mask rows of other labels by `where`
    uses: frozenset[str]  # which of DATA it takes


def check_number(loss: Loss, value: jax.Array) -> None:
    """Raises `UsageError` unless the value of a loss is one number, as a gradient needs
    it."""
    if value.ndim or not jnp.issubdtype(value.dtype, jnp.floating):
        raise UsageError(
            f"loss {loss.spec} gives {value.dtype}{list(value.shape)}: it must give "
            "one float, such as a mean (with reduce=none it gives one for each row)"
        )


def resolve(spec: str, values: Mapping[str, Any] | None = None) -> Loss:
    """The `Loss` of a text.

    `name:key=value,key=value`, where a name is one of `LOSSES` or an import path
    (`my_module.my_loss`); values are Python literals, else text. A sum is
    `0.7*triplet:margin=0.2+0.1*variance`; a value with commas or a plus, such as
    another loss, stands in parentheses.

    Args:
      spec: the text.
      values: hyper-parameter -> a value that replaces the text's. It is not checked,
        since it may be traced. In a sum `0.margin` is the margin of the first loss,
        as in its `hyper`.

    Raises:
      UsageError: no such loss or hyper-parameter, or a value that is not allowed.
    """
    parts = parse(spec)
    values_by_part = by_part(values or {}, len(parts))
    losses = [_resolve_part(part, v) for part, v in zip(parts, values_by_part)]
    if len(losses) == 1 and parts[0].weight == 1:
        return _refuse_unread_data(losses[0])
    return _refuse_unread_data(_sum(spec, [part.weight for part in parts], losses))


class Part(NamedTuple):
    """One loss of a text, as it is written."""

    weight: float
    text: str  # without the weight
    name: str
    given: dict[str, Any]  # the hyper-parameters that it sets


def parse(spec: str) -> list[Part]:
    """The losses of a text, in order; raises `UsageError`."""
    if not isinstance(spec, str):
        raise UsageError(
            f"a loss must be a text such as triplet:margin=0.2, got {spec!r}"
        )
    return [_parse_part(text) for text in split_outside_brackets(spec, "+")]


def by_part(values: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """For each of `count` losses its values, from `0.margin`, `1.scale`, ...; from
    plain names for a single loss."""
    if count == 1:
        return [dict(values)]
    values_by_part: list[dict[str, Any]] = [{} for _ in range(count)]
    for key, value in values.items():
        number, _, name = key.partition(".")
        if number not in map(str, range(count)):
            setting = key.rpartition(".")[2]
            raise UsageError(
                f"value {key} is of none of the {count} losses of the sum: write "
                f"0.{setting} for the first of them"
            )
        values_by_part[int(number)][name] = value
    return values_by_part


def _parse_part(text):
    head, star, rest = text.partition("*")
    if not star or ":" in head:
        head, rest = "1", text
    if not rest.strip():
        raise UsageError(
            f"the text {text!r} names no loss: write a name such as triplet, and + "
            "only between two losses"
        )
    weight, rest = _parse_weight(head, text), rest.strip()
    name, _, settings = rest.partition(":")
    name = name.rstrip()
    given = {}
    for setting in split_outside_brackets(settings, ","):
        if not setting.strip():
            continue
        key, value = _parse_setting(name, setting)
        if key in given:
            raise UsageError(
                f"loss {name} has {key} twice, {given[key]} and {value}: give it once"
            )
        given[key] = value
    return Part(weight, rest, name, given)


def _parse_weight(text, part):
    try:
        weight = float(text)
    except ValueError:
        raise UsageError(f"loss {part}: {text!r} before * is not a number") from None
    if not math.isfinite(weight):
        raise UsageError(f"loss {part}: the weight {weight} before * is not finite")
    return weight


def _resolve_part(part, values):
    name, text = part.name, part.text
    function = find_loss(name)
    hyper = _hyper_parameters(name, function, part.given)
    for key in values.keys() - hyper.keys():
        raise UsageError(f"loss {name} has no {key}{_hint(key, hyper)}")
    hyper = hyper | values
    if is_stateful(function):
        init, apply, per_class = function(**hyper)
        uses = _data_arguments(apply)
    else:
        uses = _data_arguments(function)
        apply = functools.partial(_apply_plain, function, hyper)
        init, per_class = _no_state, False
    return Loss(name, text, hyper, init, _pass_used(apply, uses), per_class, uses)


def _data_arguments(function):
    return frozenset(DATA) & set(inspect.signature(function).parameters)


def _no_state(key, classes, dim):
    return {}


def _apply_plain(function, hyper, state, embeddings, labels, **data):
    return function(embeddings, labels, **data, **hyper), state


def _pass_used(apply, uses):
    """`apply` that passes on only the data that the loss takes."""

    def apply_used(state, embeddings, labels, **data):
        used = {k: v for k, v in data.items() if k in uses and v is not None}
        return apply(state, embeddings, labels, **used)

    return apply_used


def _refuse_unread_data(loss):
    """The loss, which refuses data that it would not read."""

    def apply(state, embeddings, labels, **data):
        given = {k for k, v in data.items() if v is not None}
        if "key" in given:
            checks.check_key(data["key"])
        for name in sorted(given - loss.uses - {"key"}):
            takes = ", ".join(sorted(loss.uses)) or "embeddings and labels only"
            hint = _NEEDS_WHERE if name == "where" else ""
            raise UsageError(
                f"loss {loss.spec} takes no {name}; it takes {takes}{hint}"
            )
        return loss.apply(state, embeddings, labels, **data)

    return loss._replace(apply=apply)


def _sum(spec, weights, losses):
    """The weighted sum; each loss gets the data that it takes, and a key of its own."""

    def init(key, classes, dim):
        checks.check_key(key)
        keys = jax.random.split(key, len(losses))
        states = [loss.init(k, classes, dim) for loss, k in zip(losses, keys)]
        if not any(states):
            return {}
        return {p: [s.get(p, {}) for s in states] for p in ("params", "memory")}

    def apply(state, embeddings, labels, *, key=None, **data):
        # Training gives every loss its weights; they are `{}` if it has none.
        state = {name: values for name, values in state.items() if values}
        for name, values in state.items():
            if not isinstance(values, list) or len(values) != len(losses):
                raise UsageError(
                    f"{name} of the state of loss {spec} must be a list of one part "
                    f"for each of its {len(losses)} losses: give the state that its "
                    "init or its last apply gave"
                )
        keys = (
            [None] * len(losses) if key is None else jax.random.split(key, len(losses))
        )
        values, memory = [], []
        for i, loss in enumerate(losses):
            before = {name: state[name][i] for name in state}
            value, after = loss.apply(before, embeddings, labels, key=keys[i], **data)
            values.append(value)
            memory.append(after.get("memory", {}))
        _check_shapes(losses, values)
        total = sum(weight * value for weight, value in zip(weights, values))
        return total, state and {**state, "memory": memory}

    hyper = {
        f"{i}.{key}": value
        for i, (weight, loss) in enumerate(zip(weights, losses))
        for key, value in {"loss": loss.name, "weight": weight, **loss.hyper}.items()
    }
    uses = frozenset().union(*(loss.uses for loss in losses))
    per_class = any(loss.per_class for loss in losses)
    return Loss("sum", spec, hyper, init, apply, per_class, uses)


def _check_shapes(losses, values):
    for loss, value in zip(losses, values):
        shape, first = jnp.shape(value), jnp.shape(values[0])
        if shape != first:
            # Those of proxy_anchor are classes, those of potential_field also proxies.
            advice = (
                "their anchors differ, so leave reduce=none out of the sum"
                if shape and first
                else "in a sum give all of them reduce=none, or none of them"
            )
            raise UsageError(
                f"loss {losses[0].spec} has the shape {list(first)}, "
                f"loss {loss.spec} {list(shape)}: {advice}"
            )


def find_loss(name: str) -> Callable:
    """The function of a name or an import path: a guarded loss, or a maker of one."""
    if name in LOSSES:
        return LOSSES[name]
    path, dot, attribute = name.rpartition(".")
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(
            f"{name!r} is no name of a loss: write name:key=value,key=value, such as "
            "triplet:margin=0.2,mining=hard"
        )
    if not dot:
        raise UsageError(f"loss {name} is not known{_hint(name, LOSSES)}")
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        raise UsageError(f"loss {name}: there is no module {error.name}") from error
    function = getattr(module, attribute, None)
    if not callable(function):
        public = [k for k, v in vars(module).items() if callable(v) and k[0] != "_"]
        raise UsageError(
            f"loss {name}: {path} has no function {attribute}{_hint(attribute, public)}"
        )
    if is_stateful(function):
        return function
    check_takes_rows(function)
    return guarded(function)


def _parse_setting(name, text):
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"loss {name}: {text.strip()!r} is not key=value")
    value = value.strip()
    try:
        return key.strip(), ast.literal_eval(value)
    except (ValueError, SyntaxError):
        bare = value[1:-1] if value.startswith("(") and value.endswith(")") else value
        return key.strip(), bare


def _hyper_parameters(name, function, given):
    """All hyper-parameters of a function, with the given values before the defaults."""
    parameters = signature(function).parameters
    rows = [] if is_stateful(function) else list(parameters)[:2]
    known = {k: p for k, p in parameters.items() if k not in (*DATA, *rows)}
    why = why_no_reduction(function)
    if "reduce" in given and why:
        raise UsageError(no_reduction(name, why))
    for key, value in given.items():
        if key not in known:
            raise UsageError(f"loss {name} has no {key}{_hint(key, known)}")
        check_value(name, known[key], value)
    missing = [k for k, p in known.items() if p.default is p.empty and k not in given]
    if missing:
        raise UsageError(f"loss {name} needs {', '.join(missing)}")
    return {k: given.get(k, p.default) for k, p in known.items()}


def _hint(name: str, known: Iterable[str]) -> str:
    nearest = nearest_name(name, known)
    if nearest:
        return f", did you mean {nearest}?"
    return f"; known: {', '.join(sorted(known)) or 'none'}"


def split_outside_brackets(text: str, separator: str) -> list[str]:
    """The parts of a text between separators; one inside brackets or in a number's
    exponent (1e+3) does not separate."""
    parts, depth = [""], 0
    for before, sign in zip(" " + text, text):
        depth += (sign in "([{") - (sign in ")]}")
        exponent = sign == "+" and before in "eE" and parts[-1][-2:-1].isdigit()
        if sign == separator and depth == 0 and not exponent:
            parts.append("")
        else:
            parts[-1] += sign
    return parts
