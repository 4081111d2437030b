"""The training loop: the compiled steps, and what happens between them."""

import contextlib
import dataclasses
import json
import logging
import math
import os
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

import siamjax
from siamjax import files, processes
from siamjax.config import Config, to_plain
from siamjax.data import counts_on_disk, identity, sampler
from siamjax.data.splits import Splits, open_splits
from siamjax.models import embedder, norm
from siamjax.reports import scalars, trace
from siamjax.training import (
    checkpoints,
    devices,
    finite,
    hosts,
    run_config,
    step,
    tracer,
    validation,
)
from siamjax.training.state import TrainState, create_state
from siamjax.types import TRAIN, Interrupted, UsageError

_LOG = logging.getLogger(__name__)


class Pause(NamedTuple):
    """Where the compiled steps stop, and what is done there."""

    step: int
    log: bool
    evaluate: bool
    trace: bool


def pauses(config: Config, first: int, end: int) -> Iterator[Pause]:
    """The pauses after step `first` up to the last step.

    They are the same whether or not the run was cut before `first`.
    """
    traced = set(trace.choose_steps(end, config.trace_frames))
    for step_number in range(first + 1, end + 1):
        is_last = step_number == end
        log = is_last or step_number % config.log_every == 0
        evaluate = is_last or step_number % config.evaluate_every == 0
        if log or evaluate or step_number in traced:
            yield Pause(step_number, log, evaluate, step_number in traced)


def train(
    config: Config,
    workdir: str | pathlib.Path,
    until: int | None = None,
    profile: str | pathlib.Path | None = None,
) -> TrainState:
    """Trains up to `config.steps`, starting from the last checkpoint of workdir.

    Args:
      config: see configs/default.py.
      workdir: gets config.json, checkpoints, scalars.csv and TensorBoard's events.
      until: stop after this step. The learning rate still follows `config.steps`.
      profile: a folder that gets a trace of the steps between the first two pauses,
        for TensorBoard and Perfetto.
    Raises:
      UsageError: workdir belongs to another config; the config does not fit the data;
        another process trains in workdir.
      SiamjaxError: the loss or the state is not finite; what was saved before stays.
      Interrupted: SIGTERM or Ctrl-C, after saving.
    """
    with hosts.on_first(lambda: files.locked(workdir)):
        return _train(config, workdir, until or config.steps, profile)


def _train(config, workdir, end, profile):
    mesh = devices.make_mesh(devices.prepare_devices(config.platform))
    splits = hosts.everywhere(lambda: open_splits(config.data))
    for line in splits.provenance.left_out:
        _LOG.warning("left out: %s", line)
    hosts.check_same(_facts(config, splits))
    hosts.from_first(lambda: check_data(workdir, config.data.dir, splits))
    parts = step.build_parts(
        config, columns=splits.columns, classes=len(splits.conditions.known), mesh=mesh
    )
    streamed = bool(config.data.counts_dir)
    data = place_data(
        splits, config.batch.batch_from, parts, config.seed, streamed=streamed
    )
    hosts.from_first(lambda: check_config(workdir, config))
    _log_setup(splits, parts)
    run_steps = step.compile_run(parts, streamed=streamed)
    embed = embedder.make_embedder(parts.encoder, devices.batch_sharding(mesh))
    plan = validation.plan_validation(splits, config.draws)
    judges = bool(plan.known or plan.novel)
    for line in plan.lines:
        _LOG.log(logging.INFO if judges else logging.WARNING, line)
    validate = validation.make_validator(splits, parts, config, embed, plan)
    with (
        hosts.on_first(
            lambda: checkpoints.open_checkpoints(workdir, write=True)
        ) as saved,
        processes.catch_signals() as caught,
        contextlib.ExitStack() as stack,
    ):
        if streamed:
            reader = make_chunk_reader(splits, data, parts)
            chunk_of = stack.enter_context(counts_on_disk.reading_ahead(reader, end))
            run_steps = step.read_ahead(run_steps, chunk_of)
        state = create_state(config.seed, parts)
        best = kept_step = None
        last = hosts.from_first(lambda: _restore(saved, state))
        if last is not None:
            state = devices.place(last.state, devices.replicated(mesh))
            best, kept_step = last.meta["best"], last.step
            _LOG.info("going on from step %d", last.step)
        done = int(state.step)
        tracing = tracer.open_tracer(
            workdir, done, splits=splits, parts=parts, config=config, embed=embed
        )
        with (
            hosts.on_first(lambda: scalars.open_writer(workdir, done)) as write,
            tracing as (record_trace, flush_trace),
            _progress(end, done) as bar,
        ):
            if done == 0 and config.trace_frames:
                record_trace(state, done)
            for number, pause in enumerate(pauses(config, done, end)):
                with _profiled(profile if number == 1 else None):
                    state, metrics = run_steps(state, pause.step - done, data)
                    jax.block_until_ready(metrics)
                done, logged, score = pause.step, {}, None
                # A later signal waits for the next pause.
                stop = hosts.most_of(sum(caught[:1])) > 0
                with finite.with_remedy(_remedy(config, workdir, done, kept_step)):
                    if pause.log:
                        logged = _to_floats(jax.device_get(metrics), done)
                        finite.check_metrics(logged, parts)
                        norm.assert_moved(state.batch_stats, done)
                    if pause.evaluate or stop:
                        finite.check_state(state)
                    scores = _validate(validate, state) if pause.evaluate else {}
                if pause.evaluate:
                    logged |= {f"valid/{name}": value for name, value in scores.items()}
                    score = scores.get("score")
                    # Where nothing can be judged, the latest is the best.
                    if score is None or best is None or score > best["score"]:
                        best = dict(
                            step=done, score=math.nan if score is None else score
                        )
                if pause.trace:
                    record_trace(state, done)
                if write is not None:
                    write.add(done, logged)
                bar.show(done, logged)
                if pause.evaluate or stop:
                    if write is not None and saved is not None:
                        write.flush()
                        flush_trace()
                        meta = checkpoint_meta(config, splits, best, workdir)
                        saved.save(state, meta, score)
                    kept_step = done
                if stop:
                    break
            if signal_number := hosts.most_of(sum(caught[:1])):
                raise Interrupted(
                    f"stopped at step {done}, state saved: the same command goes on",
                    128 + signal_number,
                )
    return state


