"""N-way episodes against a slow count; intervals against what they must cover."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from scripts.experiments import episodes
from siamjax.evaluation import statistics
from siamjax.types import UsageError


def data(seed=0, conditions=8, each=6, dims=5):
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(conditions), each)
    centre = rng.normal(size=(conditions, dims))
    queries = centre[label] + 0.8 * rng.normal(size=(len(label), dims))
    examples = centre[label] + 0.8 * rng.normal(size=(len(label), dims))
    return queries, examples, label


def test_hits_are_the_count_of_nearest_examples():
    queries, examples, label = data()
    drawn = episodes.draw(label, label, classes=range(8), ways=4, draws=20)
    got = episodes.hits(cdist(queries, examples), label, drawn)
    for d in range(20):
        for q in range(len(label)):
            if label[q] not in drawn.classes[d]:
                assert np.isnan(got[d, q])
                continue
            far = [np.linalg.norm(queries[q] - examples[r]) for r in drawn.rows[d]]
            assert got[d, q] == (drawn.classes[d][np.argmin(far)] == label[q])
    assert (label[drawn.rows] == drawn.classes).all()
    assert all(len(set(classes)) == 4 for classes in drawn.classes.tolist())


def test_collapsed_points_and_shuffled_labels_score_chance():
    label = data()[2]
    drawn = episodes.draw(label, label, classes=range(8), ways=4, draws=200)
    same = episodes.hits(np.zeros((len(label), len(label))), label, drawn)
    np.testing.assert_allclose(np.nanmean(same), 0.25)
    noise = np.random.default_rng(1).random((len(label), len(label)))
    assert abs(np.nanmean(episodes.hits(noise, label, drawn)) - 0.25) < 0.03


def test_distances_are_those_of_scipy_far_from_the_origin():
    queries, examples, _ = data()
    got = episodes.distances(queries + 1e4, examples + 1e4)
    np.testing.assert_allclose(got, cdist(queries, examples) ** 2, rtol=1e-6)


def test_too_few_conditions_are_refused():
    with pytest.raises(UsageError, match="ways is 5, but only 3 conditions have"):
        episodes.draw(np.arange(4), np.arange(1, 4), classes=range(4), ways=5, draws=1)


def test_recall_is_the_mean_over_conditions_and_tables_add_up():
    found = np.array([[1.0, 0.0, 0.0, np.nan], [1.0, 1.0, 0.0, 1.0]])
    conditions, captures = np.array([0, 0, 0, 2]), np.array([0, 0, 1, 1])
    table = episodes.table(found, conditions, captures, 3)
    assert table.right.tolist() == [[3, 0, 0], [0, 0, 1]]
    assert table.judged.tolist() == [[4, 0, 0], [2, 0, 1]]
    value = episodes.recall(table).value
    assert value == pytest.approx((3 / 6 + 1) / 2)
    assert value == pytest.approx(statistics.mean_recall(table))
    assert episodes.recall(episodes.add([table, table])).value == pytest.approx(value)


def test_intervals_cover_the_truth_when_conditions_and_captures_differ():
    """Conditions with a hardness of their own: about 95 % of intervals cover it."""
    rng, covered = np.random.default_rng(0), 0
    for _ in range(60):
        hard = rng.beta(3, 2, 20)
        right = rng.binomial(10, np.clip(hard + 0.05 * rng.normal(size=(7, 1)), 0, 1))
        counts = statistics.Table(right.astype(float), np.full((7, 20), 10.0))
        got = episodes.recall(counts)
        covered += got.low <= 0.6 <= got.high
    assert 50 <= covered <= 60


def test_a_paired_difference_is_sharper_than_two_recalls():
    rng = np.random.default_rng(1)
    judged = np.full((7, 20), 10.0)
    hard = rng.beta(3, 2, 20)
    first = statistics.Table(rng.binomial(10, hard, (7, 20)).astype(float), judged)
    worse = first.right - 2 * (rng.random((7, 20)) < 0.5)
    second = statistics.Table(np.maximum(worse, 0), judged)
    got, alone = episodes.difference(first, second), episodes.recall(first)
    assert 0.05 < got.low < got.value < got.high < 0.15
    assert got.high - got.low < 0.5 * (alone.high - alone.low)
    assert episodes.difference(first, first)[:3] == (0.0, 0.0, 0.0)
