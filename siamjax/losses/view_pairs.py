"""Losses of pairs of views, without classes: `losses.two_views` makes such a batch."""

import jax
import jax.numpy as jnp
from jax import lax

from siamjax.losses import distances, reductions, regularisers, tuples
from siamjax.losses.annotations import Array, Distance, NotNegative, Positive, Reduction
from siamjax.losses.guard import guarded, without_reduction
from siamjax.losses.tuples import References


@without_reduction("variances and covariances are of all rows together")
@guarded
def vicreg(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    pairs: Array | None = None,
    invariance: NotNegative = 25.0,
    variance: NotNegative = 25.0,
    covariance: NotNegative = 1.0,
    target: NotNegative = 1.0,
    epsilon: Positive = 1e-4,
) -> jax.Array:
    """Draws the two views together; keeps coordinates spread and not correlated.

    Over pairs (x_i, y_i), with V and C the losses `variance` and `covariance`:

      loss = invariance * mean of (x_ie - y_ie)²
           + variance * (V(x) + V(y)) / 2 + covariance * (C(x) + C(y))

    This is the authors' code, with which the weights were found. The paper's eq. 5 and
    6 have no 1/E in the first term and no 1/2 in the second.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int, read only without `pairs`.
      where: `[B]` bool, the rows that count; all by default.
      pairs: `[N, 2]` int, the rows of the two views; -1 is padding. By default the
        first two rows of each class.
      invariance, variance, covariance: weights of the three terms.
      target: deviation to keep, in the unit of the embeddings.
      epsilon: its square.
    Returns:
      The scalar loss; 0 without a pair, and the first term alone for one.
    Reference: Bardes, Ponce, LeCun (VICReg), ICLR 2022, eq. 6.
    """
    (x, y), _, valid = tuples.paired_rows(embeddings, labels, where, pairs)
    x, y = (tuples.zero_uncounted(rows, valid) for rows in (x, y))
    gap = reductions.masked_mean(((x - y) ** 2).mean(1), valid)
    low = sum(regularisers.low_variance(v, valid, target, epsilon) for v in (x, y))
    cov = sum(regularisers.squared_covariance(v, valid) for v in (x, y))
    return invariance * gap + variance * low / 2 + covariance * cov


@without_reduction("a correlation is of all rows together")
@guarded
def barlow_twins(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    pairs: Array | None = None,
    balance: NotNegative = 5e-3,
) -> jax.Array:
    """Makes the correlation of the coordinates of two views the identity.

    Over pairs (x_i, y_i), with C_ij the correlation over pairs of coordinate i of x
    with coordinate j of y:

      loss = sum over i of (1 - C_ii)² + balance * sum over i != j of C_ij²

    The authors' code has 0.0051 as balance, and adds 1e-5 to each variance.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int, read only without `pairs`.
      where: `[B]` bool, the rows that count; all by default.
      pairs: `[N, 2]` int, the rows of the two views; -1 is padding. By default the
        first two rows of each class.
      balance: weight of the second sum (lambda of the paper).
    Returns:
      The scalar loss; 0 for fewer than two pairs. A coordinate that is constant has
      correlation 0 with all, and gradient 0.
    Reference: Zbontar et al., ICML 2021, eq. 1 and 2.
    """
    rows, _, valid = tuples.paired_rows(embeddings, labels, where, pairs)
    (x, number), (y, _) = (
        regularisers.centred(tuples.zero_uncounted(v, valid), valid) for v in rows
    )
    c = distances.dot(distances.unit(x.T), distances.unit(y.T))
    same = jnp.eye(len(c), dtype=bool)
    loss = jnp.sum(jnp.where(same, (1 - c) ** 2, balance * c**2))
    return jnp.where(number > 1, loss, 0)


@guarded
def negative_cosine(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    reduce: Reduction = "all",
) -> jax.Array:
    """Draws each row to the target of its other view; the target is held constant.

    Over all pairs of an anchor a and a positive p: term = -cos(a, p), no gradient in p.

    Embeddings are what the predictor gives of both views, `references` the targets:
    the rows before the predictor (SimSiam), or those of the averaged network (BYOL,
    whose loss is 2 + 2 times this). Without references the batch is its own target.
    Alone it collapses: a predictor or an averaged network must stand beside it.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int; both views of an example have one label.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, the targets; the batch by default.
      reduce: see `reductions`.
    Returns:
      The scalar loss in [-1, 1]; 0 without a positive.
    Reference: Chen, He (SimSiam), CVPR 2021, eq. 1 and 4; Grill et al. (BYOL), NeurIPS
      2020, eq. 2.
    """
    batch = tuples.all_pairs(embeddings, labels, where, references)
    cost = -distances.cosine(batch.x, lax.stop_gradient(batch.y))
    return reductions.reduce_costs(cost, batch.pos, reduce, labels)


@guarded
def alignment(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    power: Positive = 2,
    reduce: Reduction = "all",
) -> jax.Array:
    """Draws unit rows of one class together: `alignment+uniformity` is a whole loss.

    Over all pairs of an anchor a and a positive p of unit rows: term = |a - p|^power.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int; both views of an example have one label.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to compare with; the batch by default.
      power: 2 in the paper (alpha).
      reduce: see `reductions`.
    Returns:
      The scalar loss; 0 without a positive.
    Reference: Wang, Isola, ICML 2020, section 4.1.
    """
    batch = tuples.all_pairs(embeddings, labels, where, references)
    x, y = distances.unit(batch.x), distances.unit(batch.y)
    if isinstance(power, int | float) and power == 2:
        cost = distances.squared(x, y)
    else:
        cost = distances.safe_power(distances.euclidean(x, y), power)
    return reductions.reduce_costs(cost, batch.pos, reduce, labels)


@guarded
def spectral_contrastive(
    embeddings: Array,
    labels: Array,
    *,
    where: Array | None = None,
    references: References | None = None,
    distance: Distance = "cosine",
    reduce: Reduction = "all",
) -> jax.Array:
    """Factorises the graph of which rows are views of one example.

    With s the similarity:

      loss = -2 * mean over positive pairs of s + mean over negative pairs of s²

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int; both views of an example have one label.
      where: `[B]` bool, the rows that count; all by default.
      references: `References`, rows to compare with; the batch by default.
      distance: see `distances`; the paper has `dot`, with rows cut to a norm of at most
        a constant, which `cosine` stands for here.
      reduce: see `reductions`; each of the two means is taken by it.
    Returns:
      The scalar loss; 0 without a pair.
    Reference: HaoChen, Wei, Gaidon, Ma, NeurIPS 2021, eq. 6.
    """
    batch = tuples.all_pairs(embeddings, labels, where, references)
    measure = distances.by_name(distance)
    s = measure.score(measure.matrix(batch.x, batch.y))
    s = jnp.clip(s, -1e15, 1e15)  # the sum of their squares does not overflow
    return reductions.reduce_sides(-2 * s, batch.pos, s * s, batch.neg, reduce, labels)
