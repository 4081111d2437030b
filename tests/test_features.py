"""Counts to features against plain NumPy in float64, and at the sharp edges."""

import jax
import numpy as np
import pytest

from siamjax.data import columns, features
from siamjax.types import Baseline, Column

TABLE = (
    Column("count", "request"),
    Column("gauge", "counter", heavy=False),
    Column("ms", "latency_final", "INVITE", empty=np.nan),
)


@pytest.fixture
def scaler():
    return features.make_scaler(TABLE, floor=0.3, clip=3.0)


def reference(counts, normal, floor, clip):
    x, n = counts.astype(float).copy(), normal.astype(float).copy()
    for column in (0, 2):
        x[..., column], n[..., column] = (
            np.log1p(x[..., column]),
            np.log1p(n[..., column]),
        )
    mean, deviation = np.nanmean(n, 0), np.nanstd(n, 0)
    z = (x - mean) / (deviation + floor)
    return np.clip(np.where(np.isnan(z), 0, z), -clip, clip)


def test_features_are_deviations_from_the_baseline(scaler):
    rng = np.random.default_rng(0)
    counts = rng.poisson(5, (2, 7, 3)).astype(np.float32)
    normal = rng.poisson(5, (20, 3)).astype(np.float32)
    counts[0, 2, 2] = normal[4, 2] = np.nan
    base = features.session_baseline(normal, scaler)
    got = jax.jit(features.to_features)(
        counts, Baseline(*(np.stack([b, b]) for b in base)), scaler
    )
    np.testing.assert_allclose(got, reference(counts, normal, 0.3, 3.0), atol=2e-5)


def test_one_window_is_the_same_alone_and_among_others(scaler):
    counts = np.random.default_rng(1).poisson(3, (4, 5, 3)).astype(np.float32)
    base = Baseline(np.full((4, 3), 1.0, np.float32), np.full((4, 3), 0.5, np.float32))
    together = features.to_features(counts, base, scaler)
    alone = features.to_features(
        counts[2:3], Baseline(base.mean[2:3], base.deviation[2:3]), scaler
    )
    np.testing.assert_array_equal(together[2:3], alone)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, 3e38])
def test_features_stay_within_the_clip(scaler, value):
    counts = np.full((1, 4, 3), value, np.float32)
    base = Baseline(np.zeros((1, 3), np.float32), np.zeros((1, 3), np.float32))
    got = np.asarray(features.to_features(counts, base, scaler))
    assert np.isfinite(got).all() and np.abs(got).max() <= 3.0


def test_a_column_that_measured_nothing_is_zero_in_the_baseline(scaler):
    base = features.session_baseline(np.full((5, 3), np.nan, np.float32), scaler)
    np.testing.assert_array_equal(base.mean, np.zeros(3))
    np.testing.assert_array_equal(base.deviation, np.zeros(3))


def test_a_bin_that_saw_nothing(scaler):
    base = Baseline(np.ones((1, 3), np.float32), np.zeros((1, 3), np.float32))
    silent = np.broadcast_to(scaler.empty, (1, 1, 3))
    got = features.to_features(silent, base, scaler)
    np.testing.assert_allclose(got, [[[-3.0, -3.0, 0.0]]])


def test_the_fixed_table_makes_a_scaler():
    scaler = features.make_scaler(columns.SIP, floor=0.3, clip=3.0)
    assert scaler.heavy.all() and np.isnan(scaler.empty).sum() == 4


def test_which_counters_are_heavy_tailed_and_what_is_a_unit():
    rng = np.random.default_rng(0)
    normal = np.stack(
        [
            rng.lognormal(3, 1.5, 500),  # a count with a tail
            rng.normal(50, 5, 500),  # a level
            rng.random(500) < 0.05,  # a flag that is seldom up
            np.full(500, 7800.0),  # never changes
            np.zeros(500),
            20 * rng.normal(size=500),  # has a sign
            np.full(500, np.nan),
        ],
        1,
    )
    normal[::50] = np.nan
    heavy = features.find_heavy_tailed([normal])
    assert heavy.tolist() == [True, False, False, False, False, False, False]
    unit = features.column_units([normal], heavy)
    # The same in blocks, to the bit.
    blocks = np.split(normal.astype(np.float32), [3, 3, 200])
    whole = [normal.astype(np.float32)]
    for x, y in zip(features._moments(blocks), features._moments(whole)):
        np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(features.find_heavy_tailed(blocks), heavy)
    np.testing.assert_allclose(unit[[0, 3, 4, 6]], [1.0, 78.0, 1.0, 1.0])
    np.testing.assert_allclose(unit[[1, 5]], [5.0, 20.0], rtol=0.1)
    # With them every feature is finite, and one unit is one whatever the column.
    scaler = features.make_scaler(
        columns.counter_columns("abcdefg", heavy), floor=unit, clip=9.0
    )
    baseline = features.session_baseline(normal, scaler)
    count = np.where(heavy, 0.0, np.asarray(baseline.mean) + unit)
    x = features.to_features(
        count[None, None], Baseline(*(b[None] for b in baseline)), scaler
    )
    assert np.isfinite(np.asarray(x)).all()
    np.testing.assert_allclose(x[0, 0, 3:5], 1.0, rtol=1e-5)
