"""Checks that a state is one that a loss makes, and tells for how many classes."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from siamjax.types import UsageError

# Two numbers of classes: an axis of the state that differs between them tells how many
# classes a state is for.
FEW, MORE = 10, 11


class StateForms:
    """The shapes of the states that the `init` of a loss makes."""

    def __init__(self, loss: str, init: Callable[..., dict[str, Any]]):
        self._loss, self._init = loss, init
        self._shapes = functools.cache(self._trace_init)

    def check(self, state: Any, dim: int) -> int | None:
        """Checks a state and gives its number of classes.

        Args:
          state: as `init` or `apply` gave it. What it holds besides is not looked at.
          dim: coordinates of an embedding.
        Returns:
          The number of classes; None if the state does not depend on it, or if `init`
          cannot be traced.
        Raises:
          UsageError: `init` makes no such state for embeddings of `dim` coordinates.
        """
        if not isinstance(state, dict):
            raise UsageError(
                f"the state of loss {self._loss} must be the dict that init or the "
                f"last apply gave, got {type(state).__name__}"
            )
        shapes = self._shapes(FEW, dim)
        if shapes is None:
            return None
        given = _shapes_by_name(state)
        for name in shapes:
            if name not in given:
                raise UsageError(
                    f"the state of loss {self._loss} has no {name}: give the state "
                    "that its init or its last apply gave"
                )
        classes = self._classes(given, dim)
        shapes = shapes if classes is None else self._shapes(classes, dim)
        for name, shape in shapes.items():
            if given[name] != shape:
                raise UsageError(
                    f"{name} of the state of loss {self._loss} has the shape "
                    f"{list(given[name])}, which does not fit embeddings of {dim} "
                    f"coordinates: make the state with init(key, classes, dim={dim})"
                )
        return classes

    def _classes(self, given, dim):
        """The classes by the first axis that depends on them; None if none does."""
        more = self._shapes(MORE, dim)
        for name, shape in self._shapes(FEW, dim).items():
            if len(given[name]) != len(shape):
                continue
            for size, few_size, more_size in zip(given[name], shape, more[name]):
                if more_size != few_size:
                    return FEW + (size - few_size) // (more_size - few_size)
        return None

    def _trace_init(self, classes, dim):
        """`{name: shape}` of the state; None if `init` needs more than a traced key."""
        key = jax.eval_shape(jax.random.key, 0)
        try:
            state = jax.eval_shape(lambda key: self._init(key, classes, dim), key)
        except Exception:  # A loss that works must not fail by a check of its state.
            return None
        return _shapes_by_name(state)


def form_change(before: Any, after: Any) -> str:
    """How a state differs in form from the one before it: in names, shapes or types.

    Returns:
      A text, such as "the returned state has no memory.step"; empty if it does not.
    """
    old, new = _forms(before), _forms(after)
    for name in old:
        if name not in new:
            return f"the returned state has no {name}"
        if old[name] != new[name]:
            return f"{name} becomes {new[name]}, it was {old[name]}"
    added = [name for name in new if name not in old]
    return f"the returned state has {added[0]}, init gives none" if added else ""


def _forms(state):
    leaves = named_leaves(jax.eval_shape(lambda: state))
    return {name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in leaves.items()}


def named_leaves(state: Any) -> dict[str, Any]:
    """Name, such as memory.step, -> the array."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    name = functools.partial(jax.tree_util.keystr, simple=True, separator=".")
    return {name(path): leaf for path, leaf in leaves}


def _shapes_by_name(state):
    return {k: jax.numpy.shape(leaf) for k, leaf in named_leaves(state).items()}
