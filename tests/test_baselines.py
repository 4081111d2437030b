import numpy as np

from siamjax.evaluation import baselines


def test_distances_between_whole_windows_are_those_of_all_bins():
    x = np.random.default_rng(0).normal(size=(2, 6, 3))
    points = baselines.whole(x)
    assert points.shape == (2, 18)
    np.testing.assert_allclose(
        np.linalg.norm(points[0] - points[1]), np.sqrt(((x[0] - x[1]) ** 2).sum()), 1e-6
    )


def test_moments_by_hand():
    x = np.array([[[1.0, 5.0], [3.0, 5.0]]])
    np.testing.assert_array_equal(baselines.moments(x), [[2.0, 5.0, 1.0, 0.0]])


def test_no_window():
    for points in baselines.BASELINES.values():
        assert points(np.zeros((0, 4, 3))).shape[0] == 0
