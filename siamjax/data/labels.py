"""labels.csv: the condition of each capture, and when it began and ended."""

import csv
import difflib
import io
import itertools
import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from siamjax import files, text
from siamjax.types import NORMAL, Label, UsageError

COLUMNS = ("file", "condition", "onset_s", "clear_s")
# Columns of other notes, which may be there and are not read.
_NOTES = frozenset(("seed", "rate_cps", "hold_s", "severity", "notes"))
TOO_MANY = "more fields than columns"
# Identification gives these names to traffic without a known condition: no fault may
# have one of them.
RESERVED = ("unknown", "recovering")
# The longest name of a condition, in characters.
LONGEST = 100
# The least `difflib.SequenceMatcher.ratio` of two names that may be one, with a letter
# that is missing, doubled or exchanged: that of dealy and delay.
ALIKE = 0.8
# The most characters of the list of column names that are shown.
SHOWN = 200


class LabelTable(NamedTuple):
    """The labels of a table that can be used, and what is wrong with the others."""

    labels: dict[str, tuple[Any, ...]]  # by file; an empty tuple: always normal
    wrong: dict[str, str]  # by file: why it cannot be used
    problems: list[str]  # lines about what was ignored without harm


def read_labels(path: str | os.PathLike) -> LabelTable:
    """Reads the `LabelTable` in a CSV file.

    A file with a row that cannot be used is in `wrong` as a whole: without that row its
    fault would be used as normal traffic.

    Raises:
      UsageError: the table does not exist, or a column is missing.
    """
    name = Path(path).name
    numbered, problems = read_table(path, COLUMNS)
    by_file: dict[str, list[Label | None]] = {}
    wrong: dict[str, str] = {}
    for line, row in numbered:
        file = row["file"].strip()
        labels = by_file.setdefault(file, [])
        try:
            label = _label(row)
        except ValueError as error:
            wrong.setdefault(file, f"{line}: {error}")
            continue
        if label in labels:
            problems.append(f"{line}: {file} is there twice, used once")
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


def find_alike(conditions: Iterable[str]) -> list[str]:
    """A line for each two names of conditions that may be one name, spelt in two ways.

    Names that differ in digits alone, such as `link_1` and `link_2`, are meant so.
    """
    spelt = {c: re.sub(r"[\W_]", "", c.lower()) for c in sorted(set(conditions))}
    return [
        f"conditions {first} and {second} have nearly the same name: if they are one "
        "fault, give them one name in the labels"
        for first, second in itertools.combinations(spelt, 2)
        if re.sub(r"\d", "", first) != re.sub(r"\d", "", second)
        and difflib.SequenceMatcher(None, spelt[first], spelt[second]).ratio() >= ALIKE
    ]


def find_outside(labels: tuple[Label, ...], span_s: float) -> str:
    """Says which label begins after the end of a session; empty: none."""
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
    """Reads the rows of a table of labels.

    Args:
      path: of a CSV file.
      columns: names of the columns that it must have.
    Returns:
      `(name of the row, {column: text})` of each row, and lines about other columns.
    Raises:
      UsageError: the table does not exist, or a column is missing.
    """
    header, table = _rows(path)
    if missing := ", ".join(c for c in columns if c not in header):
        raise UsageError(
            f"{path} has no column {missing}; it has "
            f"{text.short(', '.join(header) or 'none', SHOWN)}"
        )
    name, problems = Path(path).name, []
    if unknown := ", ".join(c for c in header if c not in columns and c not in _NOTES):
        problems.append(f"{name}: unknown column {unknown}, ignored")
    return [(f"{name}, row {number}", row) for number, row in table], problems


