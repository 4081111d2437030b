"""One-shot recognition of 20 held-out faults of an IP core network, over 6 draws.

    python -m siamjax.ingest --format=counters --captures=PATH \
        --labels=PATH/labels.csv --out=runs/kddi
    python scripts/experiments/kddi.py --data=runs/kddi --workdir=runs/kddi_quality

Examples are windows of the learning days, queries those of the evaluation days; with
--valid of earlier and later learning days, which is how settings are chosen. A cell is
one training: setting x draw x seed; one that is done is not done again. Draw -1 holds
nothing out and judges 5 types of fault beside classifiers.
"""

import functools
import importlib
import itertools
import pathlib
import sys
import time

import cells
import episodes
import numpy as np
from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from siamjax import cli
from siamjax.evaluation import baselines
from siamjax.types import NORMAL

_DATA = flags.DEFINE_string("data", "runs/kddi", "The prepared data set.")
_WORKDIR = flags.DEFINE_string("workdir", "runs/kddi_quality", "Where cells are kept.")
_SETTINGS = flags.DEFINE_multi_string(
    "setting", ["default"], "NAME or NAME:field=value;field=value, of the config."
)
_DRAWS = flags.DEFINE_multi_integer("draw", [0, 1, 2, 3, 4, 5], "Of held-out faults.")
_SEEDS = flags.DEFINE_integer("seeds", 1, "Seeds of each draw.")
_VALID = flags.DEFINE_bool("valid", False, "Judge on the last learning days.")
_BENCH = flags.DEFINE_bool("bench", False, "Also the baselines of the extra `bench`.")

HELD_OUT, WAYS = 20, (5, 20, 0)
EVALUATION = ("2020-07-0[7-9]", "2020-07-1*")
LATE_LEARNING = ("2020-07-0[4-6]",)
NEAREST = 5  # examples that vote on the type of a fault
ONE_TYPE = {"packet_loss": "loss or delay", "packet_delay": "loss or delay"}


def main(argv):
    cli.no_arguments(argv)
    workdir = pathlib.Path(_WORKDIR.value)
    workdir.mkdir(parents=True, exist_ok=True)
    wanted = list(itertools.product(_SETTINGS.value, _DRAWS.value, range(_SEEDS.value)))
    todo = [cell for cell in wanted if not _path(workdir, *cell).exists()]
    print(f"{len(wanted)} trainings, {len(todo)} to do", flush=True)
    for cell in todo:
        start = time.time()
        points = cells.trained(configure(*cell))
        np.savez(_path(workdir, *cell), **points)
        print(*cell, f"{time.time() - start:.0f} s", flush=True)
    for setting in _SETTINGS.value:
        data = _windows(setting)
        found = [
            (draw, dict(np.load(_path(workdir, setting, draw, seed))))
            for draw in _DRAWS.value
            for seed in range(_SEEDS.value)
        ]
        print(f"\n{setting}")
        novel = [(held_out(draw), p, draw) for draw, p in found if draw >= 0]
        if novel:
            simple = cells.baseline_gaps(data, _BENCH.value)
            cells.report(data, simple, novel, faults(), WAYS)
        if known := [points for draw, points in found if draw < 0]:
            types(data, known)


def configure(setting, draw, seed):
    """The config of a cell."""
    config = importlib.import_module("configs.kddi").get_config()
    cells.change(config, setting)
    config.seed = seed
    config.data.update(
        dir=_DATA.value, valid_captures=(), novel_valid=(), novel=held_out(draw)
    )
    # Of the later days nothing is looked at before all is chosen.
    late = LATE_LEARNING + EVALUATION if _VALID.value else EVALUATION
    config.data.test_captures = late
    return config


@functools.lru_cache
def faults():
    """Names of the faults that are in learning and in evaluation days."""
    from siamjax.data import prepared

    of = {False: set(), True: set()}
    for session in prepared.read_data_set(_DATA.value).sessions:
        of[_is_late(session.name)] |= {label.condition for label in session.labels}
    return tuple(sorted(of[False] & of[True] - {NORMAL}))


def held_out(draw):
    """The 20 faults that a draw holds out; none for -1."""
    if draw < 0:
        return ()
    order = np.random.default_rng(draw).permutation(faults())
    return tuple(sorted(order[:HELD_OUT].tolist()))


def types(data, points):
    """Accuracy on 5 types of fault: of the nearest windows of the learning days, over
    some trainings, and of classifiers, in pairs."""
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
    for each in points:
        gaps = episodes.distances(each["match"][queries], each["match"][support])
        near = code[np.argsort(gaps, axis=1)[:, :NEAREST]]
        votes = (near[:, :, None] == np.arange(len(names))).sum(1)
        ours.append(names[votes.argmax(1)] == truth)
    right["match"] = np.mean(ours, 0)
    print(f"5 types of fault, {len(truth)} cases, {len(points)} trainings")
    for name, hit in right.items():
        each = ", ".join(f"{t} {hit[truth == t].mean():.3f}" for t in names)
        line = f"  {name:20s} {hit.mean():.3f}   {each}"
        if name != "match":
            apart = right["match"] - hit
            low, high = _interval(
                apart, data["capture"][queries], data["names"][queries]
            )
            line += f"   match less this: {apart.mean():+.3f} [{low:+.3f}, {high:+.3f}]"
        print(line)


def _interval(values, day, fault):
    """95 % of the mean over cases: days and faults are drawn again together."""
    rng = np.random.default_rng(0)
    weight = 1
    for cluster in (day, fault):
        _, row = np.unique(cluster, return_inverse=True)
        n = row.max() + 1
        drawn = rng.multinomial(n, np.full(n, 1 / n), episodes.REPLICATES)
        weight = weight * drawn[:, row]
    return np.quantile((weight @ values) / weight.sum(1), [0.025, 0.975])


def _windows(setting):
    """Windows of learning and evaluation days; with --valid none of the latter."""
    data = cells.windows(configure(setting, -1, 0).data)
    if _VALID.value:
        data["queries"] &= ~np.array([_is_late(name) for name in data["capture"]])
    return data


def _is_late(name):
    return name >= "2020-07-07"


def _path(workdir, setting, draw, seed):
    name = setting.partition(":")[0]
    return workdir / f"{name}_{'valid' if _VALID.value else 'test'}_{draw}_{seed}.npz"


if __name__ == "__main__":
    cli.run(main)
