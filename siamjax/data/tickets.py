"""A table of tickets and a mapping -> rows of a table of labels.

Tickets have the columns start, end and text. The mapping has the columns pattern and
condition: a ticket has the condition of the first pattern, a regular expression, that
occurs in its text, in upper or lower case. A pattern without a condition says that such
tickets are no fault.
"""

import csv
import datetime
import itertools
import math
import os
import re
import zoneinfo
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from siamjax import text
from siamjax.capture import tables, times
from siamjax.data import labels, recordings
from siamjax.types import NORMAL, SiamjaxError, UsageError

COLUMNS = ("start", "end", "text")
# The most tickets without a pattern that are shown.
_SHOWN = 5


class Ticket(NamedTuple):
    """A ticket with a condition."""

    start: str  # a date in UTC, or in local time without a zone
    end: str  # empty: it is still open
    condition: str


def read_tickets(
    path: str | os.PathLike, mapping_path: str | os.PathLike, zone: str | None = None
) -> tuple[list[Ticket], list[str]]:
    """Reads the `Ticket`s that a mapping gives a condition, and lines about the others.

    Args:
      path: of a table in any of the forms of `capture.tables`.
      mapping_path: of a CSV file.
      zone: of dates without one, as `Europe/Berlin`; None: that of the captures.
    Raises:
      UsageError: a file does not exist, or has not the columns.
      SiamjaxError: a time cannot be read; a ticket has no start, or ends before it.
    """
    patterns = _read_mapping(mapping_path)
    try:
        frame = tables.read_content(path, limited=True).frame
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist") from None
    frame.columns = [str(name).strip().lower() for name in frame.columns]
    if missing := ", ".join(name for name in COLUMNS if name not in frame):
        raise UsageError(
            f"{path} has no column {missing}; it has "
            f"{tables.list_names(list(frame.columns))}"
        )
    frame = frame.dropna(how="all")
    starts, ends = (_dates(path, frame[name], zone) for name in COLUMNS[:2])
    all_words = frame["text"].astype(object).where(frame["text"].notna(), "")
    tickets, unknown = [], []
    for start, end, words in zip(starts, ends, map(str, all_words)):
        condition = next((c for p, c in patterns if p.search(words)), None)
        if condition is None:
            unknown.append(words)
        elif condition:
            # Without it, its fault would be taken for normal traffic.
            if not start or (end and _instant(end) < _instant(start)):
                why = f"end {end} is before start {start}" if start else "no start"
                raise SiamjaxError(f"{path}: ticket {text.short(words)!r}: {why}")
            tickets.append(Ticket(start, end, condition))
    counts = Counter(ticket.condition for ticket in tickets)
    lines = [f"{count} tickets of {name}" for name, count in sorted(counts.items())]
    if unknown:
        shown = ", ".join(repr(text.short(words, 60)) for words in unknown[:_SHOWN])
        more = ", ..." * (len(unknown) > _SHOWN)
        lines.append(f"{len(unknown)} tickets match no pattern, ignored: {shown}{more}")
    return tickets, lines


def label_recording(
    tickets: Sequence[Ticket], recording: recordings.Recording, file: str
) -> list[dict[str, str]]:
    """Rows of a table of labels for a file; one of `normal` where it has no ticket.

    Args:
      tickets: of all files.
      recording: of the file.
      file: its name in the table of labels.
    Raises:
      ValueError: tickets of two conditions overlap, or times do not fit the recording.
    """
    written = [cell for ticket in tickets for cell in (ticket.start, ticket.end)]
    seconds = times.read_labels(written, recording.clock, recording.first_ns)
    spans = []
    for ticket, (start_s, end_s) in zip(tickets, seconds.reshape(-1, 2)):
        end_s = recording.span_s if math.isnan(end_s) else end_s + recording.step_s
        onset_s, clear_s = max(start_s, 0.0), min(end_s, recording.span_s)
        if clear_s > onset_s:
            spans.append((float(onset_s), float(clear_s), ticket.condition))
    merged: list[tuple[float, float, str]] = []
    for onset_s, clear_s, condition in sorted(spans):
        if merged and merged[-1][2] == condition and onset_s <= merged[-1][1]:
            onset_s, last_s, _ = merged.pop()
            clear_s = max(clear_s, last_s)
        merged.append((onset_s, clear_s, condition))
    for earlier, later in itertools.pairwise(merged):
        if later[0] < earlier[1]:
            raise ValueError(
                f"tickets of {earlier[2]} and {later[2]} overlap at {later[0]:.1f} s"
            )
    spans = merged or [(0.0, recording.span_s, NORMAL)]
    return [
        recordings.label_row(recording, file, condition, onset_s, clear_s)
        for onset_s, clear_s, condition in spans
    ]


def _read_mapping(path):
    """`(compiled pattern, condition)` of each row."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, restval=""))
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not a table of text: {error}") from None
    rows = [row for row in rows if any(row.values())]
    if not rows or not {"pattern", "condition"} <= set(rows[0]):
        raise UsageError(
            f"{path} must have rows with the columns pattern and condition"
        )
    patterns = []
    for number, row in enumerate(rows, start=2):
        name, condition = f"{Path(path).name}, row {number}", row["condition"].strip()
        if None in row:
            raise UsageError(f'{name}: {labels.TOO_MANY}: write a comma as "a,b"')
        if not row["pattern"]:
            raise UsageError(f"{name}: no pattern: it would fit each ticket")
        if condition == NORMAL:
            raise UsageError(f"{name}: for tickets of no fault leave condition empty")
        try:
            if condition:
                labels.check_condition(condition)
            patterns.append((re.compile(row["pattern"], re.IGNORECASE), condition))
        except (ValueError, re.error) as error:
            raise UsageError(f"{name}: {error}") from None
    return patterns


def _dates(path, column, zone):
    """Dates as texts of ISO 8601; empty where a cell is."""
    read = times.read_times(column)
    filled = column.notna().to_numpy()
    if filled.any() and (not read.clock.since_1970 or read.clock.kind == times.CLOCK):
        raise SiamjaxError(f"{path}: column {column.name} has {read.note}, not dates")
    if (filled & ~read.read).any():
        cell = column[filled & ~read.read].iloc[0]
        raise SiamjaxError(f"{path}: {cell!r} in column {column.name} is not a date")
    dates = (
        np.where(filled, read.ns, 0).astype("datetime64[ns]").astype("datetime64[us]")
    )
    known = read.clock.kind == times.NUMBER or read.clock.offsets_ns
    end = "+00:00" if known else ""
    texts = [f"{date}{end}" for date in dates.tolist()]
    if zone and not known:
        local = _zone(zone)
        texts = [date.replace(tzinfo=local).isoformat() for date in dates.tolist()]
    return [date if there else "" for date, there in zip(texts, filled)]


def _instant(date):
    """A text of `_dates` as a time that can be compared."""
    return datetime.datetime.fromisoformat(date)


def _zone(name):
    try:
        return zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        raise UsageError(
            f"--zone={name} is not a time zone: give one such as Europe/Berlin or UTC"
        ) from None
