"""A table of counters -> rows on an even grid, with everything odd counted by cause.

A table is CSV or Parquet with one column of times and numeric columns, a row a step.
What was not measured is NaN and stays so: nothing is invented to fill a gap.
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
    "moved": "rows more than a tenth of a step off the even grid: taken to it",
    "crowded": "rows that share a step of the grid with another: averaged",
    "gap": "steps without a row: nothing measured",
    "missing": "cells without a value: nothing measured",
    "unread": "cells that hold no finite number: nothing measured",
    "text": "columns without numbers: left out",
}
# Causes after which a part of the table is missing.
NOT_READ = frozenset(("ragged", "time_unread", "contradicting", "unread"))
TIME_NAMES = ("time", "timestamp", "datetime", "date")
# Moved further than this part of a step, a row is counted as moved.
OFF_GRID = 0.1
# A grid this many times longer than the rows it holds comes from a stray time.
SPARSE = 50
# A column that only grows has so many rises at least, and so many for each reset.
RISES = 10
# No time is this far from 1970 (years 1823 and 2116): differences fit 64 bits.
_LAST_NS = 1 << 62
# No number and no time has more characters.
_LONGEST_CELL = 64
# The longest name of a column, in characters.
LONGEST_NAME = 200
# Beyond, a float32 is infinite.
LARGEST = float(np.finfo(np.float32).max)


class Report(NamedTuple):
    """What was found in one table."""

    name: str
    rows: int  # of the grid
    columns: int
    step_s: float
    span_s: float
    causes: dict[str, int]  # of CAUSES, those that occurred
    gaps: list[list[float]]  # [start_s, length_s]


class Table(NamedTuple):
    """The rows of one file, evenly spaced."""

    numbers: bool  # its times are numbers of seconds, not dates
    first_ns: int  # time of the first row, since 1970 or on its own clock
    step_ns: int
    names: tuple[str, ...]  # of the F columns
    values: np.ndarray  # [N, F] float64; NaN where nothing was measured


def read_counters(
    path: str | os.PathLike, *, limit_expansion: bool = True
) -> tuple[Table, Report]:
    """The `Table` in a file and its `Report`.

    Args:
      path: of a CSV file, plain or compressed, or of a Parquet file.
      limit_expansion: whether a file that expands beyond the limits is refused.
    Raises:
      SiamjaxError: it cannot be read, or there is no step or no column in it.
      OSError: it is not there, or cannot be opened.
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
    of_time = next((c for c in frame if str(c).lower() in TIME_NAMES), frame.columns[0])
    time_ns, read, numbers = parse_times(frame[of_time])
    names, values, counted = _numeric(frame.drop(columns=of_time))
    if not read.any():
        hint = ": numbers are seconds, is it in milliseconds?" if numbers else ""
        raise SiamjaxError(f"{path}: column {of_time!r} holds no times{hint}")
    if not names:
        raise SiamjaxError(f"{path} has no numeric column beside {of_time!r}")
    counted |= dict(ragged=ragged, time_unread=int((~read).sum()))
    time_ns, values, order = _in_order(time_ns[read], values[read])
    counted |= order
    if len(time_ns) < 2:
        raise SiamjaxError(f"{path} has rows of one time only: there is no step")
    step_ns = _step(time_ns)
    if (time_ns[-1] - time_ns[0]) // step_ns > SPARSE * len(time_ns):
        raise SiamjaxError(
            f"{path}: {len(time_ns)} rows of {step_ns / 1e9:g} s lie over "
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
    """A pandas column -> ns `[N]` int64, which were read `[N]`, and if they are
    numbers.

    Numbers are seconds. Dates without a zone are taken as they stand.
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
    """How much was read, and what was not: one line, without the name."""
    read = f"{report.rows} rows of {report.columns} columns"
    unread = cleaning.list_causes(not_read(report), CAUSES)
    return "; not read: ".join(filter(None, [read, unread]))


def format_reports(reports: Sequence[Report]) -> str:
    """The reports as text: a line each, and what the causes mean."""
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
        raise UsageError("counters are read with pandas: pip install pandas") from None


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
        raise UsageError("Parquet is read with pyarrow: pip install pyarrow") from None
    except (SiamjaxError, MemoryError):
        raise
    except Exception as error:  # of pandas, of pyarrow, of each decompressor
        why = str(error).strip().splitlines() or [type(error).__name__]
        raise SiamjaxError(f"{path} is no table that can be read: {why[0]}") from None


def _text(file, limited):
    """What a CSV file holds, as a file to read from; of a zip file its only member."""
    if file.read(4) != b"PK\3\4":
        file.seek(0)
        return io.BufferedReader(decompress.Decompressed(file, limited=limited))
    archive = zipfile.ZipFile(file)
    member, *others = archive.infolist()
    if others:
        raise SiamjaxError(f"{file.name} holds {1 + len(others)} files: unpack it")
    _check_size(file, member.file_size, limited)
    return archive.open(member)


def _parquet(pandas, file, limited):
    meta = importlib.import_module("pyarrow.parquet").ParquetFile(file).metadata
    groups = (meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
    # Equal values take no room in the file: each has 8 bytes once it is read.
    read = 8 * meta.num_rows * meta.num_columns
    _check_size(file, max(read, sum(groups)), limited)
    frame = pandas.read_parquet(file)
    return frame if isinstance(frame.index, pandas.RangeIndex) else frame.reset_index()


def _check_size(file, expanded, limited):
    """Raises where a file says that it expands beyond what is allowed."""
    size = os.fstat(file.fileno()).st_size
    if limited and expanded > decompress.allowed_bytes(size):
        raise decompress.too_large(file.name, size)


def _numbers(column):
    """`[N]` float64 of a pandas column; NaN where a cell holds no number."""
    numbers = _pandas().to_numeric(column, errors="coerce")
    return numbers.to_numpy(float, na_value=np.nan)


def _short(column):
    """A pandas column without cells too long for a number or a time.

    Python takes long over a date of 200 kB, and a number of 400 digits fits no float.
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
    """Names `[F]` and values `[N, F]` of the columns that hold numbers, and counts."""
    pandas, names, columns = _pandas(), [], []
    counted = dict(missing=0, unread=0, text=0)
    for name in frame:
        column = frame[name]
        if pandas.api.types.is_datetime64_any_dtype(column):
            counted["text"] += 1
            continue
        values = _numbers(_short(column))
        there = column.notna().to_numpy()
        good = np.abs(values) <= LARGEST  # False for NaN
        if there.any() and good.sum() * 2 < there.sum():
            counted["text"] += 1
            continue
        counted["missing"] += int((~there).sum())
        counted["unread"] += int((there & ~good).sum())
        names.append(str(name))
        columns.append(np.where(good, values, np.nan))
    return tuple(names), np.stack(columns, 1) if columns else None, counted


def _in_order(time_ns, values):
    """Rows in order of time, one of each time; and counts."""
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
    """The step of rows in ns: whole seconds where it is within a hundredth of them."""
    spacing = np.diff(time_ns)
    # The mean over all usual ones, so that an error does not add up along the grid.
    median = np.sort(spacing)[(len(spacing) - 1) // 2]
    usual = np.rint(spacing / median) == 1
    step_s = spacing[usual].mean() / 1e9
    whole = round(step_s)
    return round((whole if abs(step_s - whole) < 0.01 * step_s else step_s) * 1e9)


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
    """Which of the columns `[F]` only grow, from the tables `[N, F]` of all sessions.

    Such a counter may start again, near 0, but never goes back a little.
    """
    total: Any = 0
    for values in tables:
        counts = np.zeros((3, values.shape[1]), int)
        for f, column in enumerate(values.T):
            column = column[~np.isnan(column)]
            fell, low = np.diff(column) < 0, column[1:] < 0.5 * column[:-1]
            counts[:, f] = (
                (np.diff(column) > 0).sum(),
                (fell & low).sum(),
                (fell & ~low).sum(),
            )
        total = total + counts
    rises, resets, backs = total
    return (backs == 0) & (rises >= RISES) & (resets * RISES <= rises)


def select_columns(table: Table, names: Sequence[str]) -> np.ndarray:
    """Values `[N, F]` of a `Table` in the order of names; NaN where it lacks one."""
    place = {name: i for i, name in enumerate(table.names)}
    ordered = np.full((len(table.values), len(names)), np.nan)
    for f, name in enumerate(names):
        if name in place:
            ordered[:, f] = table.values[:, place[name]]
    return ordered


def growth_of_columns(
    values: np.ndarray, growing: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Values `[N, F]` with growth in place of what only grows, and resets `[F]`."""
    values, resets = values.copy(), np.zeros(values.shape[1], int)
    for f in np.flatnonzero(growing):
        values[:, f], resets[f] = growth(values[:, f])
    return values, resets


def growth(column: np.ndarray) -> tuple[np.ndarray, int]:
    """By how much a counter that only grows grew in each step: `[N]`, and its resets.

    The first row, and rows where nothing was measured, are NaN. After a gap the growth
    is shared over its steps. After a reset the counter began at 0; where it ran over 32
    or 64 bits instead, that growth is within its largest other one.

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
