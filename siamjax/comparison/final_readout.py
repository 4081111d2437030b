"""The final readout: the only place that reads the test, normally once."""

import datetime
import functools
import itertools
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from siamjax import files
from siamjax.comparison import protocol, readouts, studies, trainer, workers
from siamjax.comparison.config import CompareConfig
from siamjax.comparison.protocol import REPEAT
from siamjax.comparison.readouts import Units
from siamjax.evaluation import baselines
from siamjax.experiments import runner
from siamjax.training import state, step
from siamjax.types import TEST, TRAIN, UsageError

MARK, ROWS = "test_was_read.json", "readouts.jsonl"
UNTRAINED = "untrained encoder"
# Baselines that depend on a seed; they are repeated as losses are.
SEEDED = (UNTRAINED, "minirocket")
# Name in config.baselines -> (windows, `baselines.Training`, seed) -> points.
BASELINES = {
    "WCCN": lambda x, fit, seed: baselines.wccn_points(x, baselines.learn_wccn(fit)),
    "mean and deviation, cosine": lambda x, fit, seed: baselines.directions(x),
    "QUANT, cosine": lambda x, fit, seed: baselines.quant_directions(x),
    "whole windows": lambda x, fit, seed: baselines.whole_windows(x),
    "mean and deviation": lambda x, fit, seed: baselines.moments(x),
    "minirocket": lambda x, fit, seed: baselines.minirocket(x, fit.windows, seed=seed),
    "catch22": lambda x, fit, seed: baselines.catch22(x, fit.windows),
    "dtw": lambda x, fit, seed: readouts.embed_distances(baselines.dtw_distances(x, x)),
}


class Cell(NamedTuple):
    """A training, or a baseline, that the final readout judges."""

    data_set: str
    method: str  # the loss as the user wrote it, or the name of a baseline
    repeat: int
    fold: int
    about: dict[str, Any]  # of `workers.describe_cell`; empty for a baseline
    weights: pathlib.Path | None

    @property
    def name(self) -> str:
        return f"{self.data_set} {self.method} {self.repeat} {self.fold}"


Readouts = dict[tuple[str, str, str], Units]  # by head, metric, group


def list_cells(config: CompareConfig, place: workers.Place) -> list[Cell]:
    """Every `Cell`: of each loss the repeats that are done, and the baselines."""
    trained = []
    for study, opened in workers.open_studies(config, place, {}).items():
        if study.stage != REPEAT:
            continue
        for slot, trial in sorted(studies.finished_trials(opened).items()):
            for i, about in enumerate(workers.stored_cells(trial)):
                repeat = slot if not workers.is_vmapped(config) else i // config.folds
                fold = about["fold"]
                member = protocol.Member(fold, about["seed"], {})
                path = workers.weights_path(place.workdir, study, member)
                trained.append(
                    Cell(study.data_set, study.loss, repeat, fold, about, path)
                )
    return trained + [
        Cell(data_set, name, repeat, fold, {}, None)
        for data_set, name, fold in itertools.product(
            config.data_sets, config.baselines, range(config.folds)
        )
        for repeat in range(config.repeats if name in SEEDED else 1)
    ]


def read_test(
    config: CompareConfig,
    place: workers.Place,
    cells: Sequence[Cell],
    *,
    again: bool = False,
) -> tuple[dict[str, Readouts], dict[str, Any]]:
    """The readouts of each cell; they are stored, so that the test is read only once.

    Args:
      config: of the comparison.
      place: workdir and database of the comparison.
      cells: all that the comparison will ever read.
      again: read the test once more for cells that were not read the first time.
    Returns:
      {cell name: {(head, metric, group): `readouts.Units`}}, and dict(when, times,
      cells): when the test was last read, how often, and for which cells.
    Raises:
      UsageError: the test was read before, there are new cells, and not `again`.
    """
    mark = _mark(place.workdir / MARK, sorted(cell.name for cell in cells), again)
    by_name = {cell.name: cell for cell in cells}
    rows = [
        dict(data_set=c.data_set, method=c.method, repeat=c.repeat, fold=c.fold)
        for c in cells
    ]
    results = runner.run_cells(
        functools.partial(_judge_row, config, by_name),
        rows,
        place.workdir / ROWS,
        workers=workers.count_workers(config),
    )
    return dict(zip(by_name, map(_from_plain, results))), mark


