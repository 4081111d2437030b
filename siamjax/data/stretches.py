"""labels.csv of counters: the condition of stretches of rows.

    file,start,end,condition
    day_1.csv,2020-06-29 11:01:00,2020-06-29 11:04:00,node_down
    day_1.csv,3600,3900,normal

Start and end are the times of a stretch's first and last row; both rows belong to it.
They are dates or numbers. A number is a time as in the table, where the table's times
are numbers too; otherwise it is in seconds after the table's first row, unless its size
is that of a time since 1970. A date without a zone has that of the table. Without a
start a stretch begins with the first row, without an end it ends with the last row.

Where a file has stretches of `normal`, rows outside of all stretches have no condition.
Where it has none, all rows outside of its faults are normal.
"""

import itertools
import math
import os
from collections.abc import Sequence
from typing import NamedTuple

from siamjax.capture import counters, times
from siamjax.data import labels
from siamjax.types import NORMAL, Label

COLUMNS = ("file", "start", "end", "condition")


class Stretch(NamedTuple):
    """A row of the table of labels, its times as text."""

    condition: str
    start: str
    end: str


def read_stretches(path: str | os.PathLike) -> labels.LabelTable:
    """Reads the `labels.LabelTable` in a CSV file, with a `Stretch` for each label.

    Raises:
      UsageError: the table does not exist, or a column is missing.
    """
    rows, problems = labels.read_table(path, COLUMNS)
    by_file: dict[str, list[Stretch]] = {}
    wrong: dict[str, str] = {}
    for line, row in rows:
        file, *cells = (row[c].strip() for c in ("file", "condition", "start", "end"))
        stretches, stretch = by_file.setdefault(file, []), Stretch(*cells)
        try:
            labels.check_row(row)
        except ValueError as error:
            wrong.setdefault(file, f"{line}: {error}")
            continue
        if stretch in stretches:
            problems.append(f"{line}: {file} is there twice, used once")
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
      ValueError: a time cannot be read, stretches overlap, or no stretch has a row (a
        fault would be used as normal then). It says which.
    """
    step_s, rows, placed, problems = table.step_ns / 1e9, len(table.values), [], []
    written = [text for s in stretches for text in (s.start, s.end)]
    seconds = times.read_labels(written, table.clock, table.first_ns)
    first, last = seconds.reshape(-1, 2).T
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
        if not is_all:  # a session without labels is normal as a whole
            label = Label(stretch.condition, begin * step_s, (end + 1) * step_s)
            placed.append(label)
        elif len(stretches) > 1:
            raise ValueError(
                f"{NORMAL} without start and end is the whole file: it cannot have "
                "other stretches"
            )
    if problems and not placed:
        raise ValueError(problems[0])
    placed.sort(key=lambda label: label.onset_s)
    for earlier, later in itertools.pairwise(placed):
        if later.onset_s < earlier.clear_s:
            raise ValueError(
                f"{earlier.condition} and {later.condition} overlap at "
                f"{later.onset_s:g} s"
            )
    return tuple(placed), problems
