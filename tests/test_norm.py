import json
import pathlib

import flax.linen as nn
import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from siamjax.models import moments, norm
from siamjax.types import SiamjaxError, UsageError

B, T, F = 8, 12, 4


def batch(level=0.0, deviation=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(B, T, F)) * deviation + level).astype(np.float32)


def real(seed=1):
    lengths = np.random.default_rng(seed).integers(1, T + 1, size=B)
    return np.arange(T)[None] < lengths[:, None]


@pytest.mark.parametrize("level", [0.0, 1e3, -1e6])
def test_moments_are_those_of_float64(level):
    x, mask = batch(level), real()
    x[:, :, 1] = level  # constant
    x[:, :, 2] = level + 1e-3 * (x[:, :, 2] - level)  # nearly so, if at all
    filled = np.where(mask[:, :, None], x, np.nan)
    mean, variance = jax.jit(moments.of_batch)(filled, mask)
    kept = x[mask].astype(np.float64)
    np.testing.assert_allclose(mean, kept.mean(0), rtol=1e-7, atol=1e-6)
    np.testing.assert_allclose(variance, kept.var(0), rtol=1e-4, atol=1e-12)


def test_moments_of_nothing_are_zero():
    mean, variance = moments.of_batch(batch(), np.zeros((B, T), bool))
    np.testing.assert_array_equal([mean, variance], np.zeros((2, F)))


def test_batch_is_torchs_without_its_lag():
    path = pathlib.Path(__file__).with_name("norm_values.json")
    torch = json.loads(path.read_text())
    batches = np.array(torch["batches"], np.float32)
    keep = 1 - torch["momentum"]
    normalise = norm.build_norm("batch", 3, momentum=keep)
    stats, mask = normalise.init(), np.ones(batches.shape[1:3], bool)
    for x in batches:
        output, stats = normalise.train(x, mask, stats, None)
    np.testing.assert_allclose(output, torch["last_output"], atol=2e-5)
    # torch starts at mean 0 and variance 1, and counts n - 1.
    left, n = keep ** len(batches), mask.size
    final = normalise.finalise(stats).moments
    mean = np.array(torch["running_mean"]) / (1 - left)
    np.testing.assert_allclose(final["mean"], mean, rtol=1e-5, atol=1e-6)
    variance = (np.array(torch["running_var"]) - left) / (1 - left) * (n - 1) / n
    np.testing.assert_allclose(final["variance"], variance, rtol=1e-5, atol=1e-6)


def test_batch_is_flaxs_with_a_mask():
    x, mask = batch(level=3.0), real()
    plain = dict(use_bias=False, use_scale=False, use_fast_variance=False)
    layer = nn.BatchNorm(use_running_average=False, **plain)
    want, _ = layer.apply({}, x, mask=mask[:, :, None], mutable=["batch_stats"])
    normalise = norm.build_norm("batch", F, momentum=0.99)
    got, _ = normalise.train(x, mask, normalise.init(), None)
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_layer_is_flaxs():
    x = batch(level=3.0)
    plain = dict(use_bias=False, use_scale=False, use_fast_variance=False)
    want = nn.LayerNorm(epsilon=1e-5, **plain).apply({}, x)
    np.testing.assert_allclose(norm.layer_norm(x), want, atol=1e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.99, 0.9999])
def test_the_start_value_has_no_share(momentum):
    normalise = norm.build_norm("batch", F, momentum=momentum)
    stats, mask = normalise.init(), np.ones((B, T), bool)
    seen = []
    for step in range(5):
        x = batch(level=10.0 * step, seed=step)
        seen.append(x.reshape(-1, F).mean(0))
        _, stats = normalise.train(x, mask, stats, None)
    weights = float(momentum) ** np.arange(4, -1, -1)
    want = np.average(seen, axis=0, weights=weights)
    np.testing.assert_allclose(stats.moments["mean"], want, rtol=1e-4, atol=1e-4)
    assert int(stats.updates) == 5


def test_a_constant_column_becomes_zero():
    normalise = norm.build_norm("batch", F, momentum=0.9)
    x = np.full((B, T, F), 1e6, np.float32)
    output, stats = normalise.train(x, np.ones((B, T), bool), normalise.init(), None)
    np.testing.assert_array_equal(output, 0)
    final = normalise.finalise(stats)
    np.testing.assert_array_equal(normalise.predict(x, None, final, None), 0)


@pytest.mark.parametrize("devices", [2, 8])
def test_statistics_are_of_all_devices(devices):
    normalise = norm.build_norm("batch", F, momentum=0.9)
    x, mask = batch() + np.arange(B, dtype=np.float32)[:, None, None], real()
    want = normalise.train(x, mask, normalise.init(), None)
    mesh = Mesh(np.array(jax.devices()[:devices]), ("data",))
    split = NamedSharding(mesh, PartitionSpec("data"))
    x, mask = jax.device_put((x, mask), split)
    got = jax.jit(normalise.train)(x, mask, normalise.init(), None)
    assert got[0].sharding.is_equivalent_to(split, 3)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want)):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def of_groups(x, mask, group):
    """Statistics by row, of the rows of its group."""
    mean, variance = moments.of_groups(x, mask, group)
    return norm.FinalStats(dict(mean=mean, variance=variance))


def lengths_and_groups():
    return real(), np.array([0, 1, 0, 2, 1, 1, 0, 2])


