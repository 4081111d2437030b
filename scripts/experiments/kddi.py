"""One-shot recognition of 20 held-out faults of an IP core network, over 6 draws.

    siamjax ingest --format=counters --captures=PATH \
        --labels=PATH/labels.csv --out=runs/kddi
    python -m scripts.experiments.kddi --data=runs/kddi --workdir=runs/kddi_quality

Examples are windows of the learning days, queries are windows of the evaluation days.
Settings are chosen with --valid: then examples come from the earlier learning days, and
queries from the later ones. A cell is one training: setting x draw x seed. A cell that
is done is not run again. Draw -1 holds nothing out; it tells 5 types of fault apart, in
comparison with classifiers.
"""

import dataclasses
import functools
import itertools
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags

from configs import kddi
from scripts.experiments import cells, episodes
from siamjax import cli
from siamjax.config import Config, from_dict
from siamjax.data import prepared
from siamjax.evaluation import baselines
from siamjax.experiments import runner, settings
from siamjax.types import NORMAL

_DATA = flags.DEFINE_string("data", "runs/kddi", "The prepared data set.")
_WORKDIR = flags.DEFINE_string("workdir", "runs/kddi_quality", "Where cells are kept.")
_SETTINGS = flags.DEFINE_multi_string(
    "setting", ["default"], "NAME or NAME:field=value,field=value, of the config."
)
_DRAWS = flags.DEFINE_multi_integer("draw", [0, 1, 2, 3, 4, 5], "Of held-out faults.")
_SEEDS = flags.DEFINE_integer("seeds", 1, "Seeds of each draw.")
_VALID = flags.DEFINE_bool("valid", False, "Judge on the last learning days.")
_WORKERS = flags.DEFINE_integer("workers", os.cpu_count(), "Processes of one thread.")
_BENCH = flags.DEFINE_bool("bench", False, "Also the baselines of the extra `bench`.")

HELD_OUT, WAYS = 20, (5, 20, 0)
EVALUATION = ("2020-07-0[7-9]", "2020-07-1*")
LATE_LEARNING = ("2020-07-0[4-6]",)
NEAREST = 5  # examples that vote on the type of a fault
ONE_TYPE = {"packet_loss": "loss or delay", "packet_delay": "loss or delay"}


def main(argv):
    cli.no_arguments(argv)
    settings.check_names(_SETTINGS.value)
    workdir, data = _WORKDIR.value, _DATA.value
    wanted = [
        dict(data=data, setting=setting, draw=draw, seed=seed, valid=_VALID.value)
        for setting, draw, seed in itertools.product(
            _SETTINGS.value, _DRAWS.value, range(_SEEDS.value)
        )
    ]
    runner.run_cells(
        functools.partial(run, workdir=workdir),
        wanted,
        pathlib.Path(workdir) / "cells.jsonl",
        workers=_WORKERS.value,
    )
    for setting in _SETTINGS.value:
        trained = [cell for cell in wanted if cell["setting"] == setting]
        points = [cells.load_points(cell, workdir) for cell in trained]
        windows = _windows(trained[0])
        print(f"\n{setting}")
        novel = [
            (held_out(data, cell["draw"]), of_cell, cell["draw"])
            for cell, of_cell in zip(trained, points)
            if cell["draw"] >= 0
        ]
        if novel:
            simple = cells.baseline_gaps(windows, _BENCH.value)
            cells.report(windows, simple, novel, faults(data), WAYS)
        known = [x for cell, x in zip(trained, points) if cell["draw"] < 0]
        if known:
            types(windows, known)


def run(cell: Mapping[str, Any], workdir: str) -> str:
    """Trains a cell; the name of the file of its points."""
    return cells.store_points(cell, workdir, configure(cell))


def configure(cell: Mapping[str, Any]) -> Config:
    """The config of a cell."""
    config = settings.apply_setting(from_dict(kddi.get_config()), cell["setting"])
    data = dataclasses.replace(
        config.data,
        dir=cell["data"],
        # With --valid nothing of the evaluation days is judged, see `_windows`.
        test_captures=LATE_LEARNING + EVALUATION if cell["valid"] else EVALUATION,
        valid_captures=(),
        novel_valid=(),
        novel=held_out(cell["data"], cell["draw"]),
    )
    return dataclasses.replace(config, seed=cell["seed"], data=data)


@functools.lru_cache
def faults(folder: str) -> tuple[str, ...]:
    """Names of the faults that are in learning and in evaluation days."""
    by_late: dict[bool, set[str]] = {False: set(), True: set()}
    for session in prepared.read_data_set(folder).sessions:
        by_late[_is_late(session.name)] |= {label.condition for label in session.labels}
    return tuple(sorted(by_late[False] & by_late[True] - {NORMAL}))


def held_out(folder: str, draw: int) -> tuple[str, ...]:
    """The 20 faults that a draw holds out; none for -1."""
    if draw < 0:
        return ()
    order = np.random.default_rng(draw).permutation(faults(folder))
    return tuple(sorted(order[:HELD_OUT].tolist()))


def types(
    data: Mapping[str, np.ndarray], points: Sequence[Mapping[str, np.ndarray]]
) -> None:
    """Prints the accuracy on 5 types of fault, beside that of classifiers.

    The nearest windows of the learning days vote on the type.

    Args:
      data: of `cells.windows`.
      points: `{head: [N, E]}` of all windows, for each training.
    """
    types_of = [name.split("@")[0] for name in data["names"]]
    types_of = np.array([ONE_TYPE.get(name, name) for name in types_of])
    queries, support = data["queries"], data["support"]
    names, code = np.unique(types_of[support], return_inverse=True)
    truth, x = types_of[queries], data["x"]
    right = {
        name: names[baselines.classify(name, x[support], code, x[queries])] == truth
        for name in ("random forest", "logistic regression")
    }
    ours = []
    for of_training in points:
        gaps = episodes.distances(
            of_training["match"][queries], of_training["match"][support]
        )
        near = code[np.argsort(gaps, axis=1)[:, :NEAREST]]
        votes = (near[:, :, None] == np.arange(len(names))).sum(1)
        ours.append(names[votes.argmax(1)] == truth)
    right["match"] = np.mean(ours, 0)
    print(f"5 types of fault, {len(truth)} cases, {len(points)} trainings")
    for name, hit in right.items():
        by_type = ", ".join(f"{t} {hit[truth == t].mean():.3f}" for t in names)
        line = f"  {name:20s} {hit.mean():.3f}   {by_type}"
        if name != "match":
            apart = right["match"] - hit
            low, high = _interval(
                apart, data["capture"][queries], data["names"][queries]
            )
            line += f"   match less this: {apart.mean():+.3f} [{low:+.3f}, {high:+.3f}]"
        print(line)


def _interval(values, day, fault):
    """The interval of 95 % of a mean over cases, by a bootstrap of days and faults."""
    rng = np.random.default_rng(0)
    weight = 1
    for cluster in (day, fault):
        _, row = np.unique(cluster, return_inverse=True)
        n = row.max() + 1
        drawn = rng.multinomial(n, np.full(n, 1 / n), episodes.REPLICATES)
        weight = weight * drawn[:, row]
    return np.quantile((weight @ values) / weight.sum(1), [0.025, 0.975])


def _windows(cell):
    """Windows of learning and evaluation days; with --valid none of the latter."""
    data = cells.windows(configure(dict(cell, draw=-1, seed=0)).data)
    if cell["valid"]:
        data["queries"] &= ~np.array([_is_late(name) for name in data["capture"]])
    return data


def _is_late(name):
    return name >= "2020-07-07"


if __name__ == "__main__":
    cli.run(main)
