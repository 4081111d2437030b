"""A folder of captures and a table of labels -> a prepared data set."""

import functools
import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import siamjax
from siamjax import text
from siamjax.capture import cleaning, events
from siamjax.data import labels, naming, prepared, reading
from siamjax.types import NORMAL, DataSet, Label, Session, SiamjaxError, UsageError

# A summary names at most so many conditions.
SHOWN = 16
# A line about a problem names at most so many of its files.
NAMED = 5
# How a line ends about a file that shows nothing.
EMPTY = "left out: --allow_empty takes it, where silence is the fault"
# The longest line of the report, in characters.
LINE = 2000


class Source(NamedTuple):
    """A capture that is to be read."""

    name: str  # of its session
    file: str  # its path in the folder of captures, made safe to show
    path: Path
    labels: tuple[Label, ...]


def prepare_packets(
    captures: str | os.PathLike,
    labels_path: str | os.PathLike,
    out: str | os.PathLike,
    *,
    server_address: bytes | None = None,
    limit_expansion: bool = True,
    allow_empty: bool = False,
    workers: int | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Reads captures and writes the prepared data set.

    What cannot be used is left out, with a line that says why. A prepared data set of
    the very same input stays as it is.

    Args:
      captures: a folder of captures, or one capture.
      labels_path: the table of labels.
      out: the folder to write.
      server_address: bytes of the server's address; by default found in each capture.
      limit_expansion: whether a file that expands beyond the limits is left out.
      allow_empty: take captures without a message, too: silence is the fault.
      workers: processes; by default one a core.
      say: takes the lines of the report.
    Raises:
      UsageError: an input is not there, or out holds something else.
      SiamjaxError: no capture can be used.
    """
    prepared.make_room(out)
    sources, problems = find_sources(captures, labels_path)
    problems = tell(problems, say)
    server = cleaning.FOUND if server_address is None else cleaning.GIVEN
    options = {"format": "packets", "server": server, "allow_empty": allow_empty}
    options |= expansion_option(limit_expansion)
    meta = provenance(sources, labels_path, options)
    # Which server was given is an address, which is not kept: then it is made again.
    if server == cleaning.FOUND and is_made_of(out, meta):
        tell([f"{out} is up to date"], say)
        return
    read = functools.partial(
        events.read_events,
        server_address=server_address,
        limit_expansion=limit_expansion,
    )
    tasks = [reading.Task(read, source.path, source.file) for source in sources]
    results = reading.read_all(tasks, workers)
    forget_hashes(meta, sources, results)
    usable, left_out = _usable(sources, results, allow_empty)
    left_out = tell(left_out, say)
    reports = [report for *_, report in usable]
    if not any(report.messages for report in reports):
        raise SiamjaxError(nothing_usable(sources, captures, labels_path))
    report = {
        "problems": problems + left_out,
        "total": cleaning.total_report(reports)._asdict(),
        "captures": [report._asdict() for report in reports],
    }
    prepared.write_data_set(out, _data_set(usable, meta), report)
    say(cleaning.format_reports(reports))  # a long one, which `| head` may end
    tell([summary(out, (source.labels for source, *_ in usable))], say)
    tell(partly_read(reports, cleaning.not_read, cleaning.CAUSES), say)


def tell(lines: Iterable[str], say: Callable[[str], None]) -> list[str]:
    """Says lines, made safe to show, and returns them."""
    lines = [text.short(line, LINE) for line in lines]
    for line in lines:
        say(line)
    return lines


def find_sources(
    captures: str | os.PathLike,
    labels_path: str | os.PathLike,
    read: Callable[..., labels.LabelTable] = labels.read_labels,
) -> tuple[list[Source], list[str]]:
    """The `Source`s with usable labels in a folder, and lines about everything else.

    Args:
      captures: a folder of captures, or one capture.
      labels_path: the table of labels.
      read: gives the `labels.LabelTable` in it.
    """
    captures = Path(captures)
    if not captures.exists():
        raise UsageError(f"there is no {captures}")
    by_file, wrong, problems = read(labels_path)
    files = _files(captures, Path(labels_path))
    problems += [f"{why}: {f or 'the row'} is left out" for f, why in wrong.items()]
    missing = [file for file in by_file if file not in files]
    if missing:
        problems.append(f"{_shown(missing)}: labelled, but there is no such file")
    unlabelled = [file for file in files if file not in by_file and file not in wrong]
    if unlabelled:
        problems.append(f"{_shown(unlabelled)}: without a label, left out")
    chosen = [file for file in files if file in by_file]
    names = naming.session_names(chosen)
    sources = [
        Source(names[file], text.printable(file), files[file], by_file[file])
        for file in chosen
    ]
    return sources, problems


def _shown(files):
    """The first few names, and how many there are where these are not all."""
    if len(files) <= NAMED:
        return ", ".join(files)
    return f"{len(files)} files ({', '.join(files[:NAMED])}, ...)"


def _files(captures, labels_path):
    """Files below a folder, by their path in it, sorted; hidden ones do not count."""
    if captures.is_file():
        return {captures.name: captures}
    paths = {p.relative_to(captures).as_posix(): p for p in captures.rglob("*")}
    return {
        file: path
        for file, path in sorted(paths.items())
        if os.path.isfile(path)
        and not any(part.startswith(".") for part in Path(file).parts)
        and not path.samefile(labels_path)
    }


def nothing_usable(
    sources: list[Source], captures: str | os.PathLike, labels_path: str | os.PathLike
) -> str:
    """What to say where nothing can be used."""
    if sources:
        return f"none of {len(sources)} files of {captures} can be used"
    return (
        f"no file in {captures} has a usable label in {labels_path}: its files are "
        "named by their path in the folder of captures"
    )


def expansion_option(limited: bool) -> dict[str, str]:
    """What options say of the limit of expansion: with another one more is read."""
    return {} if limited else {"expansion": "any"}


def provenance(
    sources: list[Source], labels_path: str | os.PathLike, options: dict[str, Any]
) -> dict[str, Any]:
    """What meta.json says of where a data set comes from."""
    return {
        "version": siamjax.__version__,
        "options": options,
        "labels_sha256": _sha256(labels_path),
        "captures_sha256": {source.file: _sha256(source.path) for source in sources},
    }


def forget_hashes(
    meta: dict[str, Any], sources: list[Source], results: list[Any]
) -> None:
    """Takes the hashes of files that may be read another time out of meta.

    Otherwise the next ingest would call the data set up to date, and not try again.
    """
    for source, result in zip(sources, results):
        if isinstance(result, reading.Failure) and result.temporary:
            meta["captures_sha256"][source.file] = ""


def is_made_of(out: str | os.PathLike, meta: dict[str, Any]) -> bool:
    """Whether a folder holds a data set of the very same input and options."""
    try:
        old = prepared.read_data_set(out).meta
    except SiamjaxError:  # what is damaged is made again
        return False
    readable = all(meta["captures_sha256"].values())
    return readable and all(old.get(key) == meta[key] for key in meta)


def _sha256(path):
    """Of a file's content; "" where it is refused, which reading it will say."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _usable(sources, results, allow_empty):
    """`(source, events, kinds, report)` of what can be used; lines about the rest."""
    usable, lines = [], []
    for source, result in zip(sources, results):
        if isinstance(result, reading.Failure):
            lines.append(f"{result.line}, left out")
            continue
        *rest, report = result
        if not (report.messages or allow_empty):
            lines.append(f"{source.file}: {cleaning.sentence(report)}, {EMPTY}")
        elif problem := labels.find_outside(source.labels, report.span_s):
            lines.append(f"{source.file}: {problem}, left out")
        else:
            usable.append((source, *rest, report._replace(name=source.file)))
    return usable, lines


def _data_set(usable, meta):
    kinds = sorted({kind for _, _, names, _ in usable for kind in names})
    place = {kind: i for i, kind in enumerate(kinds)}
    sessions = []
    for source, rows, names, report in usable:
        number = np.array([place[name] for name in names], np.int32)
        rows = rows._replace(kind=number[rows.kind])
        sessions.append(Session(source.name, report.span_s, source.labels, rows, None))
    return DataSet(tuple(sessions), tuple(kinds), meta)


def partly_read(
    reports: list[Any],
    not_read: Callable[[Any], dict[str, int]],
    causes: Mapping[str, str],
) -> list[str]:
    """The line about files of which a part was not read; none where all was read.

    Args:
      reports: of the files.
      not_read: gives the counts by cause of what was not read.
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
        f"warning: {len(names)} of {len(reports)} files were not read as a whole: "
        f"{listed}; {_shown(names)}"
    ]


def summary(
    out: str | os.PathLike, labels_of_sessions: Iterable[tuple[Label, ...]]
) -> str:
    """One line: how many sessions have each condition."""
    conditions = [
        {x.condition for x in faults} or {NORMAL} for faults in labels_of_sessions
    ]
    counts = Counter(itertools.chain(*conditions))
    shown = [f"{counts[condition]} {condition}" for condition in sorted(counts)]
    if len(shown) > SHOWN:
        shown = [f"{len(shown)} conditions", *shown[:SHOWN], "..."]
    return f"{out}: {len(conditions)} sessions: {', '.join(shown)}"
