"""Distances and similarities of rows, with safe gradients, and what their numbers mean.

The matrix form of Euclid's distance is the usual `|x|² + |y|² - 2xy`, whose
cancellation loses every digit of near duplicates and of points far from the origin. On
a CPU it is evaluated in float64, which costs about as much as the float32 one;
elsewhere, and for float64 input, differences are taken directly. Either way equal rows
are exactly 0 apart, with gradient 0.
"""

import functools
import re
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from siamjax.losses.precision import wide
from siamjax.types import UsageError

EXACT = lax.Precision.HIGHEST


class Distance(NamedTuple):
    """How alike two rows are. `cost` is what grows as they differ, for either kind."""

    name: str
    matrix: Callable  # [A, E], [R, E] -> [A, R]
    rows: Callable  # [N, E], [N, E] -> [N]
    similarity: bool  # large means alike
    low: float  # the range of values
    high: float

    def cost(self, value):
        """The value where small means alike: itself, or minus a similarity."""
        return -value if self.similarity else value

    def scores(self, value):
        """The value where large means alike: itself, or minus a distance."""
        return value if self.similarity else -value


def check_values(kind, **given):
    """Refuses numbers that no distance of this kind can be; what is traced passes."""
    for name, value in _numbers(given).items():
        if not kind.low <= value <= kind.high:
            raise UsageError(
                f"{name}={value} is outside {kind.name}, {kind.low:g} to {kind.high:g}"
            )


def check_sides(kind, **given):
    """Refuses limits of positives and of negatives, in this order, that leave nothing
    to learn or ask for the opposite."""
    if len(_numbers(given)) < 2:
        return
    (pos_name, pos), (neg_name, neg) = given.items()
    if kind.cost(pos) >= kind.cost(neg):
        raise UsageError(
            f"{pos_name}={pos} must be {'above' if kind.similarity else 'below'} "
            f"{neg_name}={neg}: with {kind.name}, "
            f"{'large' if kind.similarity else 'small'} means alike"
        )
    check_values(kind, **given)


def check_difference(kind, **given):
    """Refuses numbers that no two distances of this kind can differ by."""
    span = kind.high - kind.low
    for name, value in _numbers(given).items():
        if not -span < value < span:
            raise UsageError(
                f"{name}={value} can never be kept or never broken: {kind.name} "
                f"distances differ by less than {span:g}"
            )


def _numbers(given):
    return {k: v for k, v in given.items() if isinstance(v, int | float)}


def euclidean(x, y):
    """`[A, E], [R, E] -> [A, R]`: |x_i - y_j|."""
    return _pairwise(x, y, True)


def squared(x, y):
    """`[A, E], [R, E] -> [A, R]`: |x_i - y_j|²."""
    return _pairwise(x, y, False)


def cosine(x, y):
    """`[A, E], [R, E] -> [A, R]`: the cosine of the angle; 0 where a row is 0."""
    return dot(unit(x), unit(y))


def dot(x, y):
    """`[A, E], [R, E] -> [A, R]`: x_i · y_j."""
    return bounded(jnp.matmul(x, y.T, precision=EXACT))


def snr(x, y):
    """`[A, E], [R, E] -> [A, R]`: var(x_i - y_j) / var(x_i), variances over E.

    0 where x_i is constant, which has no signal. Not symmetric: x_i is the anchor.
    Reference: Yuan et al. (signal-to-noise ratio), CVPR 2019.
    """
    x, y = _signals(x, y)
    return _share(squared(x, y), jnp.sum(x * x, 1)[:, None])


def unit(x):
    """Rows of `[N, E]` divided by their norm; a row of zeros stays, with gradient 0."""
    x = x / lax.stop_gradient(_or_one(jnp.max(jnp.abs(x), 1, initial=0.0)))[:, None]
    norm2 = jnp.sum(x * x, 1)
    inverse = jnp.where(norm2 > 0, 1 / jnp.sqrt(_or_one(norm2)), 0)
    return x * inverse[:, None]


