"""Labels of captures: from tickets, by a line, and on a page."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from siamjax.capture import events, parts, times
from siamjax.data import labels, recordings, sources, stretches, tickets
from siamjax.data.prepared import to_series
from siamjax.data.recordings import Recording
from siamjax.reports import label_page
from siamjax.types import NORMAL, Label, SiamjaxError, UsageError


class Target(NamedTuple):
    """The capture that gets labels."""

    path: str | parts.Parts
    captures: str | None  # the folder that its name begins below; None: its own
    labels: str | None  # the table of labels; None: there is none
    is_table: bool  # a table of counters

    @property
    def file(self) -> str:
        """Its name in the table of labels.

        Raises:
          UsageError: it is not in the folder of captures.
        """
        path = Path(self.path)
        if self.captures is None or isinstance(self.path, parts.Parts):
            return path.name
        try:
            return path.resolve().relative_to(Path(self.captures).resolve()).as_posix()
        except ValueError:
            raise UsageError(f"{path} is not in --captures={self.captures}") from None


def label_by_tickets(
    tickets_path: str | os.PathLike,
    mapping_path: str | os.PathLike,
    captures: str | os.PathLike,
    labels_path: str | os.PathLike,
    *,
    is_table: bool,
    zone: str | None,
) -> list[str]:
    """Writes a new table of labels of all captures in a folder; lines about it.

    A capture in which tickets of two conditions overlap, or that cannot be read, gets
    no row.

    Args:
      tickets_path: see `data.tickets`.
      mapping_path: see `data.tickets`.
      captures: the folder.
      labels_path: the table to write.
      is_table: the files are tables of counters.
      zone: see `tickets.read_tickets`.
    Raises:
      UsageError: an input does not exist, or the table exists.
      SiamjaxError: no capture gets a label.
    """
    if os.path.exists(labels_path):
        raise UsageError(f"{labels_path} exists: give --labels another name")
    given, lines = tickets.read_tickets(tickets_path, mapping_path, zone)
    rows = []
    for file, path in sources.list_files(captures).items():
        try:
            recording = recordings.open_recording(path, is_table=is_table)
            rows += tickets.label_recording(given, recording, file)
        except (SiamjaxError, ValueError, OSError) as error:
            why = str(error).replace(str(path), file).removeprefix(f"{file}: ")
            lines.append(f"{file}: {why}, not labelled")
    if not rows:
        raise SiamjaxError("; ".join([*lines, f"no file of {captures} gets a label"]))
    columns = recordings.columns_of_labels(is_table=is_table)
    labels.add_rows(labels_path, columns, rows, lambda path: [])
    calm = sum(row["condition"] == NORMAL for row in rows)
    files = len({row["file"] for row in rows})
    lines.append(f"{labels_path}: {len(rows)} rows of {files} files, {calm} of normal")
    return lines


def add_labels(
    target: Target, intervals: Sequence[tuple[str, float, float]]
) -> list[str]:
    """Adds stretches to the table of labels, all or none; lines about it.

    Args:
      target: the capture.
      intervals: (condition, from, to) in seconds after its first packet or row.
    Raises:
      UsageError: the rows would not fit the capture, or the rows that are there.
      SiamjaxError: the capture cannot be read.
    """
    recording = recordings.open_recording(target.path, is_table=target.is_table)
    for condition, onset_s, clear_s in intervals:
        if onset_s >= clear_s or onset_s >= recording.span_s:
            raise UsageError(
                f"{condition} from {onset_s:g} to {clear_s:g} s is not a stretch of "
                f"{target.file}, which has {recording.span_s:g} s"
            )
    rows = [
        recordings.label_row(recording, target.file, *interval)
        for interval in intervals
    ]
    assert target.labels is not None  # the command asks for it
    columns = recordings.columns_of_labels(is_table=target.is_table)

    def check(path):
        return recordings.check_times(recording, _read(path, target), target.file)

    return labels.add_rows(target.labels, columns, rows, check)


def draw_page(target: Target, page: str | os.PathLike) -> list[str]:
    """Writes the page of a capture on which labels are drawn; a line that names it.

    Raises:
      UsageError: the table of labels cannot be used.
      SiamjaxError: the capture cannot be read.
    """
    table = labels.LabelTable({}, {}, [])
    if target.labels is not None and os.path.exists(target.labels):
        table = _read(target.labels, target)
    if target.file in table.wrong:
        raise UsageError(table.wrong[target.file])
    given: Sequence[Label] = table.labels.get(target.file, ())
    form = dict(unit_s=1.0, zero=0.0, step_s=0.0)
    if target.is_table:
        recording = recordings.open_recording(target.path, is_table=True)
        lines, given, form = _of_table(recording, given)
        span_s = recording.span_s
    else:
        rows, kinds, report = events.read_events(target.path)
        span_s = report.span_s
        lines = label_page.lines_of_events(rows, kinds, span_s)
    label_page.write_label_page(
        page,
        file=target.file,
        span_s=span_s,
        lines=lines,
        labels=given,
        conditions=_conditions(table),
        form=form | {"columns": recordings.columns_of_labels(is_table=target.is_table)},
    )
    return [f"{page}: draw over the traffic, then copy or download the rows"]


def _of_table(recording: Recording, given):
    """Lines of a table, its labels in seconds, and how its times are written."""
    table = recording.table
    assert table is not None  # it is no capture of packets
    series = to_series(table.values, table.step_ns)
    try:
        given, _ = stretches.to_labels(given, table)
    except ValueError as error:
        raise UsageError(str(error)) from None
    written = times.write_labels([0.0, 1.0], recording.clock, recording.first_ns)
    zero, after_1_s = map(float, written)
    form = dict(unit_s=1 / (after_1_s - zero), zero=zero, step_s=recording.step_s)
    return label_page.lines_of_series(series, table.names), given, form


def _read(path, target):
    read = stretches.read_stretches if target.is_table else labels.read_labels
    return read(path)


def _conditions(table):
    """All conditions of a table of labels, in alphabetical order."""
    rows = (row for given in table.labels.values() for row in given)
    return sorted({row.condition for row in rows} | {NORMAL})
