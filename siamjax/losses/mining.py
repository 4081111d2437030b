"""Which positives and negatives a loss learns from, as arrays of static shape.

`cost` `[A, R]` is a distance, or minus a similarity: large means different. `pos` and
`neg` `[A, R]` bool are the positive and negative pairs. An anchor without a positive or
without a negative contributes nothing.
"""

import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from siamjax.checks import is_integer
from siamjax.losses import triplet_sums
from siamjax.losses.annotations import Array, check_choice
from siamjax.losses.distances import euclidean, unit
from siamjax.losses.order_statistics import quantiles
from siamjax.losses.positives_loop import first_index, value_at
from siamjax.losses.tuples import Pairs
from siamjax.types import UsageError

Masks = tuple[jax.Array, jax.Array]
AnchorChoice = Literal["easy", "hard", "semihard", "all"]


def check_pairs(pos: Array, neg: Array, cost: Array | None = None) -> None:
    """Raises `UsageError` unless masks are `[A, R]` bool and the cost `[A, R]` float:
    arrays of other shapes would be broadcast, and integers are no masks."""
    for name, array, kind in (
        ("pos", pos, np.bool_),
        ("neg", neg, np.bool_),
        ("cost", cost, np.floating),
    ):
        if array is None:
            continue
        fits = hasattr(array, "dtype") and jnp.issubdtype(array.dtype, kind)
        if not fits or array.ndim != 2 or array.shape != pos.shape:
            given = type(array).__name__
            if hasattr(array, "dtype"):
                given = f"{array.dtype} {list(array.shape)}"
            wanted = "floats" if name == "cost" else "bools"
            raise UsageError(
                f"{name} is {given}: cost, pos and neg must be of one shape [A, R], "
                f"and {name} must hold {wanted}"
            )


def hardest_positive(cost: jax.Array, pos: jax.Array) -> jax.Array:
    """`[A]`: the cost of the farthest positive; undefined (finite) without one."""
    return jnp.max(jnp.where(pos, cost, -_far(cost)), 1, initial=-_far(cost))


def easiest_positive(cost: jax.Array, pos: jax.Array) -> jax.Array:
    """`[A]`: the cost of the nearest positive; undefined (finite) without one."""
    return jnp.min(jnp.where(pos, cost, _far(cost)), 1, initial=_far(cost))


def hardest_negative(cost: jax.Array, neg: jax.Array) -> jax.Array:
    """`[A]`: the cost of the nearest negative; undefined (finite) without one."""
    return easiest_positive(cost, neg)


def semihard_negatives(cost: jax.Array, pos: jax.Array, neg: jax.Array) -> jax.Array:
    """`[A, R]`: for each positive the cost of the nearest negative beyond it; if there
    is none, that of the farthest negative; undefined (finite) elsewhere."""
    column = next_negative(lax.stop_gradient(cost), pos, neg)
    beyond = take_columns(cost, jnp.maximum(column, 0))
    farthest = hardest_positive(cost, neg)[:, None]
    return jnp.where(column >= 0, beyond, farthest)


def next_negative(cost: jax.Array, pos: jax.Array, neg: jax.Array) -> jax.Array:
    """`[A, R]` int32: for each positive the column of the nearest negative with a
    greater cost, -1 where there is none; undefined elsewhere."""
    check_pairs(pos, neg, cost)
    column, kind = triplet_sums.sort_by_key(cost, pos, neg, ties=True)
    n = cost.shape[1]
    place = jnp.where(kind == triplet_sums.NEGATIVE, jnp.arange(n)[None], n)
    place = lax.cummin(place, axis=1, reverse=True)
    negative = take_columns(column, jnp.minimum(place, n - 1))
    return triplet_sums.unsort(jnp.where(place < n, negative, -1), column)


def take_columns(values: jax.Array, columns: jax.Array) -> jax.Array:
    """`[A, R]`: the values `[A, R]` of each row at its columns `[A, R]`."""
    return jax.vmap(lambda row, index: row[index])(values, columns)


def multi_similarity_pairs(
    cost: jax.Array, pos: jax.Array, neg: jax.Array, epsilon: float
) -> Masks:
    """`pos, neg` `[A, R]`: positives farther than the nearest negative less epsilon,
    negatives nearer than the farthest positive plus epsilon.

    Reference: Wang et al. (multi-similarity), CVPR 2019.
    """
    check_pairs(pos, neg, cost)
    cost = lax.stop_gradient(cost)
    near = hardest_negative(cost, neg)[:, None]
    far = hardest_positive(cost, pos)[:, None]
    has_pos, has_neg = pos.any(1)[:, None], neg.any(1)[:, None]
    keep_pos = pos & has_neg & (cost + epsilon > near)
    return keep_pos, neg & has_pos & (cost - epsilon < far)


