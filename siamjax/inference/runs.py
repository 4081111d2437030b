"""A finished run, opened for use: encoder, weights, scaler, columns, conditions."""

import dataclasses
import logging
import pathlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np

import siamjax
from siamjax import forms
from siamjax.config import Config, DataConfig
from siamjax.data import features, identity, prepared
from siamjax.data.splits import Splits, open_splits
from siamjax.evaluation.wccn import Whitening
from siamjax.inference import deciding
from siamjax.inference.deciding import Deciding
from siamjax.models import embedder
from siamjax.training import (
    checkpoints,
    devices,
    hosts,
    run_config,
    state,
    step,
    whitening,
)
from siamjax.types import (
    TRAIN,
    VALID,
    Baseline,
    Column,
    Scaler,
    SiamjaxError,
    UsageError,
)

# (counts [N, T, F], baseline [N, F], session [N] or None) -> {head: [N, E]}
Embed = Callable[..., dict[str, np.ndarray]]
_LOG = logging.getLogger(__name__)
# The fields that the JSON of every checkpoint has, see `provenance.checkpoint_meta`.
_FORM = {
    "version": str,
    "columns": [{"name": str, "role": str}],
    "conditions": [str],
    "known": int,
    "scaler": {str: object},
}


class Checkpoint(NamedTuple):
    """A checkpoint on one device, and what is built from its config."""

    workdir: pathlib.Path
    config: Config
    meta: dict[str, Any]  # see `provenance.checkpoint_meta`
    parts: step.Parts
    state: state.TrainState
    trained: identity.Trained  # data, columns, conditions and scaler

    @property
    def step(self) -> int:
        """How many optimiser steps it was trained for."""
        return int(self.state.step)

    @property
    def scaler(self) -> Scaler:
        return cast(Scaler, self.trained.scaler)


class Run(NamedTuple):
    """A checkpoint and its encoder: all that evaluation and identification need."""

    checkpoint: Checkpoint
    embed: Embed
    untrained: Embed  # with the weights before the first step
    deciding: Deciding  # the space in which windows are compared

    @property
    def workdir(self) -> pathlib.Path:
        return self.checkpoint.workdir

    @property
    def config(self) -> Config:
        return self.checkpoint.config

    @property
    def step(self) -> int:
        return self.checkpoint.step

    @property
    def version(self) -> str:
        """The version of siamjax that trained it."""
        return self.checkpoint.meta["version"]

    @property
    def trained(self) -> identity.Trained:
        return self.checkpoint.trained

    @property
    def columns(self) -> tuple[Column, ...]:
        return self.trained.columns

    @property
    def ports(self) -> Mapping[str, Sequence[int]]:
        """Ports of protocols, besides their usual ones, at which it reads them."""
        return self.trained.ports

    @property
    def scaler(self) -> Scaler:
        return self.checkpoint.scaler

    def compared(self, *inputs: Any) -> np.ndarray:
        """Points `[N, E]` of windows in the space in which the run compares them.

        Args:
          inputs: `types.Inputs`; the session may be left out.
        """
        counts, baseline, *_ = inputs
        windows = np.asarray(features.to_features(counts, baseline, self.scaler))
        return self.to_points(self.embed(*inputs), windows)

    def to_points(
        self, heads: Mapping[str, np.ndarray], windows: np.ndarray
    ) -> np.ndarray:
        """`compared` of windows that were embedded.

        Args:
          heads: {head: `[N, E]`}, what `embed` gives.
          windows: `[N, T, F]`, features.
        """
        return deciding.to_points(self.deciding, self.config, heads, windows)

    @property
    def normal(self) -> Baseline:
        """The baselines `[S, F]` of the training captures."""
        return cast(Baseline, self.trained.baseline)


def open_run(
    workdir: str | pathlib.Path,
    which: str = checkpoints.BEST,
    *,
    evaluated: bool = True,
    data: DataConfig | None = None,
) -> Run:
    """Opens the best (or last) checkpoint of a workdir on one device.

    With several processes all must call it; the first one reads for all of them.

    Args:
      workdir: of the run.
      which: `checkpoints.BEST` or `checkpoints.LAST`.
      evaluated: decide in the space that the evaluation stored, if there was one; else
        in the default one.
      data: where this host has the data: its folders take the place of those in
        config.json.
    Raises:
      SiamjaxError: there is none, or the version that trained it kept too little.
      files.Damaged: config.json or space.npz cannot be used, or is of another run.
    """
    checkpoint = open_checkpoint(workdir, which, data)
    if checkpoint.trained.baseline is None:
        raise SiamjaxError(
            f"{workdir} was trained by an older version, which kept less of the "
            "baselines: train it again"
        )
    parts, scaler = checkpoint.parts, checkpoint.scaler
    embed = embedder.make_embedder(parts.encoder)

    def embed_with(train_state, *inputs):
        final = parts.encoder.finalise(train_state.batch_stats)
        return embed(train_state.params["encoder"], final, scaler, *inputs)

    def embed_untrained(*inputs):
        first = state.create_state(checkpoint.config.seed, parts)
        return embed_with(first, *inputs)

    chosen = deciding.default_deciding(checkpoint.config)
    if evaluated:
        columns = len(checkpoint.trained.columns)
        chosen = hosts.from_first(
            lambda: deciding.read_deciding(
                checkpoint.workdir, checkpoint.config, columns
            )
        )
    embed_trained = partial(embed_with, checkpoint.state)
    return Run(checkpoint, embed_trained, embed_untrained, chosen)


