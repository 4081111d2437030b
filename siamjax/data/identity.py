"""Which data a run was trained on, and which role other data has for it.

A capture that was trained on must never judge the run. Captures are recognised by
hashes of their content, not by their names: a recording keeps its role under another
name, and also with other labels.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from siamjax.data import columns, prepared
from siamjax.text import short
from siamjax.types import (
    TEST,
    AnySession,
    Baseline,
    Column,
    DataSet,
    Scaler,
    UsageError,
)

# The most names in a line; the others are counted.
_NAMED = 5


class Capture(NamedTuple):
    """A capture, as a checkpoint stores it."""

    sha256: str  # of recording and labels
    recording: str  # SHA-256 of the recording alone
    role: str = ""  # TRAIN, VALID or TEST; empty: it could not be used


class Trained(NamedTuple):
    """What a checkpoint says of the data that its run was trained on."""

    dir: str  # the folder of the data set
    sha256: str  # of the data set; empty: an older version, which did not store it
    captures: dict[str, Capture]  # by name
    conditions: tuple[str, ...]  # known ones first
    known: int
    columns: tuple[Column, ...]
    scaler: Scaler | None  # None: computed again from the training captures
    baseline: Baseline | None  # [S, F] of the training captures
    # Of protocols, besides their usual ones, where they were read.
    ports: Mapping[str, Sequence[int]] = {}


class Roles(NamedTuple):
    """Roles that captures have for a run."""

    role: dict[str, str]  # by name, of the captures that are used
    left_out: tuple[str, ...]  # a line for each capture that is not used, and why
    new: tuple[str, ...]  # names of test captures that the run did not have
    gone: tuple[str, ...]  # names of captures that the run had


def hash_captures(data_set: DataSet) -> dict[str, Capture]:
    """`Capture`s of a data set by name, without roles."""
    bare = tuple(session._replace(labels=()) for session in data_set.sessions)
    contents = prepared.content_hashes(data_set)
    recordings = prepared.content_hashes(data_set._replace(sessions=bare))
    return {name: Capture(contents[name], recordings[name]) for name in contents}


def roles_of_run(
    current: Mapping[str, Capture], trained: Trained, folder: str
) -> Roles:
    """The roles of a data set's captures, as they were in training.

    A recording keeps its role, whatever its name. A new one is a test capture. A
    capture of training or validation that has changed is left out: it has other labels,
    or, in the folder of the training, its name has another recording.

    Args:
      current: the captures of the data set, by name.
      trained: the data of the run.
      folder: of the data set. Names are compared only in the folder of the training.
    """
    before = trained.captures
    names = before if Path(folder).resolve() == Path(trained.dir).resolve() else {}
    by_content = {capture.sha256: capture for capture in before.values()}
    by_recording = {capture.recording: capture for capture in before.values()}
    role, left_out, new = {}, [], []
    for name, capture in current.items():
        old = (
            by_content.get(capture.sha256)
            or by_recording.get(capture.recording)
            or names.get(name)
        )
        same = old is not None and old.sha256 == capture.sha256
        if old is not None and old.role not in ("", TEST):
            if same:
                role[name] = old.role
            else:
                left_out.append(
                    f"{short(name)}: it changed since the run used it for {old.role}"
                )
        else:
            role[name] = TEST
            if old is None or not same or not old.role:
                new.append(name)
    recordings = {capture.recording for capture in current.values()}
    gone = [
        name
        for name, old in names.items()
        if old.role and name not in current and old.recording not in recordings
    ]
    return Roles(role, tuple(left_out), tuple(new), tuple(gone))


def share_among_copies(
    role: Mapping[str, str], current: Mapping[str, Capture]
) -> dict[str, str]:
    """Roles by name, where all copies of a recording have the role of the first."""
    first: dict[str, str] = {}
    return {
        name: first.setdefault(current[name].recording, role[name]) for name in role
    }


def conditions_of_run(
    sessions: Iterable[AnySession], trained: Trained
) -> tuple[str, ...]:
    """Conditions of the run, known ones first, then conditions that are new."""
    labelled = {label.condition for session in sessions for label in session.labels}
    return (*trained.conditions, *sorted(labelled - {"", *trained.conditions}))


def check_columns(data_set: DataSet, trained: Trained, folder: str) -> None:
    """Raises UsageError where the data does not have the columns of the run."""
    counters = not all(session.has_events for session in data_set.sessions)
    if counters != (trained.columns[0].role == columns.COUNTER):
        current, before = ("counters", "events")[:: 1 if counters else -1]
        raise UsageError(f"{folder} has {current}, the run was trained on {before}")
    if not counters:
        missing = set(columns.protocols_of(trained.columns)) - set(
            columns.protocols_of_data(data_set.meta)
        )
        if missing:
            raise UsageError(
                f"{folder} lacks {list_names(sorted(missing))}, which the run was "
                "trained on: prepare it with siamjax ingest --protocols="
                f"{','.join(columns.protocols_of(trained.columns))}"
            )
    table = columns.event_columns(columns.protocols_of(trained.columns))
    if counters:  # the run decides which of them are heavy-tailed
        heavy = [False] * len(data_set.kinds)
        growing = data_set.meta.get("growing", ())
        table = columns.counter_columns(data_set.kinds, heavy, growing)
    if differ := _column_changes(trained.columns, table):
        raise UsageError(
            f"{folder} does not have the columns of the run's training: {differ}; "
            "prepare it as the run's data set was prepared, or train a run on it"
        )


def _column_changes(before, current):
    """Describes how two tables of columns differ; empty: they are equal."""
    old, new = (
        {column.name: column for column in table} for table in (before, current)
    )
    both = [name for name in new if name in old]
    differ = {
        "it lacks": [name for name in old if name not in new],
        "it adds": [name for name in new if name not in old],
        "it differs in whether to use the growth of": [
            n for n in both if new[n].grows != old[n].grows
        ],
    }
    parts = [f"{what} {list_names(names)}" for what, names in differ.items() if names]
    if not parts and list(old) != list(new):
        return "they are in another order"
    return ", ".join(parts)


def to_json(
    sha256: str, current: Mapping[str, Capture], ports: Mapping[str, Sequence[int]]
) -> dict[str, Any]:
    """The hashes, captures and ports of a data set as JSON, for a checkpoint."""
    return {
        "sha256": sha256,
        "captures": {name: capture._asdict() for name, capture in current.items()},
        "decode_as": ports,
    }


def describe_changes(
    before: Mapping[str, Capture], current: Mapping[str, Capture]
) -> list[str]:
    """Describes how two states of a data set differ, as parts of a sentence."""
    both = [name for name in before if name in current]
    differ = {
        "changed": [n for n in both if current[n].sha256 != before[n].sha256],
        "added": [name for name in current if name not in before],
        "gone": [name for name in before if name not in current],
    }
    if not any(differ.values()):  # the same data: another version gave other roles
        moved = [name for name in both if current[name].role != before[name].role]
        differ = {"given another role": moved}
    return [
        f"{count_captures(names)} {what}: {list_names(names)}"
        for what, names in differ.items()
        if names
    ]


def count_captures(names: Iterable[str]) -> str:
    """`1 capture is` or `7 captures are`."""
    count = len(list(names))
    return "1 capture is" if count == 1 else f"{count} captures are"


def list_names(names: Iterable[str]) -> str:
    """The first names, and how many more there are."""
    names = list(names)
    more = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return ", ".join([*map(short, names[:_NAMED]), *more])
