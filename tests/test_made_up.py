"""Made-up conditions: properties that training and the compiled step rely on."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from configs import default
from siamjax.config import from_dict
from siamjax.data import made_up
from siamjax.types import Column, UsageError

TABLE = (
    *(Column(str(status), "code", "", status) for status in (200, 486, 503)),
    *(
        Column(method, "request", method)
        for method in ("INVITE", "ACK", "BYE", "OPTIONS")
    ),
    Column("ms", "latency_final", "INVITE", empty=np.nan),
)
CONFIG = from_dict(default.get_config()).made_up
HOW = made_up.build_changes(CONFIG, TABLE)
HOWS = dict(
    default=HOW,
    uncapped=HOW._replace(kinds=("silenced", "multiplied", "added")),
    everything=HOW._replace(kinds=tuple(made_up.KINDS), ramp=0.25, mixed=0.5),
)


@functools.partial(jax.jit, static_argnames="how")
def change(key, x, groups, how="default"):
    unit = np.ones((x.shape[0], x.shape[2]), np.float32)
    return made_up.change_windows(key, x, groups, unit, HOWS[how])


def counts(groups=8, windows=4, bins=32):
    """`[groups * windows, bins, 8]` and the group of each."""
    x = np.random.default_rng(0).poisson(4, (groups * windows, bins, 8))
    x = x.astype(np.float32)
    x[..., 7] = np.where(x[..., 7] > 5, np.nan, x[..., 7])
    return x, np.repeat(np.arange(groups), windows)


@pytest.mark.parametrize("how", ["default", "everything"])
def test_counts_stay_counts_and_keep_their_shape(how):
    x, groups = counts()
    for seed in range(20):
        changed = np.asarray(change(jax.random.key(seed), x, groups, how))
        assert changed.shape == x.shape
        assert (np.nan_to_num(changed) >= 0).all() and np.isfinite(
            np.nan_to_num(changed)
        ).all()


# A high cap that goes on and off meets nothing above it in some windows.
@pytest.mark.parametrize("how, alike", [("uncapped", 0.8), ("default", 0.7)])
def test_every_group_is_changed_and_its_windows_alike(how, alike):
    x, groups = counts(groups=40)
    changed = np.asarray(change(jax.random.key(1), x, groups, how))
    differs = ~np.isclose(changed, x, equal_nan=True).reshape(
        40, 4, 32, 8
    )  # [G, K, T, F]
    assert differs.any((1, 2, 3)).mean() > 0.9
    touched = differs.any(2)  # [G, K, F]
    # A column changes in all windows of a group, unless it had nothing to change.
    same = touched.all(1) | ~touched.any(1)
    assert same.mean(1).min() > alike and same.mean() > 0.98


def test_recorded_windows_stay_as_they_are():
    x, groups = counts()
    changed = change(jax.random.key(1), x, np.where(groups < 2, -1, groups))
    np.testing.assert_array_equal(changed[:8], x[:8])
    assert not np.allclose(np.nan_to_num(changed[8:]), np.nan_to_num(x[8:]))


def test_it_depends_on_the_key_and_the_group_alone():
    (x, groups), key = counts(), jax.random.key(2)
    once = change(key, x, groups)
    np.testing.assert_array_equal(once, change(key, x, groups))
    others = change(key, x, np.where(groups == 3, 3, -1))
    np.testing.assert_array_equal(others[12:16], once[12:16])
    other = change(jax.random.key(3), x, groups)
    assert not np.allclose(np.nan_to_num(once), np.nan_to_num(other))


@pytest.mark.parametrize("devices", [2, 8])
def test_the_number_of_devices_does_not_matter(devices):
    (x, groups), key = counts(), jax.random.key(4)
    split = NamedSharding(
        Mesh(np.array(jax.devices()[:devices]), ("data",)), PartitionSpec("data")
    )
    placed = jax.device_put(x, split), jax.device_put(groups, split)
    np.testing.assert_allclose(change(key, *placed), change(key, x, groups), rtol=1e-6)


def test_no_window_at_all():
    x, groups = counts(groups=0)
    assert change(jax.random.key(0), x, groups).shape == x.shape


def alone(kind, x, share=(1.0, 1.0), **others):
    """Every column of every window changed by one kind."""
    how = HOW._replace(kinds=(kind,), share=share, on_off=0.0, **others)
    unit, groups = np.ones((x.shape[0], x.shape[2]), np.float32), np.zeros(len(x), int)
    key = jax.random.key(0)
    # Compiled as a whole: one by one, its operations take far longer to compile.
    return np.asarray(
        jax.jit(lambda x: made_up.change_windows(key, x, groups, unit, how))(x)
    )


def test_each_kind_does_what_its_name_says():
    x = np.full((1, 6, 8), 8.0, np.float32)
    silenced = alone("silenced", x)[0]
    np.testing.assert_array_equal(silenced[:, :7], 0)
    assert np.isnan(silenced[:, 7]).all()
    ratio = alone("multiplied", x)[0] / 8
    np.testing.assert_allclose(
        ratio, np.broadcast_to(ratio[:1], ratio.shape), rtol=1e-5
    )
    assert (alone("added", x) >= 8).all()
    thinned = alone("thinned", x)
    assert (thinned <= 8).all() and (thinned < 8).any()
    np.testing.assert_array_equal(thinned, np.round(thinned))
    stormed = alone("stormed", x)[0]
    assert (stormed[:, 0] > 11).all() and (stormed[:, 1:] == 8).all()


def test_a_cap_cuts_what_goes_beyond_it_and_nothing_else():
    x, _ = counts(groups=1)
    changed = alone("capped", x)
    cap = np.nanmax(changed, 1, keepdims=True)
    np.testing.assert_allclose(changed, np.minimum(x, cap), rtol=1e-5)
    assert (cap >= 0).all() and (cap < np.nanmax(x, 1, keepdims=True)).all()


def test_an_echo_comes_later_and_is_no_louder():
    x = np.zeros((1, 12, 8), np.float32)
    x[:, 2] = 5.0
    changed = alone("echoed", x)[0]
    assert (changed[2] == 5).all() and (changed[:2] == 0).all()
    late = changed[3:]
    assert (np.count_nonzero(late, 0) <= 1).all() and late.max() > 0 and late.max() <= 5


def test_answers_turn_into_others_and_none_is_lost():
    x = np.zeros((1, 4, 8), np.float32)
    x[..., 0], x[..., 3] = 10.0, 7.0
    changed = alone("turned", x)[0]
    np.testing.assert_allclose(changed[:, :3].sum(1), 10, rtol=1e-6)
    assert (changed[:, 0] < 10).all()
    np.testing.assert_array_equal(changed[:, 3:], x[0, :, 3:])


def test_what_is_no_count_is_shifted_by_its_own_deviation():
    how = made_up.build_changes(
        CONFIG, [Column("cpu", "counter", heavy=False)] * 2
    )._replace(share=(1.0, 1.0), on_off=0.0, strength=1.0)
    x = np.full((200, 3, 2), 50.0, np.float32)
    unit = np.tile(np.array([[1.0, 10.0]], np.float32), (200, 1))
    key, groups = jax.random.key(0), np.arange(200)
    changed = np.asarray(
        jax.jit(lambda x: made_up.change_windows(key, x, groups, unit, how))(x)
    )
    np.testing.assert_allclose((changed - 50).std((0, 1)), [1.0, 10.0], rtol=0.25)


def test_a_ramp_grows():
    changed = alone("added", np.zeros((1, 16, 8), np.float32), ramp=1.0)[0]
    assert (np.diff(changed, axis=0) >= 0).all() and (changed[-1] > changed[0]).any()


def test_a_kind_that_is_not_there_is_refused():
    config = dataclasses.replace(CONFIG, kinds=("silenced", "sung"))
    with pytest.raises(UsageError, match="sung"):
        made_up.build_changes(config, TABLE)
