"""Sums over all (anchor, positive) pairs, one positive of each anchor at a time.

A cost of a triplet, or of a positive and its whole row, takes O(B³) memory when all
costs exist at once. Here step r handles the r-th positive of every anchor with `[A, R]`
work, up to the largest number of positives P: O(B² P) time and O(B²) memory for value
and gradient, whatever the cost is. The order of the labels does not matter.

JAX cannot go backwards through a loop whose number of steps is known only when it runs.
But the derivatives of such a sum are such sums as well, forwards and backwards. So the
sum is a primitive of its own whose rules say so, and it has derivatives of every order.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir

from siamjax.losses.varying import zeros


def sum_over_positives(term: Callable, pos: jax.Array, *arrays: Any) -> Any:
    """Sum over r of `term(picked, *arrays)`, a pytree of arrays.

    Args:
      term: a pure function; `picked` `[A, R]` bool marks the r-th positive of each
        anchor; the row of an anchor with fewer positives is empty.
      pos: `[A, R]` bool.
      arrays: pytrees of arrays, also of numbers that the term reads.
    """
    leaves, tree = jax.tree.flatten(jax.tree.map(jnp.asarray, arrays))
    leaves = _alike_on_devices(pos, leaves)

    def term_of_leaves(picked, *leaves):
        return term(picked, *tree.unflatten(leaves))

    program, shapes = jax.make_jaxpr(term_of_leaves, return_shape=True)(pos, *leaves)

    # What the term closes over, such as a traced margin, becomes an argument.
    def term_of_all(picked, *values):
        constants, leaves = values[: len(program.consts)], values[len(program.consts) :]
        return jaxpr_as_fun(ClosedJaxpr(program.jaxpr, constants))(picked, *leaves)

    constants = _alike_on_devices(pos, list(map(jnp.asarray, program.consts)))
    sums = _bind(term_of_all, _ranks(pos), *constants, *leaves)
    return jax.tree.unflatten(jax.tree.structure(shapes), sums)


def _alike_on_devices(pos, values):
    """In a `shard_map` what has a gradient varies over devices as all the rest does."""
    zero = zeros((), jnp.float32, pos, *values)
    return [v + zero.astype(v.dtype) if _is_float(v) else v for v in values]


_loop = Primitive("sum_over_positives")
_loop.multiple_results = True


def _bind(term, rank, *values):
    """The sums of a term, a function of `picked` and arrays that gives a list."""
    program = jax.make_jaxpr(term)(rank == 0, *values)
    return _loop.bind(rank, *values, program=program)


def _run(rank, *values, program):
    term = jaxpr_as_fun(program)
    start = [zeros(a.shape, a.dtype, rank, *values) for a in program.out_avals]

    def add_term(r, total):
        return list(map(jnp.add, total, term(rank == r, *values)))

    return lax.fori_loop(0, jnp.max(rank, initial=-1) + 1, add_term, start)


def _forwards(primals, tangents, *, program):
    rank, *values = primals
    term, sums = jaxpr_as_fun(program), _loop.bind(*primals, program=program)
    moved = [i for i, t in enumerate(tangents[1:]) if not isinstance(t, ad.Zero)]
    is_float = list(map(_is_float, program.out_avals))

    def tangent_term(picked, *arguments):
        values, directions = arguments[: -len(moved)], arguments[-len(moved) :]

        def term_of_moved(*parts):
            full = list(values)
            for i, part in zip(moved, parts):
                full[i] = part
            return [a for a, f in zip(term(picked, *full), is_float) if f]

        parts = tuple(values[i] for i in moved)
        return jax.jvp(term_of_moved, parts, tuple(directions))[1]

    directions = [tangents[1:][i] for i in moved]
    slopes = iter(_bind(tangent_term, rank, *values, *directions) if moved else ())
    return sums, [
        next(slopes) if f and moved else ad.Zero(jax.typeof(a).to_tangent_aval())
        for a, f in zip(sums, is_float)
    ]


def _backwards(cotangents, rank, *values, program):
    linear = [i for i, v in enumerate(values) if ad.is_undefined_primal(v)]
    known = [v for i, v in enumerate(values) if i not in linear]
    given = [ad.instantiate_zeros(c) for c in cotangents]

    def cotangent_term(picked, *arguments):
        known, given = arguments[: len(arguments) - len(cotangents)], arguments
        given = list(given[len(known) :])

        def term_of_linear(*parts):
            others, parts = iter(known), iter(parts)
            full = [
                next(parts) if i in linear else next(others) for i in range(len(values))
            ]
            return jaxpr_as_fun(program)(picked, *full)

        # The term is linear in these, so that it does not matter where.
        somewhere = [
            zeros(values[i].aval.shape, values[i].aval.dtype, picked, *arguments)
            for i in linear
        ]
        return list(jax.vjp(term_of_linear, *somewhere)[1](given))

    gradients = iter(_bind(cotangent_term, rank, *known, *given))
    return [
        None,
        *(next(gradients) if i in linear else None for i in range(len(values))),
    ]


def _is_float(value):
    return jnp.issubdtype(value.dtype, jnp.floating)


def _batched(arguments, axes, *, program):
    # An axis of None is one that is not mapped.
    moved = [
        a if axis is None else jnp.moveaxis(a, axis, 0)
        for a, axis in zip(arguments, axes)
    ]
    in_axes = [None if axis is None else 0 for axis in axes]
    sums = _bind(jax.vmap(jaxpr_as_fun(program), in_axes), *moved)
    return sums, [0] * len(sums)


_loop.def_impl(jax.jit(_run, static_argnames="program"))
_loop.def_abstract_eval(lambda *avals, program: program.out_avals)
ad.primitive_jvps[_loop] = _forwards
ad.primitive_transposes[_loop] = _backwards
batching.primitive_batchers[_loop] = _batched
mlir.register_lowering(_loop, mlir.lower_fun(_run, multiple_results=True))


def _ranks(pos):
    """`[A, R]` int32: which positive of its anchor it is, from 0 on; -1 elsewhere."""
    place = jnp.cumsum(pos, 1, dtype=jnp.int32)
    return jnp.where(pos, place - 1, -1)


def first_index(mask: jax.Array) -> jax.Array:
    """`[A]` int32: the first True column of `[A, R]`, R - 1 where there is none."""
    columns = jnp.arange(mask.shape[1], dtype=jnp.int32)[None]
    last = max(mask.shape[1] - 1, 0)
    return jnp.min(jnp.where(mask, columns, last), 1, initial=last)


def value_at(picked: jax.Array, values: jax.Array) -> jax.Array:
    """`[A]`: the picked value of each row of `[A, R]`; 0 where none is picked."""
    return jnp.sum(jnp.where(picked, values, jnp.zeros_like(values)), 1)
