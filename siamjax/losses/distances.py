"""Distances and similarities of rows, with safe gradients, and what their numbers mean.

The matrix form of Euclid's distance is usually `|x|² + |y|² - 2xy`. Its cancellation
loses every digit of near duplicates and of points far from the origin. On a CPU it is
evaluated in float64 here, which costs about as much as in float32; elsewhere, and for
float64 input, differences are taken directly. Either way equal rows are exactly 0
apart, with gradient 0.
"""

import functools
import math
import numbers
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from siamjax.losses.annotations import Array, Distance, Lp
from siamjax.losses.reductions import safe_ratio
from siamjax.losses.varying import zeros
from siamjax.types import UsageError

EXACT = lax.Precision.HIGHEST
# Norm to which rows are cut before they enter the Poincaré ball. Farther out, float32
# has no digits left; Guo et al. (CVPR 2022) and Ermolov et al. (CVPR 2022) cut there.
BALL_NORM = 2.3


class Measure(NamedTuple):
    """How alike two rows are: a distance or a similarity.

    `cost` is small and `score` is large where rows are alike, for either kind.
    """

    name: str
    matrix: Callable[[Array, Array], jax.Array]  # [A, E], [R, E] -> [A, R]
    rows: Callable[[Array, Array], jax.Array]  # [N, E], [N, E] -> [N]
    similarity: bool  # large means alike
    low: float  # the range of values
    high: float

    def cost(self, value: Any) -> Any:
        """The value of a distance, minus the value of a similarity."""
        return -value if self.similarity else value

    def score(self, value: Any) -> Any:
        """The value of a similarity, minus the value of a distance."""
        return value if self.similarity else -value


def check_values(measure: Measure, **given: Any) -> None:
    """Refuses numbers outside the range of a measure; traced values are not checked."""
    for name, value in _numbers(given).items():
        if not measure.low <= value <= measure.high:
            raise UsageError(
                f"{name}={value} is outside {measure.name}, {measure.low:g} to "
                f"{measure.high:g}"
            )


def check_sides(measure: Measure, **given: Any) -> None:
    """Refuses limits by which positives would be farther apart than negatives.

    `given` holds the limit of positives, then that of negatives.
    """
    if len(_numbers(given)) < 2:
        return
    (pos_name, pos), (neg_name, neg) = given.items()
    if measure.cost(pos) >= measure.cost(neg):
        raise UsageError(
            f"{pos_name}={pos} must be {'above' if measure.similarity else 'below'} "
            f"{neg_name}={neg}: with {measure.name}, "
            f"{'large' if measure.similarity else 'small'} means alike"
        )
    check_values(measure, **given)


def check_difference(measure: Measure, **given: Any) -> None:
    """Refuses margins that two values of a measure can never differ by."""
    span = measure.high - measure.low
    for name, value in _numbers(given).items():
        if not -span < value < span:
            raise UsageError(
                f"{name}={value} can never be kept or never broken: {measure.name} "
                f"distances differ by less than {span:g}"
            )


def _numbers(given):
    return {k: v for k, v in given.items() if isinstance(v, numbers.Real)}


def euclidean(x: Array, y: Array) -> jax.Array:
    """`[A, E], [R, E] -> [A, R]`: |x_i - y_j|."""
    return _pairwise(x, y, True)


def squared(x: Array, y: Array) -> jax.Array:
    """`[A, E], [R, E] -> [A, R]`: |x_i - y_j|²."""
    return _pairwise(x, y, False)


def cosine(x: Array, y: Array) -> jax.Array:
    """`[A, E], [R, E] -> [A, R]`: the cosine of the angle; 0 where a row is 0."""
    return dot(unit(x), unit(y))


def dot(x: Array, y: Array) -> jax.Array:
    """`[A, E], [R, E] -> [A, R]`: x_i · y_j."""
    return bounded(jnp.matmul(x, y.T, precision=EXACT))


def snr_distance(x: Array, y: Array) -> jax.Array:
    """`[A, E], [R, E] -> [A, R]`: var(x_i - y_j) / var(x_i), variances over E.

    0 where x_i is constant, which has no signal. Not symmetric: x_i is the anchor.
    Reference: Yuan et al. (signal-to-noise ratio), CVPR 2019.
    """
    x, y = _signals(x, y)
    return safe_ratio(squared(x, y), jnp.sum(x * x, 1)[:, None])


