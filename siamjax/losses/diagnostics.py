"""What to log beside any loss: does the run learn, is it done, stuck or collapsed."""

import jax
import jax.numpy as jnp

from siamjax import checks
from siamjax.losses import counting, mining, reductions
from siamjax.losses.distances import distance as kind_of
from siamjax.losses.select import quantiles
from siamjax.losses.tuples import finite_rows, pairs

# Rows closer together than this share of their size, on average, have collapsed.
COLLAPSED = 0.02
# A sigmoid further than this from 1/2 has less than 8 % of its steepest slope.
SATURATED = 0.48


def health(
    embeddings, labels, where=None, *, margin=0.2, distance="euclidean", sigmoid=False
):
    """Scalars that tell a learning run from a finished, a stuck and a collapsed one.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      margin: of the triplets that are counted, all of the batch.
      distance: see `distances`.
      sigmoid: embeddings are in [0, 1]: `saturated` as well.
    Returns:
      A dict of float scalars, computed without gradient: `triplets`, how many there
      are; `active_share` of them that violate the margin, `semihard_share` of them that
      do so with the negative beyond the positive; `mean_all`, `mean_active`, the two
      means of the triplet loss; `hardest_pos`, `hardest_neg`, means over anchors of the
      distances that hard mining takes; `pos_10`, `pos_50`, `pos_90`, `neg_10`, ...,
      quantiles of distances; `mean_distance` of all pairs; `effective_rank`, exp of
      the entropy of the covariance's eigenvalue shares (1: all on a line; 0: all at
      one point); `collapsed`, 1 where the mean pairwise distance is below 2 % of the
      rows' root mean square norm; `saturated`, the share of coordinates within 0.02 of
      0 or 1; `not_finite`, how many of the rows that count hold a NaN or an infinity.
      All others are of the finite rows alone. What has no rows to come from is 0.
    """
    embeddings = jax.lax.stop_gradient(embeddings)
    given = checks.check_batch(embeddings, labels, where)
    counts = given & finite_rows(embeddings)
    batch = pairs(embeddings, labels, counts)
    kind = kind_of(distance)
    value = kind.matrix(batch.x, batch.x)
    cost, both = kind.cost(value), batch.pos | batch.neg
    key = jnp.where(batch.pos, cost + jnp.asarray(margin, cost.dtype), cost)
    number = (batch.pos.sum(1) * batch.neg.sum(1)).astype(cost.dtype).sum()
    sums, active = counting.hinge_sums(key, batch.pos, batch.neg)
    sums, active = sums.sum(), active.astype(cost.dtype).sum()
    band = counting.band_sums(
        cost, jnp.asarray(margin, cost.dtype), batch.pos, batch.neg
    )
    mined = batch.pos.any(1) & batch.neg.any(1)
    farthest = mining.hardest_positive(cost, batch.pos)
    nearest = mining.hardest_negative(cost, batch.neg)
    out = dict(
        triplets=number,
        active_share=reductions.ratio(active, number),
        semihard_share=reductions.ratio(band[1].astype(cost.dtype).sum(), number),
        mean_all=reductions.ratio(sums, number),
        mean_active=reductions.ratio(sums, active),
        hardest_pos=kind.cost(reductions.mean(farthest, mined)),
        hardest_neg=kind.cost(reductions.mean(nearest, mined)),
    )
    for name, mask in (("pos", batch.pos), ("neg", batch.neg)):
        levels = quantiles(value, mask, (0.1, 0.5, 0.9))
        out.update(zip((f"{name}_10", f"{name}_50", f"{name}_90"), levels))
    spread = reductions.mean(kind_of("euclidean").matrix(batch.x, batch.x), both)
    size = root_mean_square(batch.x, counts)
    out["not_finite"] = (given & ~counts).sum().astype(cost.dtype)
    out["mean_distance"] = reductions.mean(value, both)
    out["effective_rank"] = effective_rank(batch.x, counts)
    out["collapsed"] = (both.any() & (spread <= COLLAPSED * size)).astype(cost.dtype)
    if sigmoid:
        far = jnp.abs(batch.x - 0.5) > SATURATED
        share = far.mean(1, dtype=cost.dtype)
        out["saturated"] = reductions.mean(share, counts)
    return out


def root_mean_square(x, where):
    """Of the norms of the rows that count; squares neither overflow nor vanish."""
    top = jnp.maximum(jnp.max(jnp.abs(x), initial=0.0), jnp.finfo(x.dtype).tiny)
    rows = jnp.maximum(where.sum(), 1).astype(x.dtype)
    return top * jnp.sqrt(jnp.sum((x / top) ** 2) / rows)


def effective_rank(x, where):
    """exp of the entropy of the shares of the covariance's eigenvalues (Roy, Vetterli,
    EUSIPCO 2007, of the covariance); 0 where all rows are one point."""
    counts = where.astype(x.dtype)[:, None]
    x = x / jnp.maximum(jnp.max(jnp.abs(x), initial=0.0), jnp.finfo(x.dtype).tiny)
    centre = jnp.sum(x * counts, 0) / jnp.maximum(counts.sum(), 1)
    centred = (x - centre[None]) * counts
    values = jnp.maximum(jnp.linalg.eigvalsh(centred.T @ centred), 0)
    total = values.sum()
    share = values / jnp.where(total > 0, total, 1)
    entropy = -jnp.sum(share * jnp.log(jnp.where(share > 0, share, 1)))
    return jnp.where(total > 0, jnp.exp(entropy), 0)
