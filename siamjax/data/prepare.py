"""A folder of captures and a table of labels -> a prepared data set."""

import functools
import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

import siamjax
from siamjax.capture import cleaning, decode_as, events, tshark
from siamjax.capture.protocols import PROTOCOLS, protocol_of
from siamjax.capture.protocols.sip import SIP
from siamjax.data import labels, prepared, reading
from siamjax.data.local_reading import ON_ALL_CORES
from siamjax.data.sources import (
    Input,
    Paths,
    Reader,
    Source,
    file_hash,
    find_sources,
    list_paths,
    shown,
    tell,
)
from siamjax.types import NORMAL, DataSet, Label, SiamjaxError, StoredSession

# The most conditions that a summary names.
SHOWN = 16
# The end of a line about a file in which nothing was measured.
UNREAD = "left out: install tshark to read it"
EMPTY = "left out: where silence is the fault, use it with --allow_empty"


def prepare_packets(
    captures: Paths,
    labels_path: Paths,
    folder: str | os.PathLike,
    *,
    server_address: bytes | None = None,
    protocols: Sequence[str] | None = None,
    ports: Mapping[str, Sequence[int]] | None = None,
    sessions: Mapping[str, str] | None = None,
    limit_expansion: bool = True,
    allow_empty: bool = False,
    reader: Reader = ON_ALL_CORES,
    say: Callable[[str], None] = print,
) -> None:
    """Reads captures and writes the prepared data set.

    A capture that cannot be used is left out, and a line says why. Nothing is done
    where the folder already has the data set of the same input and options.

    Args:
      captures: a folder of captures, one capture, or several of these.
      labels_path: the table of labels, or one for each of `captures`.
      folder: the folder to write.
      server_address: bytes of the server's address; by default it is found in each
        capture.
      protocols: names of those to read; by default those with messages, of which the
        data set then has the columns.
      ports: of protocols, besides their usual ones.
      sessions: {name: pattern} of files that were written in a row, see
        `sources.group_files`.
      limit_expansion: whether a file that expands beyond the limits is left out.
      allow_empty: whether to use captures without a message: silence may be a fault.
      reader: of the captures; by default the processes of this machine read them.
      say: is called with each line of the report.
    Raises:
      UsageError: an input does not exist, or `folder` is not empty and not a prepared
        data set.
      SiamjaxError: no capture can be used.
    """
    prepared.make_room(folder)
    inputs = reader.list_inputs(captures, labels_path)
    sources, problems = find_sources(inputs, sessions=sessions)
    problems = tell(problems, say)
    server = cleaning.FOUND if server_address is None else cleaning.GIVEN
    options = {"format": "packets", "server": server, "allow_empty": allow_empty}
    options |= expansion_option(limit_expansion)
    if protocols is not None:
        options["protocols"] = ",".join(protocols)
    if ports:
        options["decode_as"] = {name: list(numbers) for name, numbers in ports.items()}
    read = functools.partial(
        events.read_events,
        server_address=server_address,
        protocols=protocols,
        ports=ports,
        limit_expansion=limit_expansion,
    )
    # The address of a given server is not stored, so it cannot be compared: then the
    # data set is always made again.
    reusable = server == cleaning.FOUND
    kept = reader.open_readings(
        folder, options | {"tshark": tshark.current_version()}, reusable=reusable
    )
    hashes = reader.hash_files(sources, read, kept)
    meta = provenance(inputs, hashes, options)
    if reusable and is_made_of(folder, meta):
        tell([f"{folder} is up to date"], say)
        return
    results = reader.read_files(sources, read, hashes, kept, say)
    usable, left_out = _usable(sources, results, allow_empty)
    left_out = tell(left_out, say)
    copies = list_copies([source for source, *_ in usable], meta)
    reports = [report for *_, report in usable]
    if not any(report.messages for report in reports):
        raise SiamjaxError(nothing_usable(sources, captures, labels_path))
    report = {
        "problems": problems + left_out + copies,
        "total": cleaning.total_report(reports)._asdict(),
        "captures": [report._asdict() for report in reports],
    }
    meta["tshark"] = sorted({r.tshark for r in reports} - {""})
    meta["protocols"] = list(protocols or _with_messages(reports))
    prepared.write_data_set(folder, _data_set(usable, meta), report)
    say(cleaning.format_reports(reports))  # long: `| head` may close the output
    tell(summarise(folder, (source.labels for source, *_ in usable)), say)
    tell(partly_read(reports, cleaning.not_read, cleaning.CAUSES), say)
    tell(copies, say)
    tell(decode_as.describe_ports(ports or {}), say)
    tell(cleaning.list_also(reports), say)
    tell([f"{r.name}: {note}" for r in reports for note in r.notes], say)
    tell(cleaning.without_tshark(reports), say)


def nothing_usable(sources: list[Source], captures: Paths, labels_path: Paths) -> str:
    """The error message where no file can be used."""
    folders = ", ".join(list_paths(captures))
    if sources:
        count = (
            "the only file" if len(sources) == 1 else f"none of {len(sources)} files"
        )
        can = "cannot" if len(sources) == 1 else "can"
        return f"{count} of {folders} {can} be used"
    tables = ", ".join(list_paths(labels_path))
    return (
        f"no file in {folders} has a usable label in {tables}: name each file by its "
        "path in the folder of captures"
    )


