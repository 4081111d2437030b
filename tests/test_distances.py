"""Distances against scipy, in float64, and where the usual trick loses its digits."""

import functools
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from siamjax.losses import distances
from siamjax.losses.annotations import Distance, Lp
from siamjax.types import UsageError

EUCLIDEAN = jax.jit(distances.euclidean)
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(7, 5)), RNG.normal(size=(4, 5))


def snr(a, b):
    return np.var(b - a) / np.var(a)


def poincare(a, b):
    """The paper's formula on points of the ball."""

    def in_ball(x):
        size = np.linalg.norm(x)
        return np.tanh(min(size, 2.3)) * x / size

    u, v = in_ball(a), in_ball(b)
    gap = 2 * np.sum((u - v) ** 2) / ((1 - u @ u) * (1 - v @ v))
    return np.arccosh(1 + gap)


SCIPY = {
    "euclidean": "euclidean",
    "squared": "sqeuclidean",
    "manhattan": "cityblock",
    "cosine": lambda a, b: a @ b / np.linalg.norm(a) / np.linalg.norm(b),
    "dot": lambda a, b: a @ b,
    "snr": snr,
    "geodesic": lambda a, b: np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b)),
    "poincare": poincare,
    distances.lp(1.5): lambda a, b: np.sum(np.abs(a - b) ** 1.5) ** (1 / 1.5),
    distances.lp(2): "euclidean",
    distances.lp(3): lambda a, b: np.sum(np.abs(a - b) ** 3) ** (1 / 3),
    distances.lp(np.inf): "chebyshev",
}


@pytest.mark.parametrize("name", SCIPY)
def test_p13_matrix_and_rows_are_as_scipys(name):
    kind, wanted = distances.by_name(name), cdist(X, Y, SCIPY[name])
    got = jax.jit(kind.matrix)(np.float32(X), np.float32(Y))
    np.testing.assert_allclose(got, wanted, rtol=2e-6, atol=1e-6)
    rows = jax.jit(kind.rows)(np.float32(X[:4]), np.float32(Y))
    np.testing.assert_allclose(rows, np.diag(wanted[:4]), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("name", SCIPY)
def test_gradients_are_finite_differences(name):
    kind = distances.by_name(name)
    with jax.enable_x64(True):
        x, weights = jnp.asarray(X), jnp.asarray(RNG.normal(size=(7, 7)))

        def total(x):
            return jnp.sum(weights * kind.matrix(x, x))

        direction, step = jnp.asarray(RNG.normal(size=X.shape)), 1e-6
        both = jax.jit(jax.value_and_grad(total))
        found = both(x + step * direction)[0] - both(x - step * direction)[0]
        said = jnp.sum(both(x)[1] * direction)
        found = found / (2 * step)
    assert float(said) == pytest.approx(float(found), rel=1e-6)


def test_the_type_has_every_name():
    literal, lp = get_args(Distance)
    assert set(distances.MEASURES) == set(get_args(literal))
    assert distances.is_lp("l1.5")
    assert lp is Lp
    with pytest.raises(UsageError, match=r"p=0\.5 must be at least 1"):
        distances.lp(0.5)


@pytest.mark.parametrize("name", ["l0.5", "l0", "euclid", "l-1", "L2"])
def test_p13_what_is_no_distance_is_refused(name):
    with pytest.raises(UsageError, match="euclidean"):
        distances.by_name(name)


@pytest.mark.parametrize("name", ["euclidean", "squared", "manhattan", "l3", "linf"])
def test_p9_equal_rows_are_exactly_0_apart_with_slope_0(name):
    """Whatever the size, the offset and the number of rows."""
    rows = np.concatenate([X, 1e4 + X, 1e-6 * X, 1e10 * X])
    x = np.float32(np.concatenate([rows, rows]))
    kind = distances.by_name(name)
    d = np.asarray(jax.jit(kind.matrix)(x, x))
    assert (np.diag(d) == 0).all()
    assert (np.diag(d, len(rows)) == 0).all()
    total = jax.grad(lambda x: jnp.diag(kind.matrix(x, x), len(rows)).sum())
    slope = jax.jit(total)(x)
    assert np.abs(slope).max() == 0


@pytest.mark.parametrize("offset", [0.0, 1e2, 1e4, 1e6])
@pytest.mark.parametrize("name", ["euclidean", "squared"])
def test_p9_translation_costs_no_digits(name, offset):
    """The error is that of the float32 input, not of the square of the offset."""
    x = np.float32(RNG.normal(size=(64, 16)) + offset)
    got = np.asarray(jax.jit(distances.by_name(name).matrix)(x, x))
    wanted = cdist(np.float64(x), np.float64(x), SCIPY[name])
    assert np.abs(got - wanted).max() <= 1e-6 * wanted.mean()
    apart = ~np.eye(64, dtype=bool)
    assert (np.abs(got - wanted)[apart] / wanted[apart]).max() <= 1e-5


def test_near_duplicates_keep_their_digits_and_their_slopes():
    x = np.float32(RNG.normal(size=(8, 16)))
    x = np.concatenate([x, x + np.float32(1e-5 * RNG.normal(size=x.shape))])
    exact = cdist(np.float64(x), np.float64(x))
    got = np.asarray(EUCLIDEAN(x, x))
    np.testing.assert_allclose(np.diag(got, 8), np.diag(exact, 8), rtol=1e-4)
    pull = jax.jit(jax.grad(lambda x: jnp.diag(distances.euclidean(x, x), 8).sum()))(x)
    gap = np.float64(x[:8]) - np.float64(x[8:])
    toward = gap / np.linalg.norm(gap, axis=1, keepdims=True)
    np.testing.assert_allclose(pull[:8], toward, atol=1e-3)


@pytest.mark.parametrize("size", [1e-30, 1e-12, 1e15, 1e30])
def test_sizes_from_tiny_to_huge(size):
    x = np.float32(size * X)
    got = np.asarray(EUCLIDEAN(x, x))
    np.testing.assert_allclose(got, cdist(np.float64(x), np.float64(x)), rtol=1e-5)


@pytest.mark.parametrize("name", ["l1.5", "linf"])
def test_a_steep_loss_of_huge_distances_has_a_gradient(name):
    """The value is inf; its slope is not, but that times the size of the rows is."""
    kind, x = distances.by_name(name), np.float32(1e20 * X)

    def loss(x):
        return jnp.sum(kind.matrix(x, x[:3]) ** 2)

    assert np.isfinite(jax.jit(jax.grad(loss))(x)).all()


def test_directly_taken_differences_agree():
    """What other platforms than the CPU use, value and slope."""
    x, y = np.float32(X), np.float32(Y)
    for root in (True, False):
        direct, gram = (
            distances._direct(x, y, root=root),
            distances._gram(x, y, root=root),
        )
        np.testing.assert_allclose(direct, gram, rtol=1e-6)
    directions = np.float32(RNG.normal(size=X.shape)), np.float32(np.zeros(Y.shape))
    products = distances._direct_product, distances._gram_product
    direct, gram = (product(x, y, *directions) for product in products)
    np.testing.assert_allclose(direct, gram, rtol=1e-4, atol=1e-5)


def test_unit_rows_and_a_row_of_zeros():
    x = jnp.asarray([[3.0, 4.0], [0.0, 0.0], [3e-20, 4e-20], [3e30, 4e30]])
    np.testing.assert_allclose(
        distances.unit(x), [[0.6, 0.8], [0, 0], [0.6, 0.8], [0.6, 0.8]], rtol=1e-6
    )
    slope = jax.jit(jax.grad(lambda x: distances.unit(x)[:, 0].sum()))(x)
    assert np.isfinite(slope).all()
    assert (slope[1] == 0).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 6), st.integers(1, 5), st.integers(0, 2**31), st.floats(-3, 3))
