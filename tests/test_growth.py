"""Growth of counters: by hand, after resets and errors, exact beyond 2^53."""

import numpy as np
import pandas as pd
import pytest

from siamjax.capture import growth, quantities


def test_growth_of_a_counter_by_hand():
    nan = np.nan
    column = np.array([5.0, 7.0, nan, nan, 13.0, 13.0, 4.0, 6.0])
    grown, resets, glitches = growth.measure_growth(column)
    # 6 in three steps are 2 a step; after the reset it began at 0 and came to 4.
    np.testing.assert_array_equal(grown, [nan, 2, nan, nan, 2, 0, 4, 2])
    assert resets == 1 and glitches == 0


@pytest.mark.parametrize("bits", [32, 64])
def test_a_counter_that_runs_over_grew_by_what_is_past_the_end(bits):
    step = 2.0**20  # representable beside 2**64
    column = np.array(
        [2.0**bits - 2 * step, 2.0**bits - step, step, 2 * step, 4 * step]
    )
    grown, resets, glitches = growth.measure_growth(column)
    np.testing.assert_array_equal(grown[1:], [step, 2 * step, step, 2 * step])
    assert resets == 1 and glitches == 0


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
    grown, resets, glitches = growth.measure_growth(np.array(column, float))
    np.testing.assert_array_equal(grown[1:], wanted)
    assert (resets, glitches) == (0, 1)


@pytest.mark.parametrize("start", [2**53, 2**60, 2**63 - 500, 2**64 - 300])
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
