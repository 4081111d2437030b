"""The relative distance to windows of training, against loops over its formula."""

import types

import numpy as np
import pytest

from siamjax.evaluation import novelty
from siamjax.evaluation.wccn import Whitening
from siamjax.training import whitening as training_windows
from siamjax.types import TRAIN, Windows


def test_distances_are_relative_to_the_sizes_of_both_windows():
    rng = np.random.default_rng(0)
    mean, matrix = rng.normal(size=4), rng.normal(size=(4, 4))
    whitening = Whitening(mean, matrix, np.eye(4), 0.3)
    training = novelty.TrainingWindows(
        ("normal", "normal", "normal", "a", "b"),
        tuple("vwxyz"),
        rng.normal(size=(5, 4)),
    )
    a, b = rng.normal(size=(3, 4)), rng.normal(size=(2, 4))
    got = novelty.relative_distances(a, b, training, whitening)
    sizes = [np.linalg.norm((x - mean) @ matrix) for x in training.moments]
    least = min(np.median(sizes[:3]), sizes[3], sizes[4])
    for i, x in enumerate((a - mean) @ matrix):
        for j, y in enumerate((b - mean) @ matrix):
            total = np.linalg.norm(x) + np.linalg.norm(y) + 0.5 * least
            np.testing.assert_allclose(got[i, j], np.linalg.norm(x - y) / total)
    assert 0 <= got.min() and got.max() <= 1


def test_the_nearest_window_of_each_name_counts():
    distances = np.array([[0.3, 0.1, 0.2]])
    spreads = {"a": 0.04, "b": 0.25, "d": 1.0}  # c has none: the median
    names = ("a", "b", "a", "c")
    distances = np.append(distances, [[0.3]], 1)
    got = novelty.nearest_of_names(distances, names, ("b", "a", "c", "d"), spreads)
    np.testing.assert_allclose(got, [[0.1 / 0.5, 0.2 / 0.2, 0.3 / 0.5, np.inf]])


def test_a_window_between_two_names_is_newer():
    distances = np.array([[0.4, 0.9, 0.1], [0.4, 0.2, 0.2], [0.3, np.inf, np.inf]])
    got = novelty.score_novelty(distances)
    np.testing.assert_allclose(got, [0.1 * np.sqrt(0.1 / 0.4), 0.2, 0.3])
    np.testing.assert_allclose(novelty.score_novelty(distances[:, :1]), [0.4, 0.4, 0.3])


def test_a_spread_is_the_distance_to_other_captures():
    """By hand: windows of sizes 0 to 2 in one direction, half of 1 added."""
    whitening = Whitening(np.zeros(1), np.eye(1), np.eye(1), 0.3)
    rows = [
        *(("a", "v", 1.0), ("a", "v", 1.1), ("a", "w", 2.0)),
        *(("b", "v", 1.0), ("b", "w", 1.0)),
        ("c", "v", 1.0),
    ]
    names, captures, sizes = zip(*rows)
    training = novelty.TrainingWindows(names, captures, np.array(sizes)[:, None])
    got = novelty.measure_spreads(training, whitening)
    to_w = [1.0 / 3.5, 0.9 / 3.6, 0.9 / 3.6]
    wide = np.quantile(to_w, 0.8)
    # Windows of b are alike: no less than a quarter of the median, before two captures
    # of the median are added to its two. c has one capture: the median.
    median = wide / 2
    a, b = median * np.sqrt(2), median * np.sqrt(0.25)
    assert got == pytest.approx(dict(a=a, b=b, c=median))
    alone = training._replace(captures=("v",) * 6)
    assert novelty.measure_spreads(alone, whitening) == dict(a=1.0, b=1.0, c=1.0)


def test_equal_windows_of_most_conditions_show_no_spread():
    """Their distances are rounding errors, not exactly 0."""
    moments = np.random.default_rng(4).normal(size=(4, 4))[[0, 0, 1, 1, 2, 3]]
    training = novelty.TrainingWindows(tuple("aabbcc"), tuple("uvwxyz"), moments)
    whitening = Whitening(np.zeros(4), np.eye(4), np.eye(4), 0.3)
    got = novelty.measure_spreads(training, whitening)
    assert got == dict(a=1.0, b=1.0, c=1.0)


def test_kept_windows_come_from_as_many_captures_as_there_are(monkeypatch):
    monkeypatch.setattr(training_windows, "KEPT", 3)
    condition = np.repeat([0, 1], [9, 2])
    session = np.array([0] * 7 + [1, 2] + [3, 3])
    windows = Windows(session, np.arange(11), condition)
    splits = types.SimpleNamespace(
        windows=windows,
        conditions=types.SimpleNamespace(names=("normal", "a"), known=("normal", "a")),
        sessions=types.SimpleNamespace(names=("v", "w", "x", "y")),
        window_mask=lambda role, names: (
            (condition == ("normal", "a").index(*names)) & (role == TRAIN)
        ),
        features=lambda chosen: np.ones((len(chosen.start), 2, 3)),
    )
    kept = training_windows.keep_windows(splits)
    assert kept.names == ("normal",) * 3 + ("a",) * 2
    assert sorted(kept.captures[:3]) == ["v", "w", "x"]
    assert kept.moments.shape == (5, 6)
