"""Intervals over captures: their coverage where the truth is known, and their edges."""

import numpy as np
import pytest
from scipy import stats

from scripts.experiments import intervals as simulated
from siamjax.evaluation import statistics
from siamjax.evaluation.statistics import Table


def bed(rng, conditions, captures, *, effect=0.0):
    """Two methods' `Table`s of a simulated bed and the truth of the first one's recall.

    Each capture holds normal windows and those of one fault, and has a difficulty
    that all its windows share: they are no independent witnesses. `effect` is how much
    better the second method is.
    """
    fault = 1 + np.arange(captures) % (conditions - 1)
    difficulty = rng.normal(size=captures)
    judged = np.zeros((captures, conditions))
    judged[:, 0] = rng.integers(10, 20, captures)
    judged[np.arange(captures), fault] = rng.integers(10, 30, captures)
    truth = 0.6 + 0.1 * np.cos(np.arange(conditions))
    chance = truth + 0.1 * difficulty[:, None]

    def right(shift):
        recall = chance + shift + 0.03 * rng.normal(size=(captures, 1))
        return rng.binomial(judged.astype(int), recall.clip(0, 1))

    return Table(right(0.0), judged), Table(right(effect), judged), truth.mean()


def coverage(conditions, captures, simulations, interval=statistics.recall_interval):
    inside = 0
    for seed in range(simulations):
        first, _, truth = bed(np.random.default_rng(seed), conditions, captures)
        got = interval(first)
        inside += got.low <= truth <= got.high
    return inside / simulations


def naive(counts):
    """The usual formula, which takes windows for independent samples."""
    n, p = counts.judged.sum(), statistics.mean_recall(counts)
    half = 1.96 * np.sqrt(p * (1 - p) / n) / np.sqrt(100)  # over 100 draws
    return statistics.Interval(p, p - half, p + half, 0)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(statistics, "REPLICATES", 200)


@pytest.mark.parametrize("conditions, captures", [(4, 12), (7, 40)])
def test_coverage(quick, conditions, captures):
    assert 0.92 <= coverage(conditions, captures, 300) <= 0.985
    assert coverage(conditions, captures, 300, naive) < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("conditions, captures", [(2, 12), (4, 12), (7, 40), (12, 24)])
def test_coverage_in_full(quick, conditions, captures):
    assert 0.925 <= coverage(conditions, captures, 2000) <= 0.975


def found(conditions, captures, effect, simulations):
    count = 0
    for seed in range(simulations):
        first, second, _ = bed(
            np.random.default_rng(seed), conditions, captures, effect=effect
        )
        got = statistics.recall_difference(second, first)
        count += got.low > 0 or got.high < 0
    return count / simulations


def test_a_planted_difference_is_found_and_a_planted_null_is_not(quick):
    assert found(5, 24, 0.15, 60) > 0.95
    assert found(5, 24, 0.0, 300) <= 0.09


@pytest.mark.slow
def test_a_planted_null_in_full(quick):
    assert found(5, 24, 0.0, 2000) <= 0.065


def test_one_condition_is_the_t_interval():
    means = np.array([0.5, 0.9, 0.7, 0.4, 0.8, 0.6, 0.75, 0.65])[:, None]
    got = statistics.recall_interval(Table(10 * means, np.full((8, 1), 10)))
    low, high = stats.t.interval(0.95, 7, means.mean(), means.std(ddof=1) / np.sqrt(8))
    assert got.value == pytest.approx(means.mean())
    np.testing.assert_allclose([got.low, got.high], [low, high], atol=0.01)


def test_pairs_are_narrower_than_their_parts():
    rng = np.random.default_rng(0)
    first, second, _ = bed(rng, 5, 24)
    alone_1, alone_2 = (
        statistics.recall_interval(first),
        statistics.recall_interval(second),
    )
    paired = statistics.recall_difference(first, second)
    assert paired.high - paired.low < np.hypot(
        alone_1.high - alone_1.low, alone_2.high - alone_2.low
    )


def test_identical_methods_do_not_differ():
    first, _, _ = bed(np.random.default_rng(0), 5, 24)
    got = statistics.recall_difference(first, first)
    assert got.value == 0.0 and got.low < 0.0 < got.high


@pytest.mark.parametrize("wrong", [0.0, 0.3])
def test_nearly_all_right_is_not_certain(wrong):
    right = np.full((20, 1), 5.0)
    right[0] -= 5 * wrong
    got = statistics.recall_interval(Table(right, np.full((20, 1), 5.0)))
    exact = stats.binomtest(20, 20).proportion_ci(method="exact")
    assert got.value == pytest.approx(1 - wrong / 20)
    np.testing.assert_allclose([got.low, got.high], [exact.low - wrong / 20, 1.0])
    none = statistics.recall_interval(Table(5 - right, np.full((20, 1), 5.0)))
    np.testing.assert_allclose([none.low, none.high], [0.0, 1 - got.low], atol=1e-12)
    assert got.widened and none.widened


def test_an_interval_says_where_it_is_that_of_unmet_failures():
    right = np.full((20, 1), 5.0)
    right[:3] = 0.0
    table = Table(right, np.full((20, 1), 5.0))
    assert not statistics.recall_interval(table).widened
    opposite = table._replace(right=5 - right)
    assert not statistics.recall_difference(table, opposite).widened
    assert statistics.recall_difference(table, table).widened


def test_one_capture_says_nothing():
    got = statistics.recall_interval(Table(np.array([[3.0]]), np.array([[4.0]])))
    assert got == (0.75, 0.0, 1.0, 1, False)


