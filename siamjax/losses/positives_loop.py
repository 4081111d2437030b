"""Sums over all (anchor, positive) pairs, one positive of each anchor at a time.

A cost of a triplet, or of a positive and its whole row, takes O(B³) memory when all are
formed at once. Here the r-th positive of every anchor goes through `[A, R]` work, for
r up to the most positives an anchor has: O(B² P) time and O(B²) memory, whatever the
cost is, value and gradient. No layout of labels is assumed.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax


def sum_over_positives(term, pos, *arrays):
    """Sum over r of `term(picked, *arrays)`, a pytree of arrays.

    Args:
      term: pure; `picked` `[A, R]` bool has the r-th positive of each anchor, or
        nothing in the row of an anchor with fewer. Must not close over traced values.
      pos: `[A, R]` bool.
      arrays: pytrees of float arrays (differentiable) or others.
    """
    return _sum(term, pos, arrays)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _sum(term, pos, arrays):
    rank, most = _ranks(pos)
    shapes = jax.eval_shape(term, pos, *arrays)
    start = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)

    def body(r, total):
        return jax.tree.map(jnp.add, total, term(rank == r, *arrays))

    return lax.fori_loop(0, most, body, start)


def _forward(term, pos, arrays):
    return _sum(term, pos, arrays), (pos, arrays)


def _backward(term, residuals, cotangent):
    pos, arrays = residuals
    rank, most = _ranks(pos)
    leaves, tree = jax.tree.flatten(arrays)
    smooth = [jnp.issubdtype(a.dtype, jnp.floating) for a in leaves]

    def of_smooth(values, picked):
        values = iter(values)
        full = [next(values) if s else a for a, s in zip(leaves, smooth)]
        return term(picked, *tree.unflatten(full))

    values = [a for a, s in zip(leaves, smooth) if s]

    def body(r, total):
        pull = jax.vjp(lambda v: of_smooth(v, rank == r), values)[1]
        return jax.tree.map(jnp.add, total, pull(cotangent)[0])

    total = lax.fori_loop(0, most, body, [jnp.zeros_like(v) for v in values])
    total = iter(total)
    return None, tree.unflatten([next(total) if s else None for s in smooth])


_sum.defvjp(_forward, _backward)


def _ranks(pos):
    """`[A, R]` int32, a positive's place among its anchor's, else -1; and the most."""
    place = jnp.cumsum(pos, 1, dtype=jnp.int32)
    return jnp.where(pos, place - 1, -1), jnp.max(place, initial=0)


def index_of(mask):
    """`[A]` int32: the first column of `[A, R]` that holds, R - 1 where none does."""
    columns = jnp.arange(mask.shape[1], dtype=jnp.int32)[None]
    last = max(mask.shape[1] - 1, 0)
    return jnp.min(jnp.where(mask, columns, last), 1, initial=last)


def pick(picked, values):
    """`[A]`: of each row of `[A, R]` the value that is picked; 0 where none is."""
    return jnp.sum(jnp.where(picked, values, jnp.zeros_like(values)), 1)