def geodesic(x: Array, y: Array) -> jax.Array:
    """`[A, E], [R, E] -> [A, R]`: the angle between rows, in radians, 0 to pi.

    A row of zeros is pi / 2 from all others. The gradient is 0 at opposite rows, where
    no direction leads away.
    """
    u, v = unit(x), unit(y)
    angle = _angle(_without_rounding(euclidean(u, v), 1.0))
    return jnp.where(_is_zero(x)[:, None] != _is_zero(y)[None], jnp.pi / 2, angle)


def poincare(x: Array, y: Array) -> jax.Array:
    """`[A, E], [R, E] -> [A, R]`: the hyperbolic distance, of curvature -1.

    Rows are tangent vectors at the origin, cut to a norm of 2.3; the exponential map
    u = tanh(|x|) x / |x| puts them into the ball, so that a row is 2 |x| from 0:

      D = arcosh(1 + 2 |u - v|² / ((1 - |u|²) (1 - |v|²)))

    Reference: Nickel, Kiela, NeurIPS 2017, eq. 1; Khrulkov et al., CVPR 2020.
    """
    (u, u_cosh), (v, v_cosh) = _in_ball(x), _in_ball(y)
    u_size, v_size = (jnp.max(jnp.abs(a), 1, initial=0.0) for a in (u, v))
    d = _without_rounding(euclidean(u, v), u_size[:, None] + v_size[None])
    return 2 * jnp.arcsinh(d * u_cosh[:, None] * v_cosh[None])


def _without_rounding(d, size):
    """Distances, 0 where they are only what rounding left between equal rows that were
    computed in two ways; its gradient would have any direction."""
    return jnp.where(d > 8 * jnp.finfo(d.dtype).eps * size, d, 0)


def _angle(chord):
    """The angle between unit rows, from their distance."""
    half = jnp.clip(chord / 2, 0, 1)
    return 2 * jnp.arctan2(half, safe_sqrt(1 - half**2))


def _is_zero(x):
    return jnp.all(x == 0, 1)


def _in_ball(x):
    """Points of the ball `[N, E]`, and 1 / sqrt(1 - |u|²) `[N]`."""
    norm = bounded(_euclidean_rows(x, jnp.zeros_like(x)))
    inside = jnp.minimum(norm, BALL_NORM)
    # Nearer to 0 the ratio is 1 in all digits; the slope of the quotient is not finite.
    large = norm > 0.3 * jnp.finfo(norm.dtype).eps ** 0.5
    ratio = jnp.where(large, jnp.tanh(inside) / jnp.where(large, norm, 1), 1)
    return x * ratio[:, None], jnp.cosh(inside)


def unit(x: Array) -> Any:
    """Rows of `[N, E]` divided by their norm; a row of zeros stays, with gradient 0."""
    x = x / lax.stop_gradient(_or_one(jnp.max(jnp.abs(x), 1, initial=0.0)))[:, None]
    norm2 = jnp.sum(x * x, 1)
    inverse = jnp.where(norm2 > 0, 1 / jnp.sqrt(_or_one(norm2)), 0)
    return x * inverse[:, None]


