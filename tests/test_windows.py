"""Labels of windows, worked out by hand."""

import numpy as np

from siamjax.data import windows
from siamjax.types import RECOVERING, TRANSITIONAL, Label

CONDITIONS = ("normal", "blocked")


def label(features, labels, first=4):
    return windows.of_session(
        0, features, labels, CONDITIONS, length=4, hop=2, first=first, bin_s=1.0
    )


def test_a_window_is_a_faults_only_when_wholly_inside():
    x = np.zeros((24, 2))
    x[10:20] = 1.0
    got = label(x, (Label("blocked", 10.0, 20.0),))
    np.testing.assert_array_equal(got.start, [4, 6, 8, 10, 12, 14, 16, 18, 20])
    t = TRANSITIONAL
    np.testing.assert_array_equal(got.condition, [0, 0, t, 1, 1, 1, 1, t, 0])


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
