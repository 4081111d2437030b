"""A table of counters -> rows at equal steps, with counts of all irregularities.

A table is text (CSV, JSON lines) or Parquet. It has one column of times and numeric
columns, one row for each step; or in each step a row for each node or metric. A value
that was not measured is NaN: gaps are not filled.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from siamjax import files, text
from siamjax.capture import (
    cleaning,
    even_grid,
    quantities,
    table_columns,
    tables,
    times,
)
from siamjax.types import SiamjaxError

CAUSES = {
    "ragged": "rows with more fields than columns: left out",
    "time_unread": "rows whose time cannot be read: left out",
    "out_of_order": "rows earlier than the one before: sorted",
    "duplicated": "rows that are there twice: used once",
    "contradicting": "rows of one time with other values: the last is used",
    "moved": "rows more than a tenth of a step off the even grid: moved onto it",
    "crowded": "rows in the same step of the grid as another: averaged",
    "gap": "steps without a row: nothing measured",
    "missing": "cells without a value: nothing measured",
    "unread": "cells that hold no finite number: nothing measured",
    "text": "columns without numbers: left out",
}
# Causes after which a part of the table is missing.
NOT_READ = frozenset(("ragged", "time_unread", "contradicting", "unread"))
# Of these, those that cost a whole row.
_ROWS_LOST = ("ragged", "time_unread", "contradicting")
# A name of a column of values that does not become a part of longer names.
_VALUE_NAMES = frozenset(("value", "val", "v"))
# The longest name of a column, in characters.
LONGEST_NAME = 200


class Report(NamedTuple):
    """The size of one table, and what was irregular in it."""

    name: str
    rows: int  # of the grid
    columns: int
    step_s: float
    span_s: float
    causes: dict[str, int]  # of CAUSES, those that occurred
    gaps: list[list[float]]  # [start_s, length_s]
    notes: list[str]  # how the table was read


class Table(NamedTuple):
    """The rows of one file, at equal steps."""

    clock: times.Clock
    first_ns: int  # time of the first row, on that clock
    step_ns: int
    names: tuple[str, ...]  # of the F columns
    values: np.ndarray  # [N, F] float64; NaN where nothing was measured
    rest: np.ndarray | None  # [N, F], what these lost of large integers; None: nothing


class Choices(NamedTuple):
    """Which columns say what a row is of."""

    time_names: list[str]
    keys: list[str] | None  # they tell the rows of one time apart; None: wide table


class Rows(NamedTuple):
    """The rows of a table whose time was read, N of them, in the order of the file."""

    clock: times.Clock
    note: str  # how times were read
    choices: Choices
    row: np.ndarray  # [N] int64, number of the row in the file, from 0
    time_ns: np.ndarray  # [N] int64
    key: np.ndarray | None  # [N] int64, index into key_names; None: the table is wide
    key_names: list[str]
    names: list[str]  # of the F columns of values
    values: np.ndarray  # [N, F] float64
    rests: dict[str, np.ndarray]  # {column: [N] what its values lost}
    counted: dict[str, int]  # by cause of CAUSES


def read_counters(
    path: str | os.PathLike, *, limit_expansion: bool = True
) -> tuple[Table, Report]:
    """Reads the `Table` in a file and its `Report`.

    Args:
      path: of a file of CSV or JSON lines, plain or compressed, or of Parquet.
      limit_expansion: whether a file that expands beyond the limits is refused.
    Raises:
      SiamjaxError: it cannot be read, or has no numeric column, or only one time; or
        most of its rows cannot be used.
      OSError: it does not exist, or cannot be opened.
    """
    with files.reading(path):
        try:
            return _read(path, limit_expansion)
        except tables.Unusable as error:
            raise SiamjaxError(f"{path}: {error}") from None


def read_rows(
    content: tables.Content, notes: list[str], choices: Choices | None = None
) -> Rows:
    """Reads the `Rows` of a table.

    Args:
      content: of the file.
      notes: gets lines about the columns.
      choices: as they were made for rows before; by default they are made here.
    Raises:
      Unusable: no time, or no numeric column, can be read.
    """
    frame = content.frame
    frame.columns = [str(name).strip() for name in frame.columns]
    _check_names(frame)
    time_names = (
        choices.time_names if choices else table_columns.find_time_columns(frame)
    )
    name, rows = time_names[0], table_columns.read_time_columns(frame, time_names)
    if not rows.read.any():
        raise tables.Unusable(f"column {name!r} has no times")
    counted = dict(ragged=content.ragged, time_unread=int((~rows.read).sum()))
    if counted["time_unread"]:
        frame = frame[rows.read]
    time_ns = rows.ns[rows.read]
    frame = frame.drop(columns=time_names)
    if choices is None:
        keys = table_columns.find_keys(frame, time_ns)
        choices = Choices(time_names, keys.columns if keys.columns else None)
    else:
        keys = table_columns.read_keys(frame, choices.keys or [])
    names, values, rests, causes = _numeric(
        frame.drop(columns=keys.columns), content.decimal, notes
    )
    if not names:
        raise tables.Unusable(f"no numeric column except {name!r}")
    return Rows(
        clock=rows.clock,
        note=rows.note,
        choices=choices,
        row=np.flatnonzero(rows.read),
        time_ns=time_ns,
        key=keys.of_row,
        key_names=keys.names,
        names=names,
        values=np.stack(values, 1),
        rests=rests,
        counted=counted | causes,
    )


def _read(path, limit_expansion):
    content = tables.read_content(path, limit_expansion)
    size = len(content.frame) + content.ragged
    if not len(content.frame):
        raise SiamjaxError(f"{path} has no row")
    more: list[str] = []
    rows = read_rows(content, more)
    time_names, names, rests = rows.choices.time_names, rows.names, rows.rests
    notes = [*content.notes, f"times in {' and '.join(time_names)}: {rows.note}", *more]
    counted = dict(rows.counted)
    del content
    # What float64 lost of a column is one more column up to the end.
    values = rows.values
    if rests:
        values = np.concatenate([values, np.stack([*rests.values()], 1)], 1)
    time_ns, key, values, causes = even_grid.sort_rows(rows.time_ns, rows.key, values)
    counted |= causes
    if np.ptp(time_ns) == 0:
        raise SiamjaxError(f"{path} has rows of one time only: two times are needed")
    lost = {cause: counted[cause] for cause in _ROWS_LOST}
    if 2 * sum(lost.values()) > size:
        raise tables.Unusable(
            f"{sum(lost.values())} of {size} rows cannot be used: "
            f"{cleaning.list_causes(lost, CAUSES)}{_why_equal(time_ns, rows.clock)}"
        )
    step_ns = even_grid.measure_step(time_ns, key)
    times.refuse_unlikely_step(step_ns, rows.clock, time_names[0])
    values, gaps, causes = even_grid.place_on_grid(
        time_ns, key, step_ns, values, len(rows.key_names)
    )
    counted |= causes
    if rows.key is not None:
        notes.append(
            f"long table: {tables.list_names(rows.choices.keys or [])} give "
            f"{len(rows.key_names)} names: {tables.list_names(rows.key_names)}"
        )
    names, values, rest = _spread(names, values, list(rests), rows.key_names)
    _check_names(names)
    first_ns = int(time_ns.min())
    table = Table(rows.clock, first_ns, step_ns, tuple(names), values, rest)
    step_s = step_ns / 1e9
    return table, Report(
        name=str(path),
        rows=len(values),
        columns=len(names),
        step_s=step_s,
        span_s=len(values) * step_s,
        causes={cause: int(counted[cause]) for cause in CAUSES if counted.get(cause)},
        gaps=[[start * step_s, length * step_s] for start, length in gaps],
        notes=notes,
    )


def _why_equal(time_ns, clock):
    """What times lack that are those of several rows; empty: nothing."""
    lacks = ["date"] * (clock.kind == times.CLOCK)
    lacks += ["seconds"] * bool((time_ns % (60 * 10**9) == 0).all())
    return f"; its times have no {' and no '.join(lacks)}" if lacks else ""


def not_read(report: Report) -> dict[str, int]:
    """The counts by cause of what was not read, of `NOT_READ`; empty: all was read."""
    return {c: report.causes[c] for c in CAUSES if c in NOT_READ & set(report.causes)}


def sentence(report: Report) -> str:
    """How much was read, and what was not, in one line without the name."""
    read = f"{report.rows} rows of {report.columns} columns"
    unread = cleaning.list_causes(not_read(report), CAUSES)
    return "; not read: ".join(filter(None, [read, unread]))


def format_reports(reports: Sequence[Report]) -> str:
    """The reports as text: a line for each, and the meaning of each cause."""
    causes = [c for c in CAUSES if any(c in report.causes for report in reports)]
    lines = [["capture", "rows", "columns", "step_s", "span_s", "gaps", *causes]]
    for r in reports:
        cells = [str(r.rows), str(r.columns), f"{r.step_s:g}", f"{r.span_s:g}"]
        counts = [str(r.causes.get(cause, 0)) for cause in causes]
        lines.append([r.name, *cells, str(len(r.gaps)), *counts])
    return "\n".join(
        [
            *cleaning.align_cells(lines),
            *(f"{cause}: {CAUSES[cause]}" for cause in causes),
        ]
    )


def select_columns(
    table: Table, names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray | None]:
    """These columns of a `Table`, NaN for those that it does not have.

    Returns:
      Values `[N, F]`, and what these lost of large integers `[N, F]` or None.
    """
    place = {name: i for i, name in enumerate(table.names)}
    ordered = np.full((len(table.values), len(names)), np.nan)
    rest = None if table.rest is None else np.zeros(ordered.shape)
    for f, name in enumerate(names):
        if name in place:
            ordered[:, f] = table.values[:, place[name]]
            if rest is not None and table.rest is not None:
                rest[:, f] = table.rest[:, place[name]]
    return ordered, rest


def _check_names(names):
    if too_long := [name for name in names if len(name) > LONGEST_NAME]:
        raise tables.Unusable(
            f"column {text.short(too_long[0])!r} has a name of "
            f"{len(too_long[0])} characters, {LONGEST_NAME} are allowed"
        )


def _numeric(frame, decimal, notes):
    """The numeric columns of N rows; adds lines about the columns to `notes`.

    Returns:
      Names of F columns, F values `[N]`, {column: what its values lost of large
      integers `[N]`}, and counts by cause.
    """
    names, columns, left_out = [], [], []
    rests: dict[str, np.ndarray] = {}
    units: dict[str, list[str]] = {}
    missing = unread = 0
    for name in frame:
        column = frame[name]
        if tables.require_pandas().api.types.is_datetime64_any_dtype(column):
            left_out.append(name)
            continue
        numbers = quantities.read_numbers(column, decimal)
        values, filled = numbers.values, column.notna().to_numpy()
        good = np.abs(values) <= quantities.LARGEST  # False for NaN
        if filled.any() and good.sum() * 2 < filled.sum():
            left_out.append(name)
            continue
        missing += int((~filled).sum())
        unread += int((filled & ~good).sum())
        names.append(name)
        columns.append(values if good.all() else np.where(good, values, np.nan))
        if numbers.rest is not None:
            rests[name] = numbers.rest
        if numbers.note:
            units.setdefault(numbers.note, []).append(name)
    if left_out:
        notes.append(
            f"columns without numbers, left out: {tables.list_names(left_out)}"
        )
    notes += [f"unit {u} removed: {tables.list_names(n)}" for u, n in units.items()]
    return (
        names,
        columns,
        rests,
        dict(missing=missing, unread=unread, text=len(left_out)),
    )


def find_step(rows: Rows) -> int:
    """The step of a table in ns, from its rows so far.

    Raises:
      Unusable: they have no two times, or times in a unit that is not known.
    """
    key = np.zeros(1, np.int64) if rows.key is None else rows.key
    order = np.lexsort((rows.time_ns, np.broadcast_to(key, rows.time_ns.shape)))
    step_ns = even_grid.measure_step(
        rows.time_ns[order], key[order] if len(key) > 1 else key
    )
    times.refuse_unlikely_step(step_ns, rows.clock, rows.choices.time_names[0])
    return step_ns


def _spread(names, values, lost, key_names):
    """Columns of values `[N, K, F + R]` as `[N, K * F]`, with their names.

    Args:
      names: of the F columns of values; R columns of what some lost follow.
      values: see above.
      lost: names of these R columns.
      key_names: K names of rows.
    Returns:
      Names, values and what these lost or None.
    """
    count = len(names)
    numbers = values[:, :, :count].reshape(len(values), -1)
    rest = None
    if lost:
        rest = np.zeros((len(values), len(key_names), count))
        rest[:, :, [names.index(name) for name in lost]] = values[:, :, count:]
        rest = np.nan_to_num(rest).reshape(len(values), -1)
    if len(key_names) == 1:
        return names, numbers, rest
    return column_names(names, key_names), numbers, rest


def column_names(names: Sequence[str], key_names: Sequence[str]) -> list[str]:
    """Names of the columns that K names of rows and F columns give, `[K * F]`.

    A wide table has the one name of rows that is empty.
    """
    if list(key_names) == [""]:
        return list(names)
    ends = ["" if name.lower() in _VALUE_NAMES else name for name in names]
    return [f"{key} {end}".strip() for key in key_names for end in ends]
