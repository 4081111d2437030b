"""Training: the compiled steps, and what happens between them."""

import contextlib
import json
import logging
import math
import pathlib
import signal
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

import siamjax
from siamjax import files
from siamjax.config import Config, to_plain
from siamjax.data import identity, sampler
from siamjax.data.splits import open_splits
from siamjax.models import embedder, norm
from siamjax.reports import scalars, trace
from siamjax.training import (
    checkpoints,
    devices,
    finite,
    run_config,
    state,
    step,
    tracer,
    validation,
)
from siamjax.types import TRAIN, Interrupted, UsageError

_LOG = logging.getLogger(__name__)


class Pause(NamedTuple):
    """Where the compiled steps stop, and what for."""

    step: int
    log: bool
    evaluate: bool
    trace: bool


def pauses(config: Config, first: int, end: int) -> Iterator[Pause]:
    """The pauses after step `first` to the last one, as those of a run that was not
    cut."""
    traced = set(trace.choose_steps(end, config.trace_frames))
    for at in range(first + 1, end + 1):
        last = at == end
        log = last or at % config.log_every == 0
        evaluate = last or at % config.evaluate_every == 0
        if log or evaluate or at in traced:
            yield Pause(at, log, evaluate, at in traced)


def train(
    config: Config, workdir: str | pathlib.Path, until: int | None = None
) -> state.TrainState:
    """Runs to `config.steps`, going on from the last checkpoint of workdir.

    Args:
      config: see configs/default.py.
      workdir: gets config.json, checkpoints, scalars.csv and TensorBoard's events.
      until: the step to stop after, where that is before `config.steps`; what follows
        from `config.steps`, as the learning rate, stays as it is.
    Raises:
      UsageError: workdir belongs to another config; the config does not fit the data;
        another process trains in workdir.
      SiamjaxError: the loss or the state is not finite; what was saved before stays.
      Interrupted: SIGTERM or Ctrl-C, after saving.
    """
    with files.locked(workdir):
        return _train(config, workdir, until or config.steps)


def _train(config, workdir, end):
    available = devices.prepare_devices(config.platform)
    splits = open_splits(config.data)
    for line in splits.left_out:
        _LOG.warning("left out: %s", line)
    check_data(workdir, config.data.dir, splits)
    mesh = devices.make_mesh(available)
    parts = step.build_parts(
        config, columns=splits.columns, classes=splits.known, mesh=mesh
    )
    data = place_data(splits, config.batch.batch_from, parts, config.seed)
    check_config(workdir, config)
    _describe(config, splits, parts)
    run = step.compile_run(parts)
    points = embedder.make_embedder(parts.encoder)
    judged = validation.plan_validation(splits, config.draws)
    for line in judged.lines:
        _LOG.info(line)
    validate = validation.make_validator(splits, parts, config, points, judged)
    with (
        checkpoints.open_checkpoints(workdir, write=True) as saved,
        _signals() as caught,
    ):
        current = jax.device_put(
            state.create_state(config.seed, parts), devices.replicated(mesh)
        )
        best = kept = None
        if (
            last := saved.restore(checkpoints.LAST, checkpoints.state_template(current))
        ) is not None:
            current, best, kept = last.state, last.meta["best"], last.step
            _LOG.info("going on from step %d", last.step)
        done = int(current.step)
        with (
            scalars.open_writer(workdir, done) as write,
            tracer.open_tracer(workdir, done, splits, parts, config, points) as (
                add_trace,
                flush_trace,
            ),
            _progress(end, done) as bar,
        ):
            if done == 0 and config.trace_frames:
                add_trace(current, done)
            for pause in pauses(config, done, end):
                current, metrics = run(current, pause.step - done, data)
                done, logged, score = pause.step, {}, None
                stop = bool(caught)  # a signal from here on waits for the next pause
                with finite.with_remedy(_remedy(config, workdir, done, kept)):
                    if pause.log:
                        logged = _checked(jax.device_get(metrics), done)
                        finite.check_metrics(logged, parts)
                        norm.assert_moved(current.batch_stats, done)
                    if pause.evaluate or stop:
                        finite.check_state(current)
                    scores = validate(current) if pause.evaluate else {}
                if pause.evaluate:
                    logged |= {f"valid/{name}": value for name, value in scores.items()}
                    score = scores.get("score")
                    # Where nothing can be judged, the latest is the best.
                    if score is None or best is None or score > best["score"]:
                        best = dict(
                            step=done, score=math.nan if score is None else score
                        )
                if pause.trace:
                    add_trace(current, done)
                write.add(done, logged)
                bar.show(done, logged)
                if pause.evaluate or stop:
                    write.flush()
                    flush_trace()
                    saved.save(current, checkpoint_meta(config, splits, best), score)
                    kept = done
                if stop:
                    break
            if caught:
                raise Interrupted(
                    f"stopped at step {done}, state saved: the same command goes on",
                    128 + caught[0],
                )
    return current


def place_data(splits, batch_from, parts, seed):
    """`step.Data` of the training split, on every device of the mesh."""
    chosen = splits.inside(TRAIN, splits.conditions[: splits.known])
    table = sampler.sampling_table(
        splits.windows, chosen, conditions=len(splits.conditions), batch_from=batch_from
    )
    sampler.check_shape(table, parts.shape, parts.mesh.size)
    data = step.Data(
        jnp.asarray(seed, jnp.int32), splits.counts, splits.baseline, splits.scaler,
        splits.windows, table,
    )  # fmt: skip
    return jax.device_put(data, devices.replicated(parts.mesh))


