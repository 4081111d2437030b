"""A finished run, opened for use: encoder, weights, scaler, columns, conditions."""

import json
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from siamjax.training import checkpoints, devices, embed, state, step
from siamjax.types import Column, Scaler, SiamjaxError


class Run(NamedTuple):
    """What evaluation and identification need of a run, without its data set."""

    workdir: pathlib.Path
    config: ConfigDict
    step: int
    columns: tuple
    scaler: Scaler
    conditions: tuple  # names: known ones first, normal the first of all
    known: int
    normal_mean: np.ndarray  # [S, F] baselines' means of the training captures
    embed: Any  # (counts [N, T, F], types.Baseline [N, F]) -> {head: [N, E]}
    untrained: Any  # the same with the weights before the first step
    version: str


def open_run(workdir, which=checkpoints.BEST):
    """Opens the best (or last) checkpoint of a workdir on one device.

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
        heavy=np.array(meta["scaler"]["heavy"], bool),
        **{
            name: np.asarray(meta["scaler"][name], np.float32)
            for name in Scaler._fields
            if name != "heavy"
        },
    )
    embedder = embed.embedder(parts.encoder, scaler)

    def encode_with(now):
        final = parts.encoder.finalise(now.batch_stats)
        return lambda counts, baseline: embedder(
            now.params["encoder"], final, counts, baseline
        )

    return Run(
        workdir=workdir,
        config=config,
        step=got.step,
        columns=columns,
        scaler=scaler,
        conditions=tuple(meta["conditions"]),
        known=meta["known"],
        normal_mean=np.array(meta["normal_mean"], np.float32),
        embed=encode_with(got.state),
        untrained=encode_with(first),
        version=meta["version"],
    )


def _tuples(value):
    """JSON's lists as the tuples that a config has."""
    if isinstance(value, dict):
        return {key: _tuples(sub) for key, sub in value.items()}
    return tuple(value) if isinstance(value, list) else value
