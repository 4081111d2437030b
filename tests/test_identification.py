"""From points to a timeline: against brute force, and worked out by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siamjax.identification import decide, examples, fitting, rules, timeline, weighing
from siamjax.types import Baseline, Label

RULE = rules.Rule(unknown=1.0, penalty=1.0, onset_s=2.0, clear_s=3.0)
KNOWN = fitting.Scores(np.linspace(0.1, 0.5, 9), np.linspace(0.1, 0.2, 9))
NOVEL = fitting.Scores(np.array([1.5, 1.6]), np.array([0.4, 0.5]))


def cost_of(path, costs, penalty):
    changes = sum(a != b for a, b in itertools.pairwise(path))
    return sum(costs[i][s] for i, s in enumerate(path)) + penalty * changes


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.floats(0, 3), min_size=3, max_size=3), min_size=1, max_size=6),
    st.floats(0, 2),
)
def test_decode_finds_the_cheapest_sequence(costs, penalty):
    sequence = timeline.decode(np.array(costs), penalty)
    best = min(
        cost_of(path, costs, penalty)
        for path in itertools.product(range(3), repeat=len(costs))
    )
    assert cost_of(sequence.tolist(), costs, penalty) == pytest.approx(best, abs=1e-9)


def test_decode_of_nothing_and_of_equal_costs():
    assert timeline.decode(np.zeros((0, 3)), 1.0).tolist() == []
    assert timeline.decode(np.ones((4, 3)), 1.0).tolist() == [0, 0, 0, 0]


def evidence(rows, deviation):
    """Windows a second apart; rows of distances to (normal, blocked)."""
    rows = np.array(rows, float)
    n = len(rows)
    return weighing.Evidence(
        names=("normal", "blocked"),
        start_s=np.arange(n, dtype=float),
        end_s=n + 15.0,
        window_s=16.0,
        distances=rows,
        nearest=np.tile([0, 1], (n, 1)),
        deviation=np.array(deviation, float),
    )


def names(spans):
    return [span.condition for span in spans]


def test_a_fault_begins_where_its_first_window_says():
    seen = evidence([[0.2, 2.0]] * 10 + [[2.0, 0.3]] * 10, [0.1] * 10 + [1.0] * 10)
    first, second = decide.find_spans(seen, RULE, ["a@1", "b@2"])
    assert names([first, second]) == ["normal", "blocked"]
    assert (first.start_s, first.end_s) == (0.0, 12.0)
    assert (second.start_s, second.end_s) == (12.0, 35.0)
    assert second.distance == pytest.approx(0.3) and second.example == "b@2"
    assert second.margin == pytest.approx(1.7)


def test_one_odd_window_changes_nothing_and_a_far_one_is_unknown():
    rows = [[0.2, 2.0]] * 6 + [[2.0, 0.3]] + [[0.2, 2.0]] * 6
    seen = evidence(rows, [0.1] * 13)
    assert names(decide.find_spans(seen, RULE)) == ["normal"]
    rows = [[0.2, 2.0]] * 6 + [[3.0, 3.0]] * 6
    seen = evidence(rows, [0.1] * 6 + [1.0] * 6)
    got = names(decide.find_spans(seen, RULE))
    assert got == ["normal", "unknown"]


def test_the_fading_echo_of_a_fault_is_recovering():
    rows = [[0.2, 2.0]] * 5 + [[2.0, 0.3]] * 6 + [[3.0, 3.0]] * 6 + [[0.2, 2.0]] * 6
    loud = evidence(rows, [0.1] * 5 + [1.0] * 6 + [1.0] * 6 + [0.1] * 6)
    fading = evidence(rows, [0.1] * 5 + [1.0] * 6 + [0.3] * 6 + [0.1] * 6)
    assert names(decide.find_spans(loud, RULE)) == [
        "normal",
        "blocked",
        "unknown",
        "normal",
    ]
    assert names(decide.find_spans(fading, RULE)) == [
        "normal",
        "blocked",
        "recovering",
        "normal",
    ]


def test_a_weak_stretch_that_lasts_and_does_not_fall_is_another_fault():
    """It lasts for one and a half windows of 16 s."""
    rows = [[0.2, 2.0]] * 5 + [[2.0, 0.3]] * 20 + [[3.0, 3.0]] * 30
    before = [0.1] * 5 + [1.0] * 20
    for deviation, lasts, name in (
        ([0.3] * 30, 24, "unknown"),
        ([0.3] * 30, 23, "recovering"),
        ([0.5] * 15 + [0.3] * 15, 30, "recovering"),
    ):
        seen = evidence(rows, before + deviation)
        seen = weighing.take_windows(seen, slice(25 + lasts))
        named = names(decide.find_spans(seen, RULE))
        assert named == ["normal", "blocked", name], lasts


def test_a_fault_ends_where_its_deviation_fell_though_windows_still_have_its_name():
    """By hand: the fault leaves the newest quarter of a window of 16 s after window 15,
    and the window itself ten windows later. It is half behind the end 14 s after the
    start of a window; three captures say 13 s, and that all three are as near."""
    rows = [[0.2, 2.0]] * 5 + [[2.0, 0.3]] * 20
    deviation = [0.1] * 5 + [1.0] * 5 + [0.5] * 3 + [1.0] * 2 + [0.6] * 10
    seen = evidence(rows, deviation)
    spans = decide.find_spans(seen, RULE)
    assert names(spans) == ["normal", "blocked", "recovering"]
    assert spans[2].start_s == 15.0 + 14.0 and np.isnan(spans[2].onset_error_s)
    label = Label("blocked", 9.0, 28.0)
    rule = fitting.fit_rule([(seen, (label,))] * 3, KNOWN, NOVEL)
    spans = decide.find_spans(seen, rule)
    assert (spans[2].start_s, spans[2].onset_error_s) == (28.0, 0.0)
    # It must last in windows: windows of 60 s need more than these ten seconds.
    long = decide.find_spans(seen._replace(window_s=60.0), RULE)
    assert names(long) == ["normal", "blocked"]
    # What falls for less than 6 s, or not to 0.65, goes on.
    for tail in ([0.6] * 5, [0.65] * 10):
        other = [*deviation[:15], *tail]
        spans = decide.find_spans(evidence(rows[: len(other)], other), RULE)
        assert names(spans) == ["normal", "blocked"]


@pytest.mark.parametrize(("share", "name"), [(0.55, "recovering"), (0.7, "unknown")])
def test_what_still_deviates_like_the_fault_is_no_echo_of_it(share, name):
    rows = [[0.2, 2.0]] * 5 + [[2.0, 0.3]] * 6 + [[3.0, 3.0]] * 6
    seen = evidence(rows, [0.1] * 5 + [1.0] * 6 + [share] * 6)
    assert names(decide.find_spans(seen, RULE)) == ["normal", "blocked", name]


def test_where_a_network_is_known_its_oddness_is_the_distance_to_normal():
    """By hand: at oddness 1 normal is as far as the threshold, whatever its example."""
    rows = [[3.0, 2.5]] * 8 + [[0.1, 0.3]] * 8 + [[3.0, 3.0]] * 8
    seen = evidence(rows, [0.1] * 8 + [1.0] * 16)
    seen = seen._replace(oddness=np.array([0.5] * 8 + [4.0] * 8 + [1.5] * 8))
    spans = decide.find_spans(seen, RULE, ["a@1", "b@2"])
    assert names(spans) == ["normal", "blocked", "unknown"]
    assert (spans[0].distance, spans[0].example) == (0.5, "")
    # An example that is near makes no alarm of a window that is normal there.
    near = evidence([[3.0, 0.1]] * 9, [0.1] * 9)._replace(oddness=np.full(9, 0.9))
    (span,) = decide.find_spans(near, RULE, ["a@1", "b@2"])
    assert span.condition == "normal" and span.margin == pytest.approx(-0.8)
    only = seen._replace(
        names=("blocked",), distances=seen.distances[:, 1:], nearest=seen.nearest[:, 1:]
    )
    assert names(decide.find_spans(only, RULE)) == ["normal", "blocked", "unknown"]


def test_a_short_other_name_before_a_fault_is_its_beginning():
    """By hand: 5 windows near blocked, then 9 of a new fault; and the other way."""
    calm, new, blocked = [[0.2, 3.0]] * 6, [[3.0, 3.0]], [[3.0, 0.3]]
    for rows in (calm + blocked * 5 + new * 9, calm + new * 5 + blocked * 9):
        seen = evidence(rows, [0.1] * 6 + [1.0] * 14)
        spans = decide.find_spans(seen, RULE)
        assert len(spans) == 2 and spans[1].start_s == 6.0 + RULE.onset_s
    # What lasts as long as a window, or longer than what follows, is another fault.
    for rows in (calm + blocked * 16 + new * 20, calm + blocked * 9 + new * 5):
        seen = evidence(rows, [0.1] * 6 + [1.0] * (len(rows) - 6))
        assert names(decide.find_spans(seen, RULE)) == ["normal", "blocked", "unknown"]


def test_a_taught_fault_may_be_farther_but_gives_no_alarm():
    rows = [[0.2, 2.0]] * 8 + [[3.0, 1.1]] * 8
    seen = evidence(rows, [0.1] * 8 + [1.0] * 8)
    assert names(decide.find_spans(seen, RULE)) == ["normal", "unknown"]
    taught = decide.find_spans(seen, RULE, taught=["blocked", "other"])
    assert names(taught) == ["normal", "blocked"] and taught[1].distance == 1.1
    farther = evidence(np.add(rows, [0, 0.2]), [0.1] * 8 + [1.0] * 8)
    assert names(decide.find_spans(farther, RULE, taught=["blocked"]))[1] == "unknown"
    # Where normal is a little nearer, the taught fault does not win.
    calm = evidence([[0.9, 0.95]] * 16, [0.1] * 16)
    assert names(decide.find_spans(calm, RULE, taught=["blocked"])) == ["normal"]


def test_a_taught_fault_that_leads_all_others_may_be_farther():
    """By hand: 1.4 + 0.5 * (1.4 - 1.8) is 1.2, the threshold, and 1.4 alone is above
    it; beside another fault at 1.6 it is 1.3."""
    contrasted = weighing.contrast_distances(
        np.array([[1.4, 1.8, 3.0], [1.4, 1.6, 3.0]])
    )
    np.testing.assert_allclose(contrasted, [[1.2, 2.0, 3.8], [1.3, 1.7, 3.8]])
    alone = np.array([[1.4], [np.inf]])
    np.testing.assert_array_equal(weighing.contrast_distances(alone), alone)
    unmeasured = np.array([[1.4, np.inf], [np.inf, np.inf]])
    np.testing.assert_array_equal(weighing.contrast_distances(unmeasured), unmeasured)
    for other, name in ((1.81, "blocked"), (1.6, "unknown")):
        rows = [[0.2, 2.0, 3.0]] * 8 + [[3.0, 1.4, other]] * 8
        seen = evidence(rows, [0.1] * 8 + [1.0] * 8)
        seen = seen._replace(
            names=("normal", "blocked", "other"), nearest=np.zeros((16, 3), int)
        )
        span = decide.find_spans(seen, RULE, taught=["blocked"])[1]
        assert span.condition == name
        assert span.threshold == pytest.approx((1.2 + 0.5 * other) / 1.5)


def test_a_fault_that_shows_slowly_begins_where_the_oddness_rises():
    """By hand: usual traffic has 0.4, so 0.7 is midway to the limit; the fault begins
    with the window of 0.7 and not with that of 1.5."""
    odd = [0.4] * 30 + [0.5, 0.6, 0.7, 0.8, 0.9] + [1.5, 2.0] + [3.0] * 10
    rows = [[9.0, 2.0]] * 35 + [[9.0, 0.3]] * 12
    seen = evidence(rows, [0.1] * 35 + [1.0] * 12)
    span = decide.find_spans(seen._replace(oddness=np.array(odd)), RULE)[1]
    assert (span.condition, span.start_s) == ("blocked", 32.0 + RULE.onset_s)
    # No farther back than a window, however long the traffic was that high.
    high = np.array([0.4] * 10 + [0.8] * 40 + [3.0] * 10)
    seen = evidence([[9.0, 2.0]] * 50 + [[9.0, 0.3]] * 10, [0.1] * 60)
    seen = seen._replace(oddness=high)
    least = [span.start_s for span in decide.find_spans(seen, RULE)]
    assert least == [0.0, 50.0 + RULE.onset_s]  # 0.8 is usual here
    high[20:34] = 0.4
    span = decide.find_spans(seen._replace(oddness=high), RULE)[1]
    assert span.start_s == 34.0 + RULE.onset_s


def test_how_new_a_window_is_says_its_distance_to_the_training_windows():
    """By hand: the limit is 0.3. The examples are near or far, but windows of training
    are not."""
    rule = RULE._replace(novel=0.3, taught=1.5)
    rows = [[0.2, 2.0]] * 8 + [[2.0, 0.7]] * 8
    relative = [[0.1, 0.9]] * 8 + [[0.8, 0.45]] * 8
    far = evidence(rows, [0.1] * 8 + [1.0] * 8)._replace(relative=np.array(relative))
    span = decide.find_spans(far, rule)[1]
    assert (span.condition, span.other, span.distance) == ("unknown", "blocked", 0.7)
    assert span.threshold == pytest.approx(0.575)  # 0.7 - (1.125 - 1)
    rows = [[0.2, 2.0]] * 8 + [[2.0, 1.4]] * 8
    relative[8:] = [[0.8, 0.15]] * 8
    near = evidence(rows, [0.1] * 8 + [1.0] * 8)._replace(relative=np.array(relative))
    span = decide.find_spans(near, rule)[1]
    wide = 2.4 - 0.5 * np.sqrt(0.15 / 0.8)
    assert (span.condition, span.threshold) == ("blocked", pytest.approx(wide))
    # A fault that was taught has no training windows: its example is enough.
    relative[8:] = [[0.8, 0.45]] * 8
    taught = near._replace(relative=np.array(relative))
    assert names(decide.find_spans(taught, rule)) == ["normal", "unknown"]
    spans = decide.find_spans(taught, rule, taught=["blocked"])
    assert names(spans) == ["normal", "blocked"]
    assert spans[1].threshold == 1.5


def test_normal_traffic_of_training_makes_no_window_known_where_oddness_decides():
    rows = np.array([[0.1, 3.0]] * 9)
    relative = np.array([[0.1, 0.9]] * 9)
    seen = evidence(rows, [1.0] * 9)._replace(oddness=np.full(9, 1.5))
    rule = RULE._replace(novel=0.3)
    (span,) = decide.find_spans(seen._replace(relative=relative), rule)
    assert span.condition == "unknown"


def test_a_session_too_short_for_a_window_has_no_timeline():
    seen = evidence(np.zeros((0, 2)), [])
    assert decide.find_spans(seen, RULE) == []


def test_the_rule_learns_threshold_and_offsets():
    rows = [[0.2, 2.0]] * 10 + [[2.0, 0.3]] * 10 + [[0.2, 2.0]] * 10
    seen = evidence(rows, [0.1] * 30)
    label = Label("blocked", 14.0, 25.0)
    rule = fitting.fit_rule([(seen, (label,))], KNOWN, NOVEL)
    assert rule.unknown == pytest.approx(1.0)  # the middle of the gap
    assert rule.penalty == pytest.approx(0.5)
    assert rule.taught == pytest.approx(0.9)
    assert rule.novel == pytest.approx(0.199**0.75 * 0.3**0.25)
    assert rule.onset_s == pytest.approx(4.0) and rule.clear_s == pytest.approx(5.0)
    spans = decide.find_spans(seen, rule)
    assert [(s.start_s, s.condition) for s in spans] == [
        (0.0, "normal"),
        (14.0, "blocked"),
        (25.0, "normal"),
    ]


def test_a_fault_begins_with_the_unknown_windows_before_it():
    """By hand: a window is 16 s long. Windows that are neither normal nor blocked come
    before the fault; of a fault without an example all windows are unknown. Both begin
    8 s after the start of their first window."""
    calm, neither = [[0.2, 2.0]] * 10, [[2.0, 2.0]]
    blocked = [[2.0, 0.3]] * 10
    seen = evidence(calm + neither * 3 + blocked, [0.1] * 23)
    new = evidence(calm + neither * 10, [0.1] * 20)
    learnt = (
        (seen, (Label("blocked", 18.0, np.inf),)),
        (new, (Label("new", 18.0, np.inf),)),
    )
    rule = fitting.fit_rule(learnt, KNOWN, NOVEL)
    assert rule.onset_s == 8.0
    for session, name in ((seen, "blocked"), (new, "unknown")):
        spans = [(s.start_s, s.condition) for s in decide.find_spans(session, rule)]
        assert spans == [(0.0, "normal"), (18.0, name)]


def test_unknown_windows_longer_than_a_window_or_not_measured_stay_unknown():
    calm, blocked = [[0.2, 2.0]] * 10, [[2.0, 0.3]] * 10
    long = evidence(calm + [[2.0, 2.0]] * 18 + blocked, [0.1] * 38)
    assert names(decide.find_spans(long, RULE)) == ["normal", "unknown", "blocked"]
    blind = evidence(calm + [[np.inf, np.inf]] * 3 + blocked, [0.1] * 23)
    assert names(decide.find_spans(blind, RULE)) == ["normal", "unknown", "blocked"]
    first = evidence([[2.0, 2.0]] * 3 + blocked, [0.1] * 13)
    assert names(decide.find_spans(first, RULE)) == ["unknown", "blocked"]


def test_faults_of_one_name_do_not_shift_each_other():
    """Two faults far apart: each onset is learnt from its own stretch."""
    rows = ([[0.2, 2.0]] * 10 + [[2.0, 0.3]] * 10) * 2 + [[0.2, 2.0]] * 10
    seen = evidence(rows, [0.1] * 50)
    labels = Label("blocked", 14.0, 25.0), Label("blocked", 34.0, 45.0)
    rule = fitting.fit_rule([(seen, labels)], KNOWN, NOVEL)
    assert rule.onset_s == pytest.approx(4.0) and rule.clear_s == pytest.approx(5.0)


def test_a_stretch_never_begins_before_the_one_before_it():
    """Offsets that reach beyond short stretches leave them in order, none negative."""
    rows = [[0.2, 2.0]] * 10 + [[2.0, 0.3]] * 3 + [[0.2, 2.0]] * 10
    seen = evidence(rows, [0.1] * 23)
    rule = RULE._replace(onset_s=6.0, clear_s=-3.0)
    spans = decide.find_spans(seen, rule)
    assert names(spans) == ["normal", "blocked", "normal"]
    edges = [edge for span in spans for edge in (span.start_s, span.end_s)]
    assert edges == sorted(edges) and edges[0] == 0.0


def test_the_nearest_example_of_a_name_counts():
    points = np.array([[0.0, 0.0], [1.0, 0.0]])
    examples = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 0.5]])
    compared = weighing.compare_windows(
        points, examples, ("a", "b", "a"), np.arange(2.0), 2.0, 1.0, np.zeros(2)
    )
    assert compared.names == ("a", "b")
    np.testing.assert_allclose(compared.distances[0], [0.5, 1.0])
    np.testing.assert_array_equal(compared.nearest[0], [2, 1])


def test_an_example_is_given_as_one_text():
    assert examples.parse_place("slow=a=b@c.pcap@12.5") == ("slow", "a=b@c.pcap", 12.5)


def test_examples_are_saved_and_joined(tmp_path):
    rng = np.random.default_rng(0)
    part = examples.Examples(
        (examples.Place("a", "c", 1.0),),
        rng.normal(size=(1, 4, 2)),
        Baseline(np.ones((1, 2)), np.zeros((1, 2))),
    )
    joined = examples.join_examples(part, part)
    examples.save_examples(tmp_path / "e.npz", joined)
    got = examples.load_examples(tmp_path / "e.npz")
    assert got.places == joined.places and got.names == ("a", "a")
    np.testing.assert_array_equal(got.counts, joined.counts)
