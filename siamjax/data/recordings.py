"""A capture or a table as labels see it: when it begins and how long it lasts."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from siamjax.capture import counters, events, times
from siamjax.data import labels, stretches
from siamjax.types import NORMAL


class Recording(NamedTuple):
    """The times of a capture or of a table."""

    clock: times.Clock  # how its times are written in a table of labels
    first_ns: int  # its first packet or row, on that clock
    span_s: float
    step_s: float  # of the rows of a table; 0: a capture of packets
    table: counters.Table | None  # None: a capture of packets


def open_recording(path: str | os.PathLike, *, is_table: bool) -> Recording:
    """The `Recording` of a file.

    Raises:
      SiamjaxError: it cannot be read.
      OSError: it does not exist, or cannot be opened.
    """
    if not is_table:
        first_ns, last_ns = events.read_span(path)
        clock = times.Clock(times.DATE)
        return Recording(clock, first_ns, (last_ns - first_ns) / 1e9, 0.0, None)
    table, report = counters.read_counters(path)
    return Recording(table.clock, table.first_ns, report.span_s, report.step_s, table)


def columns_of_labels(*, is_table: bool) -> tuple[str, ...]:
    """The columns of a table of labels, see `labels` and `stretches`."""
    return stretches.COLUMNS if is_table else labels.COLUMNS


def label_row(
    recording: Recording, file: str, condition: str, onset_s: float, clear_s: float
) -> dict[str, str]:
    """A row of a table of labels.

    Args:
      recording: of the file.
      file: its name in the table of labels.
      condition: its condition; `normal` from 0 to the end is written without times.
      onset_s: beginning of the condition, in seconds after the first packet or row.
      clear_s: its end; at or after the end of the recording: to the end.
    """
    to_end = clear_s >= recording.span_s
    if condition == NORMAL and onset_s <= 0 and to_end:
        cells = ["", ""]
    elif recording.table is None:
        cells = [_number(onset_s), "" if to_end else _number(clear_s)]
    else:  # its last row belongs to a stretch
        last_s = min(clear_s, recording.span_s) - recording.step_s
        written = times.write_labels([onset_s, last_s], *recording[:2])
        cells = [written[0], "" if to_end else written[1]]
    names = columns_of_labels(is_table=recording.table is not None)
    row = {"file": file, "condition": condition}
    return row | dict(zip((n for n in names if n not in row), cells))


def check_times(
    recording: Recording, table: labels.LabelTable, file: str
) -> Sequence[str]:
    """Why the labels of a file do not fit its recording; empty: they do."""
    if file in table.wrong:
        return [table.wrong[file]]
    given = table.labels.get(file, ())
    if recording.table is None:
        return [*filter(None, [labels.find_outside(given, recording.span_s)])]
    try:
        _, outside = stretches.to_labels(given, recording.table)
    except ValueError as error:
        return [str(error)]
    return outside


def _number(seconds):
    return np.format_float_positional(round(seconds, 6), trim="-")
