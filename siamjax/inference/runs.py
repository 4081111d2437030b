"""A finished run, opened for use: encoder, weights, scaler, columns, conditions."""

import dataclasses
import logging
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np

import siamjax
from siamjax import forms
from siamjax.config import Config
from siamjax.data import identity
from siamjax.data.splits import Splits, open_splits
from siamjax.models import embedder
from siamjax.training import checkpoints, devices, run_config, state, step
from siamjax.types import TRAIN, VALID, Baseline, Column, Scaler, SiamjaxError

_LOG = logging.getLogger(__name__)
# Of the JSON of a checkpoint, see `loop.checkpoint_meta`; older versions had no `data`.
_FORM = {
    "version": str,
    "columns": [{"name": str, "role": str}],
    "conditions": [str],
    "known": int,
    "scaler": {str: object},
}


class Opened(NamedTuple):
    """A checkpoint, and what its config makes of it."""

    workdir: pathlib.Path
    config: Config
    step: int
    columns: tuple
    scaler: Scaler
    meta: dict  # see `loop.checkpoint_meta`
    parts: step.Parts  # on one device
    state: state.TrainState
    first: state.TrainState  # before the first step
    trained: identity.Trained


class Run(NamedTuple):
    """What evaluation and identification need of a run, without its data set."""

    workdir: pathlib.Path
    config: Config
    step: int
    columns: tuple
    scaler: Scaler
    conditions: tuple  # names: known ones first, normal the first of all
    known: int
    normal: Baseline  # [S, F] of the training captures
    embed: Any  # (counts [N, T, F], types.Baseline [N, F]) -> {head: [N, E]}
    untrained: Any  # the same with the weights before the first step
    version: str
    trained: identity.Trained


def open_run(workdir, which=checkpoints.BEST):
    """Opens the best (or last) checkpoint of a workdir on one device.

    Raises:
      SiamjaxError: there is none, or it is of a version whose runs are not read.
    """
    opened = open_checkpoint(workdir, which)
    encoder = opened.parts.encoder
    embed = embedder.make_embedder(encoder)

    def encode_with(now):
        final = encoder.finalise(now.batch_stats)
        return lambda counts, baseline: embed(
            now.params["encoder"], final, opened.scaler, counts, baseline
        )

    meta = opened.meta
    return Run(
        workdir=opened.workdir,
        config=opened.config,
        step=opened.step,
        columns=opened.columns,
        scaler=opened.scaler,
        conditions=tuple(meta["conditions"]),
        known=meta["known"],
        normal=_normal(opened),
        embed=encode_with(opened.state),
        untrained=encode_with(opened.first),
        version=meta["version"],
        trained=opened.trained,
    )


def open_checkpoint(workdir, which):
    """`Opened` of a workdir: which is `checkpoints.BEST` or `checkpoints.LAST`.

    Raises:
      SiamjaxError: there is none.
      files.Damaged: config.json cannot be used, or is not that of the checkpoint.
    """
    workdir = pathlib.Path(workdir)
    written = run_config.read_config(workdir)
    mesh = devices.make_mesh(devices.prepare_devices(written["platform"])[:1])
    with checkpoints.open_checkpoints(workdir) as saved:
        meta = saved.meta(which)
        if meta is None:
            raise SiamjaxError(
                f"{workdir} has no checkpoint yet: "
                "let siamjax-train reach an evaluation"
            )
        columns = _columns(workdir, meta)
        config = run_config.parse_config(workdir, written, meta.get("config"))
        parts = step.build_parts(
            config, columns=columns, classes=meta["known"], mesh=mesh
        )
        first = jax.device_put(
            state.create_state(config.seed, parts), devices.replicated(mesh)
        )
        got = saved.restore(which, checkpoints.state_template(first))
        meta = got.meta
    scaler = Scaler(
        **{
            name: np.asarray(
                meta["scaler"][name], bool if name in ("heavy", "own") else np.float32
            )
            for name in Scaler._fields
            if name in meta["scaler"]
        }
    )
    trained = _trained(config.data.dir, meta, columns, scaler)
    return Opened(
        workdir, config, got.step, columns, scaler, meta, parts, got.state, first,
        trained,
    )  # fmt: skip


def _columns(workdir, meta):
    """The columns of a run, once all that is read of its checkpoint's JSON is there."""
    try:
        forms.check_form(meta, _FORM)
        return tuple(Column(**column) for column in meta["columns"])
    except (ValueError, TypeError) as error:
        raise SiamjaxError(
            f"the checkpoint of {workdir} is of siamjax {meta.get('version', '?')}, "
            f"this is {siamjax.__version__}: {error}; use the version that wrote it"
        ) from error


def read_data(run: Run | Opened, folder: str = "") -> Splits:
    """The data set of a run with the roles that its captures had in training.

    What is new, has changed or is gone since then is logged, a line each.

    Args:
      run: an opened run.
      folder: another prepared data set, whose captures are all for the test but those
        that the run used; by default that of the training.
    Raises:
      UsageError: the data does not fit the run.
    """
    config, trained = run.config.data, run.trained
    if not trained.sha256:
        _LOG.warning(
            "%s was trained by an older version, which did not keep what it was "
            "trained on: a capture of the training can be among the test captures",
            run.workdir,
        )  # fmt: skip
    if folder:
        config = dataclasses.replace(config, dir=folder)
    elif not trained.sha256:
        return open_splits(config)
    splits = open_splits(config, trained)
    for line in _said(splits, folder):
        _LOG.warning("%s", line)
    return splits


def _said(splits, folder):
    """What is to be known of a data set that is not, or no longer, as in training."""
    yield from (f"left out: {line}" for line in splits.left_out)
    if folder:
        used = [n for n, c in splits.captures.items() if c.role in (TRAIN, VALID)]
        if used:
            yield (
                f"{identity.count_captures(used)} of the run's training: not judged: "
                f"{identity.list_names(used)}"
            )
        return
    if splits.new:
        yield (
            f"{identity.count_captures(splits.new)} new since training: judged as test "
            f"captures: {identity.list_names(splits.new)}"
        )
    if splits.gone:
        yield (
            f"{identity.count_captures(splits.gone)} gone since training: "
            f"{identity.list_names(splits.gone)}"
        )


def _trained(folder, meta, columns, scaler):
    data, normal = meta.get("data", {}), meta.get("normal")
    if normal is not None:
        normal = Baseline(*(np.array(normal[k], np.float32) for k in Baseline._fields))
    return identity.Trained(
        dir=folder,
        sha256=data.get("sha256", ""),
        captures={
            name: identity.Capture(**capture)
            for name, capture in data.get("captures", {}).items()
        },
        conditions=tuple(meta["conditions"]),
        known=meta["known"],
        columns=columns,
        scaler=scaler,
        baseline=normal,
    )


def _normal(opened):
    """`Baseline` `[S, F]` of the training captures."""
    if opened.trained.baseline is None:
        raise SiamjaxError(
            f"{opened.workdir} was trained by an older version, which kept less of the "
            "baselines: train it again"
        )
    return opened.trained.baseline
