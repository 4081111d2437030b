"""A table of counters -> rows at equal steps, with counts of all irregularities.

A table is CSV or Parquet. It has one column of times and numeric columns, one row for
each step. A value that was not measured is NaN: gaps are not filled.
"""

import importlib
import io
import os
import warnings
import zipfile
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from siamjax import files, text
from siamjax.capture import cleaning, decompress
from siamjax.types import SiamjaxError, UsageError

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
TIME_NAMES = ("time", "timestamp", "datetime", "date")
# A row counts as moved where it was more than this part of a step off the grid.
OFF_GRID = 0.1
# A grid with more steps than this many times its rows has a wrong time in it.
SPARSE = 50
# A column counts as growing with at least so many rises, and so many for each reset.
RISES = 10
# Times must be nearer to 1970 than this (years 1823 to 2116): differences fit 64 bits.
_LAST_NS = 1 << 62
# A cell with more characters is neither a number nor a time.
_LONGEST_CELL = 64
# The longest name of a column, in characters.
LONGEST_NAME = 200
# The largest number: a larger float32 is infinite.
LARGEST = float(np.finfo(np.float32).max)


class Report(NamedTuple):
    """The size of one table, and what was irregular in it."""

    name: str
    rows: int  # of the grid
    columns: int
    step_s: float
    span_s: float
    causes: dict[str, int]  # of CAUSES, those that occurred
    gaps: list[list[float]]  # [start_s, length_s]


class Table(NamedTuple):
    """The rows of one file, at equal steps."""

    numbers: bool  # its times are seconds, not dates
    first_ns: int  # time of the first row, since 1970 or as in the file
    step_ns: int
    names: tuple[str, ...]  # of the F columns
    values: np.ndarray  # [N, F] float64; NaN where nothing was measured


def read_counters(
    path: str | os.PathLike, *, limit_expansion: bool = True
) -> tuple[Table, Report]:
    """Reads the `Table` in a file and its `Report`.

    Args:
      path: of a CSV file, plain or compressed, or of a Parquet file.
      limit_expansion: whether a file that expands beyond the limits is refused.
    Raises:
      SiamjaxError: it cannot be read, or has no numeric column, or only one time.
      OSError: it does not exist, or cannot be opened.
    """
    with files.reading(path):
        return _read(path, limit_expansion)


def _read(path, limit_expansion):
    frame, ragged = _frame(path, limit_expansion)
    if not len(frame):
        raise SiamjaxError(f"{path} has no row")
    if too_long := [name for name in map(str, frame) if len(name) > LONGEST_NAME]:
        raise SiamjaxError(
            f"{path}: column {text.short(too_long[0])!r} has a name of "
            f"{len(too_long[0])} characters, {LONGEST_NAME} are allowed"
        )
    time_names = (c for c in frame if str(c).lower() in TIME_NAMES)
    time_name = next(time_names, frame.columns[0])
    time_ns, read, numbers = parse_times(frame[time_name])
    names, values, counted = _numeric(frame.drop(columns=time_name))
    if not read.any():
        hint = ": numbers must be seconds, are they milliseconds?" if numbers else ""
        raise SiamjaxError(f"{path}: column {time_name!r} has no times{hint}")
    if not names:
        raise SiamjaxError(f"{path} has no numeric column except {time_name!r}")
    counted |= dict(ragged=ragged, time_unread=int((~read).sum()))
    time_ns, values, order = _in_order(time_ns[read], values[read])
    counted |= order
    if len(time_ns) < 2:
        raise SiamjaxError(f"{path} has rows of one time only: two times are needed")
    step_ns = _step(time_ns)
    if (time_ns[-1] - time_ns[0]) // step_ns > SPARSE * len(time_ns):
        raise SiamjaxError(
            f"{path}: {len(time_ns)} rows of {step_ns / 1e9:g} s are spread over "
            f"{(time_ns[-1] - time_ns[0]) / 1e9:.0f} s: is a time wrong?"
        )
    values, gaps, placed = _on_grid(time_ns, step_ns, values)
    counted |= placed
    table = Table(numbers, int(time_ns[0]), step_ns, names, values)
    step_s = step_ns / 1e9
    return table, Report(
        name=str(path),
        rows=len(values),
        columns=len(names),
        step_s=step_s,
        span_s=len(values) * step_s,
        causes={cause: int(counted[cause]) for cause in CAUSES if counted.get(cause)},
        gaps=[[start * step_s, length * step_s] for start, length in gaps],
    )


