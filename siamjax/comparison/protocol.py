"""What is compared, as data: losses x data sets x folds x repeats, alike for all.

The conditions of a data set are split once: those of the test are seen by nothing
before the final readout, the others are dealt into folds, each of which is once what
validates. Captures are split too, so that neither a condition nor a capture of the test
is ever trained on or chosen by.
"""

import dataclasses
import functools
import json
import pathlib
import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from siamjax import files, losses
from siamjax.checks import require
from siamjax.comparison import sources
from siamjax.comparison.config import CompareConfig
from siamjax.config import Config, DataConfig, to_plain, validate
from siamjax.data import identity, prepared, roles
from siamjax.data.splits import Splits, open_splits
from siamjax.losses import search
from siamjax.types import NORMAL, TEST, Session

TUNE, REPEAT = "tune", "repeat"
CONFIG = "config.json"
REMEDY = "put it back from a copy, or compare in another --workdir"
# The fields that are the same for all cells of a workdir.
FIXED = ("seed", "trials", "random_trials", "repeats", "folds", "draws", "train")


class Study(NamedTuple):
    """All work on one loss and one data set of one stage; its slots are equal in
    number for every loss."""

    data_set: str
    stage: str  # TUNE: a slot is a setting; REPEAT: a slot is a fresh seed
    loss: str  # its text, as the user wrote it

    @property
    def name(self) -> str:
        return f"{self.data_set} {self.stage} {self.loss}"


class Member(NamedTuple):
    """One training: a cell of the comparison."""

    fold: int
    seed: int
    setting: dict  # head -> text of its loss, with every value searched for


def check(config: CompareConfig) -> None:
    """Raises `UsageError` where the comparison could not be run or not be believed."""
    for loss in config.losses:
        losses.resolve(loss)
    twice = sorted({x for x in config.losses if config.losses.count(x) > 1})
    require(not twice, f"config.losses names {twice} twice: each can stand there once")
    sources.check(config)
    for name in config.data_sets:
        config.train_on(name)


class Tuning(NamedTuple):
    """How a loss is searched that has no ranges of its own."""

    mark: str  # beside its name in a table
    line: str


def tuning(loss: str) -> Tuning | None:
    """`Tuning` of a loss; None where it is searched by ranges of its own, and where it
    has no setting at all."""
    around = search.undeclared(loss)
    if around:
        ranges = ", ".join(f"{n} {r.low:g} to {r.high:g}" for n, r in around.items())
        return Tuning(
            "default ranges",
            f"{loss} declares no search: a tenth to ten times each default is searched "
            f"({ranges}); the attribute `search` of the loss sets other ranges",
        )
    if not search.space(loss) and losses.resolve(loss).hyper:
        return Tuning(
            "not tuned",
            f"{loss} is NOT TUNED: nothing of it is searched, all its settings are the "
            "defaults or those of its text",
        )
    return None


def same(workdir: str | pathlib.Path, config: CompareConfig) -> None:
    """Writes config.json and data.json, or refuses a workdir whose numbers would not
    compare: of another budget, or of data that changed since.

    Losses, data sets and baselines may be added, workers changed: what is done stays.
    """
    path = pathlib.Path(workdir) / CONFIG
    plain = to_plain(config)
    if path.exists():
        before = files.read_json(path, REMEDY)
        with files.parsing(path, REMEDY):
            differ = _different(before, plain)
        require(
            not differ,
            f"{workdir} was made with another {', '.join(differ)}: give another "
            "--workdir or the same config",
        )
    _same_data(pathlib.Path(workdir) / "data.json", config)
    files.write_json(path, plain)


def _different(before, after):
    """Fields of two configs in which cells of one workdir must not differ."""
    both = before["data_sets"].keys() & after["data_sets"].keys()
    return [f"config.{name}" for name in FIXED if before[name] != after[name]] + [
        f"config.data_sets.{name}"
        for name in sorted(both)
        if before["data_sets"][name] != after["data_sets"][name]
    ]


def _same_data(path, config):
    """Keeps the hash of each data set, or refuses one that is not what it was."""
    hashes = {name: _hash(config.train_on(name).data.dir) for name in config.data_sets}
    before = files.read_json(path, REMEDY) if path.exists() else {}
    with files.parsing(path, REMEDY):
        changed = [n for n, h in hashes.items() if h and before.get(n, h) != h]
    require(
        not changed,
        f"{path.parent} was made with other data in {', '.join(changed)}: give another "
        "--workdir, or put the prepared data set back",
    )
    files.write_json(path, before | {n: h for n, h in hashes.items() if h})


def _hash(folder):
    """Hash of a prepared data set; None where there is none, or it is of an older
    version."""
    return (prepared.read_meta(folder) or {}).get("data_sha256")


