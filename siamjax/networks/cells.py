"""The cells of a board: one training each, judged on its network and on others.

A cell is a dict: `network`, `setting`, `choice` (which faults are novel), `fold`,
`seed`, and `valid` (whether validation captures judge it, with the faults that are held
out for them; else test captures do).

There are three questions: `known` faults, `novel` faults of the network that was
trained on, and `moved`: all conditions of another network with the same columns, where
the examples come from that network, too.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from siamjax.config import Config, DataConfig, to_plain
from siamjax.data import identity, prepared
from siamjax.data.splits import Splits, open_splits
from siamjax.data.windows import take
from siamjax.evaluation import baselines, cross_fit, one_shot, spaces, wccn
from siamjax.evaluation.cross_fit import Row
from siamjax.evaluation.spaces import Space
from siamjax.experiments import runner, trainings
from siamjax.inference import deciding
from siamjax.networks.config import BoardConfig
from siamjax.training.whitening import learn_whitening
from siamjax.types import NORMAL, TEST, TRAIN, VALID, Baseline, Windows

KNOWN, NOVEL, MOVED = "known", "novel", "moved"
SHOTS = (1, 5)
# The method of a run of siamjax: the space that validation chose.
DECIDES = "siamjax"
UNTRAINED = "untrained encoder"
# The end of the name of a method that was adapted to another network.
ADAPTED = ", adapted"
# Methods without a trained encoder.
SIMPLE = (spaces.WCCN, spaces.WCCN + ADAPTED, *baselines.BASELINES)
# How many captures of normal traffic adapt the methods to another network. They are not
# judged.
NORMAL_CAPTURES = 2

# `points(splits, windows, normal) -> {method: [N, E]}`; `normal` are windows of another
# network's normal traffic, or None.
Methods = Callable[[Splits, Windows, Windows | None], dict[str, np.ndarray]]


def list_cells(config: BoardConfig, *, valid: bool) -> list[dict[str, Any]]:
    """All cells of a board, those of the first seed and fold first.

    Args:
      config: of the board.
      valid: judge on validation captures, to choose settings; else on test captures.
    """
    cells = [
        _with_digest(
            config,
            dict(
                network=network,
                setting=setting,
                choice=choice,
                fold=fold,
                seed=seed,
                valid=valid,
            ),
        )
        for network, about in config.networks.items()
        if not (valid and about.only_moved)
        for setting, choice, fold, seed in itertools.product(
            config.settings,
            range(len(about.novel)),
            range(about.folds),
            range(config.seeds),
        )
    ]
    return sorted(cells, key=lambda cell: (cell["seed"], cell["fold"]))


def _with_digest(config, cell):
    """The cell with a hash of all else that its result depends on: the config of the
    training, its data, and the networks that it is judged on."""
    judged_on = [cell["network"], *_moved_to(config, cell)]
    depends_on = dict(
        train=to_plain(configure(config, cell)),
        draws=config.draws,
        data=[
            prepared.read_meta(config.train_on(name, cell["setting"]).data.dir)
            for name in judged_on
        ],
        moved=[
            to_plain(config.train_on(name, cell["setting"]).data)
            for name in judged_on[1:]
        ],
    )
    return dict(cell, digest=runner.digest(depends_on))


def _moved_to(config, cell):
    """The other networks that a cell is judged on."""
    if cell["valid"] or cell["choice"]:
        return []
    return [
        name
        for name, fields in config.networks.items()
        if cell["network"] in fields.trained_on
    ]


def run_cell(config: BoardConfig, cell: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Trains the encoder of a cell and judges it.

    Args:
      config: of the board.
      cell: one of `list_cells`.
    Returns:
      A `dict(network, source, space, rows)` for each network that was judged: `source`
      is the network of the training, `space` describes the space that validation chose,
      and `rows` are `cross_fit.Row`s.
    Raises:
      UsageError: a data set does not fit the config.
      SiamjaxError: the training diverged.
    """
    train = configure(config, cell)
    splits = open_cached(train.data)
    train = _fit_batch(train, splits)
    methods, candidates = train_methods(train, splits)
    space = choose_space(candidates, methods, splits, config.draws)
    about = dict(source=cell["network"], space=spaces.describe_space(space))

    def judge(network, splits, role, question=""):
        rows = judge_methods(methods, splits, role, config.draws, train.steps)
        if role == TEST:
            rows += _decided(rows, about["space"])
        if question:
            rows = [row._replace(role=question) for row in rows]
        return dict(network=network, **about, rows=rows)

    if cell["valid"]:
        return [judge(cell["network"], splits, VALID)]
    only_moved = config.networks[cell["network"]].only_moved
    results = [] if only_moved else [judge(cell["network"], splits, TEST)]
    for other in _moved_to(config, cell):
        data = config.train_on(other, cell["setting"]).data
        elsewhere = open_elsewhere(data, splits, train.data.dir)
        results.append(judge(other, elsewhere, TEST, MOVED))
    return results


