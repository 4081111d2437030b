"""What is normal in a network: against numbers worked out by hand."""

import numpy as np
import pytest

from siamjax.data import columns, features
from siamjax.evaluation import wccn
from siamjax.identification import normality
from siamjax.types import Baseline, Column, UsageError

TABLE = (
    Column("INVITE", "request"),
    Column("INVITE to final ms", "latency_final", empty=np.nan),
    Column("cpu", columns.COUNTER, empty=np.nan),
)


def traffic(bins=400, rate=20.0, seed=0):
    rng = np.random.default_rng(seed)
    counts = np.full((bins, 3), 7.0)  # the third column is a counter
    counts[:, 0] = rng.poisson(rate, bins)
    counts[:, 1] = rng.normal(50.0, 5.0, bins)
    return counts


def test_the_load_varies_what_counts_messages_and_nothing_else():
    counts, rng = traffic(), np.random.default_rng(1)
    for load in (0.25, 0.5, 1.0, 2.0):
        varied = normality.vary_load(counts, TABLE, load, rng)
        mean, variance = varied[:, 0].mean(), varied[:, 0].var()
        assert mean == pytest.approx(20 * load, rel=0.1)
        assert variance == pytest.approx(20 * load, rel=0.3)  # still as Poisson has it
        assert varied[:, 1].mean() == pytest.approx(50.0, rel=0.02)
        assert (varied[:, 2] == 7).all()
    np.testing.assert_array_equal(normality.vary_load(counts, TABLE, 1.0, rng), counts)
    for load in (0.0, 2.1):
        with pytest.raises(UsageError, match="load is"):
            normality.vary_load(counts, TABLE, load, rng)


def test_a_latency_that_was_not_measured_stays_so():
    counts = traffic(4)
    counts[:2, 1] = np.nan
    rng = np.random.default_rng(0)
    half = normality.vary_load(counts, TABLE, 0.5, rng)
    np.testing.assert_array_equal(np.isnan(half), np.isnan(counts))
    # At twice the load the other moment has a value.
    twice = normality.vary_load(counts, TABLE, 2.0, rng)
    np.testing.assert_allclose(twice[:, 1], counts[[2, 3, 2, 3], 1])


@pytest.fixture(scope="module")
def learnt():
    """Scaler, baseline, normality of `traffic`."""
    scaler = features.make_scaler(TABLE, floor=0.3, clip=30.0)
    counts = traffic()
    baseline = Baseline(
        *map(np.asarray, features.session_baseline(counts[:48], scaler))
    )
    moments = normality.normal_moments(
        counts, baseline, table=TABLE, scaler=scaler, bins=32, hop=2
    )
    rng = np.random.default_rng(2)
    training = wccn.fit_whitening(rng.normal(size=(200, 6)), np.zeros(200, int))
    return scaler, baseline, normality.fit_normality([moments], training)


def odd(learnt, counts):
    scaler, baseline, normal = learnt
    windows = counts.reshape(-1, 32, 3)
    repeated = Baseline(*(np.repeat(x[None], len(windows), 0) for x in baseline))
    z = np.asarray(features.to_features(windows, repeated, scaler))
    loads = normality.load_ratios(windows, repeated, TABLE)
    return normality.oddness(wccn.signed_log_moments(z), loads, normal)


def test_the_load_counts_the_messages_of_the_newer_half():
    counts = np.zeros((2, 4, 3))
    counts[0, 2:, 0], counts[1, :2, 0] = 3, 100
    counts[:, :, 1:] = np.nan, 5.0  # no message
    baseline = Baseline(np.log1p([[3.0, 50.0, 5.0]] * 2), np.zeros((2, 3)))
    # By hand: 6 of 6 messages, and 0 of 6, each with one more on both sides.
    np.testing.assert_allclose(
        normality.load_ratios(counts, baseline, TABLE), [1.0, 1 / 7], rtol=1e-6
    )


@pytest.mark.parametrize("rate", [5.0, 10.0, 20.0, 40.0])
def test_a_load_that_halves_or_doubles_is_normal(learnt, rate):
    assert np.quantile(odd(learnt, traffic(320, rate, seed=5)), 0.9) < 1


def test_a_silence_or_a_slow_answer_is_odd(learnt):
    silent, slow = traffic(320, seed=5), traffic(320, seed=6)
    silent[:, 0], silent[:, 1] = 0, np.nan
    slow[:, 1] *= 20
    assert odd(learnt, silent).min() > 1 and odd(learnt, slow).min() > 1


