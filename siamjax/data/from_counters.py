"""A folder of tables of counters and their labels -> a prepared data set."""

import functools
import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from siamjax.capture import counters, growth, tables
from siamjax.data import prepare, prepared, reading, sources, stretches
from siamjax.data.local_reading import ON_ALL_CORES
from siamjax.types import NORMAL, DataSet, Session, SiamjaxError

# Columns with such a name hold labels, and are left out.
_LABEL_NAMES = frozenset(
    "label labels target condition ground_truth is_anomaly is_fault is_attack".split()
)


class Columns(NamedTuple):
    """The F columns of a data set. All sessions have the same."""

    names: tuple[str, ...]
    growing: np.ndarray  # [F] bool, it only grows: its growth in each step is used
    constant: np.ndarray  # [F] bool, it has the same value in all sessions
    sessions: np.ndarray  # [F] int, how many sessions have it


def prepare_counters(
    captures: sources.Paths,
    labels_path: sources.Paths,
    folder: str | os.PathLike,
    *,
    limit_expansion: bool = True,
    allow_empty: bool = False,
    reader: sources.Reader = ON_ALL_CORES,
    say: Callable[[str], None] = print,
) -> None:
    """Reads tables of counters and writes the prepared data set.

    A table that cannot be used is left out, and a line says why. Nothing is done where
    the folder already has the data set of the same input and options.

    Args:
      captures: a folder of tables, one table, or several of these.
      labels_path: the table of labels, see `data.stretches`; or one for each of
        `captures`.
      folder: the folder to write.
      limit_expansion: whether a file that expands beyond the limits is left out.
      allow_empty: whether to use tables without a value: silence may be a fault.
      reader: of the tables; by default the processes of this machine read them.
      say: is called with each line of the report.
    Raises:
      UsageError: an input does not exist, or `folder` is not empty and not a prepared
        data set.
      SiamjaxError: no file can be used.
    """
    prepared.make_room(folder)
    inputs = reader.list_inputs(captures, labels_path)
    files, problems = sources.find_sources(inputs, stretches.read_stretches)
    problems = sources.tell(problems, say)
    options = {"format": "counters", "allow_empty": allow_empty}
    options |= prepare.expansion_option(limit_expansion)
    read = functools.partial(counters.read_counters, limit_expansion=limit_expansion)
    kept = reader.open_readings(folder, options, reusable=True)
    hashes = reader.hash_files(files, read, kept)
    meta = prepare.provenance(inputs, hashes, options)
    if prepare.is_made_of(folder, meta):
        sources.tell([f"{folder} is up to date"], say)
        return
    results = reader.read_files(files, read, hashes, kept, say)
    usable, more = _usable(files, results, allow_empty)
    more = sources.tell(more, say)
    if all(_is_empty(table) for _, _, table, _ in usable):
        raise SiamjaxError(prepare.nothing_usable(files, captures, labels_path))
    copies = prepare.list_copies([source for source, *_ in usable], meta)
    labelling = _label_columns(usable)
    columns, selected = _columns([table for _, _, table, _ in usable], labelling)
    grown = [
        growth.growth_of_columns(rows, rest, columns.growing) for rows, rest in selected
    ]
    values, *falls = zip(*grown)
    reports = [report._replace(name=source.file) for source, _, _, report in usable]
    steps_ns = [table.step_ns for _, _, table, _ in usable]
    notes = [
        *_shared_notes(reports),
        *[f"column {name} {why}, left out" for name, why in labelling.items()],
        *_notes(columns, [np.sum(counts, 0) for counts in falls], steps_ns),
    ]
    notes = sources.tell(notes, say)
    report = {
        "problems": problems + more + notes + copies,
        "captures": [report._asdict() for report in reports],
    }
    sessions = [
        Session(
            source.name,
            report.span_s,
            labels,
            None,
            prepared.to_series(rows, table.step_ns),
        )
        for (source, labels, table, report), rows in zip(usable, values)
    ]
    growing = [n for n, grows in zip(columns.names, columns.growing) if grows]
    data_set = DataSet(tuple(sessions), columns.names, meta | {"growing": growing})
    prepared.write_data_set(folder, data_set, report)
    say(counters.format_reports(reports))  # long: `| head` may close the output
    sources.tell(prepare.summarise(folder, (s.labels for s in sessions)), say)
    lines = prepare.partly_read(reports, counters.not_read, counters.CAUSES)
    sources.tell(copies + lines, say)


def _usable(files, results, allow_empty):
    """`(source, labels, table, report)` of usable tables; lines about the others."""
    usable, lines = [], []
    for source, result in zip(files, results):
        if isinstance(result, reading.Failure):
            lines.append(f"{result.line}, left out")
            continue
        load, report = result
        table = load()
        if _is_empty(table) and not allow_empty:
            size = f"{report.rows} rows of {report.columns} columns"
            lines.append(f"{source.file}: no value in {size}, {prepare.EMPTY}")
            continue
        try:
            labels, outside = stretches.to_labels(source.labels, table)
        except ValueError as error:
            lines.append(f"{source.file}: {error}, left out")
            continue
        lines += [f"{source.file}: {line}" for line in outside]
        usable.append((source, labels, table, report))
    return usable, lines