def check_config(workdir, config):
    """Writes config.json, or refuses a workdir that was made with another config.

    Where the file is lost, the copy of the checkpoint says what it was made with.
    """
    lost = not (pathlib.Path(workdir) / run_config.FILE).exists()
    before, now = None, to_plain(config)
    if not lost:
        before = run_config.read_config(workdir)
    elif (saved := (_saved(workdir) or {}).get("config")) is not None:
        before = run_config.upgrade_config(saved)
    if before is not None and (differ := run_config.list_differences(before, now)):
        raise UsageError(
            f"{workdir} belongs to another config: {'; '.join(differ[:3])}; "
            "give another --workdir or the same config"
        )
    if lost:
        run_config.write_config(workdir, config)


def check_data(workdir, folder, splits):
    """Refuses to go on with other data than the run was trained on so far."""
    meta = _saved(workdir)
    if meta is None:
        return
    if "data" not in meta:
        _LOG.warning(
            "%s is of an older version, which did not keep what it was trained on: "
            "whether %s is still the same is not checked", workdir, folder,
        )  # fmt: skip
        return
    before = {n: identity.Capture(**c) for n, c in meta["data"]["captures"].items()}
    differ = identity.describe_changes(before, splits.captures)
    if not differ and meta["data"]["sha256"] != splits.sha256:
        differ = ["its columns are others"]
    if not differ:
        return
    raise UsageError(
        f"{folder} is not what {workdir} was trained on: {'; '.join(differ)}; give "
        "another --workdir or the data as it was"
    )


def checkpoint_meta(config, splits, best):
    """What a checkpoint says beside the state: enough to use it without the data."""
    train = splits.role == TRAIN
    return json.loads(
        _json(
            dict(
                version=siamjax.__version__,
                config=to_plain(config),
                losses=step.hyper_parameters(config),
                columns=[column._asdict() for column in splits.columns],
                scaler={
                    k: np.asarray(v).tolist()
                    for k, v in splits.scaler._asdict().items()
                },
                conditions=splits.conditions,
                known=splits.known,
                data=identity.to_json(splits.sha256, splits.captures),
                normal={
                    k: np.asarray(v)[train].tolist()
                    for k, v in splits.baseline._asdict().items()
                },
                best=best,
            )
        )
    )


def _json(value):
    return json.dumps(value, indent=1, default=list, allow_nan=True)


def _saved(workdir):
    """What the last checkpoint says beside the state; None without a checkpoint."""
    with checkpoints.open_checkpoints(workdir) as saved:
        return saved.meta(checkpoints.LAST)


def _describe(config, splits, parts):
    _LOG.info(
        "%d captures, %d features, known: %s; novel: %s", len(splits.sessions),
        len(splits.columns), ", ".join(splits.conditions[: splits.known]),
        ", ".join(splits.conditions[splits.known :]) or "none",
    )  # fmt: skip
    for name, (loss, dim) in parts.losses.items():
        hyper = ", ".join(f"{k}={v}" for k, v in loss.hyper.items())
        _LOG.info("head %s, %d dimensions: %s (%s)", name, dim, loss.name, hyper)


def _remedy(config, workdir, at, kept):
    """What can be done about numbers that are not finite."""
    return (
        f"training stops at step {at}; lower config.optimizer.learning_rate "
        f"({config.optimizer.learning_rate:g}) or clip_norm, or mend the loss, and "
        "train into another --workdir; "
        + (f"{workdir} keeps step {kept}" if kept else "nothing was saved yet")
    )


def _checked(metrics, at):
    """Metrics as floats; names a collapse."""
    metrics = {name: float(value) for name, value in metrics.items()}
    for name, value in metrics.items():
        if name.endswith("/collapsed") and value:
            _LOG.warning("step %d: %s: all points have become one", at, name)
    return metrics


@contextlib.contextmanager
def _signals():
    """A list that SIGTERM and the first Ctrl-C append to; the second interrupts."""
    caught, before = [], {}

    def remember(number, _):
        caught.append(number)
        signal.signal(number, before[number])

    for number in (signal.SIGTERM, signal.SIGINT):
        before[number] = signal.signal(number, remember)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Bar:
    """A progress bar on a terminal, plain lines in a log."""

    def __init__(self, bar):
        self._bar = bar

    def show(self, at, logged):
        self._bar.update(at - self._bar.n)
        shown = {
            k: v
            for k, v in logged.items()
            if k in ("loss", "valid/known", "valid/novel")
        }
        if not shown:
            return
        if self._bar.disable:
            _LOG.info(
                "step %d: %s", at, ", ".join(f"{k} {v:.3f}" for k, v in shown.items())
            )
        else:
            self._bar.set_postfix(
                {k: f"{v:.3f}" for k, v in shown.items()}, refresh=False
            )


@contextlib.contextmanager
def _progress(total, initial):
    with tqdm(total=total, initial=initial, unit="step", disable=None) as bar:
        yield _Bar(bar)
