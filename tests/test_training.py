"""The step and the loop: devices, lowering, resumption, refusals."""

import dataclasses
import functools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from scipy.special import ndtri

from configs import default
from siamjax import files
from siamjax.config import from_dict
from siamjax.data import sampler
from siamjax.data.splits import open_splits
from siamjax.training import (
    checkpoints,
    devices,
    loop,
    provenance,
    state,
    step,
    validation,
)
from siamjax.types import SiamjaxError, UsageError
from tests import small_data

pytestmark = pytest.mark.usefixtures("one_device")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "prepared"
    small_data.write(path)
    return path


def make(config, count=1):
    """Parts, data and first state on `count` devices."""
    splits = open_splits(from_dict(config).data)
    mesh = devices.make_mesh(jax.local_devices()[:count])
    parts = step.build_parts(
        from_dict(config),
        columns=splits.columns,
        classes=len(splits.conditions.known),
        mesh=mesh,
    )
    data = loop.place_data(splits, config.batch.batch_from, parts, config.seed)
    initial = jax.device_put(
        state.create_state(config.seed, parts), devices.replicated(mesh)
    )
    return parts, data, initial


def leaves(tree):
    return [np.asarray(x) for x in jax.tree.leaves(jax.device_get(tree))]


@pytest.fixture(scope="module")
def small(folder):
    """The small config on one device, compiled once: parts, data, `run`, new states."""
    config = small_data.config(folder)
    parts, data, first = make(config)
    return parts, data, step.compile_run(parts), lambda: jax.tree.map(jnp.copy, first)


@pytest.mark.parametrize("count", [2, 8])
def test_devices_change_no_result_and_gather_only_embeddings(folder, small, count):
    _, data, run, new_state = small
    want, want_metrics = jax.device_get(run(new_state(), 3, data))
    config = small_data.config(folder)
    parts, data, state = make(config, count)
    compiled = step.compile_run(parts).lower(state, 3, data).compile()
    text, (end, metrics) = compiled.as_text(), compiled(state, 3, data)
    for got, expected in zip(leaves(end.params), leaves(want.params)):
        np.testing.assert_allclose(got, expected, atol=2e-5)
    for name, expected in want_metrics.items():
        np.testing.assert_allclose(
            metrics[name], expected, rtol=1e-3, atol=1e-4, err_msg=name
        )
    rows = parts.sampling.shape.size
    sizes = [
        np.prod([int(n) for n in shape.split(",") if n] or [1])
        for line in text.splitlines()
        for shape in re.findall(r"= \w+\[([\d,]*)\]\S* all-gather\(", line)
    ]
    assert sizes and max(sizes) <= rows * config.heads.match.dim
    # The windows of one device: its share of the batch.
    columns = len(open_splits(from_dict(config).data).columns)
    assert f"[{rows // count},{config.data.bins},{columns}]" in text


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_step_lowers_for_accelerators(folder, platform):
    parts, data, initial = make(small_data.config(folder))
    exported = export.export(step.compile_run(parts), platforms=[platform])(
        initial, 2, data
    )
    assert exported.platforms == (platform,)


def test_one_program_serves_any_number_of_steps_and_a_loss_learns(small):
    _, data, run, new_state = small
    whole, _ = run(new_state(), 5, data)
    first, before = run(new_state(), 1, data)
    second, _ = run(first, 4, data)
    for got, want in zip(leaves(second), leaves(whole)):
        np.testing.assert_array_equal(got, want)
    _, after = run(second, 55, data)
    assert float(after["match/loss"]) < 0.8 * float(before["match/loss"])
    assert run._cache_size() == 1


def test_the_total_is_the_sum_of_the_losses_by_their_weights(folder):
    config = small_data.config(folder)
    config.heads.match.weight, config.heads.view.weight = 3.0, 0.25
    parts, _, state = make(config)
    labels = np.repeat(np.arange(4), 4)
    rng = np.random.default_rng(0)
    points = {name: rng.uniform(size=(16, 3)) for name in parts.heads}
    weights, remembered = state.params["losses"], state.loss_state
    total_loss = jax.jit(functools.partial(step.total_loss, parts=parts))
    total, terms, _ = total_loss(points, labels, jax.random.key(0), weights, remembered)
    assert float(min(terms.values())) > 0
    want = 3 * terms["match"] + terms["view"] / 4
    np.testing.assert_allclose(total, want, rtol=1e-6)


