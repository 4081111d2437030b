"""labels.csv of counters: which condition stretches of rows were in.

    file,start,end,condition
    day_1.csv,2020-06-29 11:01:00,2020-06-29 11:04:00,node_down
    day_1.csv,3600,3900,normal

Start and end are the times of a stretch's first and last row, both inside it. They are
dates, or numbers: on the table's own clock where its times are numbers, else seconds
after its first row. Without a start a stretch begins with the first row, without an end
it lasts to the last.

Where a file has stretches of `normal`, nothing outside its stretches has a condition;
where it has none, all but its faults is normal.
"""

import itertools
import math
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from siamjax.capture import counters
from siamjax.data import labels
from siamjax.types import NORMAL, Label

COLUMNS = ("file", "start", "end", "condition")


class Stretch(NamedTuple):
    """A row of the table of labels, as written."""

    condition: str
    start: str
    end: str


def read_stretches(path: str | os.PathLike) -> labels.LabelTable:
    """The `labels.LabelTable` in a CSV file, with `Stretch`es in place of labels.

    Raises:
      UsageError: there is no such table, or a column is missing.
    """
    rows, problems = labels.read_table(path, COLUMNS)
    by_file: dict[str, list[Stretch]] = {}
    wrong: dict[str, str] = {}
    for where, row in rows:
        file, *cells = (row[c].strip() for c in ("file", "condition", "start", "end"))
        stretches, stretch = by_file.setdefault(file, []), Stretch(*cells)
        try:
            labels.check_row(row)
        except ValueError as error:
            wrong.setdefault(file, f"{where}: {error}")
            continue
        if stretch in stretches:
            problems.append(f"{where}: {file} is there twice, used once")
        else:
            stretches.append(stretch)
    usable = {f: tuple(s) for f, s in by_file.items() if f not in wrong}
    return labels.LabelTable(usable, wrong, problems)


def to_labels(
    stretches: Sequence[Stretch], table: counters.Table
) -> tuple[tuple[Label, ...], list[str]]:
    """Stretches as `types.Label`s in seconds after the table's first row.

    Args:
      stretches: of the table's file.
      table: `counters.Table`.
    Returns:
      Labels in order of onset, and lines about stretches that are outside of the table.
    Raises:
      ValueError: says which time cannot be read, which stretches overlap, or that none
        has a row, so that a fault would pass for normal.
    """
    step_s, rows, placed, problems = table.step_ns / 1e9, len(table.values), [], []
    written = [text for s in stretches for text in (s.start, s.end)]
    first, last = _seconds(written, table).reshape(-1, 2).T
    for stretch, begin_s, end_s in zip(stretches, first, last):
        begin, end = 0, rows - 1
        if not math.isnan(begin_s):
            begin = math.ceil(min(max(begin_s / step_s - 0.01, 0), rows))
        if not math.isnan(end_s):
            end = math.floor(min(max(end_s / step_s + 0.01, -1), rows - 1))
        if end_s < begin_s:
            raise ValueError(f"{stretch.end} is before {stretch.start}")
        if end < begin:
            problems.append(
                f"{stretch.condition} from {stretch.start} to {stretch.end} has no row"
            )
            continue
        is_all = stretch.condition == NORMAL and not (stretch.start or stretch.end)
        if not is_all:  # a session without faults is normal throughout
            label = Label(stretch.condition, begin * step_s, (end + 1) * step_s)
            placed.append(label)
        elif len(stretches) > 1:
            raise ValueError(f"{NORMAL} without times beside other stretches")
    if problems and not placed:
        raise ValueError(problems[0])
    placed.sort(key=lambda label: label.onset_s)
    for one, two in itertools.pairwise(placed):
        if two.onset_s < one.clear_s:
            raise ValueError(
                f"{one.condition} and {two.condition} overlap at {two.onset_s:g} s"
            )
    return tuple(placed), problems


def _seconds(written, table):
    """Times `[N]` in seconds after the table's first row; NaN where none is given."""
    out, dates = np.full(len(written), np.nan), []
    for i, text in enumerate(written):
        try:
            number = float(text)
        except ValueError:
            if text:
                dates.append(i)
            continue
        if not math.isfinite(number):
            raise ValueError(f"{text!r} is no time")
        out[i] = number - (table.first_ns / 1e9 if table.numbers else 0.0)
    if dates:
        ns, good, numbers = counters.parse_times(_column([written[i] for i in dates]))
        wrong = [written[i] for i, fine in zip(dates, good) if not fine]
        if wrong or numbers:
            raise ValueError(f"{(wrong or written)[0]!r} is no time")
        if table.numbers:
            raise ValueError(
                f"{written[dates[0]]!r} is a date, the times of the table are numbers"
            )
        out[dates] = (ns - table.first_ns) / 1e9
    return out


def _column(texts):
    import pandas  # here, a table was read with it

    return pandas.Series(texts, dtype=object)