def margin_pairs(
    cost: jax.Array, pos: jax.Array, neg: jax.Array, near: float, far: float
) -> Masks:
    """`pos, neg` `[A, R]`: positives beyond `near`, negatives within `far`."""
    check_pairs(pos, neg, cost)
    return pos & (cost > near), neg & (cost < far)


def hardest_pairs(
    cost: jax.Array, pos: jax.Array, neg: jax.Array, share: float
) -> Masks:
    """`pos, neg` `[A, R]`: the share of all positive pairs that is farthest, and the
    share of all negative pairs that is nearest, in (0, 1]. Pairs that tie with the last
    chosen one are chosen too."""
    check_pairs(pos, neg, cost)
    if isinstance(share, int | float) and not 0 < share <= 1:
        raise UsageError(f"share={share} must be in (0, 1]")
    far, near = quantiles(-cost, pos, (share,)), quantiles(cost, neg, (share,))
    return pos & (-cost <= far[0]), neg & (cost <= near[0])


def ranked_pairs(
    cost: jax.Array,
    pos: jax.Array,
    neg: jax.Array,
    pos_ranks: tuple[int, int],
    neg_ranks: tuple[int, int],
) -> Masks:
    """`pos, neg` `[A, R]`: of each anchor the positives and negatives whose rank is in
    a range, both ends included. Rank 1 is the hardest, the farthest positive or the
    nearest negative; equal costs rank by column.

    Ranks 2 to 5 leave out the hardest row, which is often one with a wrong label.

    Raises:
      UsageError: a range is no two whole numbers from 1 on, the smaller one first.
    Reference: `NHardTripletsMiner` of OpenMetricLearning.
    """
    check_pairs(pos, neg, cost)
    for name, ranks in (("pos_ranks", pos_ranks), ("neg_ranks", neg_ranks)):
        whole = len(ranks) == 2 and all(map(is_integer, ranks))
        if not whole or not 1 <= ranks[0] <= ranks[1]:
            raise UsageError(
                f"{name}={ranks} must be the first and the last rank, whole numbers "
                "from 1 on, such as (1, 3)"
            )
    masks = []
    for values, mask, (first, last) in (
        (-cost, pos, pos_ranks),
        (cost, neg, neg_ranks),
    ):
        order = jnp.argsort(jnp.where(mask, values, jnp.inf), 1)
        rank = jnp.argsort(order, 1) + 1
        masks.append(mask & (rank >= first) & (rank <= last))
    return masks[0], masks[1]


def anchor_pairs(
    cost: jax.Array,
    pos: jax.Array,
    neg: jax.Array,
    positive: AnchorChoice = "easy",
    negative: AnchorChoice = "semihard",
    *,
    pos_range: tuple[float, float] = (-math.inf, math.inf),
    neg_range: tuple[float, float] = (-math.inf, math.inf),
) -> Masks:
    """`pos, neg` `[A, R]`: of each anchor one positive and one negative.

    easy: the nearest positive, the farthest negative. hard: the farthest positive, the
    nearest negative. semihard: the hard one among the negatives that are farther than
    the chosen positive, or among the positives that are nearer than the chosen
    negative. all: every one. Of equal costs the first is taken. An anchor that
    misses one of the two has neither, unless one side is `all`.

    Args:
      cost: `[A, R]`.
      pos, neg: `[A, R]` bool.
      positive, negative: how each is chosen, as above.
      pos_range, neg_range: only pairs whose cost is in this range, ends included.
    Raises:
      UsageError: there is no such choice, or semihard is not beside easy or hard.
    Reference: Xuan et al. (easy positive), WACV 2020; Hermans et al., 2017 (hard).
    """
    for name, value in (("positive", positive), ("negative", negative)):
        check_choice(name, value, AnchorChoice)
    if "semihard" in (positive, negative) and not {positive, negative} & {
        "easy",
        "hard",
    }:
        raise UsageError(
            f"positive={positive}, negative={negative}: semihard needs easy or hard on "
            "the other side"
        )
    check_pairs(pos, neg, cost)
    cost = lax.stop_gradient(cost)
    pos = pos & (cost >= pos_range[0]) & (cost <= pos_range[1])
    neg = neg & (cost >= neg_range[0]) & (cost <= neg_range[1])
    if positive == "semihard":
        chosen_neg = _choose_column(cost, neg, nearest=negative == "hard")
        limit = jnp.max(jnp.where(chosen_neg, cost, -jnp.inf), 1, initial=-jnp.inf)
        chosen_pos = _choose_column(cost, pos & (cost < limit[:, None]), nearest=False)
    else:
        chosen_pos = _choose_column(cost, pos, nearest=positive == "easy")
        if negative == "semihard":
            limit = jnp.min(jnp.where(chosen_pos, cost, jnp.inf), 1, initial=jnp.inf)
            neg = neg & (cost > limit[:, None])
        chosen_neg = _choose_column(cost, neg, nearest=negative != "easy")
    chosen_pos = pos if positive == "all" else chosen_pos
    chosen_neg = neg if negative == "all" else chosen_neg
    if "all" in (positive, negative):
        return chosen_pos, chosen_neg
    both = chosen_pos.any(1, keepdims=True) & chosen_neg.any(1, keepdims=True)
    return chosen_pos & both, chosen_neg & both


