"""The exact sum of all triplet hinges in O(B² log B) time and O(B²) memory.

For an anchor, a positive j and a negative k are active when key_k < key_j, where a key
is the distance, plus the margin for a positive. The sum of (key_j - key_k) over active
pairs needs, for a positive, the number of negatives with a smaller key, and for a
negative the number of positives with a larger one. One sort of a row gives all of
them, and they are the gradient too.

XLA sorts floats slowly on a CPU and unsigned integers fast, so the bits of the key,
made to order like the key, go with tag and column into one uint64.
"""

import jax
import jax.numpy as jnp
from jax import lax

from siamjax.losses.precision import wide

POSITIVE, NEGATIVE, AFTER, NEITHER = 0, 1, 2, 3


@jax.custom_vjp
def hinge_sums(key, pos, neg):
    """Sum and number of active triplets of each anchor.

    Args:
      key: `[A, R]` float: the distance, with the margin added where `pos`.
      pos, neg: `[A, R]` bool, disjoint.
    Returns:
      `[A]` float, sum over pos j and neg k of max(0, key_j - key_k), and `[A]` int32,
      how many of them are not 0. The first can be differentiated with respect to key.
    """
    return _hinge_sums(key, pos, neg)[0]


def _hinge_sums(key, pos, neg):
    counts = signed_counts(key, pos, neg)
    return _weigh(counts, key, pos), counts


@jax.custom_vjp
def band_sums(cost, margin, pos, neg):
    """As `hinge_sums` of cost + margin, over the semi-hard triplets alone.

    These are the pairs of a pos j and a neg k with cost_j < cost_k < cost_j + margin.
    """
    return _band_sums(cost, margin, pos, neg)[0]


def _band_sums(cost, margin, pos, neg):
    key = jnp.where(pos, cost + margin, cost)
    hard = signed_counts(cost, pos, neg, ties=True)
    counts = signed_counts(key, pos, neg) - hard
    return _weigh(counts, key, pos), counts


def _weigh(counts, key, pos):
    active = jnp.where(pos, counts, 0).sum(1)
    with wide(True):
        # Large parts cancel, so the sum needs digits; inf of a masked key must not
        # enter.
        part = jnp.where(counts != 0, key, jnp.zeros_like(key)).astype(jnp.float64)
        sums = jnp.sum(counts.astype(jnp.float64) * part, 1).astype(key.dtype)
    return sums, active


def _hinge_sums_backward(counts, cotangents):
    g = cotangents[0]
    return g[:, None] * counts.astype(g.dtype), None, None


def _band_sums_backward(counts, cotangents):
    g = cotangents[0]
    return g[:, None] * counts.astype(g.dtype), jnp.zeros((), g.dtype), None, None


hinge_sums.defvjp(_hinge_sums, _hinge_sums_backward)
band_sums.defvjp(_band_sums, _band_sums_backward)


def signed_counts(key, pos, neg, ties=False):
    """`[A, R]` int32: of a positive the negatives with a smaller key, of a negative
    minus the positives with a larger one, else 0. With `ties`, equal keys count too.
    """
    column, kind = ordered(key, pos, neg, ties)
    is_pos = (kind == POSITIVE).astype(jnp.int32)
    is_neg = (kind == NEGATIVE).astype(jnp.int32)
    before = lax.associative_scan(jnp.add, is_neg, axis=1)
    upto = lax.associative_scan(jnp.add, is_pos, axis=1)
    after = pos.sum(1, dtype=jnp.int32)[:, None] - upto
    return put_back(is_pos * before - is_neg * after, column)


def put_back(values, column):
    """`[A, R]` values in sorted order -> in their columns."""

    # Row by row: a two-dimensional scatter makes XLA gather all indices across devices.
    def put(value, at):
        start = jnp.zeros(value.shape, value.dtype)
        return start.at[at].set(value, unique_indices=True, mode="promise_in_bounds")

    return jax.vmap(put)(values, column)


def ordered(key, pos, neg, ties=False):
    """Columns `[A, R]` int32 in order of key, and of what kind each is.

    Of equal keys positives come first, or last with `ties`; what is neither comes last.
    """
    key = jnp.where(key == 0, jnp.zeros_like(key), key)  # -0 would sort before 0
    kind = jnp.where(pos, POSITIVE, jnp.where(neg, NEGATIVE, NEITHER))
    rank = jnp.where(pos & ties, AFTER, kind).astype(jnp.uint32)
    low = lax.broadcasted_iota(jnp.uint32, key.shape, 1) | (rank << 28)
    low = _sorted(key, low, pos | neg)
    rank = (low >> 28).astype(jnp.int32)
    kind = jnp.where(rank == AFTER, POSITIVE, rank)
    return (low & jnp.uint32((1 << 28) - 1)).astype(jnp.int32), kind


def _sorted(key, low, counts):
    """`low` in order of key, then of itself; of what does not count last."""
    if key.dtype == jnp.float64:
        key = jnp.where(counts, key, jnp.inf)
        return lax.sort((key, low), dimension=1, num_keys=2)[1]
    bits = lax.bitcast_convert_type(key, jnp.uint32)
    bits = jnp.where(bits >> 31 == 1, ~bits, bits | jnp.uint32(1 << 31))
    bits = jnp.where(counts, bits, jnp.uint32(0xFFFFFFFF))
    with wide(True):
        packed = (bits.astype(jnp.uint64) << 32) | low.astype(jnp.uint64)
        return lax.sort(packed, dimension=1).astype(jnp.uint32)