def studies(config: CompareConfig, stage: str) -> list[Study]:
    """Every `Study` of a stage, data set by data set."""
    return [
        Study(data_set, stage, loss)
        for data_set in config.data_sets
        for loss in config.losses
    ]


def training(config: CompareConfig, data_set: str, fold: int) -> Config:
    """The config of one training, the same for all losses.

    It is `config.train` with the changes of `config.data_sets[data_set]`, the test
    conditions as `novel` and those of the fold as `novel_valid`.
    """
    train = config.train_on(data_set)
    test_conditions = config.data_sets[data_set].test_conditions
    test, rest = split(train.data.dir, test_conditions, config.seed)
    require(
        len(rest) > config.folds,
        f"{data_set} has {len(rest)} conditions beside those of the test, "
        f"too few for config.folds = {config.folds}",
    )
    require(
        train.data.folds > config.folds,
        f"config.data_sets.{data_set}.data.folds is {train.data.folds}: it must be "
        f"above config.folds = {config.folds}, for the test needs a fold of its own",
    )
    data = dataclasses.replace(
        train.data,
        novel=test,
        novel_valid=tuple(
            rest[fold :: config.folds] if config.folds > 1 else rest[::3]
        ),
        test_fold=0,
        valid_fold=1 + fold,
    )
    return dataclasses.replace(train, data=data)


def split(
    folder: str, test_conditions: int | Sequence[str], seed: int
) -> tuple[tuple[str, ...], list[str]]:
    """Names of the test's conditions and of the others, neither with `normal`.

    Args:
      folder: of the prepared data set.
      test_conditions: their names; or how many of them to draw.
      seed: of the draw.
    """
    names = conditions(folder)
    if isinstance(test_conditions, int):
        require(
            0 < test_conditions < len(names),
            f"test_conditions is {test_conditions}, {folder} has {len(names)}",
        )
        drawn = np.random.default_rng(seed).permutation(names)[:test_conditions]
        test_conditions = sorted(drawn.tolist())
    unknown = sorted(set(test_conditions) - set(names))
    require(not unknown, f"test_conditions names {unknown}, {folder} has {names}")
    return tuple(test_conditions), [n for n in names if n not in test_conditions]


def conditions(folder: str) -> list[str]:
    """All faults of a prepared data set, in order."""
    return _conditions(folder, _hash(folder))


@functools.lru_cache(8)
def _conditions(folder, content):
    sessions = prepared.read_data_set(folder).sessions
    found = {label.condition for session in sessions for label in session.labels}
    return sorted(found - {NORMAL, ""})


@functools.lru_cache(16)
def _opened(frozen, content):
    """Splits in which the captures of the test are its own in every fold.

    `data.splits` gives all captures of a condition that validates to validation; here
    another fold has it as a known one, and tests on some of them.

    Args:
      frozen: `config.data` of a training, as JSON.
      content: the hash of the data set: folders are filled anew.
    """
    data = validate(DataConfig, json.loads(frozen))
    seen = open_splits(data)
    sessions = [
        Session(name, 0.0, labels, None, None)
        for name, labels in zip(seen.sessions.names, seen.sessions.labels)
    ]
    alone = roles.deal_roles(sessions, dataclasses.replace(data, novel_valid=()))
    alone = identity.share_among_copies(
        dict(zip(seen.sessions.names, alone)), seen.provenance.captures
    )
    tested = np.array([role == TEST for role in alone.values()])
    role = np.where(tested, TEST, seen.sessions.role)
    return seen._replace(sessions=dataclasses.replace(seen.sessions, role=role))


def splits(train: Config, *, blind: bool) -> Splits:
    """`data.splits.Splits` of a training's config.

    Args:
      train: as `training` gives it.
      blind: every count of a test capture is NaN, so that nothing before the final
        readout can learn from it even by mistake.
    """
    frozen = json.dumps(to_plain(train.data), sort_keys=True)
    seen = _opened(frozen, _hash(train.data.dir))
    if not blind:
        return seen
    hidden = np.where((seen.sessions.role == TEST)[:, None, None], np.nan, seen.counts)
    return seen._replace(counts=hidden.astype(np.float32))


def seed(config: CompareConfig, *words: str | int) -> int:
    """A seed below 2**31 that depends on `config.seed` and the words alone."""
    text = json.dumps([config.seed, *words])
    return zlib.crc32(text.encode()) & 0x7FFFFFFF


def members(
    config: CompareConfig, stage: str, slots: Iterable[int], setting: dict
) -> list[Member]:
    """The cells of one setting: every fold of each slot. A trial and a repeat never
    share a seed, and all losses have the same ones."""
    return [
        Member(fold, seed(config, stage, slot, fold), setting)
        for slot in slots
        for fold in range(config.folds)
    ]