@contextlib.contextmanager
def _profiled(folder):
    """Writes a trace of the device into a folder, if there is one."""
    if folder is None:
        yield
        return
    with jax.profiler.trace(folder, create_perfetto_trace=True):
        yield


def _facts(config, splits):
    """What all processes must have alike."""
    on_disk = "any" if config.data.counts_dir else ""
    data = dataclasses.replace(config.data, dir="any", counts_dir=on_disk)
    return dict(
        config=to_plain(dataclasses.replace(config, data=data, platform="")),
        data=splits.provenance.sha256,
    )


def _restore(saved, state):
    """The last checkpoint on one device of this host, as a `Saved`, or None."""
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    template = checkpoints.state_template(state, device)
    return saved.restore(checkpoints.LAST, template)


def _validate(validate, state):
    """The scores of a state, the same in all processes."""
    scores = validate(state)
    return hosts.from_first(lambda: scores)


def place_data(
    splits: Splits,
    batch_from: str,
    parts: step.Parts,
    seed: int,
    *,
    streamed: bool = False,
) -> step.Data:
    """The data of the training split, on every device of the mesh.

    Args:
      splits: of the data set.
      batch_from: `config.batch.batch_from`.
      parts: of the training.
      seed: of the batches.
      streamed: whether the counts stay on disk, see `counts_on_disk`.
    Raises:
      UsageError: the batch cannot be drawn from the split, or cannot be divided over
        the devices.
    """
    table = sampler.sampling_table(
        splits.windows,
        splits.training_mask(),
        conditions=len(splits.conditions.names),
        batch_from=batch_from,
    )
    sampler.check_shape(table, parts.sampling.shape, parts.mesh.size)
    data = step.Data(
        seed=jnp.asarray(seed, jnp.int32),
        counts=None if streamed else np.asarray(splits.counts),
        baseline=splits.baseline,
        scaler=splits.scaler,
        windows=splits.windows,
        table=table,
    )
    return devices.place(data, devices.replicated(parts.mesh))


def make_chunk_reader(
    splits: Splits, data: step.Data, parts: step.Parts
) -> counts_on_disk.ChunkReader:
    """`counts_on_disk.make_chunk_reader` of a training."""
    assert isinstance(splits.counts, counts_on_disk.StoredCounts)
    return counts_on_disk.make_chunk_reader(
        splits.counts,
        splits.windows,
        int(data.seed),
        data.table,
        shape=parts.sampling.shape,
        length=parts.sampling.length,
        sharding=devices.chunk_sharding(parts.mesh),
    )


def check_config(workdir: str | pathlib.Path, config: Config) -> None:
    """Writes config.json, or refuses a workdir that was made with another config."""
    compare_config(workdir, config)
    if not (pathlib.Path(workdir) / run_config.FILE).exists():
        run_config.write_config(workdir, config)


def compare_config(workdir: str | pathlib.Path, config: Config) -> None:
    """Refuses a workdir that was made with another config; writes nothing.

    If config.json is lost, the copy in the last checkpoint is compared.
    """
    before = None
    if (pathlib.Path(workdir) / run_config.FILE).exists():
        before = run_config.read_config(workdir)
    elif (saved := (_read_meta(workdir) or {}).get("config")) is not None:
        before = run_config.upgrade_config(saved)
    if before is not None:
        differences = run_config.list_differences(before, to_plain(config))
        if differences:
            raise UsageError(
                f"{workdir} belongs to another config: {'; '.join(differences[:3])}; "
                "give another --workdir or the same config"
            )


