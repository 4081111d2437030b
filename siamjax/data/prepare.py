"""A folder of captures and a table of labels -> a prepared data set."""

import fnmatch
import functools
import hashlib
import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import siamjax
from siamjax import files, text
from siamjax.capture import cleaning, events, parts, tshark
from siamjax.capture.protocols import PROTOCOLS, protocol_of
from siamjax.capture.protocols.sip import SIP
from siamjax.data import labels, naming, prepared, reading
from siamjax.data.kept_readings import KeptReadings
from siamjax.types import NORMAL, DataSet, Label, Session, SiamjaxError, UsageError

# At most so many conditions are named in a summary.
SHOWN = 16
# At most so many files are named in a line about a problem.
NAMED = 5
# The end of a line about a file in which nothing was measured.
UNREAD = "left out: install tshark to read it"
EMPTY = "left out: where silence is the fault, use it with --allow_empty"
# The end of a line about a file that was changed while it was read.
GROWING = "what was complete is used; ingest again when it is finished"
# The longest line of the report, in characters.
LINE = 2000


# One path, or several.
Paths = str | os.PathLike | Sequence[str | os.PathLike]


class Source(NamedTuple):
    """A capture to read."""

    name: str  # of its session
    file: str  # its path in the folder of captures, made safe to show
    path: Path | parts.Parts
    labels: tuple[Label, ...]
    size: int  # in bytes, when it was listed; 0: not known


