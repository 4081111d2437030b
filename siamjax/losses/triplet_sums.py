"""The exact sum of all triplet hinges in O(B² log B) time and O(B²) memory.

For an anchor, a positive j and a negative k are active when key_k < key_j, where a key
is the distance, plus the margin for a positive. The sum of (key_j - key_k) over active
pairs needs for each positive the number of negatives with a smaller key, and for each
negative the number of positives with a larger one. One sort of a row gives all these
numbers, and they are the gradient too: in one order the sum is linear in the keys.

On a CPU XLA sorts floats slowly and unsigned integers fast. So the key becomes a uint32
of the same order, and is packed with the kind and the column into a uint64.
"""

import jax
import jax.numpy as jnp
from jax import lax

POSITIVE, NEGATIVE, AFTER, NEITHER = 0, 1, 2, 3


def hinge_sums(
    key: jax.Array, pos: jax.Array, neg: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Sum and number of active triplets of each anchor.

    Args:
      key: `[A, R]` float: the distance, with the margin added where `pos`.
      pos, neg: `[A, R]` bool, disjoint.
    Returns:
      `[A]` float, sum over pos j and neg k of max(0, key_j - key_k), and `[A]` int32,
      how many of them are not 0. The first can be differentiated with respect to key.
    """
    return _sum_signed(signed_counts(lax.stop_gradient(key), pos, neg), key, pos)


def semihard_sums(
    cost: jax.Array, margin: jax.Array, pos: jax.Array, neg: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """As `hinge_sums` of cost + margin, over the semi-hard triplets only.

    These are the pairs of a pos j and a neg k with cost_j < cost_k < cost_j + margin.
    """
    key = jnp.where(pos, cost + margin, cost)
    hard = signed_counts(lax.stop_gradient(cost), pos, neg, ties=True)
    return _sum_signed(signed_counts(lax.stop_gradient(key), pos, neg) - hard, key, pos)


def _sum_signed(counts, key, pos):
    active = jnp.where(pos, counts, 0).sum(1)
    with jax.enable_x64(True):
        # Large parts cancel, so the sum needs float64. A masked key may be inf.
        part = jnp.where(counts != 0, key, jnp.zeros_like(key)).astype(jnp.float64)
        sums = jnp.sum(counts.astype(jnp.float64) * part, 1).astype(key.dtype)
    return sums, active


def signed_counts(
    key: jax.Array, pos: jax.Array, neg: jax.Array, ties: bool = False
) -> jax.Array:
    """`[A, R]` int32: at a positive the number of negatives with a smaller key, at a
    negative minus the number of positives with a larger one, else 0.

    With `ties`, equal keys count too.
    """
    column, kind = sort_by_key(key, pos, neg, ties)
    is_pos = kind == POSITIVE
    # Positives up to each place; the others up to it are negatives.
    upto = jnp.cumsum(is_pos, 1, dtype=jnp.int32)
    place = jnp.arange(1, key.shape[1] + 1, dtype=jnp.int32)[None]
    of_negative = jnp.where(kind == NEGATIVE, upto - pos.sum(1, keepdims=True), 0)
    return unsort(jnp.where(is_pos, place - upto, of_negative), column)


def unsort(values: jax.Array, column: jax.Array) -> jax.Array:
    """`[A, R]` values in sorted order -> in their columns."""

    # Row by row: a two-dimensional scatter makes XLA gather all indices across devices.
    def put(value, index):
        start = jnp.zeros(value.shape, value.dtype)
        return start.at[index].set(value, unique_indices=True, mode="promise_in_bounds")

    return jax.vmap(put)(values, column)


def sort_by_key(
    key: jax.Array, pos: jax.Array, neg: jax.Array, ties: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Columns `[A, R]` int32 in order of key, and the kind of each (`POSITIVE`, ...).

    Of equal keys positives come first, or last with `ties`; what is neither comes last.
    """
    key = jnp.where(key == 0, jnp.zeros_like(key), key)  # -0 would sort before 0
    kind = jnp.where(pos, POSITIVE, jnp.where(neg, NEGATIVE, NEITHER))
    rank = jnp.where(pos & ties, AFTER, kind).astype(jnp.uint32)
    low = lax.broadcasted_iota(jnp.uint32, key.shape, 1) | (rank << 28)
    low = _sort_packed(key, low, pos | neg)
    rank = (low >> 28).astype(jnp.int32)
    kind = jnp.where(rank == AFTER, POSITIVE, rank)
    return (low & jnp.uint32((1 << 28) - 1)).astype(jnp.int32), kind


def _sort_packed(key, low, counts):
    """`low`, sorted by key and then by itself; what does not count comes last."""
    if key.dtype == jnp.float64:
        key = jnp.where(counts, key, jnp.inf)
        return lax.sort((key, low), dimension=1, num_keys=2)[1]
    bits = lax.bitcast_convert_type(key, jnp.uint32)
    bits = jnp.where(bits >> 31 == 1, ~bits, bits | jnp.uint32(1 << 31))
    bits = jnp.where(counts, bits, jnp.uint32(0xFFFFFFFF))
    with jax.enable_x64(True):
        packed = (bits.astype(jnp.uint64) << 32) | low.astype(jnp.uint64)
        return lax.sort(packed, dimension=1).astype(jnp.uint32)