def test_nothing_judged_is_no_number():
    got = statistics.recall_interval(Table(np.zeros((0, 2)), np.zeros((0, 2))))
    assert np.isnan(got.value) and got.captures == 0


def test_table_sums_judged_hits():
    hits = np.array([[1.0, 0.5, np.nan, 0.0], [np.nan, 1.0, np.nan, 1.0]])
    conditions, captures = np.array([0, 1, 1, 1]), np.array([7, 7, 8, 9])
    got = statistics.sum_hits(hits, conditions, captures, [0, 1])
    np.testing.assert_array_equal(got.right, [[1.0, 1.5], [0.0, 1.0]])
    np.testing.assert_array_equal(got.judged, [[1, 2], [0, 2]])


@pytest.mark.parametrize("conditions", simulated.CONDITIONS)
def test_clustered_intervals_cover(conditions):
    spread = simulated.SPREADS["conditions differ most"]
    ours, naive, _ = simulated.coverage(conditions, spread, 300)
    assert 0.92 <= ours <= 0.98 and naive < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("conditions", simulated.CONDITIONS)
@pytest.mark.parametrize("spread", simulated.SPREADS.values(), ids=simulated.SPREADS)
def test_clustered_intervals_cover_in_full(conditions, spread):
    ours, naive, false_findings = simulated.coverage(conditions, spread, 2000)
    assert 0.925 <= ours <= 0.975 and naive < 0.6 and false_findings <= 0.065


def test_of_equal_methods_none_is_better_and_a_planted_one_is():
    assert simulated.family(3, 100) <= 0.10
    assert simulated.family(3, 20, effect=2.5) > 0.9


def test_one_way_is_students_interval():
    x = np.array([0.5, 0.9, 0.7, 0.4, 0.8, 0.6])
    got = statistics.clustered_mean(x, np.full(6, 1 / 6), [np.arange(6)])
    low, high = stats.t.interval(0.95, 5, x.mean(), x.std(ddof=1) / np.sqrt(6))
    np.testing.assert_allclose([got.low, got.high], [low, high])
    assert got.p_value == pytest.approx(stats.ttest_1samp(x, 0).pvalue)


def test_clusters_are_one_witness_each():
    """Ten copies of every value in its cluster say no more than one."""
    x = np.array([0.5, 0.9, 0.7, 0.4, 0.8, 0.6])
    interval = statistics.clustered_mean(x, np.full(6, 1 / 6), [np.arange(6)])
    ten = statistics.clustered_mean(
        np.repeat(x, 10), np.full(60, 1 / 60), [np.repeat(np.arange(6), 10)]
    )
    np.testing.assert_allclose(interval, ten)


def test_two_ways_by_hand():
    """3 x 3: V = V_rows + V_columns - V_cells, of e = (x - mean) / 9."""
    rows, columns = np.indices((3, 3)).reshape(2, -1)
    x = rows + columns  # mean 2, e = -2/9 -1/9 0, -1/9 0 1/9, 0 1/9 2/9
    got = statistics.clustered_mean(x, np.full(9, 1 / 9), [rows, columns])
    # Rows: sums -1/3 0 1/3, so 3 / (3 - 1) * 2/9 = 1/3; columns alike; cells
    # 9/8 * 12/81 = 1/6.
    assert got.deviation == pytest.approx(np.sqrt(1 / 3 + 1 / 3 - 1 / 6))
    assert got.freedom == 2


def test_two_clusters_carry_no_interval():
    repeats, conditions = np.indices((2, 6)).reshape(2, -1)
    x, weights = np.arange(12) / 12, np.full(12, 1 / 12)
    got = statistics.clustered_mean(x, weights, [conditions, repeats])
    assert got.value == pytest.approx(11 / 24) and got.p_value == 1.0
    assert np.isinf([got.low, got.high]).all()


def test_no_difference_is_none_and_one_cluster_says_nothing():
    weights, ways = np.full(4, 0.25), [np.arange(4)]
    assert statistics.clustered_mean(np.zeros(4), weights, ways).p_value == 1.0
    assert statistics.clustered_mean(np.full(4, 1e-17), weights, ways).p_value == 1.0
    got = statistics.clustered_mean(np.ones(4), weights, [np.zeros(4, int)])
    assert got.p_value == 1.0 and got.high == np.inf


def test_holm_by_hand():
    got = statistics.holm([0.01, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(got, [0.03, 0.06, 0.06, 0.02])


def test_the_least_difference_is_found_with_its_power():
    deviation, freedom = 0.02, 11
    least = statistics.least_difference(deviation, freedom)
    limit = stats.t.ppf(0.975, freedom)
    power = stats.nct.sf(limit, freedom, least / deviation)
    assert power == pytest.approx(0.8, abs=0.02)


def test_days_that_hold_many_conditions_say_as_much_as_captures_of_one(quick):
    """A few days, each with a hundred faults: a difference of a few of them in every
    day is no accident of one capture that was not met."""
    judged = np.full((7, 100), 100.0)
    second = np.full(judged.shape, 60.0)
    first = second + np.array([2, 3, 4, 5, 6, 7, 8])[:, None]
    got = statistics.recall_difference(Table(first, judged), Table(second, judged))
    half = stats.t.ppf(0.975, 6) * np.std([2, 3, 4, 5, 6, 7, 8], ddof=1) / 7**0.5 / 100
    assert got.value == pytest.approx(0.05)
    assert got.high - got.value == pytest.approx(half, rel=0.2)  # 200 replicates
    # Where the two never differ, seven days are still but seven.
    got = statistics.recall_difference(Table(first, judged), Table(first, judged))
    assert got.high - got.low > 0.5