def test_the_optimizer_clips_gradients_and_ends_at_a_share_of_its_rate():
    config = from_dict(default.get_config()).optimizer
    config = dataclasses.replace(
        config, learning_rate=0.1, final=0.5, warmup=1, weight_decay=0.0, clip_norm=1.0
    )
    optimizer = step.make_optimizer(config, steps=3)
    params = jnp.zeros(2)
    state, next_update = optimizer.init(params), jax.jit(optimizer.update)
    # Both have norm 1 once clipped: to Adam the gradient is constant.
    for length in (1.0, 1000.0, 1.0, 1000.0, 1.0):
        gradient = length * jnp.array([0.6, -0.8])
        update, state = next_update(gradient, state, params)
    np.testing.assert_allclose(update, [-0.05, 0.05], rtol=1e-3)


def test_initial_proxies_are_not_drawn_like_any_batch(folder, monkeypatch):
    config = small_data.config(folder)
    config.heads.match.update(loss="proxy_anchor", dim=16)
    parts, data, initial = make(config)
    proxies = np.asarray(initial.params["losses"]["match"]["proxies"]).ravel()
    drawn, uniform = [], jax.random.uniform

    def remembered(*args, **options):
        drawn.append(uniform(*args, **options))
        return drawn[-1]

    @jax.jit
    def draw(batch):
        drawn.clear()
        sampler.batch_rows(data.seed, batch, data.table, parts.sampling.shape)
        return jnp.stack(drawn)

    monkeypatch.setattr(jax.random, "uniform", remembered)
    chances = np.concatenate([draw(batch) for batch in range(4)])
    for chance in chances[:, : len(proxies)]:
        normal = ndtri(chance)  # what `jax.random.normal` gives for these numbers
        assert abs(np.corrcoef(normal, proxies[: len(normal)])[0, 1]) < 0.5


@pytest.mark.parametrize(
    ("tuples", "loss", "norm", "made_up"),
    [
        ("pairs", "contrastive", "batch", 2),
        ("triplets", "triplet:margin=2.0", "layer", 0),
        ("all", "0.5*triplet+0.1*koleo", "none", 0),
        ("all", "0.5*triplet+0.1*proxy_anchor", "none", 2),
    ],
)
def test_variants_train_and_statistics_move_once_a_step(
    folder, tuples, loss, norm, made_up
):
    config = small_data.config(folder)
    config.batch.tuples, config.encoder.norm = tuples, norm
    config.batch.made_up = made_up  # quicker to compile without
    config.heads.match.loss, config.heads.view = loss, None
    parts, data, state = make(config)
    before = leaves(state.batch_stats)
    state, metrics = step.compile_run(parts)(state, 3, data)
    assert np.isfinite(float(metrics["loss"])) and float(metrics["match/loss"]) > 0
    after = leaves(state.batch_stats)
    assert int(state.batch_stats.updates) == 3 and len(before) == len(after)
    if norm == "batch":
        assert any(not np.array_equal(a, b) for a, b in zip(before[1:], after[1:]))


def test_a_run_goes_on_from_its_checkpoint_bit_for_bit(folder, tmp_path):
    config = small_data.config(folder)
    quiet = loop.train(from_dict(config), tmp_path / "quiet")
    config_cut = small_data.config(folder)
    with pytest.raises(KeyError, match="cut"):
        cut_after(4, config_cut, tmp_path / "cut")
    resumed = loop.train(from_dict(config_cut), tmp_path / "cut")
    for got, want in zip(leaves(resumed), leaves(quiet)):
        np.testing.assert_array_equal(got, want)
    scalars_of = [
        (tmp_path / name / "scalars.csv").read_text() for name in ("quiet", "cut")
    ]
    assert scalars_of[0] == scalars_of[1]


def cut_after(at, config, workdir):
    """Trains until the first scalars beyond step `at` were written, then breaks off."""
    original = loop._to_floats

    def checked(metrics, step_now):
        if step_now > at:
            raise KeyError("cut")
        return original(metrics, step_now)

    loop._to_floats = checked
    try:
        loop.train(from_dict(config), workdir)
    finally:
        loop._to_floats = original


@pytest.mark.parametrize(
    ("loss", "rate", "says"),
    [
        ("triplet", 1e38, r"\(its loss is triplet\): training stops at step .*1e\+38"),
        ("tests.nan_loss.at_sixth", 2e-3, "loss .* of head match is nan, its batch"),
    ],
)
def test_what_is_not_finite_ends_a_run_and_the_last_good_state_stays(
    folder, tmp_path, loss, rate, says
):
    config = small_data.config(folder, steps=20)
    config.evaluate_every, config.trace_frames = 2, 0
    config.batch.made_up, config.heads.view = 0, None  # quick to compile
    config.heads.match.loss, config.optimizer.learning_rate = loss, rate
    with pytest.raises(SiamjaxError, match=says) as error:
        loop.train(from_dict(config), tmp_path)
    assert "\n" not in str(error.value)
    with checkpoints.open_checkpoints(tmp_path) as saved:
        for which in (checkpoints.LAST, checkpoints.BEST):
            kept = saved.restore(which)
            if kept is not None:
                assert all(np.isfinite(x).all() for x in leaves(kept.state))
                assert f"keeps step {kept.step}" in str(error.value) or which == "best"
        if rate < 1:
            assert saved.restore(checkpoints.LAST).step == 4