def cos_and_sin(chord: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cosine and sine of the angle between unit rows, from their distance.

    Near 0 and 180 degrees this is more exact than acos, and its slopes are finite.
    """
    half = jnp.clip(chord / 2, 0, 1)
    return 1 - 2 * half**2, 2 * half * safe_sqrt(1 - half**2)


def lp(p: float) -> Lp:
    """The name of the distance (sum |x_i - y_j|^p)^(1/p), for p >= 1 or infinity."""
    name = f"l{float(p)!r}".removesuffix(".0")
    if not is_lp(name):
        raise UsageError(f"p={p} must be at least 1")
    return Lp(name)


def is_lp(name: Any) -> bool:
    """Whether a text names an l<p> distance, such as l1.5 or linf."""
    power = re.fullmatch(r"l(\d+\.?\d*|inf)", str(name))
    return power is not None and float(power.group(1)) >= 1


def by_name(name: Distance) -> Measure:
    """The `Measure` of a name, such as euclidean or l1.5; raises `UsageError`."""
    if name in MEASURES:
        return MEASURES[name]
    if is_lp(name):
        return _minkowski_measure(name, float(name[1:]))
    raise UsageError(
        f"distance={name} is not known: use one of {', '.join(MEASURES)}, or l<p> with "
        "p >= 1, such as l1.5 or linf"
    )


def _or_one(x):
    return jnp.where(x > 0, x, jnp.ones_like(x))


def bounded(x: jax.Array) -> jax.Array:
    """Clips an overflow to a bound whose sums are finite; the gradient there is 0.

    The inf - inf of finite rows becomes 0. `guard` handles rows that are not finite.
    """
    bound = jnp.asarray(jnp.finfo(x.dtype).max / 8, x.dtype)
    over = jnp.where(x > 0, bound, jnp.where(x < 0, -bound, 0))
    return jnp.where(jnp.abs(x) < bound, x, over)


def safe_sqrt(x: jax.Array) -> jax.Array:
    """sqrt with slope 0 at 0, for x >= 0."""
    return jnp.where(x > 0, jnp.sqrt(_or_one(x)), jnp.zeros_like(x))


def absolute(x: jax.Array) -> jax.Array:
    """|x| with slope 0 at 0; that of `jnp.abs` is 1."""
    return x * lax.stop_gradient(jnp.sign(x))


def safe_power(x: jax.Array, power: float) -> jax.Array:
    """x^power for x >= 0, with slopes of 0 at 0 however small the power is."""
    if float(power).is_integer() if isinstance(power, int | float) else False:
        return x**power
    return jnp.where(x > 0, _or_one(x) ** power, jnp.zeros_like(x))


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _pairwise(x, y, root):
    if x.dtype == jnp.float64:
        d = _direct(x, y, root=root)
    else:
        d = lax.platform_dependent(
            x,
            y,
            cpu=functools.partial(_gram, root=root),
            default=functools.partial(_direct, root=root),
        )
    return bounded(d)


@_pairwise.defjvp
def _pairwise_jvp(root, rows, directions):
    x, y = rows
    d = _pairwise(x, y, root)
    # Slope with respect to x_i - y_j: 1 / d for a root, 2 for a square, and 0 for
    # equal rows.
    inside = (d > 0) & (d < jnp.finfo(d.dtype).max / 8)
    weight = 1 / _or_one(d) if root else 2.0
    if x.dtype == jnp.float64:
        along = _direct_product(x, y, *directions)
    else:
        along = lax.platform_dependent(
            x, y, *directions, cpu=_gram_product, default=_direct_product
        )
    return d, jnp.where(inside, weight * along, 0)


def _centred(x, y):
    """Both in float64 and about a common centre: distances do not depend on it."""
    x, y = x.astype(jnp.float64), y.astype(jnp.float64)
    centre = lax.stop_gradient(x.sum(0) + y.sum(0)) / max(len(x) + len(y), 1)
    return x - centre[None], y - centre[None]


def _gram(x, y, *, root):
    with jax.enable_x64(True):
        a, b = _centred(x, y)
        size = jnp.sum(a * a, 1)[:, None] + jnp.sum(b * b, 1)[None]
        d2 = size - 2 * _times(a, b.T)
        # What rounding leaves between equal rows is about this large.
        d2 = jnp.where(d2 > 8 * jnp.finfo(d2.dtype).eps * size, d2, jnp.zeros_like(d2))
        return (jnp.sqrt(d2) if root else d2).astype(x.dtype)


def _gram_product(x, y, x_direction, y_direction):
    """`[A, R]`: (x_i - y_j) · (direction of x_i - direction of y_j)."""
    with jax.enable_x64(True):
        a, b = _centred(x, y)
        u, v = x_direction.astype(jnp.float64), y_direction.astype(jnp.float64)
        ends = jnp.sum(a * u, 1)[:, None] + jnp.sum(b * v, 1)[None]
        return (ends - _times(a, v.T) - _times(u, b.T)).astype(x.dtype)


def _times(a, b):
    # Not `a @ b`: under vmap its rule casts to the widest type that JAX is set to.
    return lax.dot_general(a, b, (((1,), (0,)), ((), ())))


def _direct(x, y, *, root):
    difference = x[:, None] - y[None]
    if not root:
        return jnp.sum(difference * difference, -1)
    # Scaled by the largest coordinate, squares neither overflow nor vanish.
    size = _or_one(jnp.max(jnp.abs(difference), initial=0.0))
    return size * jnp.sqrt(jnp.sum((difference / size) ** 2, -1))


def _direct_product(x, y, x_direction, y_direction):
    gap, move = x[:, None] - y[None], x_direction[:, None] - y_direction[None]
    return jnp.sum(gap * move, -1)


def _signals(x, y):
    """Rows minus their mean, divided by one number that keeps squares in range."""
    size = lax.stop_gradient(_or_one(jnp.maximum(_largest(x), _largest(y))))
    x, y = x / size, y / size
    return x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)


def _squared_rows(x, y):
    return jnp.sum((x - y) ** 2, 1)


def _euclidean_rows(x, y):
    difference = x - y
    size = lax.stop_gradient(_or_one(jnp.max(jnp.abs(difference), initial=0.0)))
    return size * safe_sqrt(jnp.sum((difference / size) ** 2, 1))


def _geodesic_rows(x, y):
    angle = _angle(_euclidean_rows(unit(x), unit(y)))
    return jnp.where(_is_zero(x) != _is_zero(y), jnp.pi / 2, angle)


def _poincare_rows(x, y):
    (u, u_cosh), (v, v_cosh) = _in_ball(x), _in_ball(y)
    return 2 * jnp.arcsinh(_euclidean_rows(u, v) * u_cosh * v_cosh)


def _dot_rows(x, y):
    return jnp.sum(x * y, 1)


def _cosine_rows(x, y):
    return _dot_rows(unit(x), unit(y))


def _snr_rows(x, y):
    x, y = _signals(x, y)
    return safe_ratio(_squared_rows(x, y), jnp.sum(x * x, 1))


def _minkowski_rows(p):
    def rows(x, y):
        return jax.vmap(lambda a, b: _minkowski(p, a[None], b[None])[0, 0])(x, y)

    return rows


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _minkowski(p, x, y):
    size = _common_size(x, y)
    return size * _scaled_minkowski(p, x / size, y / size)


@_minkowski.defjvp
def _minkowski_jvp(p, rows, directions):
    """The slope at rows is that at the scaled rows: what would be multiplied by the
    size and divided by it again could overflow between."""
    size = _common_size(*rows)
    scaled = tuple(row / size for row in rows)
    distance = functools.partial(_scaled_minkowski, p)
    d, slope = jax.jvp(distance, scaled, directions)
    return size * d, slope


def _common_size(x, y):
    return lax.stop_gradient(_or_one(jnp.maximum(_largest(x), _largest(y))))


def _scaled_minkowski(p, x, y):
    start = zeros((len(x), len(y)), x.dtype, x, y)
    if p == jnp.inf:
        return _largest_gaps(x, y, start)

    # Forgets what it computed, and computes it again for the gradient: else that of
    # all coordinates is in memory at once.
    @jax.checkpoint
    def add(total, coordinate):
        a, b = coordinate
        gap = absolute(a[:, None] - b[None])
        return total + (gap if p == 1 else safe_power(gap, p)), None

    total, _ = lax.scan(add, start, (x.T, y.T))
    return total if p == 1 else safe_power(total, 1 / p)


def _largest_gaps(x, y, start):
    """`[A, R]`: the largest gap of a coordinate; those that tie share the gradient."""

    def widen(largest, coordinate):
        a, b = coordinate
        return jnp.maximum(largest, jnp.abs(a[:, None] - b[None])), None

    columns = x.T, y.T
    largest = lax.stop_gradient(lax.scan(widen, start, lax.stop_gradient(columns))[0])

    @jax.checkpoint
    def add(totals, coordinate):
        a, b = coordinate
        gap = absolute(a[:, None] - b[None])
        is_largest = lax.stop_gradient(gap) >= largest
        total = totals[0] + jnp.where(is_largest, gap, 0)
        return (total, totals[1] + is_largest.astype(gap.dtype)), None

    (total, number), _ = lax.scan(add, (start, start), columns)
    return total / jnp.maximum(number, 1)


def _largest(x):
    return jnp.max(jnp.abs(x), initial=0.0)


def _minkowski_measure(name, p):
    matrix = functools.partial(_minkowski, p)
    return Measure(name, matrix, _minkowski_rows(p), False, 0.0, jnp.inf)


MEASURES = {
    measure.name: measure
    for measure in (
        Measure("euclidean", euclidean, _euclidean_rows, False, 0.0, jnp.inf),
        Measure("squared", squared, _squared_rows, False, 0.0, jnp.inf),
        _minkowski_measure("manhattan", 1.0),
        Measure("snr", snr_distance, _snr_rows, False, 0.0, jnp.inf),
        Measure("geodesic", geodesic, _geodesic_rows, False, 0.0, math.pi),
        Measure("poincare", poincare, _poincare_rows, False, 0.0, jnp.inf),
        Measure("cosine", cosine, _cosine_rows, True, -1.0, 1.0),
        Measure("dot", dot, _dot_rows, True, -jnp.inf, jnp.inf),
    )
}
