"""The audit's parts: gap, statistics, rule; and encoders that suffer on purpose."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scripts.experiments import planted
from siamjax.auditing import probes, report, statistics, verdict
from siamjax.auditing.subject import Batches, Gap, Outputs, measure_gap
from siamjax.models import norm


def outputs(loss, chance=1.0, shift=0.0, rows=4):
    loss = np.asarray(loss, float)
    points = np.arange(rows * 2.0).reshape(1, rows, 2).repeat(len(loss), 0) + shift
    hits = np.full(len(loss), 0.5)
    return Outputs(points, loss, np.full(len(loss), chance), hits)


def test_the_gap_is_the_share_of_the_way_to_chance():
    got = measure_gap(outputs([0.2, 0.2]), outputs([0.4, 0.8], shift=3.0))
    # Means 0.2 and 0.6, chance 1: half of the way; batches of 0.25 and 0.75.
    assert got.share == pytest.approx(0.5)
    np.testing.assert_allclose([got.low, got.high], [0.25, 0.75])
    # Four points on a line, sqrt(8) apart: 1.25 steps between two, itself among them.
    assert got.shift == pytest.approx(18**0.5 / (1.25 * 8**0.5))


def test_an_encoder_that_learnt_nothing_has_no_gap_to_speak_of():
    got = measure_gap(outputs([0.999] * 4), outputs([1.001] * 4))
    assert got.share == pytest.approx(0.02)


def gaps_of(**shares):
    """Gaps of these shares, `moving` among them."""
    plain = dict(train_loss=0.1, predict_loss=0.5, chance_loss=1.0)
    plain |= dict(train_hits=1.0, predict_hits=0.5, shift=0.1)
    return {
        name.replace("_", "-"): Gap(share, share - 0.01, share + 0.01, **plain)
        for name, share in shares.items()
    }


@pytest.mark.parametrize(
    "cause, cure, shares",
    [
        ("healthy", "", dict(moving=0.028, debiased=0.028)),
        ("lag", "debias", dict(moving=0.4, debiased=0.09, pooled=0.0)),
        ("lost", "pooled", dict(moving=0.4, precise=0.02, pooled=0.0)),
        ("session", "per-session", dict(moving=0.1, pooled=0.05, per_session=0.0)),
        ("composition", "", dict(moving=0.4, per_session=0.3, batch=0.0)),
        ("branch", "", dict(moving=0.4, batch=0.5, per_branch=0.0)),
        ("unknown", "", dict(moving=0.4, debiased=0.11, pooled=0.4, batch=0.4)),
    ],
)
def test_the_rule(cause, cure, shares):
    got = verdict.decide("batch", gaps_of(**shares))
    assert (got.cause, got.cure) == (cause, cure)
    assert got.gap == (cause != "healthy")
    assert "{" not in got.text


def test_a_changed_input_path_comes_before_all():
    inputs = dict(features=0.5, baseline=0.1, scaler=0.0, points=0.2)
    assert verdict.decide("none", gaps_of(moving=0.0), inputs).cause == "input"
    inputs["features"] = 1e-6
    assert verdict.decide("none", gaps_of(moving=0.0), inputs).cause == "nothing"


def batches(windows, session, lengths=None, group=None):
    shape = windows.shape[:2]
    lengths = np.full(shape, windows.shape[2], np.int32) if lengths is None else lengths
    labels = np.zeros(shape, np.int32)
    keys = jax.random.split(jax.random.key(0), shape[0])
    group = session if group is None else group
    return Batches(windows, lengths, labels, session, group, keys)


def test_population_and_padding_by_hand():
    rng = np.random.default_rng(0)
    level = np.arange(4.0).reshape(4, 1, 1, 1)
    x = (level + 0.01 * rng.normal(size=(4, 5, 6, 3))).astype(np.float32)
    session = np.broadcast_to(np.arange(4)[:, None], (4, 5))
    population = probes.population(batches(x, session))
    # All of the variance lies between the batches, 5 rows each: 5 times n / (n - 1).
    assert population["design_effect"] == pytest.approx(5 * 4 / 3, rel=0.01)
    assert population["sessions_per_batch"] == 1
    assert population["share_between"]["session"] == pytest.approx(1, abs=0.01)
    fair = probes.population(batches(x.swapaxes(0, 1).copy(), session.T.copy()))
    assert fair["design_effect"] < 0.1 and fair["sessions_per_batch"] == 4
    half = np.full((4, 5), 3, np.int32)
    assert probes.padding(batches(x, session, half)) == pytest.approx(0.5)


def test_numerics_tell_what_one_pass_would_lose():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 4, 50, 3)).astype(np.float32)
    x[..., 1] += 1e4
    x[..., 2] = 7.0
    session = np.zeros((2, 4), np.int32)
    numerics = probes.numerics(batches(x, session), ("a", "b", "c"))
    assert numerics["level_over_deviation"] == pytest.approx(1e4, rel=0.1)
    assert numerics["one_pass_error"] > 0.1 and numerics["constant"] == ["c"]


def test_debiasing_takes_out_the_start_value():
    plant = planted.PLANTS["lag"]
    rng = np.random.default_rng(0)
    mean, variance = rng.normal(size=8), rng.uniform(0.1, 9, 8)
    left = 0.99**30
    kept = dict(mean=mean * (1 - left), variance=left + (1 - left) * variance)
    stats = norm.TrainStats(jnp.int32(30), kept)
    subject = planted.make_subject(plant, {}, stats)
    got = statistics.debias(subject).moments
    np.testing.assert_allclose(got["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(got["variance"], variance, rtol=1e-5)


@functools.cache
def weights_of(plant):
    """Of the plant trained with each of `SEEDS`; `lose` changes nothing before."""
    return planted.trained(plant, SEEDS)


SEEDS = [0, 1]  # 20 of each, and more kinds: scripts/experiments/norm.py


@pytest.mark.parametrize(
    "name, cause",
    [
        ("healthy", "healthy"),
        ("lost", "lost"),  # the same weights, statistics overwritten
        ("session", "session"),
        ("mixed", "healthy"),
        ("lag", "lag"),
        ("branch", "branch"),
    ],
)
def test_each_cause_is_named(name, cause):
    plant = planted.PLANTS[name]
    weights = weights_of(plant._replace(lose=False))
    for index, seed in enumerate(SEEDS):
        subject = planted.subject(plant, weights, index)
        audited = report.audit_subject(subject, planted.batches(plant, seed))
        assert audited.verdict.cause == cause
        hygiene, devices = audited.probes["hygiene"], audited.probes["devices"]
        assert hygiene["kept"] and hygiene["moved"] and hygiene["left_alone"]
        assert hygiene["zero_variance"] == (8 if name == "lost" else 0)
        assert devices["devices"] > 1 and devices["difference"] < 1e-5
        assert audited.probes["leak"] > 0
        left = audited.probes["lag"]["start_share"]
        assert left == pytest.approx(0.99**100 if name == "lag" else 0)


def test_without_statistics_there_is_nothing_to_choose_from():
    stats = norm.TrainStats(jnp.int32(1), {})
    subject = planted.make_subject(planted.PLANTS["layer"], {}, stats)
    zeros = batches(np.zeros((2, 3, 4, 8)), np.zeros((2, 3), np.int32))
    assert list(statistics.candidates(subject, zeros)) == ["moving"]
