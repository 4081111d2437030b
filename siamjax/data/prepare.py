"""A folder of captures and a table of labels -> a prepared data set."""

import concurrent.futures
import functools
import hashlib
import multiprocessing
import os
import signal
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

import siamjax
from siamjax.capture import cleaning, events
from siamjax.data import labels, prepared
from siamjax.types import NORMAL, DataSet, Label, Session, SiamjaxError, UsageError

# So many conditions fit into one line of a summary.
SHOWN = 16
# So many files of those that share a problem are named.
SOME = 5


class Source(NamedTuple):
    """A capture that is to be read."""

    name: str  # of its session
    file: str  # as the table of labels has it
    path: Path
    labels: tuple[Label, ...]


def prepare(
    captures,
    labels_path,
    out,
    *,
    server_address=None,
    limit_expansion=True,
    workers=None,
    say=print,
):
    """Reads captures and writes the prepared data set.

    What cannot be used is left out, with a line that says why. A prepared data set of
    the very same input stays as it is.

    Args:
      captures: a folder of captures, or one capture.
      labels_path: the table of labels.
      out: the folder to write.
      server_address: bytes of the server's address; by default found in each capture.
      limit_expansion: whether a file that expands beyond measure is left out.
      workers: processes; by default one a core.
      say: takes the lines of the report.
    Raises:
      UsageError: an input is not there, or out holds something else.
      SiamjaxError: no capture can be used.
    """
    prepared.check_replaceable(out)
    sources, problems = find(captures, labels_path)
    for line in problems:
        say(line)
    server = cleaning.FOUND if server_address is None else cleaning.GIVEN
    options = {"format": "packets", "server": server} | expansion(limit_expansion)
    meta = provenance(sources, labels_path, options)
    # Which server was given is an address, which is not kept: then it is made again.
    if server == cleaning.FOUND and is_made_of(out, meta):
        say(f"{out} is up to date")
        return
    read = functools.partial(
        events.read, server_address=server_address, limit_expansion=limit_expansion
    )
    found = read_all(sources, read, workers)
    usable, left_out = _usable(sources, found)
    for line in left_out:
        say(line)
    if not usable:
        raise SiamjaxError(none_of(sources, captures, labels_path))
    reports = [report for *_, report in usable]
    say(cleaning.table(reports))
    report = {
        "problems": problems + left_out,
        "total": cleaning.total(reports)._asdict(),
        "captures": [report._asdict() for report in reports],
    }
    prepared.write(out, _data_set(usable, meta), report)
    say(summary(out, (source.labels for source, *_ in usable)))


def find(captures, labels_path, read=labels.read):
    """The `Source`s with usable labels in a folder, and lines about everything else.

    Args:
      captures: a folder of captures, or one capture.
      labels_path: the table of labels.
      read: gives the `labels.Table` in it.
    """
    captures = Path(captures)
    if not captures.exists():
        raise UsageError(f"there is no {captures}")
    by_file, wrong, problems = read(labels_path)
    files = _files(captures, Path(labels_path))
    problems += [f"{why}: {f or 'the row'} is left out" for f, why in wrong.items()]
    missing = [file for file in by_file if file not in files]
    if missing:
        problems.append(f"{_some(missing)}: labelled but not there")
    unlabelled = [file for file in files if file not in by_file and file not in wrong]
    if unlabelled:
        problems.append(f"{_some(unlabelled)}: without a label, left out")
    chosen = [file for file in files if file in by_file]
    names = _names(chosen)
    return [Source(names[f], f, files[f], by_file[f]) for f in chosen], problems


def _some(files):
    """The first few names, and how many there are where these are not all."""
    if len(files) <= SOME:
        return ", ".join(files)
    return f"{len(files)} files ({', '.join(files[:SOME])}, ...)"


def _files(captures, labels_path):
    """Files below a folder, by their path in it, sorted; hidden ones do not count."""
    if captures.is_file():
        return {captures.name: captures}
    paths = {p.relative_to(captures).as_posix(): p for p in captures.rglob("*")}
    return {
        file: path
        for file, path in sorted(paths.items())
        if path.is_file()
        and not any(part.startswith(".") for part in Path(file).parts)
        and not path.samefile(labels_path)
    }


def none_of(sources, captures, labels_path):
    """What to say where nothing can be used."""
    if sources:
        return f"none of {len(sources)} files of {captures} can be used"
    return (
        f"no file in {captures} has a usable label in {labels_path}: its files are "
        "named by their path in the folder of captures"
    )


def _names(files):
    """Session names: of the file, or of its whole path where two would share one."""
    short = {file: prepared.session_name(file) for file in files}
    times = Counter(short.values())
    return {
        file: name if times[name] == 1 else file.replace("/", "__")
        for file, name in short.items()
    }


def expansion(limited: bool) -> dict[str, str]:
    """What options say of the limit of expansion: with another one more is read."""
    return {} if limited else {"expansion": "any"}


def provenance(sources, labels_path, options):
    """What meta.json says of where a data set comes from."""
    return {
        "version": siamjax.__version__,
        "options": options,
        "labels_sha256": _sha256(labels_path),
        "captures_sha256": {source.file: _sha256(source.path) for source in sources},
    }


def is_made_of(out, meta):
    """Whether a folder holds a data set of the very same input and options."""
    old = prepared.read_meta(out)
    return old is not None and all(old.get(key) == meta[key] for key in meta)


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_all(sources, read, workers=None):
    """For each source, in order, what `read(path)` gives, or the line of its error.

    Args:
      sources: `Source`s.
      read: a function of a module, for other processes to find.
      workers: processes; by default one a core.
    """
    tasks = [(read, source.file, source.path) for source in sources]
    workers = workers or len(os.sched_getaffinity(0))
    bar = {"total": len(tasks), "unit": " captures", "disable": None}
    if min(workers, len(tasks)) <= 1:
        return [_try(task) for task in tqdm(tasks, **bar)]
    # Fresh processes: a forked one could inherit a lock without the thread that holds
    # it.
    context = multiprocessing.get_context("spawn")
    ignore = signal.signal, (signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for this one
    with concurrent.futures.ProcessPoolExecutor(workers, context, *ignore) as pool:
        return list(tqdm(pool.map(_try, tasks), **bar))


def _try(task):
    """What reading one file gives, or the line of its error."""
    read, file, path = task
    try:
        return read(path)
    except (SiamjaxError, OSError) as error:
        return str(error).replace(str(path), file)


def _usable(sources, found):
    """`(source, events, kinds, report)` of what can be used; lines about the rest."""
    usable, lines = [], []
    for source, result in zip(sources, found):
        if isinstance(result, str):
            lines.append(f"{result}, left out")
        elif problem := labels.outside(source.labels, result[-1].span_s):
            lines.append(f"{source.file}: {problem}, left out")
        else:
            *rest, report = result
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


def summary(out, labels_of_sessions):
    """One line: how many sessions have each condition."""
    found = [{x.condition for x in some} or {NORMAL} for some in labels_of_sessions]
    counts = Counter(condition for some in found for condition in some)
    shown = [f"{counts[condition]} {condition}" for condition in sorted(counts)]
    if len(shown) > SHOWN:
        shown = [f"{len(shown)} conditions", *shown[:SHOWN], "..."]
    return f"{out}: {len(found)} sessions: {', '.join(shown)}"