@pytest.mark.parametrize("level", [0.0, 1e5])
def test_groups_are_each_group_alone(level):
    x, (mask, group) = batch(level), lengths_and_groups()
    x += 5 * group[:, None, None].astype(np.float32)
    normalise = norm.build_norm("session", F, momentum=0.9)
    output, _ = normalise.train(x, mask, normalise.init(), group)
    final = of_groups(x, mask, group)
    predicted = normalise.predict(x, mask, final, np.arange(B))
    plain = norm.build_norm("batch", F, momentum=0.9)
    for g in range(3):
        rows = group == g
        want, stats = plain.train(x[rows], mask[rows], plain.init(), None)
        np.testing.assert_allclose(output[rows], want, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(predicted[rows], want, rtol=1e-4, atol=1e-3)
        for name, value in stats.moments.items():
            for row in np.flatnonzero(rows):
                np.testing.assert_allclose(final.moments[name][row], value, rtol=1e-5)


def test_a_branch_normalised_alone_loses_its_level():
    x, mask = batch(), np.ones((B, T), bool)
    branch = np.arange(B) // 4
    x += 10 * branch[:, None, None].astype(np.float32)
    normalise = norm.build_norm("branch", F, momentum=0.9)
    output, stats = normalise.train(x, mask, normalise.init(), branch)
    gap = output[4:].mean() - output[:4].mean()
    np.testing.assert_allclose(gap, 0, atol=1e-5)
    # The average kept for prediction is of both, and sees the level.
    seen = normalise.predict(x, mask, normalise.finalise(stats), None)
    assert seen[4:].mean() - seen[:4].mean() > 5


def test_groups_must_be_given():
    normalise = norm.build_norm("session", F, momentum=0.9)
    with pytest.raises(UsageError, match="needs group"):
        normalise.train(batch(), real(), normalise.init(), None)
    final = of_groups(batch(), real(), np.arange(B))
    with pytest.raises(UsageError, match="needs group"):
        normalise.predict(batch(), real(), final, None)


def test_renorm_is_batch_first_and_then_reads_against_the_average():
    renorm = norm.build_norm("renorm", F, momentum=0.9)
    plain = norm.build_norm("batch", F, momentum=0.9)
    mask = np.ones((B, T), bool)
    output, stats = renorm.train(batch(), mask, renorm.init(), None)
    want, _ = plain.train(batch(), mask, plain.init(), None)
    np.testing.assert_allclose(output, want, atol=1e-5)
    x = batch(level=1.0, deviation=2.0, seed=1)
    output, stats = renorm.train(x, mask, stats, None)
    # Inside the limits the correction is whole: training is prediction.
    predicted = renorm.predict(x, mask, renorm.finalise(stats), None)
    np.testing.assert_allclose(output, predicted, atol=1e-4)
    far, stats = renorm.train(batch(level=1e4), mask, stats, None)
    assert np.abs(far).max() < 3 * 6 + 5


def test_frozen_pools_and_then_stands_still():
    frozen = norm.build_norm("frozen", F, momentum=0.9, frozen_after=3)
    stats, mask = frozen.init(), np.ones((B, T), bool)
    seen = []
    for step in range(3):
        x = batch(level=float(step), deviation=1 + step, seed=step)
        seen.append(x.reshape(-1, F))
        _, stats = frozen.train(x, mask, stats, None)
    everything = np.concatenate(seen).astype(np.float64)
    kept = frozen.finalise(stats).moments
    np.testing.assert_allclose(kept["mean"], everything.mean(0), rtol=1e-5)
    np.testing.assert_allclose(kept["variance"], everything.var(0), rtol=1e-5)
    output, after = frozen.train(batch(level=9), mask, stats, None)
    predicted = frozen.predict(batch(level=9), mask, frozen.finalise(stats), None)
    np.testing.assert_array_equal(output, predicted)
    np.testing.assert_array_equal(after.moments["mean"], stats.moments["mean"])
    norm.assert_moved(after, 4)
    with pytest.raises(UsageError, match="frozen_share"):
        norm.build_norm("frozen", F, momentum=0.9)


def test_lag_is_torchs_running_average():
    path = pathlib.Path(__file__).with_name("norm_values.json")
    torch = json.loads(path.read_text())
    batches = np.array(torch["batches"], np.float32)
    lag = norm.build_norm("lag", 3, momentum=1 - torch["momentum"])
    stats, mask = lag.init(), np.ones(batches.shape[1:3], bool)
    for x in batches:
        _, stats = lag.train(x, mask, stats, None)
    final = lag.finalise(stats).moments
    np.testing.assert_allclose(final["mean"], torch["running_mean"], rtol=1e-5)
    # torch counts n - 1 in each batch's variance, but not in the start value.
    left, n = (1 - torch["momentum"]) ** 3, mask.size
    theirs = (np.array(torch["running_var"]) - left) * (n - 1) / n + left
    np.testing.assert_allclose(final["variance"], theirs, rtol=1e-5)


def test_unknown_name_and_bad_momentum_are_said():
    with pytest.raises(UsageError, match=r"config.encoder.norm is 'bacth'.*batch"):
        norm.build_norm("bacth", F, momentum=0.9)
    with pytest.raises(UsageError, match=r"config.encoder.momentum is 1"):
        norm.build_norm("batch", F, momentum=1)


def test_statistics_that_were_not_kept_are_said():
    normalise = norm.build_norm("none", F, momentum=0.9)
    stats = normalise.init()
    norm.assert_moved(stats, 0)
    _, moved = normalise.train(batch(), real(), stats, None)
    norm.assert_moved(moved, 1)
    with pytest.raises(SiamjaxError, match="saw 0 batches in 1 steps"):
        norm.assert_moved(stats, 1)