def _choose_column(cost, mask, nearest):
    """`[A, R]` bool: of each anchor the first nearest or farthest column of a mask."""
    values = jnp.where(mask, cost if nearest else -cost, jnp.inf)
    best = mask & (values == jnp.min(values, 1, keepdims=True, initial=jnp.inf))
    return best & (jnp.arange(cost.shape[1])[None] == first_index(best)[:, None])


def distance_weighted_negatives(
    batch: Pairs, key: jax.Array | None, cutoff: float = 0.5, reach: float = 1.4
) -> tuple[jax.Array, jax.Array]:
    """For each positive pair one negative of its anchor, drawn evenly over distance.

    On the unit sphere in E dimensions most distances are near sqrt(2). A negative at
    distance d is drawn with weight 1 / q(d), where q is the density of distances:

      log q(d) = (E - 2) log d + (E - 3) / 2 * log(1 - d² / 4)

    Args:
      batch: `tuples.Pairs`.
      key: a JAX key.
      cutoff: a smaller d counts as this one.
      reach: no negative beyond this distance is drawn, unless all are beyond it.
    Returns:
      `[A, R]` int32, the column of each pair's negative, and `[A, R]` bool, the pairs
      that have one.
    Raises:
      UsageError: key is None.
    Reference: Wu et al. (sampling matters), ICCV 2017.
    """
    if key is None:
        raise UsageError("mining=distance_weighted draws at random: give key=")
    x, y = (unit(lax.stop_gradient(a)) for a in (batch.x, batch.y))
    size, d = x.shape[1], jnp.clip(euclidean(x, y), cutoff, 2.0)
    rest = jnp.maximum(1 - d * d / 4, jnp.finfo(d.dtype).eps)
    log_weight = (2 - size) * jnp.log(d) + (3 - size) / 2 * jnp.log(rest)
    within = batch.neg & (d <= reach)
    any_within = within.any(1)[:, None]
    log_weight = jnp.where(any_within, log_weight, 0)
    mask = jnp.where(any_within, within, batch.neg)
    top = jnp.max(jnp.where(mask, log_weight, -jnp.inf), 1, initial=-1e30)[:, None]
    weight = jnp.where(mask, jnp.exp(jnp.where(mask, log_weight - top, 0)), 0)
    cumulative = jnp.cumsum(weight, 1)
    # Always in float32, so that one key draws the same in every precision.
    point = jax.random.uniform(key, d.shape, jnp.float32) * cumulative[:, -1:]
    search = jax.vmap(lambda row, v: jnp.searchsorted(row, v, side="right"))
    # By rounding, the search may go beyond the last negative.
    last = d.shape[1] - 1 - first_index(mask[:, ::-1])
    column = jnp.minimum(search(cumulative, point), last[:, None]).astype(jnp.int32)
    return column, batch.pos & batch.neg.any(1)[:, None]


def triplet_gaps(
    mining: str, cost: jax.Array, pos: jax.Array, neg: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The triplets of `TRIPLET_MINERS[mining]`.

    Returns:
      Cost of the positive minus cost of the negative, `[A]` or `[A, R]`, and which of
      them are triplets (bool of the same shape).
    """
    gap, valid = TRIPLET_MINERS[mining](cost, pos, neg)
    return jnp.where(valid, gap, jnp.zeros_like(gap)), valid


def _hard(cost, pos, neg):
    gap = hardest_positive(cost, pos) - hardest_negative(cost, neg)
    return gap, pos.any(1) & neg.any(1)


def _easy_positive(cost, pos, neg):
    gap = easiest_positive(cost, pos) - hardest_negative(cost, neg)
    return gap, pos.any(1) & neg.any(1)


def _semihard(cost, pos, neg):
    return cost - semihard_negatives(cost, pos, neg), pos & neg.any(1)[:, None]


def _easy_positive_semihard(cost, pos, neg):
    nearest = pos & (cost == easiest_positive(cost, pos)[:, None])
    first = jnp.arange(cost.shape[1])[None] == first_index(nearest)[:, None]
    gap, _ = _semihard(cost, first, neg)
    return value_at(first, gap), pos.any(1) & neg.any(1)


def _far(cost):
    # Half of the largest number, so that the difference of two is finite.
    return jnp.asarray(jnp.finfo(cost.dtype).max / 2, cost.dtype)


TRIPLET_MINERS: dict[str, Callable] = {
    "semihard": _semihard,
    "hard": _hard,
    "easy_positive": _easy_positive,
    "easy_positive_semihard": _easy_positive_semihard,
}
