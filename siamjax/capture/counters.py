"""A table of counters -> rows at equal steps, with counts of all irregularities.

A table is text (CSV, JSON lines) or Parquet. It has one column of times and numeric
columns, one row for each step; or in each step a row for each node or metric. A value
that was not measured is NaN: gaps are not filled.
"""

import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from siamjax import files, text
from siamjax.capture import cleaning, quantities, tables, times
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
TIME_NAMES = ("time", "timestamp", "datetime", "date", "ts", "epoch", "@timestamp")
# Words in the name of a column that can be the time.
_TIME_WORDS = frozenset(("time", "timestamp", "datetime", "date", "ts", "epoch"))
# So many cells show whether a column is one of times.
_SAMPLE = 200
# Numbers can be times where at least so many of them do not fall; and columns tell the
# rows of one time apart where at least so many pairs of time and cell differ.
_NEARLY_ALL = 0.95
# Such a column of numbers, without a name of a time, has so many spacings alike.
_EVEN = 0.8
# A name of a column of values that does not become a part of longer names.
_VALUE_NAMES = frozenset(("value", "val", "v"))
# Words in the name of a column of whole numbers that can tell rows of one time apart.
_KEY_WORDS = frozenset(
    ("id", "cell", "node", "port", "host", "instance", "sector", "interface", "index")
)
# Names of columns with names of metrics, whose rows need not have the same times.
_METRIC_NAMES = frozenset(("metric", "metric_name", "metricname", "kpi", "counter"))
# At most so many columns come from the rows of one time.
_MOST_KEYS = 10_000
# A row counts as moved where it was more than this part of a step off the grid.
OFF_GRID = 0.1
# A grid with more cells than this many times the rows has a wrong time in it.
SPARSE = 50
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


class _Keys(NamedTuple):
    """What tells the rows of one time apart, in a long table."""

    columns: list[str]  # of the file
    names: list[str]  # K, their cells joined
    of_row: np.ndarray | None  # [N] int64, index into names; None: the table is wide


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
    time_names = choices.time_names if choices else _time_columns(frame)
    name, rows = time_names[0], _read_times(frame, time_names)
    if not rows.read.any():
        raise tables.Unusable(f"column {name!r} has no times")
    counted = dict(ragged=content.ragged, time_unread=int((~rows.read).sum()))
    if counted["time_unread"]:
        frame = frame[rows.read]
    time_ns = rows.ns[rows.read]
    frame = frame.drop(columns=time_names)
    if choices is None:
        keys = _find_keys(frame, time_ns)
        choices = Choices(time_names, keys.columns if keys.columns else None)
    else:
        keys = _keys_of(frame, choices.keys or [])
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
    time_ns, key, values, causes = _in_order(rows.time_ns, rows.key, values)
    counted |= causes
    if np.ptp(time_ns) == 0:
        raise SiamjaxError(f"{path} has rows of one time only: two times are needed")
    lost = {cause: counted[cause] for cause in _ROWS_LOST}
    if 2 * sum(lost.values()) > size:
        raise tables.Unusable(
            f"{sum(lost.values())} of {size} rows cannot be used: "
            f"{cleaning.list_causes(lost, CAUSES)}{_why_equal(time_ns, rows.clock)}"
        )
    step_ns = _step(time_ns, key)
    times.refuse_unlikely_step(step_ns, rows.clock, time_names[0])
    values, gaps, causes = _on_grid(time_ns, key, step_ns, values, len(rows.key_names))
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


def _time_columns(frame):
    """The name of the column of times; with a date and a clock apart, both names."""
    head = frame.iloc[:_SAMPLE]
    named = [name for name in frame if name.lower() in TIME_NAMES]
    kinds = {name: _kind_of_times(head[name]) for name in named}
    usable = [name for name in named if kinds[name]]
    if usable:
        first = usable[0]
        pair = {times.DATE: times.CLOCK, times.CLOCK: times.DATE}.get(kinds[first])
        return [first, *[name for name in usable if kinds[name] == pair][:1]]
    if named:
        return named[:1]
    kinds = {name: _kind_of_times(head[name]) for name in frame}
    rising = [name for name in frame if kinds[name] == times.NUMBER]
    choices = [
        *[name for name in frame if kinds[name] == times.DATE],
        *[name for name in frame if kinds[name] and _TIME_WORDS & _words(name)],
        *[name for name in frame.columns[:1] if kinds[name]],
        *[name for name in rising if _is_even(head[name])],
        *[name for name in frame if kinds[name] == times.CLOCK],
    ]
    if not choices:
        raise tables.Unusable(
            "no column has times that rise: name the column of times time"
        )
    return choices[:1]