def add_rows(
    path: str | os.PathLike,
    columns: tuple[str, ...],
    rows: Sequence[dict[str, str]],
    check: Callable[[Path], Sequence[str]],
) -> list[str]:
    """Adds rows to a table of labels, atomically; one that is not there is made.

    A row that says that a file is normal throughout gives way to rows of this file. A
    row that is there already is not added.

    Args:
      path: of the table.
      columns: that it must have, or gets.
      rows: {column: text} of each.
      check: says what is wrong with the new table at a path; empty: nothing.
    Returns:
      Lines about rows that gave way, that were there, and that were added.
    Raises:
      UsageError: a column is missing, or something is wrong: the table stays as it was.
    """
    header, numbered = _rows(path) if Path(path).exists() else (columns, [])
    present = [row for _, row in numbered]
    if missing := ", ".join(c for c in columns if c not in header):
        raise UsageError(f"{path} has no column {missing}")
    if any(TOO_MANY in row for row in present):
        raise UsageError(f"{path} has a row with {TOO_MANY}: mend it first")
    there = [row for row in rows if any(row.items() <= old.items() for old in present)]
    rows = [row for row in rows if row not in there]
    times, files_added = columns_of_times(columns), {row["file"] for row in rows}
    kept = [
        row
        for row in present
        if row["file"].strip() not in files_added
        or row["condition"].strip() != NORMAL
        or any(row[name].strip() for name in times)
    ]
    written = io.StringIO()
    writer = csv.DictWriter(written, header, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows([*kept, *rows])
    with files.replacing(path) as beside:
        beside.write_bytes(written.getvalue().encode("utf-8", "surrogateescape"))
        if wrong := list(check(beside)):
            line = wrong[0].replace(beside.name, Path(path).name)
            raise UsageError(f"{line}: {path} stays as it was")
    gone = [row["file"].strip() for row in present if row not in kept]
    return [
        *(f"{file} is no longer normal throughout" for file in gone),
        *(f"{path}: {_as_line(row)} is there already" for row in there),
        *(f"{path}: added {_as_line(row)}" for row in rows),
    ]


def _as_line(row):
    return ",".join(row.values())


def columns_of_times(columns: Sequence[str]) -> list[str]:
    """The columns of a table of labels with times: neither file nor condition."""
    return [name for name in columns if name not in ("file", "condition")]


def check_row(row: dict[str, str]) -> None:
    """Raises a `ValueError` with the reason where a row of labels cannot be used."""
    if TOO_MANY in row:
        raise ValueError(TOO_MANY)
    if not row["file"].strip():
        raise ValueError("no file")
    check_condition(row["condition"].strip())


def check_condition(condition: str) -> None:
    """Raises a `ValueError` with the reason where a condition cannot have this name.

    Tables, pictures and terminals show it, together with the names of `RESERVED`.
    """
    if not condition:
        raise ValueError("no condition")
    if condition != NORMAL and condition.lower() == NORMAL:
        raise ValueError(f"condition {condition}: write {NORMAL} in small letters")
    if condition.lower() in RESERVED:
        raise ValueError(
            f"condition {condition}: identification uses this name for traffic without "
            "a known condition; give it another name"
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
    """Names of the columns, and `(number in the file, row)`, the row as a dict.

    Rows without text, such as empty lines, are left out. Bytes that are not UTF-8
    become surrogates, as in the names of files. Cells are separated by a comma, or by
    the semicolon or tab of the header; then a comma may be the decimal mark.
    """
    if Path(path).exists() and not Path(path).is_file():
        raise UsageError(f"{path} is not a file: give a table of labels")
    try:
        with open(
            path, newline="", encoding="utf-8-sig", errors="surrogateescape"
        ) as file:
            separator = _separator(next(filter(str.strip, file), ""))
            file.seek(0)
            reader = csv.reader(file, delimiter=separator)
            numbered = [
                (number, cells)
                for number, cells in enumerate(reader, start=1)
                if any(cell.strip() for cell in cells)
            ]
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist") from None
    except csv.Error as error:
        raise UsageError(f"{path} is not a table of text: {error}") from None
    columns = tuple(numbered[0][1]) if numbered else ()
    if "\0" in "".join(columns):
        raise UsageError(f"{path} is not a table of text: save it as CSV in UTF-8")
    rows = numbered[1:]
    if separator != ",":
        rows = [(number, [*map(_with_point, cells)]) for number, cells in rows]
    return columns, [(number, _row(columns, cells)) for number, cells in rows]


def _separator(header):
    """What separates the cells of a table, by its first line."""
    return next((mark for mark in ",;\t" if mark in header), ",")


def _with_point(cell):
    """A number with a decimal comma, with a point; another cell as it is."""
    is_number = re.fullmatch(r"\s*\d+,\d+\s*", cell)
    return cell.replace(",", ".") if is_number else cell


def _row(columns, cells):
    """A row as a dict: missing cells are empty, and surplus ones under `TOO_MANY`."""
    width = len(columns)
    row = dict(zip(columns, cells + [""] * (width - len(cells))))
    return row if len(cells) <= width else row | {TOO_MANY: cells[width:]}


def _label(row):
    """The `Label` of a row, None for normal; raises ValueError with the reason."""
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
        raise ValueError(
            f"onset_s {text.short(onset)} is outside of the capture: give seconds "
            "after its first packet"
        )
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
    for earlier, later in itertools.pairwise(faults):
        if later.onset_s < earlier.clear_s:
            return f"{earlier.condition} and {later.condition} overlap"
    return ""
