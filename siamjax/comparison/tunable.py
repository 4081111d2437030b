"""One compiled program for all settings of a loss: its numbers become data.

The values that a search varies are part of the loss's state and not constants of the
program, so that a trial needs no compilation. If a loss chooses by a value what it
computes, that value stays a constant: each of its values is another program.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from siamjax import losses
from siamjax.losses import search
from siamjax.types import SiamjaxError

VALUES = "values"


def resolve_setting(spec: str, setting: dict[str, Any]) -> tuple[losses.Loss, str]:
    """The `losses.Loss` of a setting, and the key of the program that runs it.

    Args:
      spec: text of a loss.
      setting: {hyper-parameter: value}, of those in its `search.space`.
    Returns:
      The loss, and a text that is the same for all settings that differ only in data.
      The state of the loss also holds `values`, if any value of the setting is data.
    """
    free = search.space(spec)
    numbers = {
        name: value
        for name, value in setting.items()
        if isinstance(free[name], search.Range) and isinstance(value, float)
    }
    fixed = tuple(item for item in setting.items() if item[0] not in numbers)
    names = _data(spec, fixed, tuple(numbers))
    text = search.fill(spec, {k: v for k, v in setting.items() if k not in names})
    concrete = losses.resolve(search.fill(spec, setting))
    values = {name: jnp.float32(numbers[name]) for name in names}
    return _with_values_in_state(concrete, text, values), f"{text} {' '.join(names)}"


@functools.cache
def _data(spec, fixed, names):
    """The names that can be data, with the other hyper-parameters as they are."""
    text = search.fill(spec, dict(fixed))
    return tuple(name for name in names if _takes_arrays(text, name))


def _with_values_in_state(concrete, text, values):
    """The loss of a text, with these values, which its state holds."""
    if not values:
        return concrete

    def init(key, classes, dim):
        return {**concrete.init(key, classes, dim), VALUES: values}

    def apply(state, embeddings, labels, **data):
        loss_state = {k: v for k, v in state.items() if k != VALUES}
        loss = losses.resolve(text, state[VALUES])
        value, loss_state = loss.apply(loss_state, embeddings, labels, **data)
        return value, {**loss_state, VALUES: state[VALUES]}

    return concrete._replace(init=init, apply=apply)


def _takes_arrays(text, name):
    """Whether this hyper-parameter of a loss can be an array."""
    loss, number = losses.resolve(text), jax.ShapeDtypeStruct((), jnp.float32)
    keys = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(lambda key: loss.init(key, 4, 3), keys)
    rows = jax.ShapeDtypeStruct((8, 3), jnp.float32)
    labels = jax.ShapeDtypeStruct((8,), jnp.int32)

    def apply(value, state, rows, labels, key):
        loss = losses.resolve(text, {name: value})
        where = jnp.ones_like(labels, bool)
        return loss.apply(state, rows, labels, where=where, key=key)[0]

    try:
        jax.eval_shape(apply, number, state, rows, labels, keys)
    except (jax.errors.JAXTypeError, TypeError, SiamjaxError):
        return False
    return True
