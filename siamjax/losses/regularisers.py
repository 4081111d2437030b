"""Guards against collapse and saturation, to be added to a loss: `triplet+0.1*koleo`.

They read no label; they take them as every loss does.
"""

import jax.numpy as jnp

from siamjax import checks
from siamjax.losses import distances, reductions
from siamjax.losses.guard import guarded
from siamjax.losses.logs import lse
from siamjax.losses.tuples import keep, pairs


@guarded
def variance(embeddings, labels, *, where=None, target=1.0, epsilon=1e-4):
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
    gap, number = _centred(embeddings, labels, where)
    var = jnp.sum(gap * gap, 0) / jnp.maximum(number - 1, 1)
    loss = jnp.maximum(target - jnp.sqrt(var + epsilon), 0).mean()
    return jnp.where(number > 1, loss, 0)


@guarded
def covariance(embeddings, labels, *, where=None):
    """Keeps coordinates from saying the same.

      loss = 1/E * sum over i != j of cov(i, j)²

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int, not read.
      where: `[B]` bool, the rows that count; all by default.
    Returns:
      The scalar loss; 0 for fewer than two rows.
    Reference: Bardes, Ponce, LeCun (VICReg), ICLR 2022, eq. 4.
    """
    gap, number = _centred(embeddings, labels, where)
    gap = gap / jnp.sqrt(jnp.maximum(number - 1, 1))
    cov = distances.dot(gap.T, gap.T)
    apart = ~jnp.eye(len(cov), dtype=bool)
    return distances.bounded(jnp.sum(jnp.where(apart, cov, 0) ** 2) / len(cov))


@guarded
def koleo(embeddings, labels, *, where=None, epsilon=1e-8):
    """Spreads unit rows, each away from its nearest neighbour.

      loss = -mean over rows of log(distance to the nearest other + epsilon)

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int, not read.
      where: `[B]` bool, the rows that count; all by default.
      epsilon: a distance.
    Returns:
      The scalar loss; 0 for fewer than two rows. Equal rows cost -log(epsilon), with
      gradient 0.
    Reference: Sablayrolles et al., ICLR 2019 (KoLeo).
    """
    batch = pairs(embeddings, labels, where)
    x, others = distances.unit(batch.x), batch.pos | batch.neg
    d = jnp.where(others, distances.euclidean(x, x), 4.0)
    nearest = jnp.min(d, 1, initial=4.0)
    return reductions.mean(-jnp.log(nearest + epsilon), others.any(1))


@guarded
def uniformity(embeddings, labels, *, where=None, scale=2.0):
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
    batch = pairs(embeddings, labels, where)
    x, others = distances.unit(batch.x), batch.pos | batch.neg
    d = -scale * distances.squared(x, x)
    number = jnp.maximum(others.sum(), 1).astype(d.dtype)
    loss = lse(d.reshape(-1), others.reshape(-1), 0) - jnp.log(number)
    return jnp.where(others.any(), loss, 0)


@guarded
def zero_mean(embeddings, labels, *, where=None):
    """Keeps the coordinates of a row about 0.

      loss = mean over rows of |sum over coordinates of x|

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int, not read.
      where: `[B]` bool, the rows that count; all by default.
    Returns:
      The scalar loss; 0 without a row.
    Reference: Yuan et al. (signal-to-noise ratio), CVPR 2019.
    """
    counts = checks.check_batch(embeddings, labels, where)
    return reductions.mean(jnp.abs(keep(embeddings, counts).sum(1)), counts)


@guarded
def embedding_norm(embeddings, labels, *, where=None, power: float = 1):
    """Keeps rows short: the mean of |x|^power.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int, not read.
      where: `[B]` bool, the rows that count; all by default.
      power: 1, or 2 as in the N-pair loss.
    Returns:
      The scalar loss; 0 without a row.
    Reference: Sohn, NeurIPS 2016.
    """
    counts = checks.check_batch(embeddings, labels, where)
    x = keep(embeddings, counts)
    norm = distances.distance("euclidean").rows(x, jnp.zeros_like(x))
    return reductions.mean(norm**power, counts)


@guarded
def saturation(embeddings, labels, *, where=None, limit=0.9):
    """Keeps the coordinates of a sigmoid out of its flat ends.

      loss = mean over coordinates of max(0, |2 x - 1| - limit)² / (1 - limit)²

    Args:
      embeddings: `[B, E]` float in [0, 1].
      labels: `[B]` int, not read.
      where: `[B]` bool, the rows that count; all by default.
      limit: in [0, 1): how far from the middle, 1 at the ends, is free.
    Returns:
      The scalar loss; 1 where all coordinates are 0 or 1, 0 without a row.
    Reference: this project.
    """
    counts = checks.check_batch(embeddings, labels, where)
    over = jnp.maximum(jnp.abs(2 * keep(embeddings, counts) - 1) - limit, 0)
    return reductions.mean(((over / (1 - limit)) ** 2).mean(1), counts)


def _centred(embeddings, labels, where):
    """Rows less their mean, 0 where not counted, and how many count (float)."""
    counts = checks.check_batch(embeddings, labels, where)
    x = keep(embeddings, counts)
    number = counts.sum().astype(x.dtype)
    mean = jnp.sum(x / jnp.maximum(number, 1), 0)
    return keep(x - mean[None], counts), number
