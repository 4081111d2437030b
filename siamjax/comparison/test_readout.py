"""The final readout: the only place that reads the test, and it does so once."""

import datetime
import itertools
from typing import Any, NamedTuple

import numpy as np

from siamjax import files
from siamjax.comparison import protocol, readouts, studies, trainer, workers
from siamjax.comparison.protocol import REPEAT
from siamjax.data import features
from siamjax.evaluation import baselines
from siamjax.models import embedder
from siamjax.training import state, step
from siamjax.types import TEST, TRAIN, Baseline, UsageError

MARK, FOLDER = "test_was_read.json", "readouts"
UNTRAINED = "untrained encoder"
# Baselines that draw at random, and are repeated as the losses are.
SEEDED = (UNTRAINED, "minirocket")
# Name in config.baselines -> (windows, windows of training, seed) -> points.
BASELINES = {
    "whole windows": lambda x, fit, seed: baselines.whole_windows(x),
    "mean and deviation": lambda x, fit, seed: baselines.moments(x),
    "minirocket": lambda x, fit, seed: baselines.minirocket(x, fit, seed=seed),
    "catch22": lambda x, fit, seed: baselines.catch22(x, fit),
    "dtw": lambda x, fit, seed: readouts.in_order(baselines.dtw_distances(x, x)),
}


class Cell(NamedTuple):
    """A training, or a baseline, that the final readout judges."""

    data_set: str
    method: str  # the loss as the user wrote it, or the name of a baseline
    repeat: int
    fold: int
    about: dict  # of `workers.about`; empty for a baseline
    weights: Any  # path, or None

    @property
    def name(self):
        return f"{self.data_set} {self.method} {self.repeat} {self.fold}"


def cells(config, place):
    """Every `Cell` there is: of each loss the repeats that are done, and baselines."""
    out = []
    for study, found in workers.look(config, place.store, {}).items():
        if study.stage != REPEAT:
            continue
        for slot, trial in sorted(studies.done(found).items()):
            for i, about in enumerate(workers.cells(trial)):
                repeat = slot if not workers.vmapped(config) else i // config.folds
                path = workers.weights_path(
                    place.workdir,
                    study,
                    protocol.Member(about["fold"], about["seed"], {}),
                )
                out.append(
                    Cell(study.data_set, study.loss, repeat, about["fold"], about, path)
                )
    every = (config.data_sets, config.baselines, range(config.folds))
    for data_set, name, fold in itertools.product(*every):
        repeats = config.repeats if name in SEEDED else 1
        out += [Cell(data_set, name, r, fold, {}, None) for r in range(repeats)]
    return out


def read(config, place, found, *, again=False):
    """Every cell's readouts, stored: the test is read once.

    Args:
      config: of the comparison.
      place: `workers.Place`.
      found: `Cell`s, all that the comparison will ever read.
      again: read the test once more for cells that were not read the first time.
    Returns:
      `{cell name: {(head, metric, group): readouts.Units}}`, and dict(when, times).
    Raises:
      UsageError: the test was read before, and now there are more cells.
    """
    mark = place.workdir / MARK
    names = sorted(c.name for c in found)
    if mark.exists():
        remedy = (
            "it says when the test was read, put it back from a copy; without it the "
            "test is read as if for the first time"
        )
        before = files.read_json(mark, remedy)
        with files.parsing(mark, remedy):
            before = {name: before[name] for name in ("when", "cells", "times")}
            new = sorted(set(names) - set(before["cells"]))
        if new and not again:
            raise UsageError(
                f"the test was read on {before['when']} for {len(before['cells'])} "
                f"cells, and {len(new)} are new ({new[0]}, ...): who looks twice finds "
                "what he looks for; --read_test_again does it, and the report says so"
            )
    else:
        before, new = dict(when="", cells=[], times=0), names
    if new:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        every = sorted({*before["cells"], *new})
        before = dict(when=now, cells=every, times=before["times"] + 1)
        files.write_json(mark, before)
    out = {}
    for one in found:
        path = place.workdir / FOLDER / f"{workers.digest(one.name)}.npz"
        if not path.exists():
            _store(path, judge(config, one))
        out[one.name] = _load(path)
    return out, before


def judge(config, one):
    """{(head, metric, group): `readouts.Units`} of one cell on the test."""
    train = protocol.training(config, one.data_set, one.fold)
    splits = protocol.splits(train, blind=False)
    windows, counts, baseline = test_windows(splits, train.data.bins)
    if one.method in BASELINES:
        x = np.asarray(features.to_features(counts, baseline, splits.scaler))
        known = splits.of(TRAIN, splits.conditions[: splits.known])
        fit = np.asarray(
            features.to_features(*inputs(splits, known, train.data.bins), splits.scaler)
        )
        points = {"": BASELINES[one.method](x, fit, one.repeat)}
    else:
        points = _embedded(config, one, train, splits, counts, baseline)
    novel = [splits.conditions.index(name) for name in splits.novel]
    ways = config.data_sets[one.data_set].ways
    out = {}
    for head, x in points.items():
        if not np.isfinite(x).all():
            continue
        for (metric, group), units in readouts.readouts(
            x, windows.condition, windows.session, novel,
            ways=ways, draws=config.draws, seed=config.seed,
        ).items():  # fmt: skip
            names = np.array(splits.conditions)[units.condition]
            captures = np.array(splits.sessions)[units.capture]
            out[head, metric, group] = units._replace(condition=names, capture=captures)
    return out


def test_windows(splits, bins):
    """The test's windows of known and of its own conditions, counts and baselines."""
    windows = splits.of(TEST, splits.conditions[: splits.known] + splits.novel)
    return windows, *inputs(splits, windows, bins)


def inputs(splits, windows, bins):
    """Counts `[N, T, F]` and baselines `[N, F]` of windows."""
    baseline = Baseline(*(np.asarray(x)[windows.session] for x in splits.baseline))
    return embedder.cut_windows(splits.counts, windows, bins), baseline


def _embedded(config, one, train, splits, counts, baseline):
    """{head: points}, each with the weights of its own best validation."""
    parts = step.build_parts(
        train, columns=splits.columns, classes=splits.known,
        mesh=trainer.mesh(train.platform),
    )  # fmt: skip
    run_embed = trainer.shared_embedder(
        trainer.encoder_key(train, splits.columns), parts.encoder
    )
    if one.weights is None:
        seed = protocol.seed(config, REPEAT, one.repeat, one.fold)
        first = state.create_state(seed, parts)
        weights = dict(params=first.params["encoder"], stats=first.batch_stats)
        each = {head: weights for head in parts.losses}
    else:
        first = state.create_state(0, parts)
        like = dict(params=first.params["encoder"], stats=first.batch_stats)
        each = workers.load(one.weights, {head: like for head in parts.losses})
    out = {}
    for head, weights in each.items():
        final = parts.encoder.finalise(weights["stats"])
        points = run_embed(weights["params"], final, splits.scaler, counts, baseline)
        out[head] = points[head]
    return out


def _store(path, judged):
    """Writes the readouts of a cell."""
    arrays = {
        "/".join((*key, field)): column
        for key, units in judged.items()
        for field, column in units._asdict().items()
    }
    with files.replacing(path) as beside:
        np.savez_compressed(beside, **arrays)


def _load(path):
    columns = {}
    remedy = "delete it, and the same command makes it again"
    with files.parsing(path, remedy), np.load(path, allow_pickle=False) as arrays:
        for name in arrays.files:
            *key, field = name.split("/")
            columns.setdefault(tuple(key), {})[field] = arrays[name]
        return {key: readouts.Units(**x) for key, x in columns.items()}