def prepare_packets(
    captures: Paths,
    labels_path: Paths,
    folder: str | os.PathLike,
    *,
    server_address: bytes | None = None,
    protocols: Sequence[str] | None = None,
    sessions: Mapping[str, str] | None = None,
    limit_expansion: bool = True,
    allow_empty: bool = False,
    workers: int | None = None,
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
      sessions: {name: pattern} of files that were written in a row, see
        `group_files`.
      limit_expansion: whether a file that expands beyond the limits is left out.
      allow_empty: whether to use captures without a message: silence may be a fault.
      workers: number of processes; by default one for each core.
      say: is called with each line of the report.
    Raises:
      UsageError: an input does not exist, or `folder` is not empty and not a prepared
        data set.
      SiamjaxError: no capture can be used.
    """
    prepared.make_room(folder)
    sources, problems = find_sources(captures, labels_path, sessions=sessions)
    problems = tell(problems, say)
    server = cleaning.FOUND if server_address is None else cleaning.GIVEN
    options = {"format": "packets", "server": server, "allow_empty": allow_empty}
    options |= expansion_option(limit_expansion)
    if protocols is not None:
        options["protocols"] = ",".join(protocols)
    meta = provenance(sources, labels_path, options)
    # The address of a given server is not stored, so it cannot be compared: then the
    # data set is always made again.
    if server == cleaning.FOUND and is_made_of(folder, meta):
        tell([f"{folder} is up to date"], say)
        return
    read = functools.partial(
        events.read_events,
        server_address=server_address,
        protocols=protocols,
        limit_expansion=limit_expansion,
    )
    keep = None
    if server_address is None:
        program = tshark.find_tshark()
        version = program and tshark.tshark_version(program)
        keep = KeptReadings(folder, options | {"tshark": version})
    results = read_sources(sources, read, meta, keep, workers, say)
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
    tell([summary(folder, (source.labels for source, *_ in usable))], say)
    tell(partly_read(reports, cleaning.not_read, cleaning.CAUSES), say)
    tell(copies, say)
    tell(cleaning.list_also(reports), say)
    tell([f"{r.name}: {note}" for r in reports for note in r.notes], say)
    tell(cleaning.without_tshark(reports), say)


def tell(lines: Iterable[str], say: Callable[[str], None]) -> list[str]:
    """Calls `say` with each line, made safe to show, and returns the lines."""
    lines = [text.short(line, LINE) for line in lines]
    for line in lines:
        say(line)
    return lines


def find_sources(
    captures: Paths,
    labels_path: Paths,
    read: Callable[..., labels.LabelTable] = labels.read_labels,
    sessions: Mapping[str, str] | None = None,
) -> tuple[list[Source], list[str]]:
    """The `Source`s of folders that have usable labels, and lines about the others.

    Args:
      captures: a folder of captures or one capture, or several of them. The files of
        several are named by their path below the folder that has all of them.
      labels_path: the table of labels, or one for each of `captures`.
      read: reads the `labels.LabelTable` in it.
      sessions: see `group_files`.
    Raises:
      UsageError: an input does not exist, or is in another; there are not as many
        tables as folders; or a session has no file.
    """
    single: dict[str, Path] = {}
    by_file: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    problems: list[str] = []
    for prefix, folder, table_path in _pair_inputs(captures, labels_path):
        single |= {prefix + f: p for f, p in list_files(folder, table_path).items()}
        table = read(table_path)
        by_file |= {prefix + file: given for file, given in table.labels.items()}
        wrong |= {prefix + file: why for file, why in table.wrong.items()}
        problems += [prefix + line for line in table.problems]
    problems += [f"{why}: {f or 'the row'} is left out" for f, why in wrong.items()]
    files = group_files(single, sessions or {})
    inside = [file for file in by_file if file in single and file not in files]
    if inside:
        problems.append(f"{shown(inside)}: belongs to a session, which has the label")
    missing = [file for file in by_file if file not in files and file not in inside]
    if missing:
        problems.append(f"{shown(missing)}: has a label, but there is no such file")
    unlabelled = [file for file in files if file not in by_file and file not in wrong]
    if unlabelled:
        problems.append(f"{shown(unlabelled)}: has no label, left out")
    chosen = [file for file in files if file in by_file]
    names = naming.session_names(chosen)
    sources = [
        Source(
            name=names[file],
            file=text.printable(file),
            path=files[file],
            labels=by_file[file],
            size=parts.size_of(files[file]),
        )
        for file in chosen
    ]
    return sources, problems


def list_paths(paths: Paths) -> list[Path]:
    """One path, or several, as a list."""
    several = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    return [Path(path) for path in several]


def _pair_inputs(captures, labels_path):
    """`(what comes before the names of files, folder, table of labels)` of each."""
    folders, tables = list_paths(captures), list_paths(labels_path)
    if len(folders) != len(tables):
        raise UsageError(
            f"{len(folders)} --captures have {len(tables)} --labels: give one for "
            "each, in the same order"
        )
    if len(folders) == 1:
        return [("", folders[0], tables[0])]
    places = [path.resolve() for path in folders]
    for i, j in itertools.permutations(range(len(places)), 2):
        if places[i].is_relative_to(places[j]):
            raise UsageError(f"{folders[i]} is in {folders[j]}: give one of them")
    parents = [place if place.is_dir() else place.parent for place in places]
    top = os.path.commonpath(parents)
    prefixes = [parent.relative_to(top).as_posix() + "/" for parent in parents]
    return [
        (prefix.removeprefix("./"), folder, table)
        for prefix, folder, table in zip(prefixes, folders, tables)
    ]


def shown(files: Sequence[str]) -> str:
    """All names, or the number of files and the first names."""
    if len(files) <= NAMED:
        return ", ".join(files)
    return f"{len(files)} files ({', '.join(files[:NAMED])}, ...)"


def list_files(
    captures: str | os.PathLike, labels_path: str | os.PathLike | None = None
) -> dict[str, Path]:
    """{path below the folder: file} of all in a folder and its folders, sorted.

    Args:
      captures: a folder, or one file. Hidden files and folders do not count.
      labels_path: a file that does not count.
    Raises:
      UsageError: the folder does not exist.
    """
    captures = Path(captures)
    if not captures.exists():
        raise UsageError(f"{captures} does not exist")
    if not captures.is_dir():  # also a named pipe
        return {captures.name: captures}
    paths = {
        path.relative_to(captures).as_posix(): path
        for path in files.list_files(captures)
    }
    return {
        file: path
        for file, path in sorted(paths.items())
        if os.path.isfile(path)
        and not any(part.startswith(".") for part in Path(file).parts)
        and not (labels_path and _is_same(path, labels_path))
    }


def group_files(
    files: Mapping[str, Path], sessions: Mapping[str, str]
) -> dict[str, Path | parts.Parts]:
    """The files, those of a session as one `parts.Parts`, sorted by name.

    Args:
      files: {path below the folder of captures: file}.
      sessions: {name: pattern of such paths, in which * also stands for /}.
    Raises:
      UsageError: a session has no file, or one of another; or its name is that of
        another file.
    """
    groups: dict[str, Path | parts.Parts] = {}
    rest = dict(files)
    for name, pattern in sessions.items():
        members = fnmatch.filter(files, pattern)
        shared = [file for file in members if file not in rest]
        if shared:
            raise UsageError(f"{shared[0]} is in two sessions: {name}, and one before")
        if not members:
            raise UsageError(f"--session={name}={pattern}: no capture has such a path")
        groups[name] = parts.in_row(name, [rest.pop(file) for file in members])
    for name in groups:
        if name in rest:
            raise UsageError(f"--session={name}: a file has this name, give another")
    return dict(sorted((rest | groups).items()))


def _is_same(path, other):
    return os.path.exists(other) and path.samefile(other)


def nothing_usable(sources: list[Source], captures: Paths, labels_path: Paths) -> str:
    """The error message where no file can be used."""
    folders = ", ".join(map(str, list_paths(captures)))
    if sources:
        return f"none of {len(sources)} files of {folders} can be used"
    tables = ", ".join(map(str, list_paths(labels_path)))
    return (
        f"no file in {folders} has a usable label in {tables}: name each file by its "
        "path in the folder of captures"
    )


def expansion_option(limited: bool) -> dict[str, str]:
    """The entry of the options in meta.json about the limit of expansion."""
    return {} if limited else {"expansion": "any"}


def provenance(
    sources: list[Source], labels_path: Paths, options: dict[str, Any]
) -> dict[str, Any]:
    """The entries of meta.json about the origin of a data set."""
    tables = [_sha256(path) for path in list_paths(labels_path)]
    if len(tables) > 1:
        tables = [hashlib.sha256(" ".join(tables).encode()).hexdigest()]
    return {
        "version": siamjax.__version__,
        "options": options,
        "labels_sha256": tables[0],
        "captures_sha256": {source.file: _sha256(source.path) for source in sources},
    }


def read_sources(
    sources: Sequence[Source],
    read: Callable[[Path], Any],
    meta: dict[str, Any],
    keep: KeptReadings | None,
    workers: int | None,
    say: Callable[[str], None],
) -> list[Any]:
    """What `read(path)` gives of each source, or a `reading.Failure`.

    Each reading is kept as soon as it is there. From `meta`, the hashes are removed of
    files that may be read better another time: the system refused, tshark was missing,
    or the file grew. Otherwise the next ingest would find the data set up to date.

    Args:
      sources: of the files.
      read: of a module: other processes must find it.
      meta: entries of meta.json, see `provenance`.
      keep: where readings are kept; None: nowhere.
      workers: see `reading.read_all`.
      say: is called with a line about files that were read before.
    """
    hashes = meta["captures_sha256"]
    results = [keep and keep.load(hashes[source.file]) for source in sources]
    rest = [i for i, result in enumerate(results) if result is None]
    if len(rest) < len(sources):
        count = len(sources) - len(rest)
        tell([f"{count} of {len(sources)} files were read before"], say)

    listed = {source.file: source.size for source in sources}

    def on_result(task, result):
        grew = parts.size_of(task.path) != listed[task.file]
        if keep and not grew and not _lacks_tshark(result):
            keep.save(hashes[task.file], result)

    tasks = [reading.Task(read, sources[i].path, sources[i].file) for i in rest]
    for i, result in zip(rest, reading.read_all(tasks, workers, on_result)):
        results[i] = result
    if keep:
        keep.forget_others(hashes.values())
    growing = [s.file for s in sources if parts.size_of(s.path) != s.size]
    if growing:
        tell([f"{shown(growing)}: still being written: {GROWING}"], say)
    hashes |= dict.fromkeys(growing, "")
    for source, result in zip(sources, results):
        failed = isinstance(result, reading.Failure)
        if result.temporary if failed else _lacks_tshark(result):
            hashes[source.file] = ""
    return results


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


def _lacks_tshark(result):
    return bool(getattr(result[-1], "unread", ()))


def is_made_of(folder: str | os.PathLike, meta: dict[str, Any]) -> bool:
    """Whether a folder has the data set of the same input and options."""
    try:
        old = prepared.read_data_set(folder).meta
    except SiamjaxError:  # a damaged data set is made again
        return False
    readable = all(meta["captures_sha256"].values())
    return readable and all(old.get(key) == meta[key] for key in meta)


def _sha256(path):
    """The hash of a file; "" where it cannot be opened: reading it reports that.

    Of a session, that of the names and hashes of its files.
    """
    if isinstance(path, parts.Parts):
        hashes = [(part.name, _sha256(part)) for part in path.paths]
        known = json.dumps(hashes).encode()
        return hashlib.sha256(known).hexdigest() if all(h for _, h in hashes) else ""
    if not os.path.isfile(path):  # a pipe can be read only once
        return ""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _usable(sources, results, allow_empty):
    """`(source, events, kinds, report)` of usable captures; lines about the others."""
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
    for source, rows, names, report in usable:
        number = np.array([place.get(name, -1) for name in names], np.int32)
        rows = rows._replace(kind=number[rows.kind])
        if -1 in number:
            rows = rows.take(rows.kind >= 0)
        sessions.append(Session(source.name, report.span_s, source.labels, rows, None))
    return DataSet(tuple(sessions), tuple(kinds), meta)


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


def summary(
    folder: str | os.PathLike, labels_of_sessions: Iterable[tuple[Label, ...]]
) -> str:
    """A line that says how many sessions have each condition."""
    conditions = [
        {x.condition for x in faults} or {NORMAL} for faults in labels_of_sessions
    ]
    counts = Counter(itertools.chain(*conditions))
    shown = [f"{counts[condition]} {condition}" for condition in sorted(counts)]
    if len(shown) > SHOWN:
        shown = [f"{len(shown)} conditions", *shown[:SHOWN], "..."]
    return f"{folder}: {len(conditions)} sessions: {', '.join(shown)}"