def minkowski(p):
    """(sum |x_i - y_j|^p)^(1/p) as a matrix function, one coordinate at a time."""
    return functools.partial(_minkowski, p)


def distance(name):
    """The `Distance` of a name: euclidean, squared, cosine, dot, snr, l1, linf, ..."""
    if name in KINDS:
        return KINDS[name]
    power = re.fullmatch(r"l(\d+\.?\d*|inf)", str(name))
    if power and float(power.group(1)) >= 1:
        return _lp(name, float(power.group(1)))
    raise UsageError(
        f"distance={name} is not known: one of {', '.join(KINDS)}, or l<p> with p >= 1"
    )


def _or_one(x):
    return jnp.where(x > 0, x, jnp.ones_like(x))


def _share(part, whole):
    return jnp.where(whole > 0, part / _or_one(whole), jnp.zeros_like(part))


def bounded(x):
    """An overflow, held at a bound whose sums are finite, with gradient 0.

    What is inf - inf of finite rows becomes 0. Rows that are not finite themselves are
    no matter of distances: `guard` looks at them.
    """
    bound = jnp.asarray(jnp.finfo(x.dtype).max / 8, x.dtype)
    over = jnp.where(x > 0, bound, jnp.where(x < 0, -bound, 0))
    return jnp.where(jnp.abs(x) < bound, x, over)


def safe_sqrt(x):
    """sqrt with slope 0 at 0, for x >= 0."""
    return jnp.where(x > 0, jnp.sqrt(_or_one(x)), jnp.zeros_like(x))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _pairwise(x, y, root):
    return _pairwise_forward(x, y, root)[0]


def _pairwise_forward(x, y, root):
    if x.dtype == jnp.float64:
        d = _direct(x, y, root=root)
    else:
        d = lax.platform_dependent(
            x,
            y,
            cpu=functools.partial(_gram, root=root),
            default=functools.partial(_direct, root=root),
        )
    d = bounded(d)
    return d, (x, y, d)


def _pairwise_backward(root, residuals, g):
    x, y, d = residuals
    # Slope with respect to (x_i - y_j): g/d of a root, 2g of a square; 0 of equal rows.
    inside = (d > 0) & (d < jnp.finfo(d.dtype).max / 8)
    weight = jnp.where(inside, g / _or_one(d) if root else 2 * g, 0)
    if x.dtype == jnp.float64:
        return _direct_gradient(x, y, weight)
    return lax.platform_dependent(
        x, y, weight, cpu=_gram_gradient, default=_direct_gradient
    )


_pairwise.defvjp(_pairwise_forward, _pairwise_backward)


def _centred(x, y):
    """Both in float64 and about a common centre: distances do not depend on it."""
    x, y = x.astype(jnp.float64), y.astype(jnp.float64)
    centre = (x.sum(0) + y.sum(0)) / max(len(x) + len(y), 1)
    return x - centre[None], y - centre[None]


def _gram(x, y, *, root):
    with wide(True):
        a, b = _centred(x, y)
        size = jnp.sum(a * a, 1)[:, None] + jnp.sum(b * b, 1)[None]
        d2 = size - 2 * _times(a, b.T)
        # What rounding leaves between equal rows is about this large.
        d2 = jnp.where(d2 > 8 * jnp.finfo(d2.dtype).eps * size, d2, jnp.zeros_like(d2))
        return (jnp.sqrt(d2) if root else d2).astype(x.dtype)


def _gram_gradient(x, y, weight):
    with wide(True):
        a, b = _centred(x, y)
        w = weight.astype(jnp.float64)
        at_x = w.sum(1)[:, None] * a - _times(w, b)
        at_y = w.sum(0)[:, None] * b - _times(w.T, a)
        return at_x.astype(x.dtype), at_y.astype(y.dtype)


def _times(a, b):
    # Not `a @ b`, whose rule under vmap casts to the widest type JAX is set to.
    return lax.dot_general(a, b, (((1,), (0,)), ((), ())))


