"""One cell of the experiment on quality: one training, judged. No flags, no printing.

A cell is a dict: `setting` (`NAME` or `NAME:field=value;field=value`), `base` (of
configs/), `fold`, `choice`, `seed`, `valid` (judged on validation captures, else on
test captures), `at` (also judged after so many steps), `conditions` (trained on).
"""

import functools
import hashlib
import importlib
import json
import pathlib
import sys

import flax
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
import cells
import cross_fit

from siamjax.data import features
from siamjax.data.splits import open_splits
from siamjax.evaluation import baselines, one_shot
from siamjax.identification import enrol
from siamjax.training import run_config, state
from siamjax.types import Windows

# Three faults a choice; over the six each of the eleven is novel once or twice.
CHOICES = (
    ("busy_reject", "delay", "packet_loss"),
    ("auth_failure", "callee_down", "link_flap"),
    ("blocked", "registration_storm", "server_overload"),
    ("capacity_limit", "delay", "invite_flood"),
    ("auth_failure", "busy_reject", "link_flap"),
    ("callee_down", "packet_loss", "server_overload"),
)
# Beside each, two others that choose steps and settings; none is novel in its choice.
VALID = (
    ("link_flap", "server_overload"),
    ("delay", "registration_storm"),
    ("packet_loss", "callee_down"),
    ("busy_reject", "auth_failure"),
    ("blocked", "capacity_limit"),
    ("invite_flood", "delay"),
)
CELLS = "cells.jsonl"
FAULTS = sorted({fault for choice in CHOICES for fault in choice})
ALL = 1 + len(FAULTS) - len(CHOICES[0])  # conditions to train on, with normal
SHOTS = (1, 5)
# Plain distances are better bars where no column goes further than this, in deviations.
NEAR = 3.0
DISTANCES = {
    name: baselines.BASELINES[name] for name in ("whole windows", "mean and deviation")
}


def run(cell, workdir):
    """Trains a cell, keeps its weights in workdir and judges it: the cell with rows."""
    config, splits, rows = configure(cell), open_(cell), []
    for at, weights in cells.training(config, splits, {*cell["at"], config.steps}):
        embed_windows = cells.encode(config, splits, weights)
        prefix = "" if at else "untrained "
        rows += [
            row._replace(method=f"{prefix}{row.method}")
            for row in judge(embed_windows, splits, cell, config, at)
        ]
    path = weights_of(cell, workdir)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(flax.serialization.to_bytes(weights))
    return dict(cell, rows=rows)


def trained(cell, workdir):
    """`embed(counts, baseline) -> {head: points}` of a cell that was run, its config
    and splits."""
    config, splits = configure(cell), open_(cell)
    parts, *_ = cells.programs(config, splits)
    weights = flax.serialization.from_bytes(
        cells.weights(state.create_state(config.seed, parts)),
        weights_of(cell, workdir).read_bytes(),
    )
    return cells.encode(config, splits, weights), config, splits


def configure(cell):
    """The config of a cell."""
    config = importlib.import_module(f"configs.{cell['base']}").get_config()
    cells.change(config, cell["setting"])
    config.seed = cell["seed"]
    folds = config.data.folds
    config.data.test_fold = cell["fold"]
    config.data.valid_fold = (cell["fold"] + 1) % folds
    left_out = spare(cell)
    config.data.novel = CHOICES[cell["choice"]] + left_out
    # The runs behind the final table train on those that chose the settings, too.
    config.data.novel_valid = VALID[cell["choice"]] if cell["valid"] else ()
    config.batch.conditions = min(config.batch.conditions, ALL - len(left_out))
    return config


def spare(cell):
    """Faults left out of a cell's training so that `conditions` are left."""
    others = sorted(set(FAULTS) - set(CHOICES[cell["choice"]]))
    order = np.random.default_rng(cell["choice"]).permutation(len(others))
    return tuple(others[i] for i in order[: ALL - cell["conditions"]])


def judge(embed_windows, splits, cell, config, at):
    """Rows of all heads; after the last step also of other readings and baselines."""
    role = "valid" if cell["valid"] else "test"
    novel = splits.novel_valid if cell["valid"] else splits.novel
    windows = splits.of(role, splits.conditions[: splits.known] + novel)
    counts, baseline = enrol.inputs(splits, windows, config.data.bins)
    points, shots = dict(embed_windows(counts, baseline)), SHOTS[:1]
    main = points[config.decide_with]
    points["learnt alone"] = main[:, : config.heads[config.decide_with].dim]
    if at == config.steps:
        x = np.asarray(features.to_features(counts, baseline, splits.scaler))
        simple = {name: point(x) for name, point in baselines.BASELINES.items()}
        near = np.clip(x, -NEAR, NEAR)
        simple |= {f"{n}, clipped": point(near) for n, point in DISTANCES.items()}
        points["from normal"] = main - _normal(splits, windows, embed_windows, config)
        points, shots = points | simple, SHOTS
    rows = [
        row
        for many in shots
        for method, of in points.items()
        for row in cross_fit.rows(
            one_shot.recognise(
                of, windows.condition, windows.session, draws=config.draws, shots=many
            ),
            windows=windows, names=splits.conditions, sessions=splits.sessions,
            novel=novel, step=at, shots=many, method=method,
        )
    ]  # fmt: skip
    return [row for row in rows if row.condition not in spare(cell)]


def _normal(splits, windows, embed_windows, config):
    """`[N, E]` where each window's session lies in its own normal time."""
    first = round(config.data.baseline_s / config.data.bin_s)
    starts = np.arange(0, first - config.data.bins + 1, config.data.bins // 8)
    own, place = np.unique(windows.session, return_inverse=True)
    early = Windows(np.repeat(own, len(starts)), np.tile(starts, len(own)), None)
    points = embed_windows(*enrol.inputs(splits, early, config.data.bins))
    points = points[config.decide_with]
    return points.reshape(len(own), len(starts), -1).mean(1)[place.reshape(-1)]


def open_(cell):
    """The splits of a cell."""
    return _splits(cells.text_of(configure(cell).data))


@functools.lru_cache(8)
def _splits(text):
    return open_splits(run_config.from_plain(json.loads(text)))


def read(workdir):
    """`{key: cell}` of the cells that are done; a line cut short is none."""
    path = workdir / CELLS
    if not path.exists():
        return {}
    lines = [line for line in path.read_text().splitlines() if line.endswith("}")]
    return {key_of(cell): cell for cell in map(json.loads, lines)}


def key_of(cell):
    """Names a cell, whether it has its rows or not."""
    return json.dumps({k: v for k, v in cell.items() if k != "rows"}, sort_keys=True)


def weights_of(cell, workdir):
    """The file with the weights of a cell."""
    name = hashlib.sha1(key_of(cell).encode()).hexdigest()[:16]
    return workdir / "weights" / f"{name}.msgpack"
