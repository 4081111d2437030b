"""Which positives and negatives a loss learns from, as arrays of static shape.

`cost` `[A, R]` is a distance, or minus a similarity: large means different. `pos` and
`neg` `[A, R]` bool are the pairs there are. An anchor that misses a side gives
nothing: it has no phantom partner.
"""

import jax
import jax.numpy as jnp
from jax import lax

from siamjax.losses import counting
from siamjax.losses.distances import euclidean, unit
from siamjax.losses.positives_loop import index_of, pick
from siamjax.losses.select import quantiles
from siamjax.types import UsageError


def hardest_positive(cost, pos):
    """`[A]`: the cost of the farthest positive; undefined (finite) without one."""
    return jnp.max(jnp.where(pos, cost, -_far(cost)), 1, initial=-_far(cost))


def easiest_positive(cost, pos):
    """`[A]`: the cost of the nearest positive; undefined (finite) without one."""
    return jnp.min(jnp.where(pos, cost, _far(cost)), 1, initial=_far(cost))


def hardest_negative(cost, neg):
    """`[A]`: the cost of the nearest negative; undefined (finite) without one."""
    return easiest_positive(cost, neg)


def semihard_negatives(cost, pos, neg):
    """`[A, R]`: for a positive the least cost of a negative that is beyond it, or the
    greatest of all negatives where none is; undefined (finite) elsewhere."""
    column = next_negative(lax.stop_gradient(cost), pos, neg)
    beyond = at_columns(cost, jnp.maximum(column, 0))
    farthest = hardest_positive(cost, neg)[:, None]
    return jnp.where(column >= 0, beyond, farthest)


def next_negative(cost, pos, neg):
    """`[A, R]` int32: for a positive the column of the nearest negative whose cost is
    greater, -1 where there is none; undefined elsewhere."""
    column, kind = counting.ordered(cost, pos, neg, ties=True)
    n = cost.shape[1]
    place = jnp.where(kind == counting.NEGATIVE, jnp.arange(n)[None], n)
    place = lax.cummin(place, axis=1, reverse=True)
    found = at_columns(column, jnp.minimum(place, n - 1))
    return counting.put_back(jnp.where(place < n, found, -1), column)


def at_columns(values, columns):
    """`[A, R]`: of each row of values `[A, R]` those in its columns `[A, R]`."""
    return jax.vmap(lambda row, at: row[at])(values, columns)


def multi_similarity(cost, pos, neg, epsilon):
    """`pos, neg` `[A, R]`: positives that are no epsilon nearer than the nearest
    negative, negatives that are no epsilon farther than the farthest positive.

    Reference: Wang et al. (multi-similarity), CVPR 2019.
    """
    cost = lax.stop_gradient(cost)
    near = hardest_negative(cost, neg)[:, None]
    far = hardest_positive(cost, pos)[:, None]
    some_pos, some_neg = pos.any(1)[:, None], neg.any(1)[:, None]
    keep_pos = pos & some_neg & (cost + epsilon > near)
    return keep_pos, neg & some_pos & (cost - epsilon < far)


def pair_margin(cost, pos, neg, near, far):
    """`pos, neg` `[A, R]`: positives beyond `near`, negatives within `far`."""
    return pos & (cost > near), neg & (cost < far)


def hardest(cost, pos, neg, share):
    """`pos, neg` `[A, R]`: the share of positive pairs that are farthest, and of
    negative ones that are nearest. Pairs that tie with the last one chosen are chosen
    too."""
    far, near = quantiles(-cost, pos, (share,)), quantiles(cost, neg, (share,))
    return pos & (-cost <= far[0]), neg & (cost <= near[0])


def distance_weighted(batch, key, cutoff=0.5, reach=1.4):
    """For each positive pair one negative of its anchor, drawn evenly over distance.

    On the unit sphere in E dimensions distances pile up about sqrt(2). A negative at
    distance d is drawn with weight 1 / q(d), q their density there:

      log q(d) = (E - 2) log d + (E - 3) / 2 * log(1 - d² / 4),  d at least `cutoff`

    and none beyond `reach`, unless all are.

    Args:
      batch: `tuples.Pairs`.
      key: a JAX key.
    Returns:
      `[A, R]` int32 columns of negatives, and for which pairs they are drawn (bool).
    Reference: Wu et al. (sampling matters), ICCV 2017.
    """
    if key is None:
        raise UsageError("mining=distance_weighted draws at random: it needs a key")
    x, y = (unit(lax.stop_gradient(a)) for a in (batch.x, batch.y))
    size, d = x.shape[1], jnp.clip(euclidean(x, y), cutoff, 2.0)
    rest = jnp.maximum(1 - d * d / 4, jnp.finfo(d.dtype).eps)
    log_weight = (2 - size) * jnp.log(d) + (3 - size) / 2 * jnp.log(rest)
    within = batch.neg & (d <= reach)
    some = within.any(1)[:, None]
    log_weight = jnp.where(some, log_weight, 0)
    mask = jnp.where(some, within, batch.neg)
    top = jnp.max(jnp.where(mask, log_weight, -jnp.inf), 1, initial=-1e30)[:, None]
    weight = jnp.where(mask, jnp.exp(jnp.where(mask, log_weight - top, 0)), 0)
    upto = jnp.cumsum(weight, 1)
    # One key draws the same in every precision.
    spot = jax.random.uniform(key, d.shape, jnp.float32) * upto[:, -1:]
    at = jax.vmap(lambda row, v: jnp.searchsorted(row, v, side="right"))(upto, spot)
    # Rounding may pass the last negative: then it is that one.
    last = d.shape[1] - 1 - index_of(mask[:, ::-1])
    at = jnp.minimum(at, last[:, None]).astype(jnp.int32)
    return at, batch.pos & batch.neg.any(1)[:, None]


def choose(how, cost, pos, neg):
    """The triplets of `CHOICES[how]`.

    Returns:
      Cost of the positive minus cost of the negative, `[A]` or `[A, R]`, and which of
      them are triplets (bool, alike).
    """
    gap, valid = CHOICES[how](cost, pos, neg)
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
    one = jnp.arange(cost.shape[1])[None] == index_of(nearest)[:, None]
    gap, _ = _semihard(cost, one, neg)
    return pick(one, gap), pos.any(1) & neg.any(1)


def _far(cost):
    # Half of the largest number, so that the difference of two is finite.
    return jnp.asarray(jnp.finfo(cost.dtype).max / 2, cost.dtype)


CHOICES = {
    "semihard": _semihard,
    "hard": _hard,
    "easy_positive": _easy_positive,
    "easy_positive_semihard": _easy_positive_semihard,
}
