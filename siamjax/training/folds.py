"""Trains a run on all captures; runs on folds choose its number of steps.

If no fold is set aside for validation (`config.data.valid_fold` is -1), each fold
validates its own run in WORKDIR/folds. Some faults are held out of that run as novel
ones. The mean of the validation scores says after how many steps the run on all
captures stops. `assessment.out_of_fold` learns the examples and the rule from the
captures that each fold run did not see.
"""

import dataclasses
import logging
import pathlib
from typing import NamedTuple

import numpy as np

from siamjax import checks
from siamjax.config import Config
from siamjax.data.roles import NONE
from siamjax.data.splits import open_splits
from siamjax.reports import scalars
from siamjax.training import hosts, loop, provenance
from siamjax.training.state import TrainState
from siamjax.types import NORMAL

_LOG = logging.getLogger(__name__)

FOLDER = "folds"


class FoldRun(NamedTuple):
    """A run that does not train on one fold."""

    workdir: pathlib.Path
    config: Config


def trains_on_all(config: Config) -> bool:
    """Whether each fold validates in turn and the last run trains on all captures."""
    data = config.data
    return data.valid_fold == NONE and not data.test_captures


def train_run(
    config: Config,
    workdir: str | pathlib.Path,
    profile: str | pathlib.Path | None = None,
) -> TrainState:
    """Trains a run. If it is on all captures, its fold runs are trained first.

    A run that was cut goes on; one that is done is left as it is.

    Args:
      config: see configs/default.py.
      workdir: see `loop.train`; also gets folds/0, folds/1, ...
      profile: see `loop.train`; of the last run.
    Raises:
      UsageError, Interrupted: see `loop.train`.
    """
    if not trains_on_all(config):
        return loop.train(config, workdir, profile=profile)
    asked = config
    config, runs = hosts.everywhere(lambda: plan_folds(asked, workdir))
    hosts.from_first(lambda: provenance.check_config(workdir, config))
    stages = len(runs) + 1
    for stage, run in enumerate(runs, 1):
        data = run.config.data
        _LOG.info(
            "stage %d of %d: fold %d validates; faults held out as new: %s",
            stage,
            stages,
            data.valid_fold,
            ", ".join(data.novel_valid) or "none",
        )
        loop.train(run.config, run.workdir)
        # Not before: a config that cannot be trained must leave nothing.
        hosts.from_first(lambda: provenance.claim_config(workdir, config))
    steps = hosts.from_first(lambda: best_steps(runs, config.steps))
    _LOG.info(
        "stage %d of %d: training on all captures for %d steps, the best of the folds",
        stages,
        stages,
        steps,
    )
    return loop.train(config, workdir, until=steps, profile=profile)


def plan_folds(
    config: Config, workdir: str | pathlib.Path
) -> tuple[Config, list[FoldRun]]:
    """The config of the run on all captures, and its fold runs.

    Each known fault is held out in one fold, unless there is only one fault. A batch
    has at most as many conditions as each fold run knows.
    """
    checks.require(
        not config.data.novel_valid,
        "config.data.valid_fold is -1, so each fold holds out faults of its own: "
        "config.data.novel_valid must be ()",
    )
    splits = open_splits(config.data)
    faults = [name for name in splits.conditions.known if name != NORMAL]
    folders = fold_workdirs(config, workdir)
    held_out = {
        fold: tuple(faults[i :: len(folders)]) if len(faults) > 1 else ()
        for i, fold in enumerate(folders)
    }
    fewest = len(splits.conditions.known) - max(map(len, held_out.values()))
    if config.batch.conditions > fewest:
        _LOG.info(
            "config.batch.conditions is %d, but a fold run knows only %d: using %d",
            config.batch.conditions,
            fewest,
            fewest,
        )
        batch = dataclasses.replace(config.batch, conditions=fewest)
        config = dataclasses.replace(config, batch=batch)
    runs = []
    for fold, names in held_out.items():
        data = dataclasses.replace(config.data, valid_fold=fold, novel_valid=names)
        runs.append(FoldRun(folders[fold], dataclasses.replace(config, data=data)))
    return config, runs


def fold_workdirs(
    config: Config, workdir: str | pathlib.Path
) -> dict[int, pathlib.Path]:
    """{fold: the workdir of its run} of a run on all captures."""
    return {
        fold: pathlib.Path(workdir) / FOLDER / str(fold)
        for fold in range(config.data.folds)
        if fold != config.data.test_fold
    }


def best_steps(runs: list[FoldRun], steps: int) -> int:
    """The first step at which the mean validation score of the folds is highest.

    Folds that judge nothing do not count; if none judges anything, it is `steps`.
    """
    scores: dict[int, list[float]] = {}
    for run in runs:
        evaluated = scalars.read_scalars(run.workdir).get("valid/score", ((), ()))
        for step, score in zip(*evaluated):
            scores.setdefault(step, []).append(score)
    means = {step: np.mean(values) for step, values in sorted(scores.items())}
    return max(means, key=lambda step: means[step], default=steps)
