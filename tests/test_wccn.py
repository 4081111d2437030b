import numpy as np
import pytest

from siamjax.evaluation import wccn
from siamjax.types import UsageError


def points_of(conditions, width=4, seed=0, spread=1.0):
    """Points of conditions that lie apart, spread most along the first axis."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(conditions) + 1, width))
    scale = np.array([10.0] + [spread] * (width - 1))
    return centres[conditions] + scale * rng.normal(size=(len(conditions), width))


def test_signed_log_moments_by_hand():
    x = np.array([[[np.e - 1, 0.0], [1 - np.e, 0.0]]])
    np.testing.assert_allclose(wccn.signed_log_moments(x), [[0.0, 0.0, 1.0, 0.0]])
    assert wccn.signed_log_moments(np.zeros((0, 3, 2))).shape == (0, 4)


def test_whitened_windows_of_a_condition_have_unit_covariance():
    conditions = np.repeat([0, 1, 2], 50)
    points = points_of(conditions)
    mean, matrix, *_ = wccn.fit_whitening(points, conditions, 1e-9)
    whitened = (points - mean) @ matrix
    within = np.concatenate([part - part.mean(0) for part in np.split(whitened, 3)])
    np.testing.assert_allclose(within.T @ within / 150, np.eye(4), atol=1e-6)


def test_distances_are_those_of_the_cholesky_factor():
    """Another root of the same inverse covariance gives the same distances."""
    conditions = np.repeat([3, 7], 20)
    points = points_of(conditions)
    mean, matrix, *_ = wccn.fit_whitening(points, conditions, 0.3)
    within = np.concatenate([p - p.mean(0) for p in np.split(points, 2)])
    covariance = np.cov(within.T, bias=True)
    shrunk = 0.7 * covariance + 0.3 * np.trace(covariance) / 4 * np.eye(4)
    root = np.linalg.cholesky(np.linalg.inv(shrunk))
    np.testing.assert_allclose(
        np.linalg.norm(((points - mean) @ matrix)[0] - ((points - mean) @ matrix)[1]),
        np.linalg.norm((points[0] - points[1]) @ root),
    )


def test_whitened_points_have_length_1_and_the_mean_stays_0():
    conditions = np.repeat([0, 1], 10)
    points = points_of(conditions)
    whitening = wccn.fit_whitening(points, conditions)
    whitened = wccn.whiten(np.vstack([points, whitening.mean]), whitening)
    np.testing.assert_allclose(np.linalg.norm(whitened[:-1], axis=1), 1.0)
    np.testing.assert_array_equal(whitened[-1], 0.0)
    assert wccn.whiten(points[:0], whitening).shape == (0, 4)


@pytest.mark.parametrize(
    "points",
    [
        np.ones((1, 3)),
        np.ones((5, 3)),
        np.full((5, 3), 1e12) + np.arange(15.0).reshape(5, 3),
        np.eye(3)[[0, 0, 1]],
    ],
    ids=["one window", "all equal", "far from 0", "fewer windows than columns"],
)
def test_a_whitening_of_odd_windows_is_finite(points):
    whitening = wccn.fit_whitening(points, np.zeros(len(points), int))
    assert np.isfinite(wccn.whiten(points, whitening)).all()


def test_normal_traffic_of_another_network_is_mixed_into_the_covariance():
    """By hand: a direction that varies more in normal traffic there counts less."""
    points = np.array([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]])
    here = wccn.fit_whitening(points + 7, np.zeros(4, int), 1e-12)
    np.testing.assert_allclose(here.matrix, np.eye(2), atol=1e-9)
    normal = points * [np.sqrt(7.0), 1.0] + [5.0, 0.0]
    there = wccn.adapt_whitening(here, normal)
    np.testing.assert_allclose(there.matrix, np.diag([0.5, 1.0]), atol=1e-9)
    np.testing.assert_array_equal(there.mean, 0.0)
    with pytest.raises(UsageError, match="at least two normal windows"):
        wccn.adapt_whitening(here, normal[:1])


def test_learnt_points_are_whitened_by_normal_traffic_without_a_mean():
    """By hand: normal points vary in the first direction alone, by 1.

    Shrunk, the covariance is diag(0.7 + 0.3 / 2, 0.3 / 2).
    """
    normal = np.array([[4.0, 2.0], [6.0, 2.0]])
    points = wccn.whiten_by_normal(np.array([[1.0, 0.0], [1.0, 1.0]]), normal)
    scaled = np.array([1 / np.sqrt(0.85), 1 / np.sqrt(0.15)])
    np.testing.assert_allclose(points, [[1.0, 0.0], scaled / np.linalg.norm(scaled)])
    equal = wccn.whiten_by_normal(normal, np.ones((5, 2)))
    np.testing.assert_allclose(np.linalg.norm(equal, axis=1), 1.0)
    with pytest.raises(UsageError, match="at least two normal windows"):
        wccn.whiten_by_normal(points, normal[:1])


@pytest.mark.parametrize("shrinkage", [0.0, -0.1, 1.1, float("nan")])
def test_a_shrinkage_outside_its_range_is_refused(shrinkage):
    with pytest.raises(UsageError, match="above 0 and at most 1"):
        wccn.fit_whitening(np.ones((2, 2)), np.zeros(2, int), shrinkage)


def test_no_window_is_refused():
    with pytest.raises(UsageError, match="there is none"):
        wccn.fit_whitening(np.ones((0, 2)), np.zeros(0, int))


@pytest.mark.parametrize("rare, best", [(0.03, 0.03), (1.0, 1.0)])
def test_the_shrinkage_is_the_one_that_recognises_held_out_conditions(rare, best):
    """Where one direction is noise alone, weak shrinkage removes it; where the spread
    is the same in all directions, there is nothing to remove, and a fit on few windows
    only adds noise."""
    conditions = np.repeat(np.arange(6), 12)
    captures = np.repeat(np.arange(24), 3)
    rng = np.random.default_rng(0)
    centres = 3 * rng.normal(size=(6, 30))
    noise = rng.normal(size=(72, 30))
    if rare < 1:
        noise[:, 0] *= 200
    else:
        noise *= 2
    points = centres[conditions] + noise
    chosen = wccn.choose_shrinkage(points, conditions, captures, (0.03, 1.0))
    assert chosen == best


@pytest.mark.parametrize(
    "conditions, captures",
    [([0] * 8, range(8)), ([0, 1] * 4, [0] * 8), ([0, 1], [0, 1])],
    ids=["one condition", "one capture", "one window each"],
)
def test_without_anything_to_judge_the_shrinkage_is_the_default(conditions, captures):
    points = points_of(np.array(conditions))
    chosen = wccn.choose_shrinkage(points, np.array(conditions), np.array([*captures]))
    assert chosen == wccn.SHRINKAGE
