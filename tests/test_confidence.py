"""p-values, rates of false alarms and onsets, worked out by hand."""

import math

import numpy as np
import pytest

from siamjax.identification import confidence, decide, rules, weighing
from siamjax.identification.confidence import Calibration, Onset
from siamjax.types import UsageError


def test_a_p_value_counts_what_is_as_far_and_has_a_floor():
    calibration = (0.1, 0.2, 0.2, 0.4)
    assert confidence.p_value(0.05, calibration) == 1.0
    assert confidence.p_value(0.2, calibration) == pytest.approx(4 / 5)
    assert confidence.p_value(9.0, calibration) == pytest.approx(1 / 5)
    assert math.isnan(confidence.p_value(0.1, ()))
    assert math.isnan(confidence.p_value(np.inf, calibration))
    # With four stretches nothing is below 0.05: farther than all of them is doubtful.
    assert confidence.is_doubtful(1 / 5, calibration)
    assert not confidence.is_doubtful(2 / 5, calibration)


def test_p_values_of_known_stretches_are_uniform():
    """Of draws with 19 stretches each, one in 20 is farther than all."""
    rng = np.random.default_rng(0)
    values = [
        confidence.p_value(rng.normal(), tuple(rng.normal(size=19)))
        for _ in range(2000)
    ]
    for level in (0.05, 0.25, 0.5):
        assert np.mean(np.array(values) <= level + 1e-9) == pytest.approx(
            level, abs=0.03
        )


def test_the_peaks_of_the_cumulative_sum():
    against = [-1.0, 2.0, 1.0, -1.0, -5.0, 0.5, -1.0, 0.25]
    assert confidence.find_peaks(np.array(against)) == [3.0, 0.5, 0.25]


def test_the_cost_of_a_change_follows_from_the_rate():
    """By hand: in two hours four peaks; with a cost of 3 two are above it or at it."""
    calibration = Calibration(peaks=(8.0, 3.0, 2.0, 1.0), normal_s=7200.0)
    rates = 0.5, 1, 2, 9
    cost = [confidence.penalty_at(calibration, rate, 0.5, 0.5) for rate in rates]
    assert cost == [8.0, 3.0, 1.0, 0.5]
    rare = [confidence.penalty_at(calibration, rate, 0.5, 0.5) for rate in (0.1, 0.01)]
    assert rare[1] - rare[0] == pytest.approx(2.5 * math.log(10)) and rare[0] > 8
    silent = Calibration(normal_s=3600.0)
    assert confidence.penalty_at(silent, 1.0, 0.5, 0.5) == 0.5
    assert confidence.penalty_at(silent, 0.1, 0.5, 0.5) == pytest.approx(
        0.5 + 0.5 * math.log(10)
    )
    for rate in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(UsageError, match="above 0"):
            confidence.penalty_at(calibration, rate, 0.5, 0.5)


def test_where_changes_are_free_many_alarms_cost_nothing():
    calibration = Calibration(peaks=(3.0, 2.0, 0.1), normal_s=3600.0)
    free = rules.Rule(1.0, 0.0, 0.0, 0.0, calibration=calibration)
    assert [rules.ask_rate(free, n).penalty for n in (1, 3, 9)] == [3.0, 0.1, 0.0]
    dear = free._replace(penalty=0.5)
    assert rules.ask_rate(dear, 9).penalty == rules.LEAST


def test_the_error_of_an_onset_is_that_of_captures_it_does_not_rest_on():
    onsets = confidence.fit_onsets({"slow": [4.0, 5.0, 9.0], "once": [3.0]})
    assert onsets == {"slow": Onset(5.0, 4.5)}


def test_a_rule_is_read_as_it_was_written():
    calibration = Calibration((0.1, 0.2), (1.0,), (3.0,), 60.0, {"": Onset(4.0, 1.0)})
    rule = rules.Rule(1.0, 1.0, 0.0, 0.0, 0.3, 1.2, calibration)
    stored = rules.as_json(rule)
    assert rules.from_json(stored) == rule
    with pytest.raises(ValueError, match="a limit is not above 0"):
        rules.from_json(stored | dict(novel=0.0))
    del stored["calibration"]["peaks"]
    with pytest.raises(ValueError, match="peaks is missing"):
        rules.from_json(stored)


def seen(relative):
    """8 normal windows and 8 of a fault; the relative distances of the latter."""
    rows = np.array([[0.2, 2.0, 3.0]] * 8 + [[2.0, 0.3, 0.6]] * 8)
    return weighing.Evidence(
        names=("normal", "blocked", "slow"),
        start_s=np.arange(16.0),
        end_s=31.0,
        window_s=16.0,
        distances=rows,
        nearest=np.tile([0, 1, 2], (16, 1)),
        deviation=np.repeat([0.1, 1.0], 8),
        relative=np.array([[0.05, 0.9, 0.9]] * 8 + [relative] * 8),
    )