def expansion_option(limited: bool) -> dict[str, str]:
    """The entry of the options in meta.json about the limit of expansion."""
    return {} if limited else {"expansion": "any"}


def provenance(
    inputs: Sequence[Input], hashes: dict[str, str], options: dict[str, Any]
) -> dict[str, Any]:
    """The entries of meta.json about the origin of a data set.

    Args:
      inputs: with the tables of labels.
      hashes: of the captures; later changes of it are seen in the result.
      options: of the ingest.
    """
    tables = [file_hash(path) for _, _, path in inputs]
    if len(tables) > 1:
        tables = [hashlib.sha256(" ".join(tables).encode()).hexdigest()]
    return {
        "version": siamjax.__version__,
        "options": options,
        "labels_sha256": tables[0],
        "captures_sha256": hashes,
    }


def list_copies(sources: Sequence[Source], meta: dict[str, Any]) -> list[str]:
    """A line about files with the content of another one; empty: there are none."""
    by_content: dict[str, list[str]] = {}
    for source in sources:
        sha256 = meta["captures_sha256"][source.file]
        by_content.setdefault(sha256 or source.file, []).append(source.file)
    pairs = [
        f"{file} of {first}"
        for first, *others in by_content.values()
        for file in others
    ]
    if not pairs:
        return []
    return [
        f"warning: {len(pairs)} files have the content of another: {shown(pairs)}: it "
        "counts twice, and may be in training and test; give each file once"
    ]


def is_made_of(folder: str | os.PathLike, meta: dict[str, Any]) -> bool:
    """Whether a folder has the data set of the same input and options."""
    try:
        old = prepared.read_data_set(folder).meta
    except SiamjaxError:  # a damaged data set is made again
        return False
    readable = all(meta["captures_sha256"].values())
    return readable and all(old.get(key) == meta[key] for key in meta)


def _usable(sources, results, allow_empty):
    """`(source, function that gives events, kinds, report)` of usable captures, and
    lines about the others."""
    usable, lines = [], []
    for source, result in zip(sources, results):
        if isinstance(result, reading.Failure):
            lines.append(f"{result.line}, left out")
            continue
        *rest, report = result
        if not (report.messages or allow_empty):
            why = UNREAD if report.unread else EMPTY
            lines.append(f"{source.file}: {cleaning.sentence(report)}, {why}")
        elif problem := labels.find_outside(source.labels, report.span_s):
            lines.append(f"{source.file}: {problem}, left out")
        else:
            doubts = cleaning.list_suspicions(report)
            lines += [f"warning: {source.file}: {line}" for line in doubts]
            usable.append((source, *rest, report._replace(name=source.file)))
    return usable, lines


def _with_messages(reports):
    """Names of the protocols that have messages in one of the files; else SIP."""
    counts = sum((Counter(report.by_protocol) for report in reports), Counter())
    return [name for name in PROTOCOLS if counts[name]] or [SIP.name]


def _data_set(usable, meta):
    """The `DataSet` of the protocols in `meta`, without the events of others."""
    used = set(meta["protocols"])
    kinds = sorted(
        {k for _, _, names, _ in usable for k in names if protocol_of(k) in used}
    )
    place = {kind: i for i, kind in enumerate(kinds)}
    sessions = []
    for source, load, names, report in usable:
        number = np.array([place.get(name, -1) for name in names], np.int32)
        read = functools.partial(_renumbered, load, number)
        sessions.append(
            StoredSession(source.name, report.span_s, source.labels, True, read, {})
        )
    return DataSet(tuple(sessions), tuple(kinds), meta)


def _renumbered(load, number):
    """The events that `load()` gives, with other numbers of kinds; -1: without them."""
    rows = load()
    rows = rows._replace(kind=number[rows.kind])
    return rows.take(rows.kind >= 0) if -1 in number else rows


def partly_read(
    reports: list[Any],
    not_read: Callable[[Any], dict[str, int]],
    causes: Mapping[str, str],
) -> list[str]:
    """A line about files that were read in part; empty where all were read completely.

    Args:
      reports: of the files.
      not_read: gives the counts, by cause, of what was not read of a file.
      causes: what each cause means.
    """
    names = [report.name for report in reports if not_read(report)]
    if not names:
        return []
    counts = sum((Counter(not_read(report)) for report in reports), Counter())
    listed = ", ".join(
        f"{counts[cause]} {cause} ({meaning.partition(':')[0]})"
        for cause, meaning in causes.items()
        if counts[cause]
    )
    return [
        f"warning: {len(names)} of {len(reports)} files were not read completely: "
        f"{listed}; {shown(names)}"
    ]


def summarise(
    folder: str | os.PathLike, labels_of_sessions: Iterable[tuple[Label, ...]]
) -> list[str]:
    """A line that says how many sessions have each condition, and lines that ask about
    names that are nearly the same."""
    conditions = [
        {x.condition for x in faults} or {NORMAL} for faults in labels_of_sessions
    ]
    counts = Counter(itertools.chain(*conditions))
    shown = [f"{counts[condition]} {condition}" for condition in sorted(counts)]
    if len(shown) > SHOWN:
        shown = [f"{len(shown)} conditions", *shown[:SHOWN], "..."]
    sessions = "session" if len(conditions) == 1 else "sessions"
    line = f"{folder}: {len(conditions)} {sessions}: {', '.join(shown)}"
    return [line, *labels.find_alike(counts)]