def test_a_distance_is_a_metric(rows, size, seed, scale):
    """Symmetric, 0 on itself, and no detour is shorter."""
    x = np.random.default_rng(seed).normal(size=(rows, size)) * 10.0**scale
    full = np.zeros((6, 5), np.float32)
    full[:rows, :size] = x
    d = np.asarray(EUCLIDEAN(full, full), np.float64)
    np.testing.assert_array_equal(d, d.T)
    assert (np.diag(d) == 0).all()
    assert (d[:, :, None] <= d[:, None] + d.T[None] + 1e-6 * d.max()).all()


@functools.cache
def with_two_derivatives(name):
    """Distances, gradient of their sum and its derivative: a program for all sizes."""

    def matrix(x):
        return distances.by_name(name).matrix(x, x)

    def gradient(x):
        return jax.grad(lambda x: matrix(x).sum())(x)

    @jax.jit
    def run(x):
        return matrix(x), *jax.jvp(gradient, (x,), (jnp.ones_like(x),))

    return run


@pytest.mark.parametrize("name", ["geodesic", "poincare"])
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-12, 1.0, 1e15])
def test_curved_distances_have_finite_gradients(name, size):
    """Of equal, opposite and zero rows, of all sizes, to the second order."""
    x = np.float32(size * np.array([[1, 2], [1, 2], [-1, -2], [0, 0], [2, -1]]))
    rows, gradient, curvature = with_two_derivatives(name)(x)
    assert np.isfinite(gradient).all()
    assert size < 1e-6 or np.isfinite(curvature).all()
    assert float(rows[0, 1]) == 0