def _direct(x, y, *, root):
    difference = x[:, None] - y[None]
    if not root:
        return jnp.sum(difference * difference, -1)
    # Scaled by the largest coordinate, squares neither overflow nor vanish.
    size = _or_one(jnp.max(jnp.abs(difference), initial=0.0))
    return size * jnp.sqrt(jnp.sum((difference / size) ** 2, -1))


def _direct_gradient(x, y, weight):
    pull = weight[:, :, None] * (x[:, None] - y[None])
    return pull.sum(1), -pull.sum(0)


def _signals(x, y):
    """Rows less their mean, both by one number so that squares stay in range."""
    size = lax.stop_gradient(_or_one(jnp.maximum(_largest(x), _largest(y))))
    x, y = x / size, y / size
    return x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)


def _squared_rows(x, y):
    return jnp.sum((x - y) ** 2, 1)


def _euclidean_rows(x, y):
    difference = x - y
    size = lax.stop_gradient(_or_one(jnp.max(jnp.abs(difference), initial=0.0)))
    return size * safe_sqrt(jnp.sum((difference / size) ** 2, 1))


def _dot_rows(x, y):
    return jnp.sum(x * y, 1)


def _cosine_rows(x, y):
    return _dot_rows(unit(x), unit(y))


def _snr_rows(x, y):
    x, y = _signals(x, y)
    return _share(_squared_rows(x, y), jnp.sum(x * x, 1))


def _minkowski_rows(p):
    def rows(x, y):
        return jax.vmap(lambda a, b: _minkowski(p, a[None], b[None])[0, 0])(x, y)

    return rows


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _minkowski(p, x, y):
    return _minkowski_forward(p, x, y)[0]


def _minkowski_forward(p, x, y):
    size = _or_one(jnp.maximum(_largest(x), _largest(y)))
    start = jnp.zeros((len(x), len(y)), x.dtype)

    def add(total, coordinate):
        a, b = coordinate
        gap = jnp.abs(a[:, None] - b[None]) / size
        return (jnp.maximum(total, gap) if p == jnp.inf else total + gap**p), None

    total, _ = lax.scan(add, start, (x.T, y.T))
    return size * (total if p == jnp.inf else total ** (1 / p)), (x, y, start + total)


def _minkowski_backward(p, residuals, g):
    x, y, total = residuals
    size = _or_one(jnp.maximum(_largest(x), _largest(y)))
    # d/d|gap| = (|gap| / d)^(p-1); of the largest coordinate alone at infinite p.
    norm = total if p == jnp.inf else total ** (1 / p)

    def slope(_, coordinate):
        a, b = coordinate
        gap = (a[:, None] - b[None]) / size
        share = jnp.abs(gap) / _or_one(norm)
        part = (share >= 1) if p == jnp.inf else share ** (p - 1)
        pull = jnp.where(norm > 0, g * jnp.sign(gap) * part, jnp.zeros_like(g))
        return None, (pull.sum(1), -pull.sum(0))

    _, (at_x, at_y) = lax.scan(slope, None, (x.T, y.T))
    return at_x.T, at_y.T


_minkowski.defvjp(_minkowski_forward, _minkowski_backward)


def _largest(x):
    return jnp.max(jnp.abs(x), initial=0.0)


def _lp(name, p):
    return Distance(name, minkowski(p), _minkowski_rows(p), False, 0.0, jnp.inf)


KINDS = {
    kind.name: kind
    for kind in (
        Distance("euclidean", euclidean, _euclidean_rows, False, 0.0, jnp.inf),
        Distance("squared", squared, _squared_rows, False, 0.0, jnp.inf),
        _lp("manhattan", 1.0),
        Distance("snr", snr, _snr_rows, False, 0.0, jnp.inf),
        Distance("cosine", cosine, _cosine_rows, True, -1.0, 1.0),
        Distance("dot", dot, _dot_rows, True, -jnp.inf, jnp.inf),
    )
}
