"""What XLA does not divide over devices by itself.

A loss whose rows are divided over devices has its B x B matrices divided as well. But
XLA copies to every device the rows that an index picks, and what follows from them, and
for `top_k`, a product of two B x B matrices and an inverse the whole matrix. The
functions here divide them over the mesh that is set by `jax.set_mesh`, or by
`training.step`. Without a mesh, or where its size does not divide the number of rows,
they do not divide.
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


def pad_rows(x: jax.Array) -> jax.Array:
    """The array with rows of zeros, so that the devices divide their number."""
    mesh = _usable_mesh()
    missing = 0 if mesh is None else -len(x) % mesh.size
    return jnp.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1))


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

    On D devices, B / D columns of b are gathered at a time: no device holds more than
    B² / D numbers of a matrix, and neither do the derivatives, which gather them again.
    """
    mesh = _mesh_for(len(a))
    return _matmul(a, b) if mesh is None else _on_devices(mesh, _rows_of_product, a, b)


def multiply_transposed(a: jax.Array, b: jax.Array) -> jax.Array:
    """a bᵀ of two `[B, B]`, see `multiply`."""
    mesh = _mesh_for(len(a))
    if mesh is None:
        return _matmul(a, b.T)
    return _on_devices(mesh, _rows_of_product_transposed, a, b)


@jax.custom_jvp
def invert(a: jax.Array) -> jax.Array:
    """The inverse of `[B, B]`, in full precision; each device has rows of both.

    On D devices, the B / D rows of one device after the other are sent to all of them
    (Gauss and Jordan, in blocks). So no device holds more than a few times B² / D
    numbers.

    Args:
      a: symmetric and positive definite, so no rows need to be exchanged.
    """
    mesh = _mesh_for(len(a))
    if mesh is None:
        return jnp.linalg.inv(a)
    rows = PartitionSpec(mesh.axis_names)
    invert_rows = functools.partial(_rows_of_inverse, mesh.axis_names)
    return jax.shard_map(invert_rows, mesh=mesh, in_specs=rows, out_specs=rows)(a)


@invert.defjvp
def _invert_jvp(primals, tangents):
    inverse = invert(*primals)
    return inverse, -multiply(multiply(inverse, *tangents), inverse)


def _mesh_for(rows):
    """The mesh that is set, if it can divide so many rows."""
    mesh = _usable_mesh()
    return None if mesh is None or not rows or rows % mesh.size else mesh


def _usable_mesh():
    """The mesh that is set, if it has several devices over which XLA divides."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1 or set(mesh.axis_types) != {AxisType.Auto}:
        return None
    return mesh


def _matmul(a, b):
    return jnp.matmul(a, b, precision=distances.EXACT)


def _on_devices(
    mesh: AbstractMesh, rows_of: Callable, a: jax.Array, b: jax.Array
) -> jax.Array:
    """Runs a function of the rows of one device on every device.

    Its first argument gives `[B, N]` of all devices from `[B / D, N]` of each.
    """
    gather = functools.partial(lax.all_gather, axis_name=mesh.axis_names, tiled=True)
    rows = PartitionSpec(mesh.axis_names)
    return jax.shard_map(
        functools.partial(rows_of, gather),
        mesh=mesh,
        in_specs=(rows, rows),
        out_specs=rows,
    )(a, b)


def _rows_of_product(gather, a, b):
    def multiply_columns(_, columns):
        return None, _matmul(a, gather(columns))

    return _join_columns(_scan(multiply_columns, None, _cut_columns(b))[1])


def _rows_of_product_transposed(gather, a, b):
    def add(total, columns):
        of_a, of_b = columns
        return total + _matmul(of_a, gather(of_b).T), None

    columns = _cut_columns(a), _cut_columns(b)
    return _scan(add, zeros(a.shape, a.dtype, a, b), columns)[0]


def _rows_of_inverse(axes, a):
    """The rows of an inverse `[R, B]` that this device has, from its rows.

    Step k solves the equations of block k for its unknowns and puts them into all
    others; those of block k are then the right-hand sides.
    """
    size = len(a)
    place = lax.axis_index(axes)

    def eliminate(a, k):
        is_own = place == k
        pivot = lax.psum(jnp.where(is_own, a, 0), axes)  # [R, B], the rows of block k
        solved = jnp.linalg.inv(_column_block(pivot, k))
        pivot = _with_column_block(pivot, k, jnp.eye(size, dtype=a.dtype))
        factor = jnp.where(is_own, solved, -_matmul(_column_block(a, k), solved))
        rest = _with_column_block(a, k, jnp.zeros((size, size), a.dtype))
        return jnp.where(is_own, 0, rest) + _matmul(factor, pivot), None

    return lax.scan(eliminate, a, jnp.arange(a.shape[1] // size))[0]


def _column_block(x, k):
    """`[R, B] -> [R, R]`"""
    return lax.dynamic_slice_in_dim(x, k * len(x), len(x), 1)


def _with_column_block(x, k, block):
    return lax.dynamic_update_slice_in_dim(x, block, k * len(x), 1)


def _scan(body, start, columns):
    """`lax.scan` whose gradient does not keep what was gathered."""
    return lax.scan(jax.checkpoint(body, prevent_cse=False), start, columns)


def _cut_columns(x):
    """`[R, B] -> [B / R, R, R]`"""
    return x.reshape(len(x), -1, len(x)).swapaxes(0, 1)


def _join_columns(x):
    """`[B / R, R, R] -> [R, B]`"""
    return x.swapaxes(0, 1).reshape(x.shape[1], -1)
