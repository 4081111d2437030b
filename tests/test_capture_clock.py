"""Clocks that jump: the order of the file is kept, and no packet is lost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siamjax.capture import cleaning, clock

S, DAY = 10**9, 86_400 * 10**9


def mend(times_ns, joined=False):
    """Times without jumps, of a timeline, and all it knows of them."""
    timeline = clock.Timeline()
    packets = [timeline.add(time_ns) for time_ns in times_ns]
    times = timeline.finish(joined=joined)
    return times.settle(*np.array(packets, np.int64).reshape(-1, 2).T), times


def mend_seconds(*times_s, joined=False):
    mended, times = mend([round(t * S) for t in times_s], joined)
    return (mended / S).tolist(), times.jumps


@pytest.mark.parametrize(
    "times_s, mended_s, jumps",
    [
        ([], [], 0),
        ([5], [5], 0),
        ([0, 1, 2, 86_000], [0, 1, 2, 86_000], 0),
        ([1, 0.5, 2], [1, 0.5, 2], 0),  # out of order
        ([10, 11, 1, 2, 3], [10, 11, 11, 12, 13], 1),  # set back
        ([0, 1, 1e6, 1e6 + 1], [0, 1, 1, 2], 1),  # set ahead, or another recording
        ([1e6, 1e6 + 1, 0, 1e6 + 2], [1e6, 1e6 + 1, 1e6 + 1, 1e6 + 2], 1),  # one packet
        ([0, 9e5, 9e5 + 1, 5e6, 5e6 + 1], [0, 0, 1, 1, 2], 2),
        ([9, 5, 9.1, 5.1, 9.2, 5.2], [9, 9, 9.1, 9.1, 9.2, 9.2], 1),  # two clocks
    ],
)
def test_jumps_by_hand(times_s, mended_s, jumps):
    mended, count = mend_seconds(*times_s)
    np.testing.assert_allclose(mended, mended_s, atol=1e-6)
    assert count == jumps


def test_captures_joined_in_the_wrong_order_or_of_the_same_time_are_only_sorted():
    assert mend_seconds(10, 11, 0, 1, joined=True) == ([10, 11, 0, 1], 0)
    assert mend_seconds(1e6, 1e6 + 1, 0, 1, joined=True) == ([1, 2, 0, 1], 1)
    # Back behind the first recording, and two jumps closed.
    times_s = (1e6, 1e6 + 1, 0, 1, 3e6, 1e6 + 2)
    mended = ([1, 2, 0, 1, 3, 3], 2)
    assert mend_seconds(*times_s, joined=True) == mended


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, S), min_size=1, max_size=30),
    st.lists(st.tuples(st.integers(0, 29), st.integers(-(10**18), 10**18)), max_size=4),
)
def test_a_clock_that_jumps_any_way_keeps_the_order_and_other_distances(steps, jumps):
    true = np.cumsum(steps).astype(np.int64)
    shown = true + 10**18
    for place, by_ns in jumps:
        shown[place:] += by_ns // (1 if place % 2 else 10**9)
    mended, times = mend(shown.tolist())
    assert len(mended) == times.packets == len(shown)
    distance = np.diff(mended)
    assert (distance >= -clock.BACK_NS).all() and (distance <= clock.AHEAD_NS).all()
    unchanged = np.diff(shown) == np.diff(true)
    same = distance == np.diff(shown)
    moved = (np.diff(shown) < -clock.BACK_NS) | (np.diff(shown) > clock.AHEAD_NS)
    assert (same | moved)[unchanged].all()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-S, 3 * S), min_size=1, max_size=40),
    st.integers(1, 9),
    st.booleans(),
)
def test_pauses_are_those_of_all_packets_in_whatever_pieces(steps, piece, joined):
    times_ns = np.cumsum(steps)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "_PIECE", piece)
        mended, times = mend(times_ns.tolist(), joined)
    in_order = np.sort(mended)
    assert (times.first_ns, times.last_ns) == (in_order[0], in_order[-1])
    assert times.reordered == (np.diff(mended) < 0).sum()
    pauses = np.stack([in_order[:-1] - in_order[0], np.diff(in_order)], 1)
    expected = pauses[pauses[:, 1] > clock.PAUSE_NS]
    np.testing.assert_array_equal(times.pauses_ns, expected)
    gaps = cleaning.find_gaps(in_order)
    assert cleaning.list_gaps(times.pauses_ns, times.packets) == gaps
