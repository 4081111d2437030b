"""What to log with any loss: whether a run learns, is done, is stuck or collapsed."""

import jax
import jax.numpy as jnp

from siamjax import checks
from siamjax.losses import distances, mining, reductions, triplet_sums
from siamjax.losses.annotations import Array, Distance
from siamjax.losses.order_statistics import quantiles
from siamjax.losses.tuples import all_pairs, finite_rows

# Rows closer together than this share of their size, on average, have collapsed.
COLLAPSED = 0.02
# A sigmoid further than this from 1/2 has less than 8 % of its steepest slope.
SATURATED = 0.48


def health(
    embeddings: Array,
    labels: Array,
    where: Array | None = None,
    *,
    margin: float = 0.2,
    distance: Distance = "euclidean",
    sigmoid: bool = False,
) -> dict[str, jax.Array]:
    """Scalars that tell a learning run from a finished, a stuck and a collapsed one.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      margin: of the triplet loss; all triplets of the batch are counted.
      distance: see `distances`.
      sigmoid: embeddings are in [0, 1]: adds `saturated`.
    Returns:
      A dict of float scalars without gradient; 0 where there are no rows for one. If
      rows count but none of them is finite, all but `not_finite` are NaN:

      - `triplets`: their number;
      - `active_share`, `semihard_share`: the share of triplets that violate the margin,
        and of those that do so although the negative is beyond the positive;
      - `mean_all`, `mean_active`: the two means of the triplet loss;
      - `hardest_pos`, `hardest_neg`: the distances that hard mining takes, means over
        anchors;
      - `pos_10`, `pos_50`, `pos_90`, `neg_10`, ...: quantiles of distances;
      - `mean_distance`: of all pairs;
      - `effective_rank`: exp of the entropy of the covariance's eigenvalue shares (1:
        all points on a line; 0: all points equal);
      - `collapsed`: 1 where the mean pairwise distance is below 2 % of the rows' root
        mean square norm;
      - `saturated`: the share of coordinates within 0.02 of 0 or 1;
      - `not_finite`: how many of the rows that count hold a NaN or an infinity; all
        other scalars are of the finite rows only.
    """
    embeddings = jax.lax.stop_gradient(embeddings)
    given = checks.check_batch(embeddings, labels, where)
    counted = given & finite_rows(embeddings)
    batch = all_pairs(embeddings, labels, counted)
    measure = distances.by_name(distance)
    value = measure.matrix(batch.x, batch.x)
    cost, any_pair = measure.cost(value), batch.pos | batch.neg
    hinge_margin = jnp.asarray(margin, cost.dtype)
    key = jnp.where(batch.pos, cost + hinge_margin, cost)
    triplets = (batch.pos.sum(1) * batch.neg.sum(1)).astype(cost.dtype).sum()
    sums, active = triplet_sums.hinge_sums(key, batch.pos, batch.neg)
    total, active = sums.sum(), active.astype(cost.dtype).sum()
    masks = batch.pos, batch.neg
    _, semihard = triplet_sums.semihard_sums(cost, hinge_margin, *masks)
    semihard = semihard.astype(cost.dtype).sum()
    in_triplets = batch.pos.any(1) & batch.neg.any(1)
    hardest_pos = mining.hardest_positive(cost, batch.pos)
    hardest_neg = mining.hardest_negative(cost, batch.neg)
    scalars = dict(
        triplets=triplets,
        active_share=reductions.safe_ratio(active, triplets),
        semihard_share=reductions.safe_ratio(semihard, triplets),
        mean_all=reductions.safe_ratio(total, triplets),
        mean_active=reductions.safe_ratio(total, active),
        hardest_pos=measure.cost(reductions.masked_mean(hardest_pos, in_triplets)),
        hardest_neg=measure.cost(reductions.masked_mean(hardest_neg, in_triplets)),
    )
    for name, mask in (("pos", batch.pos), ("neg", batch.neg)):
        levels = quantiles(value, mask, (0.1, 0.5, 0.9))
        scalars.update(zip((f"{name}_10", f"{name}_50", f"{name}_90"), levels))
    euclidean = distances.euclidean(batch.x, batch.x)
    spread = reductions.masked_mean(euclidean, any_pair)
    small = spread <= COLLAPSED * root_mean_square(batch.x, counted)
    scalars["mean_distance"] = reductions.masked_mean(value, any_pair)
    scalars["effective_rank"] = effective_rank(batch.x, counted)
    scalars["collapsed"] = (any_pair.any() & small).astype(cost.dtype)
    if sigmoid:
        far = jnp.abs(batch.x - 0.5) > SATURATED
        share = far.mean(1, dtype=cost.dtype)
        scalars["saturated"] = reductions.masked_mean(share, counted)
    nothing_left = given.any() & ~counted.any()
    scalars = {k: jnp.where(nothing_left, jnp.nan, v) for k, v in scalars.items()}
    scalars["not_finite"] = (given & ~counted).sum().astype(cost.dtype)
    return scalars


def root_mean_square(x: jax.Array, where: jax.Array) -> jax.Array:
    """The root mean square of the norms of the rows that count `[B]` bool.

    The squares neither overflow nor vanish.
    """
    largest = jnp.maximum(jnp.max(jnp.abs(x), initial=0.0), jnp.finfo(x.dtype).tiny)
    rows = jnp.maximum(where.sum(), 1).astype(x.dtype)
    return largest * jnp.sqrt(jnp.sum((x / largest) ** 2) / rows)


def effective_rank(x: jax.Array, where: jax.Array) -> jax.Array:
    """exp of the entropy of the shares of the covariance's eigenvalues (Roy, Vetterli,
    EUSIPCO 2007, of the covariance); 0 where all rows are equal."""
    counted = where.astype(x.dtype)[:, None]
    x = jnp.where(where[:, None], x, 0)  # what other rows hold does not matter
    x = x / jnp.maximum(jnp.max(jnp.abs(x), initial=0.0), jnp.finfo(x.dtype).tiny)
    centre = jnp.sum(x * counted, 0) / jnp.maximum(counted.sum(), 1)
    centred = (x - centre[None]) * counted
    values = jnp.maximum(jnp.linalg.eigvalsh(centred.T @ centred), 0)
    total = values.sum()
    share = values / jnp.where(total > 0, total, 1)
    entropy = -jnp.sum(share * jnp.log(jnp.where(share > 0, share, 1)))
    return jnp.where(total > 0, jnp.exp(entropy), 0)
