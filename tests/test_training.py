"""The step and the loop: devices, lowering, resumption, refusals."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from scipy.special import ndtri

from siamjax import files
from siamjax.config import from_dict
from siamjax.data import sampler
from siamjax.data.splits import open_splits
from siamjax.training import checkpoints, devices, loop, state, step
from siamjax.types import SiamjaxError, UsageError
from tests import small_data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "prepared"
    small_data.write(path)
    return path


@pytest.fixture(autouse=True)
def one_device_and_cache(tmp_path_factory):
    """Eight devices are for tests that ask for them; the cache is the tests' own."""
    with small_data.one_device(tmp_path_factory):
        yield


def make(config, count=1):
    """Parts, data and first state on `count` devices."""
    splits = open_splits(from_dict(config).data)
    mesh = devices.make_mesh(jax.local_devices()[:count])
    parts = step.build_parts(
        from_dict(config), columns=splits.columns, classes=splits.known, mesh=mesh
    )
    data = loop.place_data(splits, config.batch.batch_from, parts, config.seed)
    now = jax.device_put(
        state.create_state(config.seed, parts), devices.replicated(mesh)
    )
    return parts, data, now


def leaves(tree):
    return [np.asarray(x) for x in jax.tree.leaves(jax.device_get(tree))]


@pytest.fixture(scope="module")
def on_one_device(folder):
    parts, data, now = make(small_data.config(folder))
    return jax.device_get(step.compile_run(parts)(now, 3, data))


@pytest.mark.parametrize("count", [2, 8])
def test_the_number_of_devices_does_not_matter(folder, on_one_device, count):
    parts, data, now = make(small_data.config(folder), count)
    then, metrics = jax.device_get(step.compile_run(parts)(now, 3, data))
    for got, want in zip(leaves(then.params), leaves(on_one_device[0].params)):
        np.testing.assert_allclose(got, want, atol=2e-5)
    for name, want in on_one_device[1].items():
        np.testing.assert_allclose(
            metrics[name], want, rtol=1e-3, atol=1e-4, err_msg=name
        )


def test_the_compiled_step_splits_the_batch_and_gathers_only_embeddings(folder):
    config = small_data.config(folder)
    parts, data, now = make(config, 8)
    text = step.compile_run(parts).lower(now, 1, data).compile().as_text()
    largest = parts.sampling.shape.size * config.heads.match.dim
    sizes = [
        np.prod([int(n) for n in shape.split(",") if n] or [1])
        for line in text.splitlines()
        for shape in re.findall(r"= \w+\[([\d,]*)\]\S* all-gather\(", line)
    ]
    assert sizes and max(sizes) <= largest
    # The windows of one device: an eighth of the batch.
    local = parts.sampling.shape.size // 8
    columns = len(open_splits(from_dict(config).data).columns)
    assert f"[{local},{config.data.bins},{columns}]" in text


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_step_lowers_for_accelerators(folder, platform):
    parts, data, now = make(small_data.config(folder))
    exported = export.export(step.compile_run(parts), platforms=[platform])(
        now, 2, data
    )
    assert exported.platforms == (platform,)


def test_one_program_serves_any_number_of_steps(folder):
    parts, data, now = make(small_data.config(folder))
    run = step.compile_run(parts)
    copy = jax.tree.map(jnp.copy, now)
    whole, _ = run(now, 5, data)
    first, _ = run(copy, 2, data)
    second, _ = run(first, 3, data)
    for got, want in zip(leaves(second), leaves(whole)):
        np.testing.assert_array_equal(got, want)
    assert run._cache_size() == 1


def test_a_loss_learns(folder):
    parts, data, now = make(small_data.config(folder, steps=60))
    run = step.compile_run(parts)
    now, before = run(now, 1, data)
    now, after = run(now, 59, data)
    assert float(after["match/loss"]) < 0.8 * float(before["match/loss"])


def test_initial_proxies_are_not_drawn_like_any_batch(folder, monkeypatch):
    config = small_data.config(folder)
    config.heads.match.update(loss="proxy_anchor", dim=16)
    parts, data, now = make(config)
    proxies = np.asarray(now.params["losses"]["match"]["proxies"]).ravel()
    drawn, uniform = [], jax.random.uniform

    def remembered(*args, **options):
        drawn.append(uniform(*args, **options))
        return drawn[-1]

    monkeypatch.setattr(jax.random, "uniform", remembered)
    for batch in range(4):
        sampler.batch_rows(data.seed, batch, data.table, parts.sampling.shape)
    for chance in np.asarray(drawn)[:, : len(proxies)]:
        normal = ndtri(chance)  # what `jax.random.normal` gives for these numbers
        assert abs(np.corrcoef(normal, proxies[: len(normal)])[0, 1]) < 0.5


@pytest.mark.parametrize("tuples", ["pairs", "triplets"])
def test_explicit_pairs_and_triplets_train(folder, tuples):
    config = small_data.config(folder)
    config.batch.tuples = tuples
    loss = "contrastive" if tuples == "pairs" else "triplet:margin=2.0"
    config.heads.match.loss = config.heads.view.loss = loss
    parts, data, now = make(config)
    now, metrics = step.compile_run(parts)(now, 2, data)
    assert np.isfinite(float(metrics["loss"])) and float(metrics["match/loss"]) > 0


