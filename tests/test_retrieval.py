"""Retrieval against hand-worked tables, plain loops, and all orders of what ties."""

import itertools
import json
import pathlib

import numpy as np
import pytest

from siamjax.evaluation import retrieval

STORED = json.loads(
    (pathlib.Path(__file__).parent / "metric_values.json").read_text(encoding="utf-8")
)


def mean_scores(points, labels, captures=None):
    """Means over the queries that have a score."""
    return np.nanmean(retrieval.score_queries(points, labels, captures), 0)


def query_scores(relevant, r=10):
    """One query at 0 with neighbours at 1, 2, 3, ...; R right ones among them."""
    same = np.zeros(40, bool)
    same[np.array(relevant) - 1] = True
    unfilled = r - len(relevant)
    if unfilled:
        same[-unfilled:] = True  # the others are beyond the R-th place
    return retrieval._score(np.arange(1.0, 41.0), same, 0.0)


@pytest.mark.parametrize(
    "relevant, want",
    [([1], 0.10), ([1, 10], 0.12), ([1, 2], 0.20), (range(1, 11), 1.0)],
)
def test_map_at_r_by_hand(relevant, want):
    first, r_precision, map_at_r = query_scores(list(relevant))
    assert first == 1.0
    assert r_precision == pytest.approx(len(relevant) / 10)
    assert map_at_r == pytest.approx(want)


def plain(points, labels, own):
    """The definitions, as loops; no ties."""
    scores = []
    for i in range(len(points)):
        others = [j for j in range(len(points)) if own[j] != own[i]]
        r = sum(labels[j] == labels[i] for j in others)
        if not r:
            continue
        order = sorted(others, key=lambda j: np.linalg.norm(points[j] - points[i]))[:r]
        right = np.array([labels[j] == labels[i] for j in order])
        precision = np.cumsum(right) / np.arange(1, r + 1)
        scores.append([right[0], right.mean(), (right * precision).mean()])
    return np.mean(scores, 0)


@pytest.mark.parametrize("by_capture", [False, True])
def test_against_loops(by_capture, monkeypatch):
    monkeypatch.setattr(retrieval, "CHUNK", 7)  # several chunks, the last one short
    rng = np.random.default_rng(0)
    labels, captures = rng.integers(0, 4, 60), rng.integers(0, 15, 60)
    points = rng.normal(size=(4, 3))[labels] + rng.normal(size=(60, 3))
    got = mean_scores(points, labels, captures if by_capture else None)
    want = plain(points, labels, captures if by_capture else np.arange(60))
    np.testing.assert_allclose(got, want)


def test_ties_give_the_mean_over_all_orders():
    distances = np.array([1.0, 2.0, 2.0, 2.0, 3.0, 3.0])
    same = np.array([False, True, False, True, True, False])
    scores = []
    for middle in itertools.permutations([1, 2, 3]):
        for end in itertools.permutations([4, 5]):
            right = same[[0, *middle, *end]][:3]
            precision = np.cumsum(right) / np.arange(1, 4)
            scores.append([right[0], right.mean(), (right * precision).mean()])
    got = retrieval._score(distances, same, 0.0)
    np.testing.assert_allclose(got, np.mean(scores, 0))


def test_collapse_is_chance():
    labels = np.repeat(np.arange(5), 9)  # sorted: storage order would score high
    first, r_precision, _ = mean_scores(np.ones((45, 4), np.float32), labels)
    assert first == r_precision == pytest.approx(8 / 44)


def test_labels_beyond_the_floats_do_not_merge():
    labels = np.repeat(2**24 + np.arange(20), 2)
    scores = retrieval.score_queries(np.repeat(np.arange(20.0), 2)[:, None], labels)
    np.testing.assert_array_equal(scores, np.ones((40, 3)))


@pytest.mark.parametrize("n", [0, 1, 5])
def test_without_a_pair_there_is_no_score(n):
    scores = retrieval.score_queries(np.ones((n, 2)), np.arange(n))
    assert scores.shape == (n, 3) and np.isnan(scores).all()


def test_as_pytorch_metric_learning_has_it():
    """Over queries, and over classes as readouts of a comparison are."""
    points = np.array(STORED["points"], np.float32)
    labels = np.array(STORED["labels"])
    got = mean_scores(points, labels)
    np.testing.assert_allclose(got, STORED["queries"], rtol=1e-6)
    by_query = retrieval.score_queries(points, labels)
    by_class = [
        np.mean(
            [
                by_query[labels == c, i].mean()
                for c in range(6)
                if (labels == c).sum() > 1
            ]
        )
        for i in range(3)
    ]
    np.testing.assert_allclose(by_class, STORED["classes"], rtol=1e-6)


def test_scores_of_some_queries_are_those_of_all():
    points = np.array(STORED["points"], np.float32)
    labels = np.array(STORED["labels"])
    queried = labels >= 3
    got = retrieval.score_queries(points, labels, queries=queried)
    assert np.isnan(got[~queried]).all()
    of_all = retrieval.score_queries(points, labels)
    np.testing.assert_array_equal(got[queried], of_all[queried])
