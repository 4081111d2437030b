"""siamjax audit on a run: exit codes, audit.json, cures that close the gap."""

import dataclasses
import json
import pathlib
import sys

import jax
import numpy as np
import pytest

from siamjax.auditing import from_run, probes, statistics
from siamjax.config import from_dict
from siamjax.data import counts_on_disk, windows
from siamjax.data.counts_on_disk import StoredCounts
from siamjax.data.splits import open_splits
from siamjax.inference import runs
from siamjax.models import embedder
from siamjax.training import checkpoints, loop, step
from siamjax.types import TRAIN, SiamjaxError, UsageError
from tests import commands, small_data

ROOT = pathlib.Path(__file__).parent.parent


def config(folder):
    """A run that lags: bare log counts, an average that starts at 0 and 1."""
    small = small_data.config(folder, steps=30)
    small.data.baseline = "none"
    small.encoder.norm = "lag"
    small.heads.match.loss = "triplet:margin=0.4,reduce=all"
    small.optimizer.learning_rate, small.optimizer.final = 1e-2, 0.05
    small.trace_frames = 0
    small.seed = 1  # of the seeds 0 to 4 all but 0 come to depend on the average
    return small


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workdir, and the state that training left in memory, on eight devices."""
    folder = tmp_path_factory.mktemp("audit")
    small_data.write(folder / "data")
    return folder / "run", loop.train(
        from_dict(config(folder / "data")), folder / "run"
    )


@pytest.fixture
def run(trained):
    return trained[0]


def command(*arguments):
    return commands.run("audit", *arguments)


def test_a_gap_is_told_and_the_exit_code_is_three(run):
    got = command(f"--workdir={run}", "--checkpoint=last")
    assert got.returncode == 3, got.stderr
    assert "The moving average has not arrived" in got.stdout
    assert "on 1 and on 8 devices differ" in got.stdout
    audit = json.loads((run / "audit.json").read_text())
    assert audit["verdict"]["cause"] == "lag" and audit["step"] == 30
    assert audit["probes"]["hygiene"]["same_after_reload"]
    assert max(audit["probes"]["inputs"].values()) < 1e-5
    assert (run / "figures" / "audit_gaps.png").stat().st_size > 1000


def test_inputs_are_the_same_where_all_sessions_share_a_baseline(run):
    """As in siamjax identify, it is that of the checkpoint, not one of no bins."""
    checkpoint = runs.open_checkpoint(run, checkpoints.LAST)
    config = checkpoint.config
    data = dataclasses.replace(config.data, baseline_s=0.0)
    splits = open_splits(data)
    training = splits.sessions.role == TRAIN
    baseline = type(splits.baseline)(*(x[training] for x in splits.baseline))
    checkpoint = checkpoint._replace(
        config=dataclasses.replace(config, data=data),
        trained=checkpoint.trained._replace(baseline=baseline),
    )
    assert np.abs(baseline.mean).max() > 0.1
    assert max(probes.input_path(checkpoint, splits).values()) < 1e-5
    other = baseline._replace(mean=baseline.mean + 0.1)
    changed = checkpoint._replace(trained=checkpoint.trained._replace(baseline=other))
    assert probes.input_path(changed, splits)["baseline"] == pytest.approx(0.1)


def test_debiasing_closes_the_gap_beside_the_old_run(run, capsys, monkeypatch):
    # Without matplotlib the audit leaves out its pictures alone.
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    before = (run / "config.json").read_bytes()
    assert from_run.audit_run(run, checkpoints.LAST, "debias")
    cured = run.with_name("run-debias")
    assert from_run.audit_run(cured)
    assert "No gap" in capsys.readouterr().out
    assert (run / "config.json").read_bytes() == before
    old, new = (runs.open_checkpoint(w, "last") for w in (run, cured))
    stats = [c.state.batch_stats.moments["mean"] for c in (old, new)]
    np.testing.assert_allclose(stats[1], stats[0] / (1 - 0.99**30), rtol=1e-5)
    with pytest.raises(SiamjaxError, match="run-debias exists"):
        from_run.audit_run(run, checkpoints.LAST, "debias")
    with pytest.raises(UsageError, match="no share of its start value"):
        from_run.audit_run(cured, checkpoints.LAST, "debias")


def test_per_session_reads_each_session_against_its_own(run):
    opened, splits = from_run.open_with_data(run, checkpoints.LAST)
    batches = from_run.last_batches(opened, splits)
    candidates = statistics.candidates(from_run.make_subject(opened), batches)
    assert from_run.write_cure(opened, candidates, "per-session") == run.with_name(
        "run-per-session"
    )
    cured = runs.open_checkpoint(run.with_name("run-per-session"), "best")
    assert cured.parts.encoder.by_session
    assert cured.config.encoder.norm == "session"
    read = runs.open_run(run.with_name("run-per-session")).embed
    rng = np.random.default_rng(0)
    counts = rng.poisson(5.0, (6, 16, len(cured.trained.columns))).astype(np.float32)
    session = np.array([0, 0, 0, 1, 1, 1])
    baseline = type(splits.baseline)(*(np.asarray(x)[session] for x in splits.baseline))
    together = read(counts, baseline, session)["match"]
    first = type(baseline)(*(x[:3] for x in baseline))
    alone = read(counts[:3], first)["match"]
    np.testing.assert_allclose(alone, together[:3], atol=1e-5)
    # Sessions may share a baseline: their numbers tell them apart.
    shared = type(baseline)(*(np.repeat(x[:1], 6, axis=0) for x in baseline))
    together = read(counts, shared, session)["match"]
    np.testing.assert_allclose(alone, together[:3], atol=1e-5)
    assert not np.allclose(alone, read(counts, shared)["match"][:3], atol=1e-3)


def test_a_point_is_the_same_after_reload_and_alone(trained):
    workdir, state = trained
    opened, splits = from_run.open_with_data(workdir, "last")
    rows = np.flatnonzero(splits.window_mask("train"))[:5]
    counts, baseline, _ = splits.inputs(windows.take(splits.windows, rows))
    embed = embedder.make_embedder(opened.parts.encoder)
    final = opened.parts.encoder.finalise(state.batch_stats)
    params = state.params["encoder"]
    kept = embed(params, final, opened.trained.scaler, counts, baseline)["match"]
    read = runs.open_run(workdir, "last").embed
    np.testing.assert_array_equal(read(counts, baseline)["match"], kept)
    third = type(baseline)(*(x[2:3] for x in baseline))
    np.testing.assert_array_equal(read(counts[2:3], third)["match"], kept[2:3])


def test_batches_are_those_of_the_training_also_with_counts_on_disk(
    run, tmp_path, monkeypatch
):
    opened, splits = from_run.open_with_data(run, "last")
    batches = from_run.last_batches(opened, splits, count=2)
    assert batches.windows.shape[:2] == (2, 16)
    assert (batches.labels < 0).sum() == 16  # half of them made up
    assert set(splits.sessions.role[np.unique(batches.session)]) == {"train"}
    data = dataclasses.replace(opened.config.data, counts_dir=str(tmp_path))
    stored = open_splits(data)
    monkeypatch.setattr(StoredCounts, "__array__", None)  # they are never read whole
    monkeypatch.setattr(counts_on_disk, "CHUNK_STEPS", 29)  # the last batch is apart
    jax.tree.map(
        np.testing.assert_array_equal,
        from_run.last_batches(opened, stored, count=2)._replace(keys=()),
        batches._replace(keys=()),
    )
    assert probes.input_path(opened, stored) == probes.input_path(opened, splits)


@pytest.mark.slow
def test_a_step_that_drops_the_statistics_is_stopped(tmp_path, monkeypatch):
    def forgetful(params, state, *rest):
        total, (_, *others) = objective(params, state, *rest)
        return total, (state.batch_stats, *others)

    objective = step.objective
    monkeypatch.setattr(step, "objective", forgetful)
    small_data.write(tmp_path / "data")
    with pytest.raises(SiamjaxError, match="saw 0 batches in 2 steps"):
        loop.train(from_dict(config(tmp_path / "data")), tmp_path / "run")


def test_no_run_is_one_line():
    got = command("--workdir=/nowhere")
    assert got.returncode == 1
    assert len(got.stderr.strip().splitlines()) == 1 and "holds no run" in got.stderr