def parse_times(column: Any) -> tuple[np.ndarray, np.ndarray, bool]:
    """Reads the times of a pandas column.

    Numbers are seconds. Dates without a time zone are used as UTC.

    Returns:
      Nanoseconds `[N]` int64, `[N]` bool: which could be read, and whether the times
      are numbers.
    """
    pandas = _pandas()
    if not pandas.api.types.is_datetime64_any_dtype(column):
        column = _short(column)
        seconds = _numbers(column)
        finite = np.isfinite(seconds)
        if finite.any() and finite.sum() * 2 >= column.notna().sum():
            read = finite & (np.abs(seconds) * 1e9 < _LAST_NS)
            return (
                np.rint(np.where(read, seconds, 0) * 1e9).astype(np.int64),
                read,
                True,
            )
        column = column.astype(str)
    dates = pandas.to_datetime(column, errors="coerce", utc=True, format="mixed")
    last = pandas.Timestamp(_LAST_NS, tz="UTC")
    dates = dates.where(
        (dates > pandas.Timestamp(-_LAST_NS, tz="UTC")) & (dates < last)
    )
    ns = dates.astype("datetime64[ns, UTC]").astype("int64").to_numpy()
    return ns, dates.notna().to_numpy(), False


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


def _pandas():
    try:
        return importlib.import_module("pandas")
    except ImportError:
        raise UsageError("counters need pandas: pip install pandas") from None


def _frame(path, limited):
    """The file as a pandas frame, and how many rows had too many fields."""
    pandas = _pandas()
    try:
        with open(path, "rb", opener=files.open_at_once) as file:
            if str(path).endswith(".parquet"):
                return _parquet(pandas, file, limited), 0
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always", pandas.errors.ParserWarning)
                frame = pandas.read_csv(
                    _text(file, limited),
                    low_memory=False,
                    index_col=False,
                    on_bad_lines="warn",
                )
            return frame, sum(str(w.message).count("Skipping line") for w in said)
    except ImportError:
        raise UsageError("Parquet files need pyarrow: pip install pyarrow") from None
    except (SiamjaxError, MemoryError):
        raise
    except Exception as error:  # of pandas, of pyarrow, of each decompressor
        why = str(error).strip().splitlines() or [type(error).__name__]
        raise SiamjaxError(f"{path} cannot be read as a table: {why[0]}") from None


def _text(file, limited):
    """The content of a CSV file as a file object; of a zip file, its only member."""
    if file.read(4) != b"PK\3\4":
        file.seek(0)
        return io.BufferedReader(decompress.Decompressed(file, limited=limited))
    archive = zipfile.ZipFile(file)
    member, *others = archive.infolist()
    if others:
        raise SiamjaxError(f"{file.name} has {1 + len(others)} files: unpack it")
    _check_size(file, member.file_size, limited)
    return archive.open(member)


def _parquet(pandas, file, limited):
    meta = importlib.import_module("pyarrow.parquet").ParquetFile(file).metadata
    groups = (meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
    # Equal values need no space in the file, but 8 bytes each in memory.
    read = 8 * meta.num_rows * meta.num_columns
    _check_size(file, max(read, sum(groups)), limited)
    frame = pandas.read_parquet(file)
    return frame if isinstance(frame.index, pandas.RangeIndex) else frame.reset_index()


def _check_size(file, expanded, limited):
    """Raises where a file states that it expands beyond the allowed size."""
    size = os.fstat(file.fileno()).st_size
    if limited and expanded > decompress.allowed_bytes(size):
        raise decompress.too_large(file.name, size)


def _numbers(column):
    """`[N]` float64 of a pandas column; NaN where a cell is not a number."""
    numbers = _pandas().to_numeric(column, errors="coerce")
    return numbers.to_numpy(float, na_value=np.nan)


def _short(column):
    """A pandas column without cells that are too long for a number or a time.

    Python is slow to parse a date of 200 kB; a number of 400 digits is not a float.
    """
    types = _pandas().api.types
    if types.is_object_dtype(column):
        return column.where(np.array([_fits(cell) for cell in column], bool))
    if types.is_string_dtype(column):
        return column.where(column.str.len() <= _LONGEST_CELL)
    return column


def _fits(cell):
    if isinstance(cell, int):  # pandas gives integers beyond 64 bits as Python's
        return abs(cell) < 10**_LONGEST_CELL
    return not isinstance(cell, str) or len(cell) <= _LONGEST_CELL


def _numeric(frame):
    """Names `[F]` and values `[N, F]` of numeric columns, and counts by cause."""
    pandas, names, columns = _pandas(), [], []
    counted = dict(missing=0, unread=0, text=0)
    for name in frame:
        column = frame[name]
        if pandas.api.types.is_datetime64_any_dtype(column):
            counted["text"] += 1
            continue
        values = _numbers(_short(column))
        filled = column.notna().to_numpy()
        good = np.abs(values) <= LARGEST  # False for NaN
        if filled.any() and good.sum() * 2 < filled.sum():
            counted["text"] += 1
            continue
        counted["missing"] += int((~filled).sum())
        counted["unread"] += int((filled & ~good).sum())
        names.append(str(name))
        columns.append(np.where(good, values, np.nan))
    return tuple(names), np.stack(columns, 1) if columns else None, counted


def _in_order(time_ns, values):
    """Rows in order of time, one for each time, and counts by cause."""
    late = int((np.diff(time_ns) < 0).sum())
    order = np.argsort(time_ns, kind="stable")
    time_ns, values = time_ns[order], values[order]
    again = np.diff(time_ns) == 0
    equal = (values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1]))
    alike = again & equal.all(1)
    last = np.append(~again, True)
    return (
        time_ns[last],
        values[last],
        dict(
            out_of_order=late,
            duplicated=int(alike.sum()),
            contradicting=int((again & ~alike).sum()),
        ),
    )


