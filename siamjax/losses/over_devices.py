"""What XLA does not divide over devices by itself.

A loss whose rows are divided over devices has its B x B matrices divided as well. But
XLA copies to every device the rows that an index picks, and what follows from them, and
for `top_k` and a product of two B x B matrices the whole matrix. The functions here
divide them over the mesh that is set by `jax.set_mesh`, or by `training.step`. Without
a mesh, or where its size does not divide the number of rows, they do not divide.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from siamjax.losses import distances
from siamjax.losses.varying import zeros


def divide_rows(x: jax.Array) -> jax.Array:
    """The same array, whose rows are divided over the devices."""
    mesh = _mesh_for(len(x))
    if mesh is None:
        return x
    return lax.with_sharding_constraint(x, PartitionSpec(mesh.axis_names))


def largest(x: jax.Array, number: int) -> jax.Array:
    """`[A, R] -> [A, number]`: the largest values of each row, without a gradient."""

    def of_rows(x):
        return lax.top_k(x, number)[0]

    x, mesh = lax.stop_gradient(x), _mesh_for(len(x))
    if mesh is None:
        return of_rows(x)
    rows = PartitionSpec(mesh.axis_names)
    return jax.shard_map(of_rows, mesh=mesh, in_specs=rows, out_specs=rows)(x)


def multiply(a: jax.Array, b: jax.Array) -> jax.Array:
    """a b of two `[B, B]`, in full precision; each device has rows of all three.

    On D devices the rows of b go round in a ring, B / D at a time: no device holds more
    than B² / D numbers of a matrix, and the gradients are such products, too. Over a
    mesh there is no `jax.jvp`: through the loop of a ring it would keep all blocks.
    """
    mesh = _mesh_for(len(a))
    return _matmul(a, b) if mesh is None else _product(mesh, a, b)


def multiply_transposed(a: jax.Array, b: jax.Array) -> jax.Array:
    """a bᵀ of two `[B, B]`, see `multiply`."""
    mesh = _mesh_for(len(a))
    return _matmul(a, b.T) if mesh is None else _product_transposed(mesh, a, b)


def _mesh_for(rows):
    """The mesh that is set, if it can divide so many rows."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1 or not rows or rows % mesh.size:
        return None
    return mesh if set(mesh.axis_types) == {AxisType.Auto} else None


def _matmul(a, b):
    return jnp.matmul(a, b, precision=distances.EXACT)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _product(mesh, a, b):
    """a b"""
    return _on_devices(mesh, _rows_of_product, a, b)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _product_transposed(mesh, a, b):
    """a bᵀ"""
    return _on_devices(mesh, _rows_of_product_transposed, a, b)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _transposed_product(mesh, a, b):
    """aᵀ b"""
    return _on_devices(mesh, _rows_of_transposed_product, a, b)


def _with_gradients(product, for_a, for_b):
    def forward(mesh, a, b):
        return product(mesh, a, b), (a, b)

    def backward(mesh, rows, slope):
        return for_a(mesh, *rows, slope), for_b(mesh, *rows, slope)

    product.defvjp(forward, backward)


_with_gradients(
    _product,
    lambda mesh, a, b, slope: _product_transposed(mesh, slope, b),
    lambda mesh, a, b, slope: _transposed_product(mesh, a, slope),
)
_with_gradients(
    _product_transposed,
    lambda mesh, a, b, slope: _product(mesh, slope, b),
    lambda mesh, a, b, slope: _transposed_product(mesh, slope, a),
)
_with_gradients(
    _transposed_product,
    lambda mesh, a, b, slope: _product_transposed(mesh, b, slope),
    lambda mesh, a, b, slope: _product(mesh, a, slope),
)


def _on_devices(
    mesh: AbstractMesh, rows_of: Callable, a: jax.Array, b: jax.Array
) -> jax.Array:
    """Runs a function of the rows of one device, and of its ring, on every device."""
    rows = PartitionSpec(mesh.axis_names)
    return jax.shard_map(
        functools.partial(rows_of, _Ring(mesh)),
        mesh=mesh,
        in_specs=(rows, rows),
        out_specs=rows,
    )(a, b)


class _Ring:
    """The devices of a mesh, each of which sends to the one before it."""

    def __init__(self, mesh):
        self.size, self._axes = mesh.size, mesh.axis_names

    def place(self):
        return lax.axis_index(self._axes)

    def pass_on(self, x):
        pairs = [(i, (i - 1) % self.size) for i in range(self.size)]
        return lax.ppermute(x, self._axes, pairs)


def _rows_of_product(ring, a, b):
    def add(step, carry):
        total, block = carry
        source = (ring.place() + step) % ring.size
        return total + _matmul(_columns(a, source), block), ring.pass_on(block)

    return lax.fori_loop(0, ring.size, add, (zeros(a.shape, a.dtype, a, b), b))[0]


def _rows_of_product_transposed(ring, a, b):
    def fill(step, carry):
        result, block = carry
        source = (ring.place() + step) % ring.size
        part = _matmul(a, block.T)
        start = (0, source * len(block))
        return lax.dynamic_update_slice(result, part, start), ring.pass_on(block)

    return lax.fori_loop(0, ring.size, fill, (zeros(a.shape, a.dtype, a, b), b))[0]


def _rows_of_transposed_product(ring, a, b):
    """The sums travel: each is complete when it comes to the device of its rows."""

    def add(step, total):
        goal = (ring.place() + step + 1) % ring.size
        total = ring.pass_on(total)
        return total + _matmul(_columns(a, goal).T, b)

    return lax.fori_loop(0, ring.size, add, zeros(b.shape, b.dtype, a, b))


def _columns(a, number):
    """`[R, R]`: the columns of `a` that belong to the rows of one device."""
    return lax.dynamic_slice_in_dim(a, number * len(a), len(a), 1)