def _is_empty(table):
    return bool(np.isnan(table.values).all())


def _label_columns(usable):
    """{column: why} of columns that hold the labels, by their name or their values.

    The values of such a column are the same at all normal times, and another one during
    each condition. A row beside the beginning or the end of a fault does not count.
    """
    low, high = {}, {}  # {condition: {column: smallest, largest value}}
    for _, faults, table, _ in usable:
        step_s, count = table.step_ns / 1e9, len(table.values)
        given = [x for x in faults if x.condition == NORMAL]
        begin_s = min((x.onset_s for x in faults), default=count * step_s)
        spans = [(x.condition, x.onset_s, x.clear_s) for x in faults]
        for condition, onset_s, clear_s in spans + [(NORMAL, 0.0, begin_s)] * (
            not given
        ):
            first, end = round(onset_s / step_s), round(min(clear_s / step_s, count))
            rows = table.values[first + (first > 0) : end - (end < count)]
            measured = ~np.isnan(rows)
            for name, smallest, largest in zip(
                table.names,
                np.where(measured, rows, np.inf).min(0, initial=np.inf),
                np.where(measured, rows, -np.inf).max(0, initial=-np.inf),
            ):
                lows, highs = low.setdefault(name, {}), high.setdefault(name, {})
                lows[condition] = min(lows.get(condition, np.inf), smallest)
                highs[condition] = max(highs.get(condition, -np.inf), largest)
    reasons = {}
    for name, lows in low.items():
        normal = lows.get(NORMAL)
        others = [value for condition, value in lows.items() if condition != NORMAL]
        if name.lower() in _LABEL_NAMES:
            reasons[name] = "has the name of labels"
        elif lows == high[name] and others and normal is not None:
            if normal not in others:
                reasons[name] = "equals the labels"
    return reasons


def _columns(read, excluded):
    """`Columns` of all tables, and values and rest `[N, F]` of each in their order."""
    names = [name for table in read for name in table.names if name not in excluded]
    names = tuple(dict.fromkeys(names))
    if not names:
        raise SiamjaxError("no column is left: those of all files hold labels")
    selected = [counters.select_columns(table, names) for table in read]
    values = [rows for rows, _ in selected]
    low = np.fmin.reduce([np.fmin.reduce(rows) for rows in values])
    high = np.fmax.reduce([np.fmax.reduce(rows) for rows in values])
    sessions = np.array([(~np.isnan(rows)).any(0) for rows in values]).sum(0)  # [F]
    kept = sessions > 0
    if not kept.any():
        raise SiamjaxError("no column is left that has a value")
    columns = Columns(
        names=tuple(name for name, keep in zip(names, kept) if keep),
        growing=growth.find_growing(values, [rest for _, rest in selected])[kept],
        constant=(low == high)[kept],
        sessions=sessions[kept],
    )
    return columns, [
        (rows[:, kept], None if rest is None else rest[:, kept])
        for rows, rest in selected
    ]


def _shared_notes(reports):
    """How files were read, each way in one line with the files that were read so."""
    by_note: dict[str, list[str]] = {}
    for report in reports:
        for note in report.notes:
            by_note.setdefault(note, []).append(report.name)
    return [f"{sources.shown(names)}: {note}" for note, names in by_note.items()]


_FALLS = ("resets", "overflows of 32 or 64 bits", "rows that go back, not measured")


def _notes(columns, falls, steps_ns):
    """Lines about columns and steps; `falls` are the counts `[F]` of each of _FALLS."""
    steps = sorted(set(steps_ns))
    lines = []
    for f in np.flatnonzero(columns.growing):
        counts = [f"{what}: {n[f]}" for what, n in zip(_FALLS, falls) if n[f]]
        line = f"{columns.names[f]} only grows: its growth in each step is used"
        lines.append("; ".join([line, *counts]))
    if columns.constant.any():
        names = [name for name, same in zip(columns.names, columns.constant) if same]
        shown = tables.list_names(names, sources.NAMED)
        lines.append(f"{len(names)} columns never change and are kept: {shown}")
    most = columns.sessions.max()
    lines += [
        f"{name} is in {n} of {most} files: not measured in the others"
        for name, n in zip(columns.names, columns.sessions)
        if n < most
    ]
    if len(steps) > 1:
        lines.append(
            "the files have different steps, "
            + ", ".join(f"{step / 1e9:g} s" for step in steps)
            + ": config.data.bin_s must not be less than the longest"
        )
    return lines
