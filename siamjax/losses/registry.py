"""From a text to a loss: `triplet:margin=0.3,mining=hard`, checked before it runs."""

import ast
import difflib
import functools
import importlib
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from siamjax.losses.guard import guarded, takes_rows
from siamjax.types import UsageError

# Every loss that has a name of its own; `siamjax.losses` fills it.
LOSSES: dict[str, Callable] = {}

# What a loss takes that is data and no setting.
DATA = ("where", "references", "pairs", "triplets", "key")


class Stateful(NamedTuple):
    """A loss with weights or memory, made by a function of its hyper-parameters.

    `init(key, classes, dim)` gives `dict(params=..., memory=...)`, of which the
    optimiser trains `params`. `apply(state, embeddings, labels, *, where)` gives the
    loss and the state with the new memory.
    """

    init: Callable
    apply: Callable
    per_class: bool = True  # it has weights for each class: labels below `classes` only


class Loss(NamedTuple):
    """A loss with all its hyper-parameters set."""

    name: str
    spec: str
    hyper: dict[str, Any]  # every one, also those left at their default
    init: Callable  # (key, classes, dim) -> state; {} where there is none
    apply: Callable  # (state, embeddings, labels, *, where, ...) -> (loss, state)
    per_class: bool  # leave rows without a lasting class out by `where`
    uses: frozenset  # which of DATA it takes


def resolve(spec, values=None):
    """The `Loss` of a text.

    `name:key=value,key=value`, where a name is one of `LOSSES` or an import path
    (`my_module.my_loss`); values are Python literals, else text. A sum is
    `0.7*triplet:margin=0.2+0.1*variance`; a value with commas or a plus, such as
    another loss, stands in parentheses.

    Args:
      spec: the text.
      values: hyper-parameter -> what stands in place of the text's, unchecked, for it
        may be traced; `0.margin` is that of a sum's first loss, as in its `hyper`.

    Raises:
      UsageError: no such loss or hyper-parameter, or a value of the wrong type.
    """
    each = parts(spec)
    losses = [_one(p, v) for p, v in zip(each, by_part(values or {}, len(each)))]
    weights = [part.weight for part in each]
    if len(losses) == 1 and weights[0] == 1:
        return _refusing(losses[0])
    return _refusing(_sum(spec, weights, losses))


class Part(NamedTuple):
    """One loss of a text, as it is written."""

    weight: float
    text: str  # without the weight
    name: str
    given: dict[str, Any]  # the hyper-parameters that it sets


def parts(spec):
    """The losses of a text, in order: a list of `Part`."""
    return [_part(text) for text in split(spec, "+")]


def by_part(values, count):
    """Hyper-parameters of a text of `count` losses: for each its own, by name."""
    if count == 1:
        return [values]
    own = [{} for _ in range(count)]
    for key, value in values.items():
        at, _, name = key.partition(".")
        own[int(at)][name] = value
    return own


def _part(text):
    head, star, rest = text.partition("*")
    if not star or ":" in head:
        head, rest = "1", text
    try:
        weight = float(head)
    except ValueError:
        raise UsageError(f"loss {text}: {head!r} before * is not a number") from None
    rest = rest.strip()
    name, _, arguments = rest.partition(":")
    given = dict(_argument(name, a) for a in split(arguments, ",") if a.strip())
    return Part(weight, rest, name, given)


def _one(part, values):
    name, text = part.name, part.text
    function = find(name)
    hyper = _hyper(name, function, part.given) | values
    if takes_rows(function):
        uses = frozenset(DATA) & set(inspect.signature(function).parameters)
        apply = functools.partial(_apply_plain, function, hyper)
        return Loss(name, text, hyper, _no_state, _reading(apply, uses), False, uses)
    made = function(**hyper)
    uses = frozenset(DATA) & set(inspect.signature(made.apply).parameters)
    apply = _reading(made.apply, uses)
    return Loss(name, text, hyper, made.init, apply, made.per_class, uses)


def _no_state(key, classes, dim):
    return {}


def _apply_plain(function, hyper, state, embeddings, labels, **data):
    return function(embeddings, labels, **data, **hyper), state


def _reading(apply, uses):
    """`apply` that passes on what the loss reads, of all there may be."""

    def read(state, embeddings, labels, **data):
        given = {k: v for k, v in data.items() if k in uses and v is not None}
        return apply(state, embeddings, labels, **given)

    return read


