import importlib.util
import sys

import numpy as np
import pytest

from siamjax.evaluation import baselines
from siamjax.types import UsageError

needs_aeon = pytest.mark.skipif(
    importlib.util.find_spec("aeon") is None, reason="the extra `bench`"
)
needs_sklearn = pytest.mark.skipif(
    importlib.util.find_spec("sklearn") is None, reason="the extra `bench`"
)


def test_distances_between_whole_windows_are_those_of_all_bins():
    x = np.random.default_rng(0).normal(size=(2, 6, 3))
    points = baselines.whole_windows(x)
    assert points.shape == (2, 18)
    np.testing.assert_allclose(
        np.linalg.norm(points[0] - points[1]), np.sqrt(((x[0] - x[1]) ** 2).sum()), 1e-6
    )


def test_moments_by_hand():
    x = np.array([[[1.0, 5.0], [3.0, 5.0]]])
    np.testing.assert_array_equal(baselines.moments(x), [[2.0, 5.0, 1.0, 0.0]])


def test_by_cosine_windows_of_one_direction_are_one_point():
    x = np.random.default_rng(0).normal(size=(3, 6, 2))
    points = baselines.directions(x)
    np.testing.assert_allclose(baselines.directions(7 * x), points, atol=1e-6)
    plain = baselines.moments(x)
    cosine = (plain[0] @ plain[1]) / np.sqrt(
        (plain[0] ** 2).sum() * (plain[1] ** 2).sum()
    )
    np.testing.assert_allclose(points[0] @ points[1], cosine, 1e-5)
    np.testing.assert_array_equal(baselines.directions(np.zeros((1, 6, 2))), 0.0)


def test_no_window():
    for points in baselines.BASELINES.values():
        assert points(np.zeros((0, 4, 3))).shape[0] == 0


def waves(seed=0, each=6, bins=20):
    """Two conditions that differ in their rhythm alone, in the first column of two."""
    rng = np.random.default_rng(seed)
    label = np.repeat([0, 1], each)
    phase = rng.uniform(0, 2 * np.pi, (2 * each, 1))
    wave = np.sin(np.arange(bins) * np.where(label == 0, 0.5, 1.7)[:, None] + phase)
    x = np.stack([wave, np.zeros_like(wave)], -1)
    return (x + 0.1 * rng.normal(size=x.shape)).astype(np.float32), label


@needs_aeon
@pytest.mark.parametrize("make", [baselines.minirocket, baselines.catch22])
def test_features_of_libraries_see_a_rhythm_and_depend_on_no_query(make):
    (x, label), (fit, known) = waves(0), waves(1)
    points, examples = make(x, fit), make(fit, fit)
    gap = ((points[:, None] - examples[None]) ** 2).sum(-1)
    assert (known[gap.argmin(1)] == label).mean() > 0.9
    np.testing.assert_allclose(make(x[:3], fit), points[:3], atol=1e-5)
    assert np.isfinite(points).all()


@needs_aeon
def test_minirocket_takes_windows_of_five_bins_and_has_unit_norm():
    x = np.random.default_rng(0).normal(size=(4, 5, 3))
    points = baselines.minirocket(x, x, kernels=84)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1.0, rtol=1e-5)


@needs_aeon
def test_warping_is_the_textbook_recursion():
    x, _ = waves(each=2, bins=7)
    got = baselines.dtw_distances(x, x, band=1.0)
    for i in range(4):
        for j in range(4):
            cost = ((x[i][:, None] - x[j][None]) ** 2).sum(-1)
            best = np.full((8, 8), np.inf)
            best[0, 0] = 0
            for a in range(7):
                for b in range(7):
                    least = min(best[a, b], best[a, b + 1], best[a + 1, b])
                    best[a + 1, b + 1] = cost[a, b] + least
            np.testing.assert_allclose(got[i, j], best[7, 7], rtol=1e-5, atol=1e-9)


@needs_sklearn
@pytest.mark.parametrize("name", ["random forest", "logistic regression"])
def test_classifiers_tell_what_is_plainly_different(name):
    rng, label = np.random.default_rng(0), np.repeat([3, 7], 10)
    x = rng.normal(size=(20, 4, 2)) + 5 * (label == 7)[:, None, None]
    assert (baselines.classify(name, x[::2], label[::2], x) == label).all()


def test_a_missing_library_is_one_clear_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "aeon", None)
    for name in [name for name in sys.modules if name.startswith("aeon.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UsageError, match=r"needs aeon: pip install aeon"):
        baselines.dtw_distances(np.zeros((1, 4, 2)), np.zeros((1, 4, 2)))


def test_quant_in_blocks_is_that_of_all_windows(monkeypatch):
    windows = np.random.default_rng(0).normal(size=(5, 8, 2)).astype(np.float32)
    whole = baselines.quant_directions(windows)
    monkeypatch.setattr(baselines, "_BLOCK", 2)
    np.testing.assert_array_equal(baselines.quant_directions(windows), whole)
    assert len(baselines.quant_directions(windows[:0])) == 0