def _decided(rows, space):
    """The rows of a space once more, as those of `DECIDES`, adapted and not."""
    names = {DECIDES: space, DECIDES + ADAPTED: space + ADAPTED}
    return [
        row._replace(method=decides)
        for decides, name in names.items()
        for row in rows
        if row.method == name
    ]


def configure(config: BoardConfig, cell: Mapping[str, Any]) -> Config:
    """The config of the training of a cell."""
    about = config.networks[cell["network"]]
    train = config.train_on(cell["network"], cell["setting"])
    data = dataclasses.replace(
        train.data,
        novel=about.novel[cell["choice"]],
        novel_valid=about.novel_valid[cell["choice"]],
    )
    if not data.test_captures:
        fold = cell["fold"]
        valid_fold = (fold + 1) % data.folds
        data = dataclasses.replace(data, test_fold=fold, valid_fold=valid_fold)
    return dataclasses.replace(train, seed=cell["seed"], data=data)


def _fit_batch(train, splits):
    """The config, with at most as many conditions in a batch as training has."""
    shown = splits.windows_of(TRAIN, splits.conditions.known).condition
    conditions = min(train.batch.conditions, len(np.unique(shown)))
    batch = dataclasses.replace(train.batch, conditions=conditions)
    return dataclasses.replace(train, batch=batch)


def train_methods(config: Config, splits: Splits) -> tuple[Methods, dict[str, Space]]:
    """Trains an encoder.

    Returns:
      A function that gives the points of all methods, see `Methods`; and the spaces
      that validation may choose from, by name.
    """
    heads = config.active_heads
    candidates = {
        spaces.describe_space(space): space for space in deciding.allowed_spaces(config)
    }
    compared = candidates | {
        spaces.describe_space(space): space
        for space in spaces.list_spaces([config.deciding_head])
    }
    (_, before), (_, after) = trainings.train(config, splits, [config.steps])
    trainings.check_finite(config, after)
    whitening = learn_whitening(splits)

    def learnt_points(splits, inputs, weights):
        points = trainings.bind_embedder(config, splits, weights)(*inputs)
        return {head: points[head][:, : heads[head].dim] for head in heads}

    def adapt(splits, normal, learnt):
        """Learnt points and the whitening, adapted to the network of `splits`."""
        there = learnt_points(splits, splits.inputs(normal), after)
        moments = wccn.signed_log_moments(splits.features(normal))
        return {
            head: wccn.whiten_by_normal(points, there[head])
            for head, points in learnt.items()
        }, wccn.adapt_whitening(whitening, moments)

    def points(splits, windows, normal):
        inputs = splits.inputs(windows)
        x = splits.features(windows)
        learnt = learnt_points(splits, inputs, after)
        untrained = learnt_points(splits, inputs, before)
        default = next(iter(candidates.values()))
        ways = {"": (learnt, whitening)}
        if normal is not None:
            ways[ADAPTED] = adapt(splits, normal, learnt)
        return {
            **{
                name + end: spaces.to_space(space, points, x, matrix)
                for end, (points, matrix) in ways.items()
                for name, space in compared.items()
            },
            UNTRAINED: spaces.to_space(default, untrained, x, whitening),
            **{name: point(x) for name, point in baselines.BASELINES.items()},
        }

    return points, candidates


