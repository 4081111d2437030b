"""Labels of windows, worked out by hand."""

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from siamjax.data import windows
from siamjax.types import RECOVERING, TRANSITIONAL, Label, Windows

CONDITIONS = ("normal", "blocked")


def label(features, labels, first=4):
    sizes = dict(length=4, hop=2, first=first, bin_s=1.0)
    return windows.cut_every_hop(
        0,
        len(features),
        labels,
        CONDITIONS,
        deviations=lambda: np.abs(features).mean(-1),
        **sizes,
    )


def test_a_window_is_a_faults_only_when_wholly_inside():
    x = np.zeros((24, 2))
    x[10:20] = 1.0
    got = label(x, (Label("blocked", 10.0, 20.0),))
    np.testing.assert_array_equal(got.start, [4, 6, 8, 10, 12, 14, 16, 18, 20])
    t = TRANSITIONAL
    np.testing.assert_array_equal(got.condition, [0, 0, t, 1, 1, 1, 1, t, 0])


def test_a_large_sum_before_a_window_does_not_hide_that_it_recovers():
    x = np.full((24, 2), 0.1, np.float32)
    x[8:14] = 1e9
    x[14:] = 0.5
    got = label(x, (Label("blocked", 8.0, 14.0),))
    assert (got.condition[got.start >= 14] == RECOVERING).all()


def test_after_a_fault_windows_recover_until_they_are_quiet_for_good():
    x = np.full((30, 2), 0.1)
    x[8:14] = 2.0
    x[14:20] = 0.5
    got = label(x, (Label("blocked", 8.0, 14.0),))
    after = got.condition[got.start >= 14]
    r = RECOVERING
    np.testing.assert_array_equal(
        got.start[got.start >= 14], [14, 16, 18, 20, 22, 24, 26]
    )
    np.testing.assert_array_equal(after, [r, r, r, 0, 0, 0, 0])


def test_a_quiet_moment_during_recovery_does_not_end_it():
    x = np.full((30, 2), 0.1)
    x[8:14] = 2.0
    x[18:22] = 0.5  # quiet before and after
    got = label(x, (Label("blocked", 8.0, 14.0),))
    after = got.condition[got.start >= 14]
    np.testing.assert_array_equal(after, [RECOVERING] * 4 + [0] * 3)


def test_a_fault_to_the_end_and_a_session_without_one():
    x = np.zeros((12, 2))
    got = label(x, (Label("blocked", 6.0, np.inf),))
    np.testing.assert_array_equal(got.condition, [TRANSITIONAL, 1, 1])
    np.testing.assert_array_equal(label(x, ()).condition, [0, 0, 0])


def test_no_window_touches_the_baseline_or_passes_the_end():
    for bins in range(0, 20):
        got = label(np.zeros((bins, 2)), ())
        assert (got.start >= 4).all() and (got.start + 4 <= bins).all()
        assert len(got.start) == max(0, (bins - 8) // 2 + 1)


def test_where_normal_is_labelled_nothing_else_is_normal():
    labels = (
        Label("normal", 0.0, 10.0),
        Label("blocked", 12.0, 18.0),
        Label("normal", 20.0, 26.0),
    )
    got = label(np.zeros((30, 2)), labels)
    t = TRANSITIONAL
    wanted = {4: 0, 6: 0, 8: t, 10: t, 12: 1, 14: 1, 16: t, 18: t, 20: 0, 22: 0, 24: t}
    assert dict(zip(got.start.tolist(), got.condition.tolist())) == {**wanted, 26: t}


def test_one_window_ends_with_each_stretch():
    labels = (
        Label("normal", 0.0, 3.0),
        Label("blocked", 5.0, 7.0),
        Label("normal", 9.0, 12.0),
        Label("blocked", 20.0, np.inf),
    )
    got = windows.cut_at_ends(3, 24, labels, CONDITIONS, length=4, first=0, bin_s=1.0)
    # The first stretch ends before there are 4 bins; the last one with the session.
    assert got.start.tolist() == [3, 8, 20] and got.condition.tolist() == [1, 0, 1]
    assert got.session.tolist() == [3, 3, 3]
    later = windows.cut_at_ends(3, 24, labels, CONDITIONS, length=4, first=5, bin_s=1.0)
    assert later.start.tolist() == [8, 20]


def test_a_long_normal_stretch_gives_a_window_for_each_of_its_lengths():
    """By hand: 0.6 to 14 has room for three windows of 4 bins; a fault has one."""
    labels = Label("normal", 0.6, 14.0), Label("blocked", 14.0, 22.0)
    cut = windows.cut_at_ends(0, 24, labels, CONDITIONS, length=4, first=0, bin_s=1.0)
    assert cut.start.tolist() == [2, 6, 10, 18]
    assert cut.condition.tolist() == [0, 0, 0, 1]


def test_normal_bins_hold_no_fault():
    faults = (Label("blocked", 4.0, 6.0),)
    got = windows.normal_bins(faults, 8, 1.0)
    np.testing.assert_array_equal(got, [1, 1, 1, 1, 0, 0, 0, 0])
    assert windows.normal_bins((), 8, 1.0).all()
    labels = (Label("normal", 1.0, 3.0), *faults, Label("normal", 6.5, 8.0))
    got = windows.normal_bins(labels, 8, 1.0)
    np.testing.assert_array_equal(got, [0, 1, 1, 0, 0, 0, 0, 1])


@given(bin_ms=st.integers(1, 5000), onset=st.integers(4, 20))
@example(bin_ms=100, onset=6)
def test_labels_at_the_ends_of_bins_hold_at_any_length_of_a_bin(bin_ms, onset):
    """As decimal fractions of a second: 7 bins of 0.1 s end at 0.7000000000000001 s."""
    end = onset + 6
    fault = Label("blocked", onset * bin_ms / 1000, end * bin_ms / 1000)
    sizes = dict(length=4, hop=1, first=4, bin_s=bin_ms / 1000)
    sizes["deviations"] = lambda: np.zeros(40)
    cut = windows.cut_every_hop(0, 40, (fault,), CONDITIONS, **sizes)
    inside = cut.start[cut.condition == 1]
    assert inside.tolist() == [onset, onset + 1, onset + 2]
    normal = Label("normal", fault.onset_s, fault.clear_s)
    bins = windows.normal_bins((normal,), 40, bin_ms / 1000)
    assert np.flatnonzero(bins).tolist() == list(range(onset, end))
    bins = windows.normal_bins((fault,), 40, bin_ms / 1000)
    assert np.flatnonzero(bins).tolist() == list(range(onset))


def test_windows_are_chosen_evenly_from_each_condition_of_a_session():
    session = np.repeat([0, 0, 1, 1], [3, 40, 10, 20]).astype(np.int32)
    condition = np.repeat([0, 1, 0, 1], [3, 40, 10, 20]).astype(np.int32)
    cut = Windows(session, np.arange(73, dtype=np.int32), condition)
    role = np.where(session == 0, "train", "test")
    kept = windows.choose_evenly(cut, role, 13)
    count = [kept[(session == s) & (condition == c)].sum() for s, c in np.ndindex(2, 2)]
    assert count == [3, 10, 6, 6]
    assert np.flatnonzero(kept[3:43]).tolist() == list(range(0, 40, 4))
    assert windows.choose_evenly(cut, role, 100).all()
    one_each = windows.choose_evenly(cut, role, 1)
    assert np.flatnonzero(one_each).tolist() == [0, 3, 43, 53]