def judge_spaces(run: Run, splits: Splits) -> tuple[Whitening, list[dict[str, Any]]]:
    """The whitening of a run, and the recall of each space on validation.

    Args:
      run: an opened run.
      splits: of the data that it was trained on.
    """
    learnt = whitening.learn_whitening(splits)
    return learnt, deciding.validate_spaces(run.config, splits, run.embed, learnt)


def open_checkpoint(
    workdir: str | pathlib.Path, which: str, data: DataConfig | None = None
) -> Checkpoint:
    """A checkpoint of a workdir, `checkpoints.BEST` or `checkpoints.LAST`.

    With several processes all must call it; the first one reads for all of them.

    Args:
      workdir, which, data: see `open_run`.
    Raises:
      SiamjaxError: there is none.
      files.Damaged: config.json cannot be used, or is not that of the checkpoint.
    """
    workdir = pathlib.Path(workdir)
    written = hosts.from_first(lambda: run_config.read_config(workdir))
    available = devices.prepare_devices(written["platform"])
    mesh = devices.make_mesh(devices.first_local(available))
    with hosts.on_first(lambda: checkpoints.open_checkpoints(workdir)) as saved:
        meta = hosts.from_first(lambda: _read_meta(workdir, saved, which))
        columns = _columns(workdir, meta)
        config = run_config.parse_config(workdir, written, meta.get("config"))
        config = run_config.locate_data(workdir, config, meta)
        if data is not None:
            moved = dataclasses.replace(
                config.data, dir=data.dir, counts_dir=data.counts_dir
            )
            config = dataclasses.replace(config, data=moved)
        parts = step.build_parts(
            config, columns=columns, classes=meta["known"], mesh=mesh
        )
        template = checkpoints.state_template(
            state.state_shapes(parts), devices.replicated(mesh)
        )
        restored = hosts.from_first(lambda: _restore(saved, which, template))
    placed = devices.place(restored.state, devices.replicated(mesh))
    trained = _trained(config.data.dir, restored.meta, columns)
    return Checkpoint(workdir, config, restored.meta, parts, placed, trained)


def _read_meta(workdir, saved, which):
    meta = saved.meta(which)
    if meta is None:
        raise SiamjaxError(
            f"{workdir} has no checkpoint yet: let siamjax train reach an evaluation"
        )
    return meta


def _restore(saved, which, template):
    restored = saved.restore(which, template)
    assert restored is not None  # its JSON was there
    return restored


def _columns(workdir, meta):
    """The columns of a run; refuses a checkpoint whose JSON lacks a field of
    `_FORM`."""
    try:
        forms.check_form(meta, _FORM)
        return tuple(Column(**column) for column in meta["columns"])
    except (ValueError, TypeError) as error:
        raise SiamjaxError(
            f"the checkpoint of {workdir} is of siamjax {meta.get('version', '?')}, "
            f"this is {siamjax.__version__}: {error}; use the version that wrote it"
        ) from error


def read_data(run: Run | Checkpoint, folder: str | None = None) -> Splits:
    """The data set of a run with the roles that its captures had in training.

    With several processes all must call it; each reads the data on its own host.
    Captures that are left out, new or gone since then are logged, a line each.

    Args:
      run: an opened run.
      folder: another prepared data set; all its captures are test captures, except
        those that the run used in training. By default the data set of the training.
    Raises:
      UsageError: the data does not fit the run, or is not there, or is not the same in
        all processes.
    """
    splits = hosts.everywhere(lambda: _read_data(run, folder))
    hosts.check_same(dict(data=splits.provenance.sha256))
    return splits


def _read_data(run, folder):
    config, trained = run.config.data, run.trained
    if not folder and prepared.read_meta(config.dir) is None:
        raise UsageError(
            f"{run.workdir} was trained on the data set {config.dir}, which is not "
            f"there: write where it is now as data.dir into {run.workdir}/"
            f"{run_config.FILE}, or judge by it with siamjax evaluate --data DIR"
        )
    if not trained.sha256:
        _LOG.warning(
            "%s was trained by an older version, which did not keep what it was "
            "trained on: a capture of the training can be among the test captures",
            run.workdir,
        )
    if folder:
        config = dataclasses.replace(config, dir=folder)
    elif not trained.sha256:
        return open_splits(config)
    splits = open_splits(config, trained)
    for line in _data_notes(splits, folder):
        _LOG.warning("%s", line)
    return splits


def _data_notes(splits, folder):
    """Lines about what is not as it was in training."""
    yield from (f"left out: {line}" for line in splits.provenance.left_out)
    if folder:
        captures = splits.provenance.captures
        used = [n for n, c in captures.items() if c.role in (TRAIN, VALID)]
        if used:
            them = "it" if len(used) == 1 else "them"
            yield (
                f"{identity.count_captures(used)} not judged, because the run was "
                f"trained or validated with {them}: {identity.list_names(used)}"
            )
        return
    if splits.provenance.new:
        yield (
            f"{identity.count_captures(splits.provenance.new)} new since training: "
            f"judged as test captures: {identity.list_names(splits.provenance.new)}"
        )
    if splits.provenance.gone:
        yield (
            f"{identity.count_captures(splits.provenance.gone)} gone since training: "
            f"{identity.list_names(splits.provenance.gone)}"
        )


def _trained(folder, meta, columns):
    data, normal = meta.get("data", {}), meta.get("normal")
    if normal is not None:
        normal = Baseline(*(np.array(normal[k], np.float32) for k in Baseline._fields))
    booleans = ("heavy", "own")
    scaler = {
        name: np.asarray(values, bool if name in booleans else np.float32)
        for name, values in meta["scaler"].items()
        if name in Scaler._fields
    }
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
        scaler=Scaler(**scaler),
        baseline=normal,
        ports=data.get("decode_as", {}),
    )