@pytest.mark.parametrize("other", ["koleo", "proxy_anchor"])
def test_a_sum_of_losses_trains(folder, other):
    config = small_data.config(folder)
    config.heads.match.loss = f"0.5*triplet+0.1*{other}"
    parts, data, now = make(config)
    _, metrics = step.compile_run(parts)(now, 2, data)
    assert np.isfinite(float(metrics["loss"])) and float(metrics["match/loss"]) > 0


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_statistics_move_once_a_step_and_are_saved_with_the_state(folder, norm):
    config = small_data.config(folder)
    config.encoder.norm = norm
    parts, data, now = make(config)
    before = leaves(now.batch_stats)
    now, _ = step.compile_run(parts)(now, 3, data)
    after = leaves(now.batch_stats)
    if norm == "batch":
        assert any(not np.array_equal(a, b) for a, b in zip(before, after))
    assert len(before) == len(after)


def test_a_run_goes_on_from_its_checkpoint_bit_for_bit(folder, tmp_path):
    config = small_data.config(folder)
    quiet = loop.train(from_dict(config), tmp_path / "quiet")
    config_cut = small_data.config(folder)
    with pytest.raises(KeyError, match="cut"):
        cut_after(4, config_cut, tmp_path / "cut")
    resumed = loop.train(from_dict(config_cut), tmp_path / "cut")
    for got, want in zip(leaves(resumed), leaves(quiet)):
        np.testing.assert_array_equal(got, want)
    both = [(tmp_path / name / "scalars.csv").read_text() for name in ("quiet", "cut")]
    assert both[0] == both[1]


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
        ("triplet", 1e38, r"are not finite: training stops at step .*1e\+38"),
        ("tests.nan_loss.at_fifth", 2e-3, "loss .* of head match is nan, its batch"),
    ],
)
def test_what_is_not_finite_ends_a_run_and_the_last_good_state_stays(
    folder, tmp_path, loss, rate, says
):
    config = small_data.config(folder, steps=20)
    config.evaluate_every = 2
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


def test_two_trainings_never_share_a_workdir(folder, tmp_path):
    config = small_data.config(folder)
    with (
        files.locked(tmp_path),
        pytest.raises(UsageError, match=r"is in use by process \d+ on"),
    ):
        loop.train(from_dict(config), tmp_path)


def test_a_workdir_of_another_config_is_refused(folder, tmp_path):
    config = small_data.config(folder)
    loop.check_config(tmp_path, from_dict(config))
    loop.check_config(tmp_path, from_dict(config))
    config.optimizer.learning_rate = 1.0
    with pytest.raises(
        UsageError, match=r"config\.optimizer\.learning_rate was 0\.002"
    ):
        loop.check_config(tmp_path, from_dict(config))


def test_a_platform_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match=r"config\.platform is 'gpu'"):
        devices.prepare_devices("gpu")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.batch.update(conditions=9), r"config\.batch\.conditions is 9"),
        (lambda c: c.data.update(novel=("nothing",)), "config.data.novel names"),
        (
            lambda c: (c.data.update(baseline_s=0.0), c.encoder.update(norm="session")),
            "prediction tells sessions by their baselines",
        ),
        (lambda c: c.data.update(novel=("normal",)), "cannot hold 'normal'"),
        (lambda c: c.data.update(novel=("slow",)), "stand in both"),
        (lambda c: c.data.update(valid_fold=0), "two different folds"),
        (lambda c: c.data.update(dir="/nowhere"), "siamjax.ingest"),
        (lambda c: c.batch.update(tuples="quads"), "config.batch.tuples"),
        (lambda c: c.update(decide_with="nose"), "config.decide_with"),
        (lambda c: c.data.update(baseline_s=65.0), "too short"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(folder, tmp_path, change, says):
    config = small_data.config(folder)
    change(config)
    with pytest.raises((UsageError, SiamjaxError), match=says) as error:
        loop.train(from_dict(config), tmp_path / "run")
    assert "\n" not in str(error.value)


def test_a_head_that_is_switched_off_has_no_settings(folder):
    config = small_data.config(folder)
    config.heads.view = None
    assert set(step.hyper_parameters(from_dict(config))) == {"match"}


def test_a_checkpoint_says_what_it_is(folder, tmp_path, caplog):
    caplog.set_level("INFO")
    config = small_data.config(folder, steps=4)
    loop.train(from_dict(config), tmp_path)
    with checkpoints.open_checkpoints(tmp_path) as saved:
        meta = saved.meta(checkpoints.BEST)
    assert meta["conditions"][:3] == ["normal", "blocked", "overload"]
    assert meta["known"] == 3 and meta["best"]["step"] == 4
    for head in ("match", "view"):  # P19: defaults that are nowhere in the config too
        said = meta["losses"][head]
        assert said["mining"] == "hard" and said["distance"] == "euclidean"
        assert f"distance={said['distance']}" in caplog.text
    assert len(meta["columns"]) == len(meta["scaler"]["scale"])
    assert json.loads((tmp_path / "config.json").read_text())["steps"] == 4
