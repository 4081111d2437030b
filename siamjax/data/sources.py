"""The captures of a data set, with their labels: which files are to be read."""

import fnmatch
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple, Protocol

from siamjax import files, text
from siamjax.capture import parts
from siamjax.data import labels, naming, reading
from siamjax.data.kept_readings import KeptReadings
from siamjax.types import Label, UsageError

# The most files that a line about a problem names.
NAMED = 5
# The longest line of the report, in characters.
LINE = 2000


# One path, or several.
Paths = str | os.PathLike | Sequence[str | os.PathLike]


class Input(NamedTuple):
    """A folder of captures and its table of labels."""

    prefix: str  # what comes before the names of its files
    files: dict[str, Path]  # by their path below the folder
    labels_path: Path  # on this machine


class Source(NamedTuple):
    """A capture to read."""

    name: str  # of its session
    file: str  # its path in the folder of captures, made safe to show
    path: Path | parts.Parts
    labels: tuple[Label, ...]
    size: int  # in bytes, when it was listed; 0: not known


class Reader(Protocol):
    """Where captures are, and which processes read them."""

    def list_inputs(self, captures: Paths, labels_path: Paths) -> list[Input]:
        """The `Input`s of folders of captures and their tables of labels.

        Raises:
          UsageError: an input does not exist, or is in another; or there are not as
            many tables as folders.
        """

    def open_readings(
        self, folder: str | os.PathLike, options: dict[str, Any], *, reusable: bool
    ) -> KeptReadings | None:
        """Where readings are kept; None: nowhere.

        Args:
          folder: of the data set.
          options: what decides the content of a reading.
          reusable: whether the next ingest may use them.
        """

    def hash_files(
        self,
        files: Sequence[Source],
        read: Callable[[Path], Any],
        kept: KeptReadings | None,
    ) -> dict[str, str]:
        """The SHA-256 of each file; empty: it cannot be opened. It may read it, too."""

    def read_files(
        self,
        files: Sequence[Source],
        read: Callable[[Path], Any],
        hashes: dict[str, str],
        kept: KeptReadings | None,
        say: Callable[[str], None],
    ) -> list[Any]:
        """What `read(path)` gives of each file, or a `reading.Failure`.

        In place of its first part, the events or the table, there is a function that
        gives it: those of all files may not fit in memory.

        From `hashes`, those are removed of files that may be read better another time:
        the system refused, tshark was missing, or the file grew. Otherwise the next
        ingest would find the data set up to date.

        Args:
          files: to read.
          read: of a module: other processes must find it.
          hashes: what `hash_files` gave.
          kept: where readings are kept.
          say: is called with each line about files.
        """


def tell(lines: Iterable[str], say: Callable[[str], None]) -> list[str]:
    """Calls `say` with each line, made safe to show, and returns the lines."""
    lines = [text.short(line, LINE) for line in lines]
    for line in lines:
        say(line)
    return lines


def find_sources(
    inputs: Sequence[Input],
    read: Callable[..., labels.LabelTable] = labels.read_labels,
    sessions: Mapping[str, str] | None = None,
) -> tuple[list[Source], list[str]]:
    """The `Source`s of folders that have usable labels, and lines about the others.

    Args:
      inputs: see `Reader.list_inputs`.
      read: reads the `labels.LabelTable` of an input.
      sessions: see `group_files`.
    Raises:
      UsageError: a table does not exist, or a session has no file.
    """
    single: dict[str, Path] = {}
    by_file: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    problems: list[str] = []
    for prefix, paths, table_path in inputs:
        single |= {prefix + file: path for file, path in paths.items()}
        table = read(table_path)
        by_file |= {prefix + file: given for file, given in table.labels.items()}
        wrong |= {prefix + file: why for file, why in table.wrong.items()}
        problems += [prefix + line for line in table.problems]
    problems += [f"{why}: {f or 'the row'} is left out" for f, why in wrong.items()]
    files = group_files(single, sessions or {})
    inside = [file for file in by_file if file in single and file not in files]
    if inside:
        problems.append(f"{shown(inside)}: part of a session, which has the label")
    missing = [file for file in by_file if file not in files and file not in inside]
    if missing:
        problems.append(f"{shown(missing)}: labelled, but there is no such file")
    unlabelled = [file for file in files if file not in by_file and file not in wrong]
    if unlabelled:
        problems.append(f"{shown(unlabelled)}: no label, left out")
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