def _words(name):
    return set(re.split(r"[^a-z]+", name.lower()))


def _kind_of_times(column):
    """How a column can be one of times, as `times.Clock.kind`; empty: it cannot."""
    rows = times.read_times(column)
    ns = rows.ns[rows.read]
    if 2 * len(ns) <= column.notna().sum():
        return ""
    if rows.clock.kind == times.NUMBER:
        spacing = np.diff(ns)
        if not (spacing > 0).any() or (spacing >= 0).mean() < _NEARLY_ALL:
            return times.NUMBER * (len(ns) < 3)  # too few to tell
    return rows.clock.kind


def _is_even(column):
    spacing = np.diff(times.read_times(column).ns)
    usual = np.median(spacing)
    return (np.abs(spacing - usual) < OFF_GRID * usual).mean() > _EVEN


def _read_times(frame, names):
    """`times.Times` of a column; or of the texts of two, the date first."""
    if len(names) == 1:
        return times.read_times(frame[names[0]])
    texts = [frame[name].astype("string").str.strip() for name in names]
    rows = times.read_times(texts[0] + " " + texts[1])
    if rows.clock.kind == times.DATE and 2 * rows.read.sum() > len(frame):
        return rows
    return times.read_times(texts[1] + " " + texts[0])


def _find_keys(frame, time_ns):
    """The `_Keys` of rows: columns that tell several rows of one time apart."""
    wide = _Keys([], [""], None)
    if (np.diff(time_ns) > 0).all() and not _METRIC_NAMES & set(map(str.lower, frame)):
        return wide
    distinct = len(np.unique(time_ns))
    codes = {}
    for name in frame:
        if _can_be_key(name, frame[name]):
            code, cells = _pandas().factorize(frame[name].astype("string"))
            if 1 <= len(cells) <= min(_MOST_KEYS, len(frame) / 2):
                codes[name] = code + 1, ["", *map(str, cells)]
    if 2 * distinct <= 1.2 * len(frame):
        chosen = _telling_apart(
            time_ns, {name: code for name, (code, _) in codes.items()}
        )
    else:
        chosen = list(codes) if _METRIC_NAMES & set(map(str.lower, codes)) else []
    if not chosen:
        return wide
    combined, *_ = _combine(chosen, codes)
    # Also what a name alone does not tell, as the only node: other files have others.
    chosen = [
        name
        for name in codes
        if name in chosen or len(_combine([*chosen, name], codes)[0]) == len(combined)
    ]
    combined, first, of_row = _combine(chosen, codes)
    if not 2 <= len(combined) <= _MOST_KEYS:
        return wide
    names = [
        " ".join(codes[name][1][codes[name][0][row]] for name in chosen).strip()
        for row in first
    ]
    return _Keys(chosen, names, of_row)


def _keys_of(frame, columns):
    """The `_Keys` of rows, by columns that were chosen before."""
    if not columns:
        return _Keys([], [""], None)
    cells = [frame[name].astype("string").fillna("").tolist() for name in columns]
    joined = [" ".join(parts).strip() for parts in zip(*cells)]
    of_row, names = _pandas().factorize(np.array(joined, object))
    return _Keys(list(columns), list(map(str, names)), of_row)


def _combine(names, codes):
    """Combinations of cells in the columns `names`, the first row of each, and which
    of them each row has."""
    of_row: Any = 0
    for name in names:
        code, cells = codes[name]
        of_row = of_row * len(cells) + code
    return np.unique(of_row, return_index=True, return_inverse=True)


def _can_be_key(name, column):
    """Whether a column names what a row is about: text, or whole numbers by name."""
    types = _pandas().api.types
    if types.is_object_dtype(column) or types.is_string_dtype(column):
        head = column.dropna().iloc[:_SAMPLE]
        read = quantities.read_numbers(head, ".").values
        return 2 * np.isfinite(read).sum() < len(head)
    return types.is_integer_dtype(column) and bool(_KEY_WORDS & _words(name))


def _telling_apart(time_ns, codes):
    """The fewest columns of `codes` that tell nearly all rows of one time apart."""

    def enough(names):
        rows = np.stack([time_ns, *(codes[name] for name in names)])
        rows = rows[:, np.lexsort(rows)]
        different = 1 + (np.diff(rows, axis=1) != 0).any(0).sum()
        return different >= _NEARLY_ALL * len(time_ns)

    alone = [name for name in codes if enough([name])]
    if alone:
        return [min(alone, key=lambda name: codes[name].max())]
    chosen = list(codes)
    if not enough(chosen):
        return []
    for name in reversed(list(codes)):
        rest = [other for other in chosen if other != name]
        if rest and enough(rest):
            chosen = rest
    return chosen


