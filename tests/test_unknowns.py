"""The threshold of the unknown, against all thresholds there are."""

import json
import pathlib

import numpy as np
import pytest

from siamjax.evaluation import unknowns
from siamjax.types import UsageError


def balanced(threshold, known, unknown):
    return (np.mean(known <= threshold) + np.mean(unknown > threshold)) / 2


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_is_better(seed):
    rng = np.random.default_rng(seed)
    known, unknown = rng.gamma(2, 1, 40).round(1), 1 + rng.gamma(2, 1, 25).round(1)
    got = unknowns.fit_threshold(known, unknown)
    best = max(balanced(t, known, unknown) for t in np.arange(-0.05, 20, 0.05))
    assert balanced(got, known, unknown) == pytest.approx(best)


def test_the_middle_of_the_gap():
    assert unknowns.fit_threshold([0.1, 0.3], [0.7, 2.0]) == pytest.approx(0.5)


def test_the_limit_stays_near_the_known_windows():
    """By hand: the middle of the gap is 4.5, the 0.99 quantile of the known is 1. Where
    they overlap, the threshold is 1.5, and the quantile 3.73."""
    assert unknowns.fit_limit([1.0] * 9, [8.0] * 9) == pytest.approx(4.5**0.25)
    overlap = unknowns.fit_limit([1.0] * 9 + [4.0], [2.0] * 9)
    assert overlap == pytest.approx((1.5 * 3.73) ** 0.5)


def test_false_positives_where_95_of_100_unknown_windows_are_found():
    """By hand: 19 of 20 unknown windows are at 2 or above it; so are 3 of 8 known
    windows, which have half of the weight."""
    known, unknown = [0, 0, 1, 1, 1, 2, 3, 9], [1.0, *[2.0] * 9, *[5.0] * 10]
    assert unknowns.false_positives(known, unknown) == pytest.approx(3 / 8)
    weights = [1, 1, 1, 1, 1, 1, 2, 2]
    assert unknowns.false_positives(known, unknown, weights) == pytest.approx(0.5)


def test_nothing_unknown_to_learn_from():
    known = np.linspace(0, 1, 101)
    assert unknowns.fit_threshold(known, []) == pytest.approx(0.99)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_equal_distances(value):
    got = unknowns.fit_threshold([value] * 3, [value] * 2)
    assert 0.0 <= got <= value
    assert unknowns.chance_farther([value] * 3, [value] * 2).tolist() == [0.5, 0.5]


def test_auroc_counts_pairs():
    rng = np.random.default_rng(0)
    known, unknown = rng.integers(0, 8, 30), rng.integers(2, 12, 20)
    wins = (unknown[:, None] > known) + 0.5 * (unknown[:, None] == known)
    assert unknowns.chance_farther(known, unknown).mean() == pytest.approx(wins.mean())


def test_empty_and_broken_input():
    with pytest.raises(UsageError, match="no known window"):
        unknowns.fit_threshold([], [1.0])
    with pytest.raises(UsageError, match="not all finite"):
        unknowns.fit_threshold([1.0, np.nan], [1.0])


def test_auroc_as_scikit_learn_has_it():
    path = pathlib.Path(__file__).parent / "metric_values.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    known, unknown = stored["known"], stored["unknown"]
    auroc = unknowns.chance_farther(known, unknown).mean()
    assert auroc == pytest.approx(stored["auroc"])
    weighted = unknowns.chance_farther(known, unknown, stored["weights"]).mean()
    assert weighted == pytest.approx(stored["weighted_auroc"])