@pytest.mark.parametrize(
    ("relative", "p", "candidates"),
    [
        ((0.9, 0.06, 0.8), 0.8, ("blocked",)),
        ((0.9, 0.06, 0.09), 0.8, ("blocked", "slow")),
        ((0.9, 0.25, 0.8), 0.2, ("blocked", "unknown")),
        ((0.9, 0.25, 0.09), 0.2, ("blocked", "unknown", "slow")),
        ((0.9, 0.7, 0.8), 0.2, ("unknown",)),
    ],
)
def test_a_stretch_that_may_be_something_else_says_so(relative, p, candidates):
    calibration = Calibration((0.05, 0.07, 0.08, 0.1), onsets={"": Onset(2.0, 1.5)})
    rule = rules.Rule(1.0, 1.0, 0.0, 0.0, 0.3, 1.2, calibration)
    calm, fault = decide.find_spans(seen(relative), rule)
    assert (calm.candidates, calm.p_value) == (("normal",), 1.0)
    assert fault.candidates == candidates and fault.condition == candidates[0]
    assert fault.p_value == pytest.approx(p)
    assert (fault.start_s, fault.onset_error_s) == (10.0, 1.5)


def test_a_taught_fault_has_the_calibration_of_one_example():
    calibration = Calibration((0.01, 0.02), (0.2, 0.5, 0.6))
    rule = rules.Rule(1.0, 1.0, 0.0, 0.0, 0.3, 1.2, calibration)
    fault = decide.find_spans(seen((0.9, 0.2, 0.8)), rule, taught=["blocked"])[1]
    assert (fault.condition, fault.p_value) == ("blocked", 0.75)


def test_in_an_adapted_network_normal_traffic_has_the_p_value_of_what_was_given():
    """By hand: of four blocks two are as odd as 0.5, and none is as odd as 1.2."""
    odd = np.array([0.5] * 8 + [1.2] * 8)
    calm = (0.3, 0.4, 0.6, 0.7)
    for normal, p_values, candidates in (
        (calm, (3 / 5, 4 / 5), ("blocked",)),
        ((*calm, 1.3), (4 / 6, 4 / 5), ("blocked", "normal")),
        ((), (1.0, 4 / 5), ("blocked",)),
    ):
        calibration = Calibration((0.05, 0.07, 0.08, 0.1), normal=normal)
        rule = rules.Rule(1.0, 1.0, 0.0, 0.0, 0.3, 1.2, calibration)
        evidence = seen((0.9, 0.06, 0.8))._replace(oddness=odd)
        spans = decide.find_spans(evidence, rule)
        assert [span.condition for span in spans] == ["normal", "blocked"]
        assert spans[0].candidates == (("normal",) if normal else ())
        if normal:
            assert spans[0].p_value == pytest.approx(p_values[0])
        else:
            assert math.isnan(spans[0].p_value)  # it has no calibration
        assert spans[1].p_value == pytest.approx(p_values[1])
        assert spans[1].candidates == candidates


def test_a_second_weaker_fault_is_not_recovering():
    calibration = Calibration((0.05, 0.07, 0.08, 0.1))
    rule = rules.Rule(1.0, 1.0, 0.0, 0.0, 0.3, 1.2, calibration)

    def names(length, relative):
        rows = [[0.2, 2.0, 3.0]] * 9 + [[2.0, 0.3, 2.0]] * 20
        rows += [[2.0, 2.0, 0.3]] * length
        near = [[0.05, 0.9, 0.9]] * 9 + [[0.9, 0.05, 0.9]] * 20 + [relative] * length
        n = len(rows)
        evidence = seen(relative)._replace(
            start_s=np.arange(float(n)),
            end_s=n + 15.0,
            distances=np.array(rows),
            nearest=np.tile([0, 1, 2], (n, 1)),
            deviation=np.array([0.1] * 9 + [1.0] * 20 + [0.3] * length),
            relative=np.array(near),
        )
        return [span.condition for span in decide.find_spans(evidence, rule)]

    assert names(20, [0.9, 0.9, 0.06]) == ["normal", "blocked", "slow"]
    assert names(20, [0.9, 0.9, 0.2]) == ["normal", "blocked", "recovering"]
    assert names(7, [0.9, 0.9, 0.06]) == ["normal", "blocked", "recovering"]
