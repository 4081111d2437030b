"""What experiments share: settings and programs; on counters how a cell is judged.

A library of examples comes from earlier captures and names later ones. A cell is one
training with some conditions held out.
"""

import ast
import functools
import json

import episodes
import jax
import numpy as np

from siamjax.data import features
from siamjax.data.splits import open_splits
from siamjax.evaluation import baselines
from siamjax.identification import enrol
from siamjax.models import embedder
from siamjax.training import devices, loop, state, step
from siamjax.types import NORMAL, TEST, TRAIN

EPISODES = 200  # for each number of ways


def change(config, setting):
    """Sets the fields of a setting `NAME` or `NAME:field=value;field=value`; heads may
    be added."""
    _, _, changes = setting.partition(":")
    for each in filter(None, changes.split(";")):
        name, _, value = each.partition("=")
        *path, last = name.split(".")
        target = functools.reduce(lambda c, key: c[key], path, config)
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            pass
        if last not in target and path != ["heads"]:
            raise KeyError(f"config has no {name}")
        target[last] = value


_PROGRAMS = {}


def programs(config, splits):
    """Parts, compiled run and embedder; cells that differ in seed and split alone share
    them, where their columns are the same."""
    same = config.copy_and_resolve_references()
    for field in ("novel", "novel_valid", "test_fold", "valid_fold"):
        del same.data[field]
    del same["seed"]
    key = splits.known, json.dumps(splits.columns), text_of(same)
    if key not in _PROGRAMS:
        mesh = devices.make_mesh(devices.prepare_devices("cpu")[:1])
        parts = step.build_parts(
            config, columns=splits.columns, classes=splits.known, mesh=mesh
        )
        embed = embedder.make_embedder(parts.encoder)
        _PROGRAMS[key] = parts, step.compile_run(parts), embed
    return _PROGRAMS[key]


def training(config, splits, stops):
    """`(step, weights)` before the first step and after each of the stops."""
    parts, run, _ = programs(config, splits)
    data = loop.place_data(splits, config.batch.batch_from, parts, config.seed)
    now = jax.device_put(
        state.create_state(config.seed, parts), devices.replicated(parts.mesh)
    )
    yield 0, weights(now)
    at = 0
    for stop in sorted(stops):
        now, _ = run(now, stop - at, data)
        at = stop
        yield at, weights(now)


def weights(now):
    """What encodes, of a `TrainState`, as NumPy arrays."""
    return jax.device_get(dict(params=now.params["encoder"], stats=now.batch_stats))


def encode(config, splits, weights):
    """`embed(counts [N, T, F], baseline [N, F]) -> {head: [N, E]}` of weights."""
    parts, _, embed = programs(config, splits)
    final = parts.encoder.finalise(weights["stats"])
    return functools.partial(embed, weights["params"], final, splits.scaler)


def trained(config):
    """Trains on all but `config.data.novel`; `{head: [N, E]}` of all windows.

    Args:
      config: see configs/default.py; without captures for validation.
    """
    splits = open_splits(config.data)
    inputs = _inputs(splits, config.data.bins)
    untrained, points = (
        encode(config, splits, of)(*inputs)
        for _, of in training(config, splits, [config.steps])
    )
    return {**points, "untrained encoder": untrained[config.decide_with]}


def text_of(config):
    """The same text for the same config."""
    return json.dumps(config.to_dict(), sort_keys=True, default=list)


def windows(config):
    """All windows of a data set: features `[N, T, F]`, names of condition and capture,
    and which of them may be queries and which examples. Normal ones are neither."""
    splits = open_splits(config)
    counts, baseline = _inputs(splits, config.bins)
    session = splits.windows.session
    names = np.array(splits.conditions)[splits.windows.condition]
    return dict(
        x=np.asarray(features.to_features(counts, baseline, splits.scaler)),
        names=names,
        capture=np.array(splits.sessions)[session],
        queries=(splits.role[session] == TEST) & (names != NORMAL),
        support=(splits.role[session] == TRAIN) & (names != NORMAL),
    )


def baseline_gaps(data, bench):
    """`{baseline: distances [Q, S]}`; with `bench` also those that libraries give."""
    queries, support = data["x"][data["queries"]], data["x"][data["support"]]
    out = {
        name: episodes.distances(point(queries), point(support))
        for name, point in baselines.BASELINES.items()
    }
    if bench:
        for name, make in (
            ("MiniRocket", baselines.minirocket), ("catch22", baselines.catch22),
        ):  # fmt: skip
            points = make(np.concatenate([queries, support]), support)
            out[name] = episodes.distances(
                points[: len(queries)], points[len(queries) :]
            )
        out["DTW"] = baselines.dtw_distances(queries, support)
    return out


def report(data, simple, cells, conditions, ways):
    """Prints recall on held-out conditions, and what `match` gains on each baseline.

    Args:
      data: of `windows`.
      simple: of `baseline_gaps`.
      cells: `(held-out names, points of all windows, seed of its episodes)` of each.
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
            n: episodes.distances(p[data["queries"]], p[data["support"]])
            for n, p in x.items()
        }
        for _, x, _ in cells
    ]
    for many in ways:
        tables = {}
        for (novel, _, seed), gaps in zip(cells, learnt):
            classes = [code[name] for name in novel]
            among = classes if many else list(code.values())
            there = len(np.intersect1d(np.intersect1d(queries, support), among))
            drawn = episodes.draw(
                queries, support, classes=among, ways=min(many or there, there),
                draws=EPISODES if many else EPISODES // 5, seed=seed,
            )  # fmt: skip
            for name, gap in (simple | gaps).items():
                found = episodes.hits(gap, queries, drawn)
                found[:, ~np.isin(queries, classes)] = np.nan
                tables.setdefault(name, []).append(
                    episodes.table(found, queries, capture, len(code))
                )
        tables = {name: episodes.add(some) for name, some in tables.items()}
        print(
            f"held-out conditions, {many or len(code)}-way, {len(cells)} trainings, "
            f"{len(np.unique(capture))} captures"
        )
        for name, table in tables.items():
            line = f"  {name:20s} {text(episodes.recall(table))}"
            if name != "match":
                less = episodes.difference(tables["match"], table)
                line += f"   match less this: {text(less, '+')}"
            print(line, flush=True)


def text(interval, sign=""):
    value, low, high = (f"{number:{sign}.3f}" for number in interval[:3])
    return f"{value} [{low}, {high}]"


def _inputs(splits, length):
    """Counts `[N, T, F]` and baselines `[N, F]` of all windows."""
    return enrol.inputs(splits, splits.windows, length)