def _mark(path, names, again):
    """Stores that the test is read; UsageError for new cells without `again`."""
    mark = dict(when="", cells=[], times=0)
    if path.exists():
        remedy = (
            "it says when the test was read: put it back from a copy; without it the "
            "test is read as if for the first time"
        )
        stored = files.read_json(path, remedy)
        with files.parsing(path, remedy):
            mark = {name: stored[name] for name in ("when", "cells", "times")}
            new = sorted(set(names) - set(mark["cells"]))
        if new and not again:
            raise UsageError(
                f"the test was already read for {len(mark['cells'])} cells on "
                f"{mark['when']}, and {len(new)} cells are new ({new[0]}, ...): "
                "--read_test_again reads it again, and the report will say so"
            )
    else:
        new = names
    if new:
        when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        every = sorted({*mark["cells"], *new})
        mark = dict(when=when, cells=every, times=mark["times"] + 1)
        files.write_json(path, mark)
    return mark


def _judge_row(config, by_name, row):
    return _to_plain(
        judge_cell(config, by_name[Cell(**row, about={}, weights=None).name])
    )


def judge_cell(config: CompareConfig, cell: Cell) -> Readouts:
    """{(head, metric, group): `readouts.Units`} of one cell on the test."""
    train = protocol.training_config(config, cell.data_set, cell.fold)
    splits = protocol.cell_splits(train, blind=False)
    windows = splits.windows_of(TEST, splits.conditions.known + splits.conditions.novel)
    if cell.method in BASELINES:
        known = splits.windows_of(TRAIN, splits.conditions.known)
        training = baselines.Training(
            splits.features(known), known.condition, known.session
        )
        x = splits.features(windows)
        points = {"": BASELINES[cell.method](x, training, cell.repeat)}
    else:
        inputs = splits.inputs(windows)
        points = _embedded(config, cell, train, splits, inputs)
    novel = [splits.conditions.names.index(name) for name in splits.conditions.novel]
    judged = {}
    for head, x in points.items():
        if not np.isfinite(x).all():
            continue
        by_metric = readouts.read_points(
            x,
            windows.condition,
            windows.session,
            novel,
            ways=config.data_sets[cell.data_set].ways,
            draws=config.draws,
            seed=config.seed,
        )
        for (metric, group), units in by_metric.items():
            names = np.array(splits.conditions.names)[units.condition]
            captures = np.array(splits.sessions.names)[units.capture]
            judged[head, metric, group] = units._replace(
                condition=names, capture=captures
            )
    return judged


def _embedded(config, cell, train, splits, inputs):
    """{head: points}, each with the weights of its own best validation."""
    parts = step.build_parts(
        train,
        columns=splits.columns,
        classes=len(splits.conditions.known),
        mesh=trainer.single_device_mesh(train.platform),
    )
    key = trainer.encoder_key(train, splits.columns)
    embed = trainer.shared_embedder(key, parts.encoder)
    if cell.weights is None:
        seed = protocol.derive_seed(config, REPEAT, cell.repeat, cell.fold)
        weights = trainer.encoder_weights(state.create_state(seed, parts))
        by_head = dict.fromkeys(parts.heads, weights)
    else:
        like = trainer.weights_like(key, parts)
        by_head = workers.load_weights(cell.weights, dict.fromkeys(parts.heads, like))
    points = {}
    for head, weights in by_head.items():
        stats = parts.encoder.finalise(weights["stats"])
        all_heads = embed(weights["params"], stats, splits.scaler, *inputs)
        points[head] = all_heads[head]
    return points


def _to_plain(judged):
    """Readouts as plain values, for JSON."""
    return [dict(key=key, **units._asdict()) for key, units in judged.items()]


def _from_plain(rows):
    """The readouts that `_to_plain` was given."""
    return {
        tuple(row["key"]): Units(
            np.array(row["condition"], str),
            np.array(row["capture"], str),
            np.array(row["score"], float),
            np.array(row["weight"], float),
        )
        for row in rows
    }
