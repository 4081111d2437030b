"""What is compared: losses x data sets x folds x repeats, the same for all losses.

The conditions of a data set are split once. Nothing before the final readout sees those
of the test. The others are dealt into folds; each fold is used once for validation.
Captures are split too: no condition and no capture of the test is used to train or to
choose a setting.
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
import uuid
import weakref
import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from siamjax import files, losses
from siamjax.checks import require
from siamjax.comparison.config import CompareConfig
from siamjax.config import Config, DataConfig, to_plain, validate
from siamjax.data import identity, prepared, roles
from siamjax.data.splits import Splits, open_splits
from siamjax.experiments import sources
from siamjax.losses import search
from siamjax.types import NORMAL, TEST, Session

TUNE, REPEAT = "tune", "repeat"
CONFIG, PREFIX = "config.json", "database.json"
REMEDY = "put it back from a copy, or compare in another --workdir"
# The fields that are the same for all cells of a workdir.
FIXED = ("seed", "trials", "random_trials", "repeats", "folds", "draws", "train")


class Study(NamedTuple):
    """The work on one loss and one data set in one stage.

    Every loss has the same number of slots.
    """

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


def check_config(config: CompareConfig) -> None:
    """Raises `UsageError` if the comparison cannot run, or would not be fair."""
    for loss in config.losses:
        losses.resolve(loss)
    twice = sorted({x for x in config.losses if config.losses.count(x) > 1})
    require(not twice, f"config.losses names {twice} twice: name each loss once")
    for name, data_set in config.data_sets.items():
        sources.check_source(data_set.source, f"config.data_sets.{name}.source")
    for name in config.data_sets:
        config.train_on(name)


class Tuning(NamedTuple):
    """How a loss without search ranges of its own is tuned."""

    mark: str  # shown after its name in tables
    line: str


def describe_tuning(loss: str) -> Tuning | None:
    """`Tuning` of a loss; None if it declares search ranges, or has no settings."""
    default_ranges = search.undeclared(loss)
    if default_ranges:
        ranges = ", ".join(
            f"{name} {choices.low:g} to {choices.high:g}"
            for name, choices in default_ranges.items()
            if isinstance(choices, search.Range)
        )
        return Tuning(
            "default ranges",
            f"{loss} declares no search: a tenth to ten times each default is searched "
            f"({ranges}); the attribute `search` of the loss sets other ranges",
        )
    if not search.space(loss) and losses.resolve(loss).hyper:
        return Tuning(
            "not tuned",
            f"{loss} is NOT TUNED: no setting is searched; all are defaults or written "
            "with the loss",
        )
    return None


def claim_workdir(workdir: str | pathlib.Path, config: CompareConfig) -> None:
    """Writes config.json and data.json, or checks those of an earlier call.

    Losses, data sets and baselines may be added, and the number of workers changed:
    what is done stays.

    Raises:
      UsageError: the workdir was made with another budget or with other data, so that
        its numbers cannot be compared.
    """
    path = pathlib.Path(workdir) / CONFIG
    plain = to_plain(config)
    if path.exists():
        before = files.read_json(path, REMEDY)
        with files.parsing(path, REMEDY):
            differ = _list_differences(before, plain)
        require(
            not differ,
            f"{workdir} was made with another {', '.join(differ)}: give another "
            "--workdir or the same config",
        )
    _check_data(pathlib.Path(workdir) / "data.json", config)
    files.write_json(path, plain)


def claim_prefix(workdir: str | pathlib.Path) -> None:
    """Gives the studies of a new workdir a prefix, so that comparisons can share a
    database."""
    workdir = pathlib.Path(workdir)
    if not (workdir / CONFIG).exists():
        files.write_json(workdir / PREFIX, dict(prefix=f"{uuid.uuid4().hex[:12]} "))


def study_prefix(workdir: str | pathlib.Path) -> str:
    """The prefix of `claim_prefix`; empty if the workdir has none."""
    path = pathlib.Path(workdir) / PREFIX
    if not path.exists():
        return ""
    stored = files.read_json(path, REMEDY)
    with files.parsing(path, REMEDY):
        return str(stored["prefix"])


def _list_differences(before, after):
    """Names of the fields that differ between two configs but must be the same."""
    both = before["data_sets"].keys() & after["data_sets"].keys()
    return [f"config.{name}" for name in FIXED if before[name] != after[name]] + [
        f"config.data_sets.{name}"
        for name in sorted(both)
        if before["data_sets"][name] != after["data_sets"][name]
    ]


def _check_data(path, config):
    """Stores the hash of each data set; UsageError if a data set has changed."""
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
    """Hash of a prepared data set; None if it is missing or of an older version."""
    return (prepared.read_meta(folder) or {}).get("data_sha256")


def list_studies(config: CompareConfig, stage: str) -> list[Study]:
    """Every `Study` of a stage, data set by data set."""
    return [
        Study(data_set, stage, loss)
        for data_set in config.data_sets
        for loss in config.losses
    ]


def training_config(config: CompareConfig, data_set: str, fold: int) -> Config:
    """The config of one training, the same for all losses.

    It is `config.train` with the changes of `config.data_sets[data_set]`, the test
    conditions as `novel` and those of the fold as `novel_valid`.
    """
    train = config.train_on(data_set)
    test_conditions = config.data_sets[data_set].test_conditions
    test, rest = split_conditions(train.data.dir, test_conditions, config.seed)
    require(
        len(rest) > config.folds,
        f"{data_set} has {len(rest)} conditions besides those of the test, "
        f"too few for config.folds = {config.folds}",
    )
    require(
        train.data.folds > config.folds,
        f"config.data_sets.{data_set}.data.folds is {train.data.folds}: it must be "
        f"above config.folds = {config.folds}, because the test needs one fold more",
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


def split_conditions(
    folder: str, test_conditions: int | Sequence[str], seed: int
) -> tuple[tuple[str, ...], list[str]]:
    """Names of the test's conditions and of the others; `normal` is in neither.

    Args:
      folder: of the prepared data set.
      test_conditions: their names; or how many of them to draw.
      seed: of the draw.
    """
    names = list_faults(folder)
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


def list_faults(folder: str) -> list[str]:
    """All faults of a prepared data set, in order."""
    return _conditions(folder, _hash(folder))


@functools.lru_cache(8)
def _conditions(folder, content):
    sessions = prepared.read_data_set(folder).sessions
    names = {label.condition for session in sessions for label in session.labels}
    return sorted(names - {NORMAL, ""})


@functools.lru_cache(16)
def _opened(frozen, content):
    """Splits in which the test has the same captures in every fold.

    `data.splits` would put all captures of a `novel_valid` condition into validation.
    But in another fold the condition is known, and some of these captures are tested:
    they stay in the test.

    Args:
      frozen: `config.data` of a training, as JSON.
      content: the hash of the data set; it makes the cache miss when a folder has new
        content.
    """
    data = validate(DataConfig, json.loads(frozen))
    seen = open_splits(data)
    sessions = [
        Session(name, 0.0, labels, None, None)
        for name, labels in zip(seen.sessions.names, seen.sessions.labels)
    ]
    dealt = roles.deal_roles(sessions, dataclasses.replace(data, novel_valid=()))
    shared = identity.share_among_copies(
        dict(zip(seen.sessions.names, dealt)), seen.provenance.captures
    )
    tested = np.array([role == TEST for role in shared.values()])
    role = np.where(tested, TEST, seen.sessions.role)
    return seen._replace(
        sessions=dataclasses.replace(seen.sessions, role=role),
        counts=_share_array(np.asarray(seen.counts)),
    )


@functools.lru_cache(16)
def _hidden(frozen, content):
    """`_opened` with NaN in place of the counts of test captures."""
    seen = _opened(frozen, content)
    hidden = np.array(seen.counts)
    hidden[seen.sessions.role == TEST] = np.nan
    return seen._replace(counts=_share_array(hidden))


# Arrays that are in use, by their content.
_ARRAYS: weakref.WeakValueDictionary[str, np.ndarray] = weakref.WeakValueDictionary()


def _share_array(array):
    """The one array with this content: the folds of a data set share their counts."""
    digest = hashlib.sha256(np.ascontiguousarray(array)).hexdigest()
    return _ARRAYS.setdefault(f"{array.dtype} {array.shape} {digest}", array)


def cell_splits(train: Config, *, blind: bool) -> Splits:
    """`data.splits.Splits` of a training's config.

    Args:
      train: as `training_config` gives it.
      blind: sets every count of a test capture to NaN, so that nothing before the
        final readout can use it, not even by mistake.
    """
    frozen = json.dumps(to_plain(train.data), sort_keys=True)
    opened = _hidden if blind else _opened
    return opened(frozen, _hash(train.data.dir))


def derive_seed(config: CompareConfig, *words: str | int) -> int:
    """A seed below 2**31, from `config.seed` and the words alone."""
    text = json.dumps([config.seed, *words])
    return zlib.crc32(text.encode()) & 0x7FFFFFFF


def list_members(
    config: CompareConfig, stage: str, slots: Iterable[int], setting: dict
) -> list[Member]:
    """The cells of one setting: every fold of each slot.

    All losses have the same seeds; those of trials and of repeats differ.
    """
    return [
        Member(fold, derive_seed(config, stage, slot, fold), setting)
        for slot in slots
        for fold in range(config.folds)
    ]
