"""The timeline of evidence that comes window by window is that of all at once."""

import numpy as np
import pytest

from siamjax.identification import decide, rules, weighing
from siamjax.monitoring import rows, tracking

RULE = rules.Rule(unknown=1.0, penalty=1.0, onset_s=13.0, clear_s=8.0)
NAMES = ("normal", "blocked", "delay")
ORIGINS = [f"{name}_001@40" for name in NAMES]


def evidence_of(states, seed=0, blind=()):
    """Windows that are near the example of a state, or of none where it is 3."""
    rng = np.random.default_rng(seed)
    n = len(states)
    distances = rng.uniform(1.2, 2.0, (n, 3))
    known = np.flatnonzero(np.array(states) < 3)
    distances[known, np.array(states)[known]] = rng.uniform(0.1, 0.9, len(known))
    distances[list(blind)] = np.inf
    return weighing.Evidence(
        names=NAMES,
        start_s=np.arange(n, dtype=float),
        end_s=n + 15.0,
        window_s=16.0,
        distances=distances,
        nearest=np.tile(np.arange(3), (n, 1)),
        deviation=rng.random(n),
        lead_s=15.0,
    )


def part(evidence, first, end):
    rows = weighing.take_windows(evidence, np.arange(first, end))
    return rows._replace(end_s=evidence.start_s[end - 1] + 16.0)


def track(evidence, step=1, **options):
    tracker, final = tracking.Tracker(RULE, ORIGINS, **options), []
    n = len(evidence.start_s)
    for first in range(0, n, step):
        final += tracker.add(part(evidence, first, min(first + step, n)))
    return final + tracker.finish(n + 15.0)


def assert_equal(spans, others):
    """Numbers that are not known are equal, too."""
    np.testing.assert_equal([s._asdict() for s in spans], [s._asdict() for s in others])


CASES = {
    "normal": [0] * 90,
    "one fault": [0] * 40 + [1] * 50,
    "a fault that ends": [0] * 100 + [1] * 40 + [0] * 100 + [2] * 30 + [0] * 20,
    "odd windows": [0] * 50 + [1] + [0] * 70 + [3] * 2 + [0] * 80 + [2] * 3 + [0] * 9,
    "in turn": [0] * 70 + [3] * 9 + [1] * 30 + [2] * 30 + [3] * 20 + [0] * 200,
    "starts in a fault": [2] * 30 + [0] * 100 + [3] * 40,
}


@pytest.mark.parametrize("step", [1, 7])
@pytest.mark.parametrize("name", CASES)
def test_window_by_window_the_timeline_is_that_of_the_capture(name, step):
    for seed in range(5):
        evidence = evidence_of(CASES[name], seed)
        want = decide.find_spans(evidence, RULE, ORIGINS)
        assert_equal(track(evidence, step), want)
        want = decide.find_spans(evidence, RULE, ORIGINS, taught={"delay"})
        assert_equal(track(evidence, step, taught={"delay"}), want)


def test_windows_without_a_value_are_unknown():
    evidence = evidence_of([0] * 200, blind=range(80, 90))
    spans = track(evidence)
    assert [span.condition for span in spans] == ["normal", "unknown", "normal"]
    assert_equal(spans, decide.find_spans(evidence, RULE, ORIGINS))


@pytest.mark.parametrize("state", range(4))
def test_what_is_kept_is_bounded_in_any_condition(monkeypatch, state):
    monkeypatch.setattr(tracking, "MOST_WINDOWS", 300)
    states = [0] * 100 + [state] * 1500 + [0] * 300
    evidence = evidence_of(states)
    tracker, final, kept = tracking.Tracker(RULE, ORIGINS), [], 0
    for i in range(len(states)):
        final += tracker.add(part(evidence, i, i + 1))
        kept = max(kept, len(tracker._windows.costs))
    spans = final + tracker.finish(len(states) + 15.0)
    assert kept < 500
    want = decide.find_spans(evidence, RULE, ORIGINS)
    assert [span[:3] for span in spans] == [span[:3] for span in want]
    for span, other in zip(spans, want):
        assert abs(span.distance - other.distance) < 0.1


def test_rows_that_come_and_go_are_those_of_an_array():
    rng = np.random.default_rng(0)
    wanted = rng.random((3, 2))
    kept = rows.Rows(wanted)
    wanted[:] = 0  # they are copied
    wanted = kept.values.copy()
    for i in range(200):
        more = rng.random((rng.integers(1, 4), 2))
        kept.append(more)
        wanted = np.concatenate([wanted, more])
        if i % 7 == 0:
            old = int(rng.integers(len(wanted) + 1))
            kept.drop(old)
            wanted = wanted[old:]
        np.testing.assert_array_equal(kept.values, wanted)
        assert len(kept) == len(wanted)


def test_less_of_each_session_is_kept_where_there_are_many():
    assert tracking.share_windows(1) == tracking.share_windows(32) == 3600
    assert tracking.share_windows(64) == 1800
    assert tracking.share_windows(192) == tracking.share_windows(1000) == 600
    evidence = evidence_of([0] * 600)
    tracker = tracking.Tracker(RULE, ORIGINS)
    tracker.add(part(evidence, 0, 500))
    tracker.most = 200
    for i in range(500, 600):
        tracker.add(part(evidence, i, i + 1))
        assert len(tracker._windows.costs) == 200
    (span,) = tracker.finish(615.0)
    assert span[:3] == (0.0, 615.0, "normal")
    assert span.distance == np.median(evidence.distances[400:, 0])


def test_faults_in_turn_for_ever_are_bounded(monkeypatch):
    monkeypatch.setattr(tracking, "MOST_WINDOWS", 300)
    states = ([1] * 90 + [2] * 70) * 10
    evidence = evidence_of(states)
    tracker, final, kept = tracking.Tracker(RULE, ORIGINS), [], 0
    for i in range(len(states)):
        final += tracker.add(part(evidence, i, i + 1))
        kept = max(kept, len(tracker._windows.costs))
    assert kept <= 600
    want = decide.find_spans(evidence, RULE, ORIGINS)
    assert_equal(final + tracker.finish(len(states) + 15.0), want)


def test_a_restart_in_a_long_fault_changes_nothing():
    """A long fault is judged now and then, also if the tracker went on in between."""
    states = [0] * 40 + [1] * (tracking._OFTEN + 40)
    evidence = evidence_of(states)
    tracker = tracking.Tracker(RULE, ORIGINS)
    tracker.add(part(evidence, 0, tracking._OFTEN + 41))
    for i in range(tracking._OFTEN + 41, len(states)):
        again = tracking.Tracker(RULE, ORIGINS)
        again.restore(tracker.state())
        assert_equal(again.spans, tracker.spans)
        for tracked in (tracker, again):
            tracked.add(part(evidence, i, i + 1))
        assert_equal(again.spans, tracker.spans)
