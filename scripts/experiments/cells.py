"""What experiments on counters share: how a cell is judged.

A library of examples comes from earlier captures and names later ones. A cell is one
training with some conditions held out.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scripts.experiments import episodes
from siamjax import files
from siamjax.config import Config, DataConfig
from siamjax.data.splits import open_splits
from siamjax.evaluation import baselines, spaces
from siamjax.experiments import runner, trainings
from siamjax.training.whitening import learn_whitening
from siamjax.types import NORMAL, TEST, TRAIN

EPISODES = 200  # for each number of ways


def trained_points(config: Config) -> dict[str, np.ndarray]:
    """Trains on all but `config.data.novel`; `{method: [N, E]}` of all windows.

    Methods are the spaces that a run with this head chooses from, the default first;
    the heads; and the encoder before its first step.

    Args:
      config: without captures for validation.
    """
    splits = open_splits(config.data)
    inputs = splits.inputs(splits.windows)
    untrained, points = (
        trainings.bind_embedder(config, splits, stored)(*inputs)
        for _, stored in trainings.train(config, splits, [config.steps])
    )
    head = config.deciding_head
    learnt = {head: points[head][:, : config.active_heads[head].dim]}
    x = splits.features(splits.windows)
    matrix = learn_whitening(splits)
    return {
        **{
            spaces.describe_space(space): spaces.to_space(space, learnt, x, matrix)
            for space in spaces.list_spaces([head])
        },
        **points,
        "untrained encoder": untrained[head],
    }


def windows(config: DataConfig) -> dict[str, np.ndarray]:
    """All windows of a data set: features `[N, T, F]`, names of condition and capture,
    and which of them may be queries and which examples. Normal ones are neither."""
    splits = open_splits(config)
    session = splits.windows.session
    names = np.array(splits.conditions.names)[splits.windows.condition]
    return dict(
        x=splits.features(splits.windows),
        names=names,
        capture=np.array(splits.sessions.names)[session],
        queries=(splits.sessions.role[session] == TEST) & (names != NORMAL),
        support=(splits.sessions.role[session] == TRAIN) & (names != NORMAL),
    )


def baseline_gaps(data: Mapping[str, np.ndarray], bench: bool) -> dict[str, np.ndarray]:
    """`{baseline: distances [Q, S]}`; with `bench` also those that libraries give."""
    queries, support = data["x"][data["queries"]], data["x"][data["support"]]
    gaps = {
        name: episodes.distances(to_points(queries), to_points(support))
        for name, to_points in baselines.BASELINES.items()
    }
    if bench:
        both = np.concatenate([queries, support])
        for name, points in (
            ("MiniRocket", baselines.minirocket(both, support)),
            ("catch22", baselines.catch22(both, support)),
        ):
            gaps[name] = episodes.distances(
                points[: len(queries)], points[len(queries) :]
            )
        gaps["DTW"] = baselines.dtw_distances(queries, support)
    return gaps


def report(
    data: Mapping[str, np.ndarray],
    simple: Mapping[str, np.ndarray],
    cells: Sequence[tuple[Sequence[str], Mapping[str, np.ndarray], int]],
    conditions: Sequence[str],
    ways: Sequence[int],
) -> None:
    """Prints recall on held-out conditions, and what the first method gains on each.

    Args:
      data: of `windows`.
      simple: of `baseline_gaps`.
      cells: `(held-out names, points of all windows, seed of its episodes)` of each;
        the first of the points are compared with all others.
      conditions: names of all that may be held out.
      ways: numbers of held-out conditions to tell apart; 0: all conditions, of which
        only the held-out ones are judged.
    """
    code = {name: i for i, name in enumerate(conditions)}
    label = np.array([code.get(name, -1) for name in data["names"]])
    queries, support = label[data["queries"]], label[data["support"]]
    capture = data["capture"][data["queries"]]
    learnt = [
        {
            name: episodes.distances(x[data["queries"]], x[data["support"]])
            for name, x in points.items()
        }
        for _, points, _ in cells
    ]
    first = next(iter(learnt[0]))
    for n_ways in ways:
        tables = {}
        for (novel, _, seed), gaps in zip(cells, learnt):
            classes = [code[name] for name in novel]
            among = classes if n_ways else list(code.values())
            judgeable = len(np.intersect1d(np.intersect1d(queries, support), among))
            drawn = episodes.draw(
                queries,
                support,
                classes=among,
                ways=min(n_ways or judgeable, judgeable),
                draws=EPISODES if n_ways else EPISODES // 5,
                seed=seed,
            )
            for name, gap in (simple | gaps).items():
                hits = episodes.hits(gap, queries, drawn)
                hits[:, ~np.isin(queries, classes)] = np.nan
                tables.setdefault(name, []).append(
                    episodes.table(hits, queries, capture, len(code))
                )
        tables = {name: episodes.add(parts) for name, parts in tables.items()}
        print(
            f"held-out conditions, {n_ways or len(code)}-way, {len(cells)} trainings, "
            f"{len(np.unique(capture))} captures"
        )
        for name, table in tables.items():
            line = f"  {name:20s} {text(episodes.recall(table))}"
            if name != first:
                less = episodes.difference(tables[first], table)
                line += f"   {first} less this: {text(less, '+')}"
            print(line, flush=True)


def store_points(cell: Mapping[str, Any], workdir: str, config: Config) -> str:
    """Trains a cell and keeps the points of all windows; the name of their file."""
    path = points_path(cell, workdir)
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as beside, beside.open("wb") as file:
        np.savez(file, **trained_points(config))
    return path.name


def load_points(cell: Mapping[str, Any], workdir: str) -> dict[str, np.ndarray]:
    """What `store_points` kept."""
    path = points_path(cell, workdir)
    with files.parsing(path, "remove the folder, and all cells are run again"):
        return dict(np.load(path))


def points_path(cell: Mapping[str, Any], workdir: str) -> pathlib.Path:
    """The file with the points of a cell."""
    return pathlib.Path(workdir) / "points" / f"{runner.digest(cell)}.npz"


def text(interval: Sequence[float], sign: str = "") -> str:
    value, low, high = (f"{number:{sign}.3f}" for number in interval[:3])
    return f"{value} [{low}, {high}]"
