"""The training loop: the compiled steps, and what happens between them."""

import contextlib
import dataclasses
import logging
import math
import pathlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from siamjax import files, processes
from siamjax.config import Config, to_plain
from siamjax.data import counts_on_disk, sampler
from siamjax.data.splits import Splits, open_splits
from siamjax.models import embedder, norm
from siamjax.reports import scalars, trace
from siamjax.training import (
    checkpoints,
    devices,
    finite,
    hosts,
    provenance,
    step,
    tracer,
    validation,
)
from siamjax.training.state import TrainState, create_state, state_shapes
from siamjax.types import Interrupted

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
      until: stop after this step. The learning rate still follows `config.steps`. The
        runs on folds that chose it have said what validation judges, so this one does
        not.
      profile: a folder that gets a trace of the steps between the first two pauses,
        for TensorBoard and Perfetto.
    Raises:
      UsageError: workdir belongs to another config; the config does not fit the data;
        another process trains in workdir.
      SiamjaxError: the loss or the state is not finite; what was saved before stays.
      Interrupted: SIGTERM or Ctrl-C, after saving.
    """
    with hosts.on_first(lambda: files.locked(workdir)):
        return _train(config, workdir, until, profile)


def _train(config, workdir, until, profile):
    setup = _set_up(config, workdir, say_validation=until is None)
    end = until or config.steps
    with (
        hosts.on_first(
            lambda: checkpoints.open_checkpoints(workdir, write=True)
        ) as saved,
        processes.catch_signals() as caught,
        _step_runner(setup, end) as run_steps,
    ):
        state, best, kept_step = _first_state(setup, saved)
        done = int(state.step)
        tracing = tracer.open_tracer(
            workdir,
            done,
            splits=setup.splits,
            parts=setup.parts,
            config=config,
            embed=setup.embed,
        )
        with (
            hosts.on_first(lambda: scalars.open_writer(workdir, done)) as writer,
            tracing as (record_trace, flush_trace),
            _progress(end, done) as bar,
        ):
            if done == 0 and config.trace_frames:
                record_trace(state, done)
            outputs = _Outputs(saved, writer, record_trace, flush_trace, bar)
            recorder = _Recorder(setup, outputs, best, kept_step)
            for number, pause in enumerate(pauses(config, done, end)):
                with _profiled(profile if number == 1 else None):
                    state, metrics = run_steps(state, pause.step - done, setup.data)
                    jax.block_until_ready(metrics)
                done = pause.step
                # A later signal waits for the next pause.
                stop = hosts.most_of(sum(caught[:1])) > 0
                recorder.record(pause, state, metrics, stop)
                if stop:
                    break
            if signal_number := hosts.most_of(sum(caught[:1])):
                raise Interrupted(
                    f"stopped at step {done}, state saved: the same command goes on",
                    128 + signal_number,
                )
    return state


class _Setup(NamedTuple):
    """What a training is made of. Nothing of it changes from step to step."""

    config: Config
    workdir: str | pathlib.Path
    splits: Splits
    parts: step.Parts
    data: step.Data
    embed: Callable[..., dict[str, np.ndarray]]
    validate: Callable[[TrainState], dict[str, float]]


def _set_up(config, workdir, *, say_validation):
    """Opens the data, checks that the run may go on with it, and builds the parts."""
    mesh = devices.make_mesh(devices.prepare_devices(config.platform))
    splits = hosts.everywhere(lambda: open_splits(config.data))
    for line in splits.provenance.left_out:
        _LOG.warning("left out: %s", line)
    hosts.check_same(_facts(config, splits))
    hosts.from_first(lambda: provenance.check_data(workdir, config.data.dir, splits))
    parts = step.build_parts(
        config, columns=splits.columns, classes=len(splits.conditions.known), mesh=mesh
    )
    step.check_losses(state_shapes(parts), parts)
    data = place_data(
        splits,
        config.batch.batch_from,
        parts,
        config.seed,
        streamed=bool(config.data.counts_dir),
    )
    hosts.from_first(lambda: provenance.claim_config(workdir, config))
    _log_setup(splits, parts)
    embed = embedder.make_embedder(parts.encoder, devices.batch_sharding(mesh))
    plan = validation.plan_validation(splits, config.draws)
    judges = bool(plan.known or plan.novel)
    for line in plan.lines if say_validation else ():
        _LOG.log(logging.INFO if judges else logging.WARNING, line)
    validate = validation.make_validator(splits, parts, config, embed, plan)
    return _Setup(config, workdir, splits, parts, data, embed, validate)


@contextlib.contextmanager
def _step_runner(setup, end):
    """The compiled steps; where the counts are on disk, they are read ahead."""
    streamed = bool(setup.config.data.counts_dir)
    run_steps = step.compile_run(setup.parts, streamed=streamed)
    if not streamed:
        yield run_steps
        return
    reader = make_chunk_reader(setup.splits, setup.data, setup.parts)
    with counts_on_disk.reading_ahead(reader, end) as chunk_of:
        yield step.read_ahead(run_steps, chunk_of)


def _first_state(setup, saved):
    """The state to go on from, the best checkpoint so far, and the step that is saved;
    these two are None for a new run."""
    state = create_state(setup.config.seed, setup.parts)
    last = hosts.from_first(lambda: _restore(saved, state))
    if last is None:
        return state, None, None
    _LOG.info("going on from step %d", last.step)
    sharding = devices.replicated(setup.parts.mesh)
    return devices.place(last.state, sharding), last.meta["best"], last.step


class _Outputs(NamedTuple):
    """Where a training writes; of several processes, only the first has the files."""

    saved: checkpoints.Checkpoints | None
    writer: scalars.Writer | None
    record_trace: Callable[[TrainState, int], None]
    flush_trace: Callable[[], None]
    bar: "_Bar"


class _Recorder:
    """What is done at the pauses: numbers are checked, shown and saved."""

    def __init__(self, setup, outputs, best, kept_step):
        self._setup, self._outputs = setup, outputs
        self._best = best  # step and score of the best checkpoint; None: none yet
        self._kept_step = kept_step  # of the last checkpoint; None: none yet

    def record(self, pause, state, metrics, stop):
        """Does what a pause asks for. Where the run stops, the state is saved."""
        logged, scores = self._check(pause, state, metrics, stop)
        score = scores.get("score")
        if pause.evaluate:
            logged |= {f"valid/{name}": value for name, value in scores.items()}
            self._keep_best(pause.step, score)
        if pause.trace:
            self._outputs.record_trace(state, pause.step)
        if self._outputs.writer is not None:
            self._outputs.writer.add(pause.step, logged)
        self._outputs.bar.show(pause.step, logged)
        if pause.evaluate or stop:
            self._save(state, score)
            self._kept_step = pause.step

    def _check(self, pause, state, metrics, stop):
        """Metrics to log and scores of validation, once all numbers are finite."""
        setup, logged, scores = self._setup, {}, {}
        remedy = _remedy(setup.config, setup.workdir, pause.step, self._kept_step)
        with finite.with_remedy(remedy):
            if pause.log:
                logged = _to_floats(jax.device_get(metrics), pause.step)
                finite.check_metrics(logged, setup.parts)
                norm.assert_moved(state.batch_stats, pause.step)
            if pause.evaluate or stop:
                finite.check_state(state)
            if pause.evaluate:
                scores = _validate(setup.validate, state)
        return logged, scores

    def _keep_best(self, step_number, score):
        # Where nothing can be judged, the latest is the best.
        if score is None or self._best is None or score > self._best["score"]:
            score = math.nan if score is None else score
            self._best = dict(step=step_number, score=score)

    def _save(self, state, score):
        setup, outputs = self._setup, self._outputs
        if outputs.writer is None or outputs.saved is None:
            return
        outputs.writer.flush()
        outputs.flush_trace()
        meta = provenance.checkpoint_meta(
            setup.config, setup.splits, self._best, setup.workdir
        )
        outputs.saved.save(state, meta, score)


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