def test_a_profile_is_a_trace_of_some_steps(folder, tmp_path):
    config = small_data.config(folder, steps=4)
    config.batch.made_up, config.heads.view, config.trace_frames = 0, None, 0
    loop.train(from_dict(config), tmp_path / "run", profile=tmp_path / "profile")
    for ending in (".xplane.pb", "perfetto_trace.json.gz"):
        (path,) = (tmp_path / "profile").rglob(f"*{ending}")
        assert path.stat().st_size


def test_two_trainings_never_share_a_workdir(folder, tmp_path):
    config = small_data.config(folder)
    with (
        files.locked(tmp_path),
        pytest.raises(UsageError, match=r"is in use by process \d+ on"),
    ):
        loop.train(from_dict(config), tmp_path)


def test_a_workdir_of_another_config_is_refused(folder, tmp_path):
    config = small_data.config(folder)
    provenance.claim_config(tmp_path, from_dict(config))
    provenance.claim_config(tmp_path, from_dict(config))
    config.optimizer.learning_rate = 1.0
    with pytest.raises(
        UsageError, match=r"config\.optimizer\.learning_rate was 0\.002"
    ):
        provenance.claim_config(tmp_path, from_dict(config))


def test_a_platform_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match=r"config\.platform is 'gpu'"):
        devices.prepare_devices("gpu")


def test_the_cache_keeps_what_compiles_as_long_as_jaxs_variable_says(monkeypatch):
    name = "jax_persistent_cache_min_compile_time_secs"
    monkeypatch.setenv(name.upper(), "7")
    try:
        jax.config.update(name, 7.0)  # as JAX does when it starts
        devices.prepare_devices()
        assert getattr(jax.config, name) == 7.0
        monkeypatch.delenv(name.upper())
        devices.prepare_devices()
        assert getattr(jax.config, name) == devices.CACHE_FROM_S
    finally:
        jax.config.update(name, 0.0)  # as in conftest.py


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.batch.update(conditions=9), r"config\.batch\.conditions is 9"),
        (lambda c: c.data.update(novel=("nothing",)), "config.data.novel names"),
        (lambda c: c.data.update(novel=("normal",)), "cannot hold 'normal'"),
        (lambda c: c.data.update(novel=("slow",)), "are in both"),
        (lambda c: c.data.update(valid_fold=0), "two different folds"),
        (lambda c: c.data.update(dir="/nowhere"), "siamjax ingest"),
        (lambda c: c.batch.update(tuples="quads"), "config.batch.tuples"),
        (lambda c: c.update(decide_with="nose"), "config.decide_with"),
        (lambda c: c.data.update(baseline_s=65.0), "too short"),
        (lambda c: c.heads.match.update(loss="ring:reduce=none"), "ring:reduce=none"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(folder, tmp_path, change, says):
    config = small_data.config(folder)
    change(config)
    with pytest.raises((UsageError, SiamjaxError), match=says) as error:
        loop.train(from_dict(config), tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_head_that_is_switched_off_has_no_settings(folder):
    config = small_data.config(folder)
    config.heads.view = None
    assert set(step.hyper_parameters(from_dict(config))) == {"match"}


def test_a_checkpoint_says_what_it_is(folder, tmp_path, caplog, monkeypatch):
    caplog.set_level("INFO")
    config = small_data.config(folder)
    config.evaluate_every = 2
    scores = iter([0.5, 0.9, 0.9, 0.2])
    monkeypatch.setattr(
        validation, "make_validator", lambda *_: lambda state: dict(score=next(scores))
    )
    loop.train(from_dict(config), tmp_path)
    with checkpoints.open_checkpoints(tmp_path) as saved:
        meta = saved.meta(checkpoints.BEST)
    assert meta["conditions"][:3] == ["normal", "blocked", "overload"]
    # Not the first one, and of two equal scores the earlier.
    assert meta["known"] == 3 and meta["best"] == dict(step=4, score=0.9)
    for head in ("match", "view"):  # P19: defaults that are nowhere in the config too
        settings = meta["losses"][head]
        assert settings["mining"] == "hard" and settings["distance"] == "euclidean"
        assert f"distance={settings['distance']}" in caplog.text
    assert len(meta["columns"]) == len(meta["scaler"]["scale"])
    assert json.loads((tmp_path / "config.json").read_text())["steps"] == 8
