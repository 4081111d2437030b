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