def check_data(workdir: str | pathlib.Path, folder: str, splits: Splits) -> None:
    """Refuses to go on with other data than the run was trained on so far."""
    meta = _read_meta(workdir)
    if meta is None:
        return
    if "data" not in meta:
        _LOG.warning(
            "%s is of an older version, which did not keep what it was trained on: "
            "whether %s is still the same is not checked",
            workdir,
            folder,
        )
        return
    before = {n: identity.Capture(**c) for n, c in meta["data"]["captures"].items()}
    changes = identity.describe_changes(before, splits.provenance.captures)
    if not changes and meta["data"]["sha256"] != splits.provenance.sha256:
        changes = ["its columns are others"]
    if changes:
        raise UsageError(
            f"{folder} is not what {workdir} was trained on: {'; '.join(changes)}; "
            "give another --workdir or the data as it was"
        )


def checkpoint_meta(
    config: Config,
    splits: Splits,
    best: dict[str, Any] | None,
    workdir: str | pathlib.Path,
) -> dict[str, Any]:
    """The JSON of a checkpoint: with it the state can be used without the data.

    Args:
      config: of the run.
      splits: of its data.
      best: step and score of the best checkpoint so far.
      workdir: of the run. The path of the data is kept relative to it, so it is right
        from any current folder, and if both are moved together.
    """
    folder = os.path.realpath(config.data.dir)
    place = os.path.relpath(folder, os.path.realpath(workdir))
    train, known = splits.sessions.role == TRAIN, splits.provenance
    meta = dict(
        version=siamjax.__version__,
        config=to_plain(config),
        losses=step.hyper_parameters(config),
        columns=[column._asdict() for column in splits.columns],
        scaler={k: np.asarray(v).tolist() for k, v in splits.scaler._asdict().items()},
        conditions=splits.conditions.names,
        known=len(splits.conditions.known),
        data=identity.to_json(known.sha256, known.captures, known.ports)
        | dict(dir=place),
        normal={
            k: np.asarray(v)[train].tolist()
            for k, v in splits.baseline._asdict().items()
        },
        best=best,
    )
    return json.loads(json.dumps(meta, default=list))


def _read_meta(workdir):
    """The JSON of the last checkpoint; None without a checkpoint."""
    with checkpoints.open_checkpoints(workdir) as saved:
        return saved.meta(checkpoints.LAST)


def _log_setup(splits, parts):
    _LOG.info(
        "%d captures, %d features, known: %s; novel: %s",
        len(splits.sessions.names),
        len(splits.columns),
        ", ".join(splits.conditions.known),
        ", ".join(splits.conditions.held_out) or "none",
    )
    for name, head in parts.heads.items():
        hyper = ", ".join(f"{k}={v}" for k, v in head.loss.hyper.items())
        _LOG.info(
            "head %s, %d dimensions: %s (%s)", name, head.dim, head.loss.name, hyper
        )


def _remedy(config, workdir, step_number, kept_step):
    """What the user can do about numbers that are not finite, for an error message."""
    return (
        f"training stops at step {step_number}; lower config.optimizer.learning_rate "
        f"({config.optimizer.learning_rate:g}) or clip_norm, or mend the loss, and "
        "train into another --workdir; "
        + (
            f"{workdir} keeps step {kept_step}"
            if kept_step
            else "nothing was saved yet"
        )
    )


def _to_floats(metrics, step_number):
    """Metrics as floats; warns of a collapse."""
    metrics = {name: float(value) for name, value in metrics.items()}
    for name, value in metrics.items():
        if name.endswith("/collapsed") and value == 1:
            _LOG.warning("step %d: %s: all points are the same", step_number, name)
    return metrics


class _Bar:
    """A progress bar on a terminal, plain lines in a log."""

    def __init__(self, bar):
        self._bar = bar

    def show(self, step_number, logged):
        self._bar.update(step_number - self._bar.n)
        names = ("loss", "valid/known", "valid/novel")
        shown = {name: f"{logged[name]:.3f}" for name in names if name in logged}
        if not shown:
            return
        if self._bar.disable:
            text = ", ".join(f"{name} {value}" for name, value in shown.items())
            _LOG.info("step %d: %s", step_number, text)
        else:
            self._bar.set_postfix(shown, refresh=False)


@contextlib.contextmanager
def _progress(total, initial):
    disable = None if hosts.is_first() else True
    with tqdm(total=total, initial=initial, unit="step", disable=disable) as bar:
        yield _Bar(bar)
