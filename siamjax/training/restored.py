"""A finished run, opened for use: encoder, weights, scaler, columns, conditions."""

import json
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from siamjax.training import checkpoints, devices, embed, state, step
from siamjax.types import Baseline, Column, Scaler, SiamjaxError


class Opened(NamedTuple):
    """A checkpoint, and what its config makes of it."""

    workdir: pathlib.Path
    config: ConfigDict
    step: int
    columns: tuple
    scaler: Scaler
    meta: dict  # see `loop.describe`
    parts: step.Parts  # on one device
    state: state.TrainState
    first: state.TrainState  # before the first step


class Run(NamedTuple):
    """What evaluation and identification need of a run, without its data set."""

    workdir: pathlib.Path
    config: ConfigDict
    step: int
    columns: tuple
    scaler: Scaler
    conditions: tuple  # names: known ones first, normal the first of all
    known: int
    normal: Baseline  # [S, F] of the training captures
    embed: Any  # (counts [N, T, F], types.Baseline [N, F]) -> {head: [N, E]}
    untrained: Any  # the same with the weights before the first step
    version: str


def open_run(workdir, which=checkpoints.BEST):
    """Opens the best (or last) checkpoint of a workdir on one device.

    Raises:
      SiamjaxError: there is none, or it is of a version whose runs are not read.
    """
    opened = open_checkpoint(workdir, which)
    encoder = opened.parts.encoder
    embedder = embed.embedder(encoder)

    def encode_with(now):
        final = encoder.finalise(now.batch_stats)
        return lambda counts, baseline: embedder(
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
    )


def open_checkpoint(workdir, which):
    """`Opened` of a workdir: which is `checkpoints.BEST` or `checkpoints.LAST`.

    Raises:
      SiamjaxError: there is none.
    """
    workdir = pathlib.Path(workdir)
    if not (workdir / "config.json").exists():
        raise SiamjaxError(
            f"{workdir} holds no run: make one with siamjax-train --workdir {workdir}"
        )
    config = ConfigDict(_tuples(json.loads((workdir / "config.json").read_text())))
    mesh = devices.mesh(devices.prepare(config.platform)[:1])
    with checkpoints.manager(workdir) as saved:
        meta = saved.meta(which)
        if meta is None:
            raise SiamjaxError(
                f"{workdir} has no checkpoint yet: "
                "let siamjax-train reach an evaluation"
            )
        columns = tuple(Column(**column) for column in meta["columns"])
        parts = step.build(config, columns=columns, classes=meta["known"], mesh=mesh)
        first = jax.device_put(state.create(config.seed, parts), devices.whole(mesh))
        got = saved.restore(which, checkpoints.template(first))
    scaler = Scaler(
        **{
            name: np.asarray(
                meta["scaler"][name], bool if name in ("heavy", "own") else np.float32
            )
            for name in Scaler._fields
            if name in meta["scaler"]
        }
    )
    return Opened(
        workdir, config, got.step, columns, scaler, meta, parts, got.state, first
    )


def _normal(opened):
    """`Baseline` `[S, F]` of the training captures."""
    normal = opened.meta.get("normal")
    if normal is None:
        raise SiamjaxError(
            f"{opened.workdir} was trained by an older version, which kept less of the "
            "baselines: train it again"
        )
    return Baseline(*(np.array(normal[k], np.float32) for k in Baseline._fields))


def _tuples(value):
    """JSON's lists as the tuples that a config has."""
    if isinstance(value, dict):
        return {key: _tuples(sub) for key, sub in value.items()}
    return tuple(value) if isinstance(value, list) else value
