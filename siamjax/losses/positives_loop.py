"""Sums over all (anchor, positive) pairs, one positive of each anchor at a time.

A cost of a triplet, or of a positive and its whole row, takes O(B³) memory when all
costs exist at once. Here step r handles the r-th positive of every anchor with `[A, R]`
work, up to the largest number of positives P: O(B² P) time and O(B²) memory for value
and gradient, whatever the cost is. The order of the labels does not matter.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def sum_over_positives(term: Callable, pos: jax.Array, *arrays: Any) -> Any:
    """Sum over r of `term(picked, *arrays)`, a pytree of arrays.

    Args:
      term: a pure function; `picked` `[A, R]` bool marks the r-th positive of each
        anchor; the row of an anchor with fewer positives is empty. It must not close
        over traced values.
      pos: `[A, R]` bool.
      arrays: pytrees of arrays; float ones get a gradient.
    """
    return _sum(term, pos, arrays)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _sum(term, pos, arrays):
    rank, most = _ranks(pos)
    shapes = jax.eval_shape(term, pos, *arrays)
    start = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)

    def add_term(r, total):
        return jax.tree.map(jnp.add, total, term(rank == r, *arrays))

    return lax.fori_loop(0, most, add_term, start)


def _forward(term, pos, arrays):
    return _sum(term, pos, arrays), (pos, arrays)


def _backward(term, residuals, cotangent):
    pos, arrays = residuals
    rank, most = _ranks(pos)
    leaves, tree = jax.tree.flatten(arrays)
    is_float = [jnp.issubdtype(a.dtype, jnp.floating) for a in leaves]

    def term_of_floats(floats, picked):
        floats = iter(floats)
        full = [next(floats) if f else leaf for leaf, f in zip(leaves, is_float)]
        return term(picked, *tree.unflatten(full))

    floats = [leaf for leaf, f in zip(leaves, is_float) if f]

    def add_gradient(r, total):
        pull_back = jax.vjp(lambda v: term_of_floats(v, rank == r), floats)[1]
        return jax.tree.map(jnp.add, total, pull_back(cotangent)[0])

    start = [jnp.zeros_like(v) for v in floats]
    gradients = iter(lax.fori_loop(0, most, add_gradient, start))
    return None, tree.unflatten([next(gradients) if f else None for f in is_float])


_sum.defvjp(_forward, _backward)


def _ranks(pos):
    """`[A, R]` int32, which positive of its anchor it is, from 0 on, and -1 elsewhere;
    and the largest number of positives of an anchor."""
    place = jnp.cumsum(pos, 1, dtype=jnp.int32)
    return jnp.where(pos, place - 1, -1), jnp.max(place, initial=0)


def first_index(mask: jax.Array) -> jax.Array:
    """`[A]` int32: the first True column of `[A, R]`, R - 1 where there is none."""
    columns = jnp.arange(mask.shape[1], dtype=jnp.int32)[None]
    last = max(mask.shape[1] - 1, 0)
    return jnp.min(jnp.where(mask, columns, last), 1, initial=last)


def value_at(picked: jax.Array, values: jax.Array) -> jax.Array:
    """`[A]`: the picked value of each row of `[A, R]`; 0 where none is picked."""
    return jnp.sum(jnp.where(picked, values, jnp.zeros_like(values)), 1)