def _step(time_ns):
    """The step of rows in ns; within 1 % of whole seconds it is rounded to them."""
    spacing = np.diff(time_ns)
    # The mean of all single steps: the error of one would add up along the grid.
    median = np.sort(spacing)[(len(spacing) - 1) // 2]
    usual = np.rint(spacing / median) == 1
    step_s = spacing[usual].mean() / 1e9
    rounded_s = round(step_s)
    if abs(step_s - rounded_s) < 0.01 * step_s:
        step_s = rounded_s
    return round(step_s * 1e9)


def _on_grid(time_ns, step_ns, values):
    """Values `[N, F]` on the grid, gaps `[(first, length)]` in steps, and counts."""
    exact = (time_ns - time_ns[0]) / step_ns
    slot = np.rint(exact).astype(int)
    slots, first, count = np.unique(slot, return_index=True, return_counts=True)
    on_grid = np.full((slot[-1] + 1, values.shape[1]), np.nan)
    on_grid[slots] = values[first]
    for i in np.flatnonzero(count > 1):
        rows = values[first[i] : first[i] + count[i]]
        measured = ~np.isnan(rows)
        total, n = np.where(measured, rows, 0.0).sum(0), measured.sum(0)
        on_grid[slots[i]] = np.where(n > 0, total / np.maximum(n, 1), np.nan)
    jump = np.diff(slots)
    gaps = [(slots[i] + 1, jump[i] - 1) for i in np.flatnonzero(jump > 1)]
    return (
        on_grid,
        gaps,
        dict(
            moved=int((np.abs(exact - slot) > OFF_GRID).sum()),
            crowded=int((count - 1).sum()),
            gap=int((jump - 1).sum()),
        ),
    )


def find_growing(tables: Iterable[np.ndarray]) -> np.ndarray:
    """`[F]` bool: which columns only grow, in the tables `[N, F]` of all sessions.

    Such a counter may be reset to about 0, but never decreases by a small amount.
    """
    total: Any = 0
    for values in tables:
        counts = np.zeros((3, values.shape[1]), int)
        for f, column in enumerate(values.T):
            column = column[~np.isnan(column)]
            fell, reset = np.diff(column) < 0, column[1:] < 0.5 * column[:-1]
            counts[:, f] = (
                (np.diff(column) > 0).sum(),
                (fell & reset).sum(),
                (fell & ~reset).sum(),
            )
        total = total + counts
    rises, resets, backs = total
    return (backs == 0) & (rises >= RISES) & (resets * RISES <= rises)


def select_columns(table: Table, names: Sequence[str]) -> np.ndarray:
    """Values `[N, F]` of these columns of a `Table`; NaN for those it does not have."""
    place = {name: i for i, name in enumerate(table.names)}
    ordered = np.full((len(table.values), len(names)), np.nan)
    for f, name in enumerate(names):
        if name in place:
            ordered[:, f] = table.values[:, place[name]]
    return ordered


def growth_of_columns(
    values: np.ndarray, growing: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Replaces the columns that only grow by their growth; and resets `[F]`."""
    values, resets = values.copy(), np.zeros(values.shape[1], int)
    for f in np.flatnonzero(growing):
        values[:, f], resets[f] = growth(values[:, f])
    return values, resets


def growth(column: np.ndarray) -> tuple[np.ndarray, int]:
    """The growth `[N]` of a growing counter in each step, and the number of resets.

    The first row, and rows where nothing was measured, are NaN. The growth over a gap
    is divided equally among its steps. After a reset the counter is taken to start at
    0. If it can have overflowed 32 or 64 bits instead, the growth is computed that way,
    unless that is more than the largest other growth of the counter.

    Args:
      column: `[N]` float64, NaN where nothing was measured.
    """
    growth_of_rows = np.full(len(column), np.nan)
    rows = np.flatnonzero(~np.isnan(column))
    before, after = column[rows[:-1]], column[rows[1:]]
    change = after - before
    usual = change[change >= 0].max(initial=0.0)
    fell = change < 0
    growth = np.where(fell, after, change)
    for bits in (32, 64):
        over = change + 2.0**bits
        growth = np.where(fell & (before < 2.0**bits) & (over <= usual), over, growth)
    growth_of_rows[rows[1:]] = growth / np.diff(rows)
    return growth_of_rows, int(fell.sum())
