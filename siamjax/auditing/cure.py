"""Cures that need no retraining: a run with other statistics, beside the old one."""

import dataclasses
import pathlib

import jax
import numpy as np

from siamjax import files
from siamjax.auditing import verdict
from siamjax.config import to_plain
from siamjax.models.norm import TrainStats
from siamjax.training import checkpoints, run_config
from siamjax.types import SiamjaxError, UsageError

# Name of the cure -> the statistics of `statistics.candidates` that it keeps.
CURES = {
    "debias": "debiased",
    "precise": "precise",
    "pooled": "pooled",
    "per-session": "per-session",
}


def write(run, candidates, name):
    """Writes the run anew with the statistics of a cure; returns its workdir.

    The new workdir is that of the run with `-NAME` behind it: every command reads it.
    `lag` becomes `batch`, whose average has no start value; with `per-session` the
    normalisation becomes `session`, which reads windows against their session's own.

    Args:
      run: `inference.runs.Opened`.
      candidates: of `statistics.candidates`.
      name: one of `CURES`.
    Raises:
      UsageError: no such cure for this normalisation.
      SiamjaxError: the new workdir exists.
    """
    norm, workdir = run.config.encoder.norm, check(run, name)
    kept_norm = {"per-session": "session"}.get(name, "batch" if norm == "lag" else norm)
    encoder = dataclasses.replace(run.config.encoder, norm=kept_norm)
    config = dataclasses.replace(run.config, encoder=encoder)
    kept = candidates["pooled" if name == "per-session" else CURES[name]].final.moments
    stats = TrainStats(
        jax.device_get(run.state.batch_stats.updates),
        {key: np.asarray(value, np.float32) for key, value in kept.items()},
    )
    state = run.state.replace(batch_stats=stats)
    meta = dict(run.meta, config=to_plain(config), best=None)
    with files.replacing_folder(workdir) as beside:
        run_config.write_config(beside, config)
        with checkpoints.open_checkpoints(beside, write=True) as saved:
            saved.save(state, meta)
    return workdir


def check(run, name):
    """The workdir that a cure will write; raises as `write` does."""
    norm, workdir = run.config.encoder.norm, pathlib.Path(f"{run.workdir}-{name}")
    if norm in verdict.STATELESS:
        raise UsageError(
            f"--cure {name}: normalisation {norm!r} keeps no statistics to cure"
        )
    if name == "debias" and norm != "lag":
        raise UsageError(
            f"--cure debias: the average of {norm!r} has no share of its start value"
        )
    if name == "per-session" and not run.config.data.baseline_s:
        raise UsageError(
            "--cure per-session: with config.data.baseline_s=0 all sessions have one "
            "baseline, by which prediction would tell them apart"
        )
    if workdir.exists():
        raise SiamjaxError(f"{workdir} exists: remove it to write the cure again")
    return workdir