def list_paths(paths: Paths) -> list[str]:
    """One path, or several, as a list."""
    several = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    return [os.fspath(path) for path in several]


def list_inputs(captures: Paths, labels_path: Paths) -> list[Input]:
    """`Reader.list_inputs` of folders on this machine."""
    pairs = pair_inputs(captures, labels_path)
    folders, tables = [Path(folder) for folder, _ in pairs], [t for _, t in pairs]
    prefixes = [""]
    if len(folders) > 1:
        places = [path.resolve() for path in folders]
        check_apart(folders, places)
        prefixes = name_folders([x if x.is_dir() else x.parent for x in places])
    return [
        Input(prefix, list_files(folder, table), Path(table))
        for prefix, folder, table in zip(prefixes, folders, tables)
    ]


def pair_inputs(captures: Paths, labels_path: Paths) -> list[tuple[str, str]]:
    """`(folder, table of labels)` of each input.

    Raises:
      UsageError: there are not as many tables as folders.
    """
    folders, tables = list_paths(captures), list_paths(labels_path)
    if len(folders) != len(tables):
        raise UsageError(
            f"{len(folders)} --captures have {len(tables)} --labels: give one for "
            "each, in the same order"
        )
    return list(zip(folders, tables))


def check_apart(folders: Sequence[Any], places: Sequence[PurePath]) -> None:
    """Raises `UsageError` where one of several folders is in another.

    Args:
      folders: as they were given.
      places: their absolute paths.
    """
    for i, j in itertools.permutations(range(len(places)), 2):
        if places[i].is_relative_to(places[j]):
            raise UsageError(f"{folders[i]} is in {folders[j]}: give one of them")


def name_folders(parents: Sequence[PurePath]) -> list[str]:
    """The path of each folder below the one that has all, as a prefix of its files."""
    top = os.path.commonpath(parents)
    prefixes = [parent.relative_to(top).as_posix() + "/" for parent in parents]
    return [prefix.removeprefix("./") for prefix in prefixes]


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
        and not is_hidden(file)
        and not (labels_path and _is_same(path, labels_path))
    }


def is_hidden(file: str) -> bool:
    """Whether a path below a folder has a hidden folder or file in it."""
    return any(part.startswith(".") for part in Path(file).parts)


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


def file_hash(path: str | os.PathLike) -> str:
    """The SHA-256 of a file; "" where it cannot be opened: reading it reports that.

    Of a session, that of the names and hashes of its files.
    """
    if isinstance(path, parts.Parts):
        hashes = [(part.name, file_hash(part)) for part in path.paths]
        known = json.dumps(hashes).encode()
        return hashlib.sha256(known).hexdigest() if all(h for _, h in hashes) else ""
    if not os.path.isfile(path):  # a pipe can be read only once
        return ""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def remove_unfinished(
    hashes: dict[str, str], sources: Sequence[Source], results: Sequence[Any]
) -> None:
    """Removes the hashes of files that may be read better another time.

    Args:
      hashes: of each file, is changed.
      sources: of the files.
      results: what was read of each, see `Reader.read_files`.
    """
    for source, result in zip(sources, results):
        failed = isinstance(result, reading.Failure)
        if result.temporary if failed else lacks_tshark(result):
            hashes[source.file] = ""


def lacks_tshark(result: Any) -> bool:
    """Whether packets of a capture were not read because tshark was missing."""
    return bool(getattr(result[-1], "unread", ()))
