"""One cell of the experiment on quality: one training, judged. No flags, no printing.

A cell is a dict: `setting` (see `siamjax.experiments.settings`), `base` (of
configs/), `fold`, `choice`, `seed`, `valid` (judged on validation captures, else on
test captures), `at` (also judged after so many steps), `conditions` (trained on).
"""

import dataclasses
import functools
import importlib
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import flax
import numpy as np

from configs import board
from siamjax.config import Config, DataConfig, from_dict
from siamjax.data import features
from siamjax.data.splits import Splits, open_splits
from siamjax.evaluation import baselines, cross_fit, one_shot
from siamjax.experiments import runner, settings, trainings
from siamjax.training import state
from siamjax.types import Windows

# The novel faults of each choice. Each of the eleven faults is novel once or twice.
CHOICES = board.NETWORKS["bed"]["novel"]
# For each choice two other faults: validation chooses steps and settings with them.
VALID = board.NETWORKS["bed"]["novel_valid"]
CELLS = "cells.jsonl"
FAULTS = sorted({fault for choice in CHOICES for fault in choice})
ALL = 1 + len(FAULTS) - len(CHOICES[0])  # conditions to train on, with normal
SHOTS = (1, 5)
# Plain distances are stronger baselines if features are clipped here, in deviations.
NEAR = 3.0
SIMPLE = baselines.BASELINES
DISTANCES = {name: SIMPLE[name] for name in ("whole windows", "mean and deviation")}


def run(cell: Mapping[str, Any], workdir: str) -> list[cross_fit.Row]:
    """Trains a cell, keeps its weights in workdir and judges it."""
    config = configure(cell)
    splits, rows, weights = open_cached(config.data), [], None
    for done, weights in trainings.train(config, splits, {*cell["at"], config.steps}):
        embed = trainings.bind_embedder(config, splits, weights)
        prefix = "" if done else "untrained "
        rows += [
            row._replace(method=f"{prefix}{row.method}")
            for row in judge(embed, splits, cell, config, done)
        ]
    path = weights_path(cell, workdir)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(flax.serialization.to_bytes(weights))
    return rows


def trained(
    cell: Mapping[str, Any], workdir: str
) -> tuple[Callable[..., dict[str, np.ndarray]], Config, Splits]:
    """`embed(counts, baseline) -> {head: points}` of a cell that was run, its config
    and splits."""
    config = configure(cell)
    splits = open_cached(config.data)
    parts, *_ = trainings.compile_programs(config, splits)
    weights = flax.serialization.from_bytes(
        trainings.get_weights(state.create_state(config.seed, parts)),
        weights_path(cell, workdir).read_bytes(),
    )
    return trainings.bind_embedder(config, splits, weights), config, splits


def configure(cell: Mapping[str, Any]) -> Config:
    """The config of a cell."""
    base = importlib.import_module(f"configs.{cell['base']}").get_config()
    config = settings.apply_setting(from_dict(base), cell["setting"])
    left_out = spare(cell)
    data = dataclasses.replace(
        config.data,
        test_fold=cell["fold"],
        valid_fold=(cell["fold"] + 1) % config.data.folds,
        novel=CHOICES[cell["choice"]] + left_out,
        # For the final table, training also sees the faults that chose the settings.
        novel_valid=VALID[cell["choice"]] if cell["valid"] else (),
    )
    conditions = min(config.batch.conditions, ALL - len(left_out))
    batch = dataclasses.replace(config.batch, conditions=conditions)
    return dataclasses.replace(config, seed=cell["seed"], data=data, batch=batch)


def spare(cell):
    """Faults left out of a cell's training so that `conditions` are left."""
    others = sorted(set(FAULTS) - set(CHOICES[cell["choice"]]))
    order = np.random.default_rng(cell["choice"]).permutation(len(others))
    return tuple(others[i] for i in order[: ALL - cell["conditions"]])


def judge(
    embed: Callable[..., dict[str, np.ndarray]],
    splits: Splits,
    cell: Mapping[str, Any],
    config: Config,
    done: int,
) -> list[cross_fit.Row]:
    """Rows of all heads; after the last step also of other readings and baselines."""
    role = "valid" if cell["valid"] else "test"
    novel = splits.conditions.novel_valid if cell["valid"] else splits.conditions.novel
    windows = splits.windows_of(role, splits.conditions.known + novel)
    inputs = splits.inputs(windows)
    points, shots = dict(embed(*inputs)), SHOTS[:1]
    decided = points[config.deciding_head]
    points["learnt alone"] = decided[:, : config.heads[config.deciding_head].dim]
    if done == config.steps:
        counts, baseline, _ = inputs
        x = np.asarray(features.to_features(counts, baseline, splits.scaler))
        near = np.clip(x, -NEAR, NEAR)
        points["from normal"] = decided - _normal(splits, windows, embed, config)
        points |= {name: to_points(x) for name, to_points in SIMPLE.items()}
        points |= {f"{n}, clipped": DISTANCES[n](near) for n in DISTANCES}
        shots = SHOTS
    rows = []
    for count in shots:
        for method, x in points.items():
            judged = one_shot.recognise(
                x, windows.condition, windows.session, draws=config.draws, shots=count
            )
            rows += cross_fit.make_rows(
                judged,
                windows=windows,
                names=splits.conditions.names,
                sessions=splits.sessions.names,
                novel=novel,
                step=done,
                shots=count,
                method=method,
            )
    return [row for row in rows if row.condition not in spare(cell)]


def _normal(splits, windows, embed, config):
    """`[N, E]` mean point of the normal windows of each window's session."""
    first = round(config.data.baseline_s / config.data.bin_s)
    starts = np.arange(0, first - config.data.bins + 1, config.data.bins // 8)
    sessions, place = np.unique(windows.session, return_inverse=True)
    early = Windows(
        np.repeat(sessions, len(starts)), np.tile(starts, len(sessions)), None
    )
    points = embed(*splits.inputs(early))
    points = points[config.deciding_head]
    return points.reshape(len(sessions), len(starts), -1).mean(1)[place.reshape(-1)]


@functools.lru_cache(8)
def open_cached(data: DataConfig) -> Splits:
    """The splits of a config."""
    return open_splits(data)


def read(workdir: str) -> list[dict[str, Any]]:
    """The cells that are done, each with its `rows`."""
    path = pathlib.Path(workdir) / CELLS
    return [dict(row["cell"], rows=row["result"]) for row in runner.read_rows(path)]


def read_final(workdir: str, setting: str = "default") -> list[dict[str, Any]]:
    """The cells of a setting that were judged on test captures."""
    return [
        cell
        for cell in read(workdir)
        if cell["setting"] == setting and not cell["valid"]
    ]


def weights_path(cell: Mapping[str, Any], workdir: str) -> pathlib.Path:
    """The file with the weights of a cell."""
    name = runner.digest({k: v for k, v in cell.items() if k != "rows"})
    return pathlib.Path(workdir) / "weights" / f"{name}.msgpack"
