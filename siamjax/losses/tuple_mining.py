"""Miners that give pairs and triplets as index arrays of fixed size, for use in jit.

    cost, pos, neg = measure_pairs(embeddings, labels, distance="cosine")
    mined = to_pairs(*multi_similarity_pairs(cost, pos, neg, 0.1), size=512)
    loss = contrastive(embeddings, labels, pairs=mined.rows)

`cost`, `pos` and `neg` are those of `mining`. Index arrays that are not full end with
-1, which losses leave out.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from siamjax.checks import check_key, check_sizes
from siamjax.losses import distances
from siamjax.losses.annotations import Array, Distance, check_choice
from siamjax.losses.mining import check_pairs
from siamjax.losses.tuples import References, all_pairs
from siamjax.types import UsageError

GapKind = Literal["all", "hard", "semihard", "easy"]


class MeasuredPairs(NamedTuple):
    """The pairs of anchors and references, and how different they are."""

    cost: jax.Array  # [A, R], a distance or minus a similarity, without gradient
    pos: jax.Array  # [A, R] bool
    neg: jax.Array  # [A, R] bool


class Mined(NamedTuple):
    """Mined pairs or triplets."""

    rows: jax.Array  # [size, 2] or [size, 3] int32, the anchor first; -1 is padding
    number: jax.Array  # [] int32, how many there are, also those beyond `size`


def measure_pairs(
    embeddings: Array,
    labels: Array,
    where: Array | None = None,
    *,
    references: References | None = None,
    distance: Distance = "euclidean",
) -> MeasuredPairs:
    """What the functions of `mining` and of this module take.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References` to compare with; the batch itself by default.
      distance: see `distances`.
    Raises:
      UsageError: shapes or types do not fit.
    """
    measure = distances.by_name(distance)
    batch = all_pairs(embeddings, labels, where, references)
    cost = lax.stop_gradient(measure.cost(measure.matrix(batch.x, batch.y)))
    return MeasuredPairs(cost, batch.pos, batch.neg)


def to_pairs(
    pos: jax.Array, neg: jax.Array, *, size: int, key: jax.Array | None = None
) -> Mined:
    """The pairs of two masks, such as `multi_similarity_pairs` gives.

    Args:
      pos, neg: `[A, R]` bool.
      size: how many pairs fit.
      key: if there are more, a random part of them; without a key the first ones.
    """
    check_pairs(pos, neg)
    number, flat = _choose(pos | neg, size, key)
    return Mined(_columns(flat, pos.shape), number)


def to_triplets(
    pos: jax.Array, neg: jax.Array, *, size: int, key: jax.Array | None = None
) -> Mined:
    """All triplets of an anchor, one of its positives and one of its negatives.

    Args:
      pos, neg: `[A, R]` bool; memory is A R² bytes.
      size: how many triplets fit.
      key: if there are more, a random part of them; without a key the first ones.
    """
    check_pairs(pos, neg)
    mask = pos[:, :, None] & neg[:, None, :]
    number, flat = _choose(mask, size, key)
    return Mined(_columns(flat, mask.shape), number)


def column_triplets(
    column: jax.Array, valid: jax.Array, *, size: int, key: jax.Array | None = None
) -> Mined:
    """The triplets of one negative for each positive pair.

    Args:
      column: `[A, R]` int, the column of each pair's negative, as `next_negative` and
        `distance_weighted_negatives` give it.
      valid: `[A, R]` bool, the pairs that have one.
      size: how many triplets fit.
      key: if there are more, a random part of them; without a key the first ones.
    """
    number, flat = _choose(valid & (column >= 0), size, key)
    negative = column.reshape(-1)[jnp.maximum(flat, 0)]
    negative = jnp.where(flat >= 0, negative, -1).astype(jnp.int32)
    pairs = _columns(flat, column.shape)
    return Mined(jnp.concatenate([pairs, negative[:, None]], 1), number)


def triplets_by_gap(
    cost: jax.Array,
    pos: jax.Array,
    neg: jax.Array,
    kind: GapKind,
    margin: float,
    *,
    size: int,
    key: jax.Array | None = None,
) -> Mined:
    """Triplets by their gap, the cost of the negative minus that of the positive.

    all: a gap of at most the margin; hard: of these a gap of at most 0; semihard: of
    these a gap above 0; easy: a gap above the margin.

    Args:
      cost: `[A, R]`.
      pos, neg: `[A, R]` bool; memory is 4 A R² bytes.
      kind: as above.
      margin: in the unit of the cost.
      size: how many triplets fit.
      key: if there are more, a random part of them; without a key the first ones.
    Raises:
      UsageError: there is no such kind.
    Reference: Schroff et al. (FaceNet), CVPR 2015.
    """
    check_choice("kind", kind, GapKind)
    check_pairs(pos, neg, cost)
    gap = cost[:, None, :] - cost[:, :, None]  # [A, positive, negative]
    chosen = gap > margin if kind == "easy" else gap <= margin
    if kind == "hard":
        chosen = chosen & (gap <= 0)
    if kind == "semihard":
        chosen = chosen & (gap > 0)
    chosen = chosen & pos[:, :, None] & neg[:, None, :]
    number, flat = _choose(chosen, size, key)
    return Mined(_columns(flat, chosen.shape), number)


def triplets_by_angle(
    squared: jax.Array,
    pos: jax.Array,
    neg: jax.Array,
    angle: float,
    *,
    size: int,
    key: jax.Array | None = None,
) -> Mined:
    """Triplets whose negative sees anchor and positive at a wide angle.

    With c the middle of anchor and positive: atan(|a - p| / (2 |n - c|)) > angle.

    Args:
      squared: `[B, B]` squared distances of the rows of a batch; of unit length in the
        paper.
      pos, neg: `[B, B]` bool; memory is 4 B³ bytes.
      angle: in degrees, from 0 to below 90.
      size: how many triplets fit.
      key: if there are more, a random part of them; without a key the first ones.
    Raises:
      UsageError: the angle is beyond this range, or rows are compared with others.
    Reference: Wang et al. (angular), ICCV 2017, eq. 4.
    """
    if not 0 <= angle < 90:
        raise UsageError(f"angle={angle} must be in [0, 90), in degrees")
    if squared.shape[0] != squared.shape[1]:
        raise UsageError(
            f"squared has the shape {list(squared.shape)}: angles need the distances "
            "of all rows of one batch, [B, B]"
        )
    check_pairs(pos, neg, squared)
    across = squared[:, :, None]  # |a - p|²
    # The median of a triangle: |n - c|² = (|n - a|² + |n - p|²) / 2 - |a - p|² / 4.
    middle = (squared[:, None, :] + squared[None, :, :]) / 2 - across / 4
    slope = jnp.tan(jnp.deg2rad(jnp.asarray(angle, squared.dtype)))
    chosen = across > 4 * slope**2 * jnp.maximum(middle, 0)
    chosen = chosen & pos[:, :, None] & neg[:, None, :]
    number, flat = _choose(chosen, size, key)
    return Mined(_columns(flat, chosen.shape), number)


def pairs_by_histogram(
    cost: jax.Array,
    pos: jax.Array,
    neg: jax.Array,
    *,
    key: jax.Array,
    bins: int = 100,
    per_bin: int = 10,
) -> Mined:
    """Pairs that are spread evenly over their costs, positive and negative ones apart.

    The range of the costs is cut into bins of one width. Each bin that has a pair gives
    `per_bin` pairs, drawn with replacement.

    Args:
      cost: `[A, R]`.
      pos, neg: `[A, R]` bool.
      key: a JAX key.
      bins: their number.
      per_bin: pairs of a bin.
    Returns:
      `Mined` with size 2 * bins * per_bin, the positive pairs first.
    Reference: `UniformHistogramMiner` of pytorch-metric-learning; see Wu et al.
      (sampling matters), ICCV 2017, for why pairs are drawn evenly over distance.
    """
    check_pairs(pos, neg, cost)
    check_key(key)
    check_sizes(bins=bins, per_bin=per_bin)
    keys = jax.random.split(key)
    parts = [
        _spread(cost.reshape(-1), mask.reshape(-1), part, bins, per_bin)
        for mask, part in zip((pos, neg), keys)
    ]
    flat = jnp.concatenate(parts)
    return Mined(_columns(flat, cost.shape), (flat >= 0).sum().astype(jnp.int32))


def _spread(cost, mask, key, bins, per_bin):
    """`[bins * per_bin]` flat indices, -1 for an empty bin."""
    if not len(cost):
        return jnp.full(bins * per_bin, -1)
    low = jnp.min(jnp.where(mask, cost, jnp.inf), initial=jnp.inf)
    high = jnp.max(jnp.where(mask, cost, -jnp.inf), initial=-jnp.inf)
    width = jnp.where(high > low, high - low, 1)
    share = jnp.where(mask, (cost - low) / width, 0)
    bin_of_pair = jnp.clip((share * bins).astype(jnp.int32), 0, bins - 1)
    bin_of_pair = jnp.where(mask, bin_of_pair, bins)
    order = jnp.argsort(bin_of_pair)
    count = jnp.bincount(bin_of_pair, length=bins)  # pairs beyond the bins are left out
    start = jnp.cumsum(count) - count
    chance = jax.random.uniform(key, (bins, per_bin), jnp.float32)
    draw = jnp.minimum((chance * count[:, None]).astype(jnp.int32), count[:, None] - 1)
    flat = order[jnp.maximum(start[:, None] + draw, 0)]
    return jnp.where(count[:, None] > 0, flat, -1).reshape(-1)


def _choose(mask, size, key):
    """How many are true, and `[size]` flat indices of them, -1 where there are less."""
    check_sizes(size=size)
    flat = mask.reshape(-1)
    number = flat.sum().astype(jnp.int32)
    if not len(flat):
        return number, jnp.full(size, -1)
    if key is None:
        return number, jnp.nonzero(flat, size=size, fill_value=-1)[0]
    check_key(key)
    chance = jnp.where(flat, jax.random.uniform(key, flat.shape, jnp.float32), -1)
    top, index = lax.top_k(chance, min(size, len(flat)))
    index = jnp.where(top >= 0, index, -1)
    return number, jnp.pad(index, (0, size - len(index)), constant_values=-1)


def _columns(flat, shape):
    """`[size, number of axes]` int32 of flat indices into an array of this shape."""
    columns = jnp.unravel_index(jnp.maximum(flat, 0), shape)
    index = jnp.stack(columns, 1).astype(jnp.int32)
    return jnp.where((flat >= 0)[:, None], index, -1)
