"""Growth of counters: by hand, after resets and errors, exact beyond 2^53."""

import numpy as np
import pandas as pd
import pytest

from siamjax.capture import growth, quantities


def test_growth_of_a_counter_by_hand():
    nan = np.nan
    column = np.array([5.0, 7.0, nan, nan, 13.0, 13.0, 4.0, 6.0])
    grown, resets, overflows, glitches = growth.measure_growth(column)
    # 6 in three steps are 2 a step; after the reset it began at 0 and came to 4.
    np.testing.assert_array_equal(grown, [nan, 2, nan, nan, 2, 0, 4, 2])
    assert (resets, overflows, glitches) == (1, 0, 0)


@pytest.mark.parametrize("bits", [32, 64])
def test_a_counter_that_runs_over_grew_by_what_is_past_the_end(bits):
    step = 2.0**20  # representable beside 2**64
    column = np.array(
        [2.0**bits - 2 * step, 2.0**bits - step, step, 2 * step, 4 * step]
    )
    grown, resets, overflows, glitches = growth.measure_growth(column)
    np.testing.assert_array_equal(grown[1:], [step, 2 * step, step, 2 * step])
    assert (resets, overflows, glitches) == (0, 1, 0)


def test_only_what_seldom_goes_back_is_a_growing_counter():
    rng = np.random.default_rng(1)
    growing = np.cumsum(rng.poisson(5, 100)).astype(float)
    reset = growing.copy()
    reset[60:] -= reset[60] - 3
    gauge, flag = rng.uniform(1, 9, 100), (np.arange(100) > 50).astype(float)
    back = growing.copy()
    back[[20, 40, 60]] -= 20
    table = np.stack([growing, reset, gauge, flag, np.ones(100), back], 1)
    got = growth.find_growing([table, table], [None, None])
    assert got.tolist() == [True, True, False, False, False, False]
    # What a column is does not depend on the session: one that falls decides for all.
    other = table.copy()
    other[::10, 0] = other[1::10, 0] + 1
    assert not growth.find_growing([table, other], [None, None])[0]
    # One step back in 50 rises is an error of the table.
    other = table.copy()
    other[50, 0] = other[49, 0] - 1
    assert growth.find_growing([table, other], [None, None])[0]


@pytest.mark.parametrize(
    "column, wanted",
    [
        ([10, 12, 3, 16, 18], [2, np.nan, 2, 2]),  # a dip, also to nearly 0
        ([10, 12, 11, 16, 18], [2, np.nan, 2, 2]),
        ([10, 12, 90, 16, 18], [2, np.nan, 2, 2]),  # a peak
        ([100, 120, 90, 95, 99], [20, np.nan, 5, 4]),  # put back for good
    ],
)
def test_one_wrong_value_is_no_growth(column, wanted):
    grown, *counts = growth.measure_growth(np.array(column, float))
    np.testing.assert_array_equal(grown[1:], wanted)
    assert counts == [0, 0, 1]


def test_a_gauge_with_the_form_of_a_saw_is_no_growing_counter():
    """As memory that is freed again and again, or a log that is rotated."""
    rows, rng = np.arange(900), np.random.default_rng(5)
    saw = rows % 30
    saws = [
        saw,
        7 * saw + rng.integers(0, 5, 900),  # with noise, to about 0
        1000 + 200 * (rows % 180),  # seldom, and not to 0
        *[(saw + base) * 3 for base in rng.integers(10, 20, 2)],
    ]
    # These are counters: restarted at any height, or of 32 bits and soon full.
    counts = np.cumsum(rng.poisson(50, 900))
    ends = np.array([300, 420, 700, 850])
    restarted = counts - np.r_[0, counts[ends]][np.searchsorted(ends, rows, "right")]
    full = (2**28 * rows + 5) % 2**32
    zeros = np.where(rows % 40 == 20, 0, counts)  # an exporter that was away
    for columns, wanted in (saws, False), ([counts, restarted, full, zeros], True):
        table = np.stack(columns, 1).astype(float)
        assert growth.find_growing([table], [None]).tolist() == [wanted] * len(columns)


@pytest.mark.parametrize("start", [2**53, 2**60, 2**63 - 500, 2**64 - 99])
def test_growth_is_exact_where_float64_is_not(start):
    steps = np.random.default_rng(3).integers(1, 9, 40)
    written = [(start + int(grown)) % 2**64 for grown in np.cumsum(steps)]
    column = np.array(written, np.uint64 if max(written) >= 2**63 else np.int64)
    for cells in (
        pd.Series(column),
        pd.Series([str(cell) for cell in written]),
        pd.Series([*map(str, written), None]),  # pandas makes numbers beside it float
    ):
        numbers = quantities.read_numbers(cells, ".")
        rows = growth.measure_growth(numbers.values, numbers.rest).values
        np.testing.assert_array_equal(rows[1:40], steps[1:])
        rises = growth.find_growing([numbers.values[:, None]], [numbers.rest[:, None]])
        assert rises.all()