def _refusing(loss):
    """The loss, which refuses tuples that it would not read."""

    def apply(state, embeddings, labels, **data):
        given = {k for k, v in data.items() if v is not None}
        for name in sorted(given - loss.uses - {"key"}):
            raise UsageError(f"loss {loss.spec} takes no {name}")
        return loss.apply(state, embeddings, labels, **data)

    return loss._replace(apply=apply)


def _sum(spec, weights, losses):
    """The weighted sum; each part reads what it can of the tuples given, and draws with
    a key of its own."""

    def init(key, classes, dim):
        keys = jax.random.split(key, len(losses))
        states = [loss.init(k, classes, dim) for loss, k in zip(losses, keys)]
        if not any(states):
            return {}
        return {p: [s.get(p, {}) for s in states] for p in ("params", "memory")}

    def apply(state, embeddings, labels, *, key=None, **data):
        # Training hands every loss its weights, `{}` where it has none.
        state = {name: values for name, values in state.items() if values}
        keys = (
            [None] * len(losses) if key is None else jax.random.split(key, len(losses))
        )
        total, memory = 0.0, []
        for i, (weight, loss) in enumerate(zip(weights, losses)):
            before = {name: state[name][i] for name in state}
            value, after = loss.apply(before, embeddings, labels, key=keys[i], **data)
            total, memory = total + weight * value, [*memory, after.get("memory", {})]
        return total, state and {**state, "memory": memory}

    hyper = {
        f"{i}.{key}": value
        for i, (weight, loss) in enumerate(zip(weights, losses))
        for key, value in {"loss": loss.name, "weight": weight, **loss.hyper}.items()
    }
    uses = frozenset().union(*(loss.uses for loss in losses))
    per_class = any(loss.per_class for loss in losses)
    return Loss("sum", spec, hyper, init, apply, per_class, uses)


def find(name):
    """The function of a name or an import path, `guarded`."""
    if name in LOSSES:
        return LOSSES[name]
    module, dot, attribute = name.rpartition(".")
    if not dot:
        raise UsageError(f"loss {name} is not known{_nearest(name, LOSSES)}")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UsageError(f"loss {name}: there is no module {error.name}") from error
    if not callable(getattr(found, attribute, None)):
        public = [k for k, v in vars(found).items() if callable(v) and k[0] != "_"]
        raise UsageError(
            f"loss {name}: {module} has no function {attribute}"
            f"{_nearest(attribute, public)}"
        )
    return guarded(getattr(found, attribute))


def _argument(name, text):
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"loss {name}: {text.strip()!r} is not key=value")
    value = value.strip()
    try:
        return key.strip(), ast.literal_eval(value)
    except (ValueError, SyntaxError):
        bare = value[1:-1] if value.startswith("(") and value.endswith(")") else value
        return key.strip(), bare


def _hyper(name, function, given):
    """All hyper-parameters of a function, those given instead of their defaults."""
    parameters = inspect.signature(function).parameters
    skip = set(DATA) | (set(list(parameters)[:2]) if takes_rows(function) else set())
    known = {k: p for k, p in parameters.items() if k not in skip}
    for key, value in given.items():
        if key not in known:
            raise UsageError(f"loss {name} has no {key}{_nearest(key, known)}")
        _check_type(name, known[key], value)
    missing = [k for k, p in known.items() if p.default is p.empty and k not in given]
    if missing:
        raise UsageError(f"loss {name} needs {', '.join(missing)}")
    return {k: given.get(k, p.default) for k, p in known.items()}


def _check_type(name, parameter, value):
    """A value must be of the annotated type, or of the default's where it has one."""
    wanted = parameter.annotation
    if wanted is parameter.empty:
        default = parameter.default
        if default is None or default is parameter.empty:
            return
        wanted = type(default)
    if wanted is float:
        wanted = int | float
    fits = isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))
    if not fits:
        wanted = getattr(wanted, "__name__", str(wanted))
        raise UsageError(f"loss {name}: {parameter.name}={value} must be {wanted}")


def _nearest(name, there):
    near = difflib.get_close_matches(name, there, 1)
    hint = f", did you mean {near[0]}?" if near else ";"
    return f"{hint} There is: {', '.join(sorted(there)) or 'nothing'}"


def split(text, separator):
    """Parts between separators that are not inside brackets or a number's exponent."""
    parts, depth = [""], 0
    for before, sign in zip(" " + text, text):
        depth += (sign in "([{") - (sign in ")]}")
        exponent = sign == "+" and before in "eE" and parts[-1][-2:-1].isdigit()
        if sign == separator and depth == 0 and not exponent:
            parts.append("")
        else:
            parts[-1] += sign
    return parts