def test_the_limit_is_so_many_times_the_median(learnt):
    normal = learnt[2]
    rng = np.random.default_rng(3)
    moments = rng.normal(size=(50, 6))
    assert normality.oddness(moments, np.ones(50), normal) == pytest.approx(
        normality.sizes(moments, normal) / normal.limit
    )
    assert (normality.oddness(moments, np.full(50, 1 / 8), normal) >= 1).all()
    more = normality.oddness(moments, np.full(50, 99.0), normal)
    np.testing.assert_array_equal(more, normality.oddness(moments, np.ones(50), normal))
    again = normality.fit_normality([moments[:20], moments[20:]], normal.whitening)
    wider = normality.fit_normality([moments], normal.whitening, 9 * np.eye(6))
    assert (normality.sizes(moments, wider) < normality.sizes(moments, again)).all()
    middle = np.median(normality.sizes(moments, again))
    assert again.limit == pytest.approx(normality.LIMIT * middle)


def test_a_baseline_is_compared_with_those_of_training():
    scaler = features.make_scaler(TABLE, floor=0.3, clip=30.0)
    rng = np.random.default_rng(0)
    # Sessions of training differ in the first column, and hardly in the others.
    mean = 3.0 + rng.normal(size=(20, 3)) * [1.0, 0.05, 0.05]
    trained = Baseline(mean, np.full((20, 3), 0.1))
    whitening = wccn.fit_whitening(rng.normal(size=(200, 6)) / 10, np.zeros(200, int))

    beginnings = normality.fit_beginnings(trained, whitening, scaler)

    def far(*mean):
        return normality.distance_to_training(np.array(mean), beginnings)

    assert far(*mean[3]) == 0.0 and far(3.2, 3.0, 3.0) < 1
    assert far(3.0, 5.0, 3.0) > 1.5 and far(3.0, 5.0, 3.0) > 2 * far(5.0, 3.0, 3.0)
    one = Baseline(*(x[:1] for x in trained))
    alone = normality.fit_beginnings(one, whitening, scaler)
    assert normality.distance_to_training(mean[0] + 9, alone) == 0.0
    covariance = normality.between_sessions(trained, scaler)
    assert covariance[0, 0] > 10 * covariance[1, 1] > 0
    assert not covariance[3:].any() and not covariance[:, 3:].any()


def test_the_limit_follows_from_the_rate_by_blocks_that_were_held_out():
    """By hand: an hour of blocks; the higher half is 4, 3, 2, and 1 above 2 in the
    mean. So three an hour are above 2, and e times fewer a mean farther."""
    held_out = normality.HeldOut((1.0, 4.0, 0.5, 3.0, 1.5, 2.0), (0.5,) * 6, 600.0)
    limits = [normality.limit_at(held_out, rate) for rate in (3, 3 / np.e, 4, 5, 99)]
    assert limits == pytest.approx([2.0, 3.0, 1.5, 1.0, 1.0])
    assert normality.limit_at(held_out, 1e-3) > 5
    with pytest.raises(UsageError, match="above 0"):
        normality.limit_at(held_out, 0.0)


def test_each_stretch_is_held_out_from_the_normality_of_the_others(learnt):
    """One stretch is three times as far from the baseline: its blocks are large beside
    the others, and theirs are small beside it."""
    rng = np.random.default_rng(0)
    training = wccn.fit_whitening(rng.normal(size=(200, 6)), np.zeros(200, int))
    stretches = [rng.normal(size=(40, 6)) for _ in range(3)]
    stretches[1] *= 3
    held_out = normality.hold_out(stretches, training, windows=5, block_s=16.0)
    typical = np.reshape(held_out.typical, (3, 2))  # 10 windows at the usual load
    assert (typical[1] > 2 * np.delete(typical, 1, 0).max()).all()
    assert (np.array(held_out.highest) >= held_out.typical).all()
    assert normality.hold_out(stretches[:1], training, 5, 16.0) is None
    # Windows of normal traffic that was learnt are nearer: that is why it is held out.
    fitted = normality.fit_normality(stretches, training, limit=1.0)
    assert np.median(normality.sizes(stretches[1][20:30], fitted)) < (
        typical[1].min() * fitted.limit
    )


def test_traffic_that_does_not_vary_has_no_odd_window_of_its_own():
    training = wccn.Whitening(np.zeros(6), np.eye(6), np.eye(6), 0.3)
    noise = 1e-8 * np.random.default_rng(0).normal(size=(200, 6)) ** 3
    moments = np.full((200, 6), 0.5) + noise
    fitted = normality.fit_normality([moments], training)
    assert normality.oddness(moments, np.ones(200), fitted).max() < 1
    assert normality.oddness(moments + 0.1, np.ones(200), fitted).min() > 1