def choose_space(
    candidates: Mapping[str, Space], methods: Methods, splits: Splits, draws: int
) -> Space:
    """The space that the validation captures choose, see `spaces.choose`.

    Args:
      candidates: the spaces by name, the default first.
      methods: gives points in each of them.
      splits: of the data.
      draws: of the examples.
    """
    rows = judge_methods(methods, splits, VALID, draws, step=0, shots=SHOTS[:1])
    tables = cross_fit.tabulate(row for row in rows if row.method in candidates)
    curve = spaces.make_curve(
        tuple(candidates.values()),
        [
            {role: by_method[name] for role, by_method in tables.items()}
            for name in candidates
        ],
    )
    return spaces.choose([curve])


def judge_methods(
    methods: Methods,
    splits: Splits,
    role: str,
    draws: int,
    step: int,
    shots: Sequence[int] = SHOTS,
) -> list[Row]:
    """`Row`s of all methods on the windows of a role; empty if there is no window.

    If the splits are of another network, they have no training captures. Then the first
    normal captures adapt the methods and are not judged.

    Args:
      methods: gives the points of each method.
      splits: of the data.
      role: VALID or TEST.
      draws: of the examples.
      step: of the training, for the rows.
      shots: how many examples of each condition, in turn.
    """
    conditions = splits.conditions
    held_out = conditions.novel_valid if role == VALID else conditions.novel
    windows, library = splits.windows_to_judge(role, conditions.known + held_out)
    normal = None
    if TRAIN not in splits.sessions.role:
        is_normal = is_set_aside(splits, windows)
        normal = take(windows, is_normal)
        windows, library = take(windows, ~is_normal), None
    if not len(windows.start):
        return []
    rows = []
    for method, points in methods(splits, windows, normal).items():
        for count in shots:
            judged = one_shot.recognise(
                points,
                windows.condition,
                windows.session,
                draws=draws,
                shots=count,
                library=library,
            )
            rows += cross_fit.make_rows(
                judged,
                windows=windows,
                names=conditions.names,
                sessions=splits.sessions.names,
                novel=held_out,
                step=step,
                shots=count,
                method=method,
            )
    return rows


def is_set_aside(splits: Splits, windows: Windows) -> np.ndarray:
    """`[N]` bool: which windows are of the first captures without a fault."""
    calm = [
        i
        for i, labels in enumerate(splits.sessions.labels)
        if all(label.condition == NORMAL for label in labels)
    ]
    return np.isin(windows.session, calm[:NORMAL_CAPTURES])


@functools.lru_cache(16)
def open_cached(data: DataConfig) -> Splits:
    """The splits of a data set, kept for further cells of this process."""
    return open_splits(data)


def open_elsewhere(data: DataConfig, trained: Splits, folder: str) -> Splits:
    """The splits of another network, with the columns and the scaler of a training.

    Args:
      data: of the other network. All its conditions are judged.
      trained: the splits of the training.
      folder: the data set of the training.
    Raises:
      UsageError: the two networks have different columns.
    """
    train = trained.sessions.role == TRAIN
    return open_splits(
        dataclasses.replace(data, novel_valid=()),
        identity.Trained(
            dir=folder,
            sha256=trained.provenance.sha256,
            captures=trained.provenance.captures,
            conditions=trained.conditions.names,
            known=len(trained.conditions.known),
            columns=trained.columns,
            scaler=trained.scaler,
            baseline=Baseline(*(np.asarray(x)[train] for x in trained.baseline)),
        ),
    )
