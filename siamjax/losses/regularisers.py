"""Guards against collapse and saturation, to be added to a loss: `triplet+0.1*koleo`.

They take labels as every loss does, but do not read them.
"""

from typing import Any

import jax
import jax.numpy as jnp

from siamjax import checks
from siamjax.losses import distances, reductions
from siamjax.losses.annotations import (
    Array,
    NotNegative,
    Positive,
    Power,
    Reduction,
    ShareBelowAll,
)
from siamjax.losses.guard import guarded, without_reduction
from siamjax.losses.logsumexp import masked_logsumexp
from siamjax.losses.tuples import all_pairs, checked_rows, zero_uncounted


@without_reduction("a deviation is of all rows together")
@guarded
def variance(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    target: NotNegative = 1.0,
    epsilon: Positive = 1e-4,
) -> jax.Array:
    """Keeps the deviation of every coordinate over the batch above a target.

      loss = mean over coordinates of max(0, target - sqrt(var + epsilon))

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int, not read.
      where: `[B]` bool, the rows that count; all by default.
      target: in the unit of the embeddings.
      epsilon: its square.
    Returns:
      The scalar loss; 0 for fewer than two rows.
    Reference: Bardes, Ponce, LeCun (VICReg), ICLR 2022, eq. 1.
    """
    x, counted = checked_rows(embeddings, labels, where)
    return low_variance(x, counted, target, epsilon)


@without_reduction("a covariance is of all rows together")
@guarded
def covariance(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
) -> jax.Array:
    """Keeps coordinates from being correlated.

      loss = 1/E * sum over i != j of cov(i, j)²

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int, not read.
      where: `[B]` bool, the rows that count; all by default.
    Returns:
      The scalar loss; 0 for fewer than two rows.
    Reference: Bardes, Ponce, LeCun (VICReg), ICLR 2022, eq. 4.
    """
    return squared_covariance(*checked_rows(embeddings, labels, where))


@guarded
def koleo(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    epsilon: Positive = 1e-8,
    reduce: Reduction = "all",
) -> jax.Array:
    """Spreads unit rows: each moves away from its nearest neighbour.

      term = -log(distance of a row to the nearest other + epsilon)

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int, read only to reduce by class.
      where: `[B]` bool, the rows that count; all by default.
      epsilon: a distance.
      reduce: see `reductions`.
    Returns:
      The scalar loss; 0 for fewer than two rows. Equal rows cost -log(epsilon), with
      gradient 0.
    Reference: Sablayrolles et al., ICLR 2019 (KoLeo).
    """
    batch = all_pairs(embeddings, labels, where)
    x, others = distances.unit(batch.x), batch.pos | batch.neg
    d = jnp.where(others, distances.euclidean(x, x), 4.0)
    nearest = jnp.min(d, 1, initial=4.0)
    cost = -jnp.log(nearest + epsilon)
    return reductions.reduce_costs(cost, others.any(1), reduce, labels)


@without_reduction("the logarithm is of a mean over all pairs")
@guarded
def uniformity(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    scale: Positive = 2.0,
) -> jax.Array:
    """Spreads unit rows evenly over the sphere.

      loss = log(mean over pairs of exp(-scale * |x - y|²))

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int, not read.
      where: `[B]` bool, the rows that count; all by default.
      scale: one over a squared distance.
    Returns:
      The scalar loss, at most 0; 0 for fewer than two rows.
    Reference: Wang, Isola, ICML 2020.
    """
    batch = all_pairs(embeddings, labels, where)
    x, others = distances.unit(batch.x), batch.pos | batch.neg
    d = -scale * distances.squared(x, x)
    number = jnp.maximum(others.sum(), 1).astype(d.dtype)
    loss = masked_logsumexp(d.reshape(-1), others.reshape(-1), 0) - jnp.log(number)
    return jnp.where(others.any(), loss, 0)


@guarded
def zero_mean(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    reduce: Reduction = "all",
) -> jax.Array:
    """Keeps the sum of a row's coordinates near 0.

      term = |sum over coordinates of x|

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int, read only to reduce by class.
      where: `[B]` bool, the rows that count; all by default.
      reduce: see `reductions`.
    Returns:
      The scalar loss; 0 without a row.
    Reference: Yuan et al. (signal-to-noise ratio), CVPR 2019.
    """
    counted = checks.check_batch(embeddings, labels, where)
    cost = jnp.abs(zero_uncounted(embeddings, counted).sum(1))
    return reductions.reduce_costs(cost, counted, reduce, labels)


@guarded
def embedding_norm(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    power: Power = 1,
    reduce: Reduction = "all",
) -> jax.Array:
    """Keeps rows short: the term of a row is |x|^power.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int, read only to reduce by class.
      where: `[B]` bool, the rows that count; all by default.
      power: 1, or 2 as in the N-pair loss.
      reduce: see `reductions`.
    Returns:
      The scalar loss; 0 without a row.
    Reference: Sohn, NeurIPS 2016.
    """
    counted = checks.check_batch(embeddings, labels, where)
    x = zero_uncounted(embeddings, counted)
    norm = distances.by_name("euclidean").rows(x, jnp.zeros_like(x))
    cost = distances.safe_power(norm, power)
    return reductions.reduce_costs(cost, counted, reduce, labels)


@guarded
def saturation(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    limit: ShareBelowAll = 0.9,
    reduce: Reduction = "all",
) -> jax.Array:
    """Keeps the outputs of a sigmoid away from its flat ends.

      term = mean over coordinates of max(0, |2 x - 1| - limit)² / (1 - limit)²

    Args:
      embeddings: `[B, E]` float in [0, 1].
      labels: `[B]` int, read only to reduce by class.
      where: `[B]` bool, the rows that count; all by default.
      limit: in [0, 1): the distance from the middle (1 at the ends) that costs nothing.
      reduce: see `reductions`.
    Returns:
      The scalar loss; 1 where all coordinates are 0 or 1, 0 without a row.
    Reference: this project.
    """
    counted = checks.check_batch(embeddings, labels, where)
    over = jnp.maximum(jnp.abs(2 * zero_uncounted(embeddings, counted) - 1) - limit, 0)
    cost = ((over / (1 - limit)) ** 2).mean(1)
    return reductions.reduce_costs(cost, counted, reduce, labels)


def low_variance(
    x: jax.Array, counted: jax.Array, target: Any, epsilon: Any
) -> jax.Array:
    """`variance` of rows `[B, E]` that are 0 where not counted."""
    gap, number = centred(x, counted)
    var = jnp.sum(gap * gap, 0) / jnp.maximum(number - 1, 1)
    loss = jnp.maximum(target - jnp.sqrt(var + epsilon), 0).mean()
    return jnp.where(number > 1, loss, 0)


def squared_covariance(x: jax.Array, counted: jax.Array) -> jax.Array:
    """`covariance` of rows `[B, E]` that are 0 where not counted."""
    gap, number = centred(x, counted)
    gap = gap / jnp.sqrt(jnp.maximum(number - 1, 1))
    cov = distances.dot(gap.T, gap.T)
    apart = ~jnp.eye(len(cov), dtype=bool)
    return distances.bounded(jnp.sum(jnp.where(apart, cov, 0) ** 2) / len(cov))


def centred(x: jax.Array, counted: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Rows `[B, E]` less their mean, 0 where not counted, and how many count."""
    number = counted.sum().astype(x.dtype)
    mean = jnp.sum(x / jnp.maximum(number, 1), 0)
    return zero_uncounted(x - mean[None], counted), number