def _pandas() -> Any:
    return tables.require_pandas()


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
        if _pandas().api.types.is_datetime64_any_dtype(column):
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


def _in_order(time_ns, key, values):
    """Rows in order of key and time, one for each of both, and counts by cause."""
    if key is None:
        key = np.zeros(1, np.int64)  # broadcasts: one key for all rows
    if len(key) > 1:
        order = np.argsort(key, kind="stable")
        time_ns, key, values = time_ns[order], key[order], values[order]
    late = int(((np.diff(time_ns) < 0) & _same(key)).sum())
    if late:
        order = np.lexsort((time_ns, np.broadcast_to(key, time_ns.shape)))
        time_ns, values = time_ns[order], values[order]
        key = key[order] if len(key) > 1 else key
    again = (np.diff(time_ns) == 0) & _same(key)
    counted = dict(out_of_order=late, duplicated=0, contradicting=0)
    if again.any():
        twice = np.flatnonzero(again)
        before, after = values[twice], values[twice + 1]
        equal = (after == before) | (np.isnan(after) & np.isnan(before))
        counted["duplicated"] = int(equal.all(1).sum())
        counted["contradicting"] = len(twice) - counted["duplicated"]
        last = np.append(~again, True)
        time_ns, values = time_ns[last], values[last]
        key = key[last] if len(key) > 1 else key
    return time_ns, key, values, counted


def _same(key):
    """Which rows have the key of the row before; all where there is one key."""
    return np.diff(key) == 0 if len(key) > 1 else True


def find_step(rows: Rows) -> int:
    """The step of a table in ns, from its rows so far.

    Raises:
      Unusable: they have no two times, or times in a unit that is not known.
    """
    key = np.zeros(1, np.int64) if rows.key is None else rows.key
    order = np.lexsort((rows.time_ns, np.broadcast_to(key, rows.time_ns.shape)))
    step_ns = _step(rows.time_ns[order], key[order] if len(key) > 1 else key)
    times.refuse_unlikely_step(step_ns, rows.clock, rows.choices.time_names[0])
    return step_ns


def _step(time_ns, key):
    """The step of rows in ns; within 1 % of whole seconds it is rounded to them."""
    spacing = np.diff(time_ns)
    spacing = spacing[(spacing > 0) & _same(key)]
    if not len(spacing):
        raise tables.Unusable("no name has rows of two times: two times are needed")
    # The mean of all single steps: the error of one would add up along the grid.
    median = np.sort(spacing)[(len(spacing) - 1) // 2]
    usual = np.rint(spacing / median) == 1
    step_s = spacing[usual].mean() / 1e9
    rounded_s = round(step_s)
    if abs(step_s - rounded_s) < 0.01 * step_s:
        step_s = rounded_s
    return round(step_s * 1e9)


def _on_grid(time_ns, key, step_ns, values, keys):
    """Values `[slots, keys, F]`, gaps `[(first, length)]` in steps, counts by cause."""
    first_ns, last_ns = int(time_ns.min()), int(time_ns.max())
    if (last_ns - first_ns) // step_ns * keys > SPARSE * len(time_ns):
        raise tables.Unusable(
            f"{len(time_ns)} rows of {step_ns / 1e9:g} s are spread over "
            f"{(last_ns - first_ns) / 1e9:.0f} s: is a time wrong?"
        )
    exact = (time_ns - first_ns) / step_ns
    slot = np.rint(exact).astype(int)
    size = int(slot.max()) + 1
    place = key * size + slot
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    if len(starts) < len(place):
        measured = ~np.isnan(values)
        counts = np.add.reduceat(measured, starts, dtype=int)
        sums = np.add.reduceat(np.where(measured, values, 0.0), starts)
        values = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    on_grid = np.full((keys * size, values.shape[1]), np.nan)
    on_grid[place[starts]] = values
    slots = np.unique(slot) if keys > 1 else slot[starts]
    jump = np.diff(slots)
    gaps = [(slots[i] + 1, jump[i] - 1) for i in np.flatnonzero(jump > 1)]
    return (
        on_grid.reshape(keys, size, -1).swapaxes(0, 1),
        gaps,
        dict(
            moved=int((np.abs(exact - slot) > OFF_GRID).sum()),
            crowded=len(place) - len(starts),
            gap=int((jump - 1).sum()),
        ),
    )


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
