"""labels.csv: which condition each capture was in, and when."""

import csv
import itertools
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

from siamjax import text
from siamjax.types import NORMAL, Label, UsageError

COLUMNS = ("file", "condition", "onset_s", "clear_s")
# What a recorder may note besides; of no use here.
_NOTES = frozenset(("seed", "rate_cps", "hold_s", "severity", "notes"))
TOO_MANY = "more fields than columns"
# What identification calls traffic that has no condition: no fault has such a name.
RESERVED = ("unknown", "recovering")
# The longest name of a condition, in characters.
LONGEST = 100
# So much of a line of column names is shown.
SHOWN = 200


class LabelTable(NamedTuple):
    """A table of labels, as far as it can be used."""

    labels: dict[str, tuple[Any, ...]]  # by file; none: normal throughout
    wrong: dict[str, str]  # file -> why it cannot be used
    problems: list[str]  # a line each, of what does no harm


def read_labels(path: str | os.PathLike) -> LabelTable:
    """The `Table` in a CSV file.

    A file with a row that cannot be used is in `wrong`: without that row its fault
    would pass for normal traffic.

    Raises:
      UsageError: there is no such table, or a column is missing.
    """
    name = Path(path).name
    numbered, problems = read_table(path, COLUMNS)
    by_file: dict[str, list[Label | None]] = {}
    wrong: dict[str, str] = {}
    for where, row in numbered:
        file = row["file"].strip()
        labels = by_file.setdefault(file, [])
        try:
            label = _label(row)
        except ValueError as error:
            wrong.setdefault(file, f"{where}: {error}")
            continue
        if label in labels:
            problems.append(f"{where}: {file} is there twice, used once")
        else:
            labels.append(label)
    for file, labels in by_file.items():
        if problem := _contradiction(labels):
            wrong.setdefault(file, f"{name}: {problem}")
    return LabelTable(
        {
            file: _faults(labels)
            for file, labels in by_file.items()
            if file not in wrong
        },
        wrong,
        problems,
    )


def find_outside(labels: tuple[Label, ...], span_s: float) -> str:
    """What is wrong with the labels of a session of this length; empty: nothing."""
    for label in labels:
        if label.onset_s >= span_s:
            return (
                f"the onset of {label.condition} at {label.onset_s:g} s is after the "
                f"capture's end at {span_s:.1f} s"
            )
    return ""


def read_table(
    path: str | os.PathLike, columns: tuple[str, ...]
) -> tuple[list[tuple[str, dict[str, str]]], list[str]]:
    """Rows of a table of labels as `(where, {column: text})`, and lines about it.

    Raises:
      UsageError: there is no such table, or a column is missing.
    """
    there, table = _rows(path)
    if missing := ", ".join(c for c in columns if c not in there):
        raise UsageError(
            f"{path} has no column {missing}; it has "
            f"{text.short(', '.join(there) or 'none', SHOWN)}"
        )
    name, problems = Path(path).name, []
    if unknown := ", ".join(c for c in there if c not in columns and c not in _NOTES):
        problems.append(f"{name}: unknown column {unknown}, ignored")
    return [(f"{name}, row {i}", row) for i, row in enumerate(table, start=2)], problems


def check_row(row: dict[str, str]) -> None:
    """Raises `ValueError`, which says why, where a row of labels cannot be used."""
    if TOO_MANY in row:
        raise ValueError(TOO_MANY)
    if not row["file"].strip():
        raise ValueError("no file")
    check_condition(row["condition"].strip())


def check_condition(condition: str) -> None:
    """Raises `ValueError`, which says why, where a condition cannot have this name.

    It stands in tables, pictures and lines of a terminal, beside those of `RESERVED`.
    """
    if not condition:
        raise ValueError("no condition")
    if condition.lower() in RESERVED:
        raise ValueError(
            f"condition {condition}: identification calls so what is no condition; "
            "give it another name"
        )
    if len(condition) > LONGEST:
        raise ValueError(
            f"condition {text.short(condition)} has {len(condition)} characters, "
            f"{LONGEST} are allowed"
        )
    if text.printable(condition) != condition:
        raise ValueError(
            f"condition {text.printable(condition)} has a character that cannot be "
            "shown, or is not UTF-8"
        )


def _rows(path):
    """Names of columns, and rows as dicts.

    Bytes that are no UTF-8 become surrogates, as in the names of files.
    """
    if Path(path).exists() and not Path(path).is_file():
        raise UsageError(f"{path} is no file: name a table of labels")
    try:
        with open(
            path, newline="", encoding="utf-8-sig", errors="surrogateescape"
        ) as file:
            reader = csv.DictReader(file, restval="", restkey=TOO_MANY)
            columns, table = tuple(reader.fieldnames or ()), list(reader)
    except FileNotFoundError:
        raise UsageError(f"there is no {path}") from None
    except csv.Error as error:
        raise UsageError(f"{path} is not a table of text: {error}") from None
    if "\0" in "".join(columns):
        raise UsageError(f"{path} is not a table of text: save it as CSV in UTF-8")
    return columns, table


def _label(row):
    """The `Label` of a row, None for normal; ValueError says what is wrong."""
    check_row(row)
    condition = row["condition"].strip()
    onset, clear = row["onset_s"].strip(), row["clear_s"].strip()
    if condition == NORMAL:
        if onset or clear:
            raise ValueError("normal has neither onset_s nor clear_s: label the faults")
        return None
    if not onset:
        raise ValueError(f"{condition} has no onset_s")
    onset_s, clear_s = _seconds("onset_s", onset), _seconds("clear_s", clear or "inf")
    if math.isinf(onset_s) or onset_s < 0:
        raise ValueError(f"onset_s {text.short(onset)} is outside the capture")
    if clear_s <= onset_s:
        raise ValueError(
            f"clear_s {text.short(clear)} is not after onset_s {text.short(onset)}"
        )
    return Label(condition, onset_s, clear_s)


def _seconds(name, cell):
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise ValueError(f"{name} {text.short(cell)!r} is not a number of seconds")
    return value


def _faults(labels):
    return tuple(sorted(filter(None, labels), key=lambda label: label.onset_s))


def _contradiction(labels):
    faults = _faults(labels)
    if None in labels and faults:
        return f"both normal and {faults[0].condition}: leave out the row of normal"
    for one, two in itertools.pairwise(faults):
        if two.onset_s < one.clear_s:
            return f"{one.condition} and {two.condition} overlap"
    return ""
