"""The prepared data set: a folder with the events of each session, and its labels.

sessions/NAME.npz   columns of `types.Events`, or of `types.Series`
labels.csv          file (NAME), condition, onset_s, clear_s; without times: normal
meta.json           kinds, spans, hashes of input and content, options, version
cleaning.json       the cleaning reports of the captures

The same input gives the same bytes. Addresses and Call-IDs are not stored.
"""

import contextlib
import csv
import functools
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from siamjax import files, text
from siamjax.capture import counters, events, growth
from siamjax.capture.cleaning import Report
from siamjax.capture.messages import ICMP, OTHER
from siamjax.capture.protocols.sip import SIP
from siamjax.types import (
    NORMAL,
    Column,
    DataSet,
    Events,
    Label,
    Series,
    Session,
    SiamjaxError,
    StoredSession,
    UsageError,
)

FORMAT = 1
# What to do where a file of the folder is damaged.
REMEDY = "run siamjax ingest again"

# Names in the folder.
_PARTS = frozenset(("sessions", "labels.csv", "meta.json", "cleaning.json"))
_SUFFIXES = frozenset(
    (".pcap", ".pcapng", ".cap", ".gz", ".xz", ".zst", ".csv", ".parquet")
)


def session_name(path: str | os.PathLike) -> str:
    """The name of a capture's session: that of the file, without folder and endings.

    Control characters and bytes that are not UTF-8 are escaped as Python shows them.
    """
    path = Path(path)
    while path.suffix.lower() in _SUFFIXES and path.stem.strip("."):
        path = path.with_suffix("")
    return text.printable(path.name)


def session_from_capture(
    path: str | os.PathLike,
    server_address: bytes | None = None,
    protocols: Sequence[str] | None = None,
    ports: Mapping[str, Sequence[int]] | None = None,
) -> tuple[Session, tuple[str, ...], Report]:
    """Reads a capture: its `Session` without labels, its kinds, its cleaning report."""
    rows, kinds, report = events.read_events(
        path, server_address, protocols=protocols, ports=ports
    )
    return Session(session_name(path), report.span_s, (), rows, None), kinds, report


def session_from_table(
    path: str | os.PathLike, columns: Sequence[Column]
) -> tuple[Session, counters.Report]:
    """Reads a table of counters: its `Session` without labels, and its report.

    Args:
      path: a CSV or Parquet file.
      columns: of a run. Other columns of the table are not read; columns that the table
        does not have are not measured.
    Raises:
      SiamjaxError: it cannot be read, or has none of the columns.
    """
    table, report = counters.read_counters(path)
    names = [column.name for column in columns]
    if not set(names) & set(table.names):
        raise SiamjaxError(
            f"{path} has none of the {len(names)} columns of training, such as "
            f"{names[0]!r}; it has {', '.join(table.names[:5])}"
        )
    grows = [column.grows for column in columns]
    rows = counters.select_columns(table, names)
    values, *_ = growth.growth_of_columns(*rows, grows)
    series = to_series(values, table.step_ns)
    return Session(session_name(path), report.span_s, (), None, series), report


def to_series(values: np.ndarray, step_ns: int) -> Series:
    """Rows `[N, F]` on an even grid as `types.Series`."""
    time_ns = np.arange(len(values), dtype=np.int64) * step_ns
    return Series(time_ns, values.astype(np.float32))


def read_data_set(folder: str | os.PathLike) -> DataSet:
    """Opens the `DataSet` in a folder that `write_data_set` made.

    Its sessions are `StoredSession`s. All are read once, to compare their hashes; one
    of them is in memory at a time.

    Raises:
      UsageError: the folder has none, or one of another format.
      files.Damaged: a file of it was damaged or changed after it was written.
    """
    folder = Path(folder)
    meta = read_current_meta(folder)
    with _part(folder / "labels.csv"):
        labels = _read_labels(folder / "labels.csv")
    with files.parsing(folder / "meta.json", REMEDY):
        kinds = tuple(map(str, meta["kinds"]))
        spans_s = {str(name): float(span) for name, span in meta["span_s"].items()}
    sessions = tuple(
        _open_session(folder, name, span_s, labels.get(name, ()), kinds)
        for name, span_s in spans_s.items()
    )
    if any(session.has_events for session in sessions):
        kinds = tuple(map(name_kind, kinds))
    data_set = DataSet(sessions, kinds, meta)
    _check_hashes(folder, data_set)
    return data_set


def read_current_meta(folder: str | os.PathLike) -> dict[str, Any]:
    """meta.json as a dict, of a data set that this version can read.

    Raises:
      UsageError: the folder has no data set, or one of another format.
      files.Damaged: it cannot be read.
    """
    meta = read_meta(folder)
    if meta is None:
        raise UsageError(
            f"{folder} is not a prepared data set; to make it: "
            f"siamjax ingest --captures=DIR --labels=FILE --out={folder}"
        )
    if meta.get("format") != FORMAT:
        raise UsageError(
            f"{folder} has format {meta.get('format')}, this version reads {FORMAT}: "
            f"{REMEDY}"
        )
    return meta


def read_meta(folder: str | os.PathLike) -> dict[str, Any] | None:
    """meta.json as a dict, or None where the folder is not a prepared data set.

    Raises:
      files.Damaged: it cannot be read.
    """
    path = Path(folder) / "meta.json"
    if not path.is_file():
        files.recover_folder(folder)
    if not path.is_file():
        return None
    meta = files.read_json(path, REMEDY)
    if not isinstance(meta, dict):
        raise files.Damaged(f"{path} is damaged (no object): {REMEDY}")
    return meta


def content_hashes(data_set: DataSet) -> dict[str, str]:
    """The SHA-256 of the content of each session, by the session's name.

    The content is the columns, the labels and the span. The hash does not depend on the
    other sessions: it uses the names of kinds and counters, not their numbers, and
    leaves out counters that the session did not measure.
    """
    return {s.name: _content_hash(s, data_set.kinds) for s in data_set.sessions}


def data_hash(data_set: DataSet) -> str:
    """The SHA-256 of a data set: of its sessions, kinds and growing counters."""
    return _hash_of_set(content_hashes(data_set), data_set)


def _hash_of_set(contents, data_set):
    facts = {
        "sessions": contents,
        "kinds": _bare_kinds(data_set),
        "growing": data_set.meta.get("growing", []),
    }
    return _sha256(facts, {})


def write_data_set(folder: str | os.PathLike, data_set: DataSet, cleaning: Any) -> None:
    """Writes a data set completely or not at all, see `files.replacing_folder`.

    Args:
      folder: is replaced where it is empty or a prepared data set.
      data_set: its meta is written into meta.json, with kinds and spans.
      cleaning: the content of cleaning.json.
    Raises:
      UsageError: the folder has other files.
    """
    check_replaceable(folder)
    with files.replacing_folder(folder) as beside:
        _fill(beside, data_set, cleaning)


def make_room(folder: str | os.PathLike) -> None:
    """Prepares a folder for `write_data_set`: removes files of killed processes.

    Raises:
      UsageError: the folder has other files, or cannot be written.
    """
    check_replaceable(folder)
    files.recover_folder(folder)
    files.remove_leftovers(os.path.realpath(folder))
    files.check_writable(folder)


def check_replaceable(folder: str | os.PathLike) -> None:
    """Raises `UsageError` where a folder has files of something else than a data set.

    Hidden files do not count. A damaged data set can be replaced.
    """
    folder = Path(folder)
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder: give another path")
    names = {path.name for path in folder.iterdir() if path.name[0] != "."}
    foreign = sorted(names - _PARTS) or sorted(names) * ("meta.json" not in names)
    if foreign:
        raise UsageError(
            f"{folder} has {text.short(foreign[0])}, which is no part of a prepared "
            "data set: give another folder"
        )


def name_kind(kind: str) -> str:
    """A kind with the name of its protocol; those of older data sets are of SIP."""
    is_message = ":" not in kind and kind not in (ICMP, OTHER)
    return f"{SIP.name}:{kind}" if is_message else kind


def _bare(kind):
    """A kind as older versions wrote it, so that hashes of SIP stay what they were."""
    return kind.removeprefix(f"{SIP.name}:")


def _fill(folder, data_set, cleaning):
    sessions = folder / "sessions"
    sessions.mkdir()
    contents = {}
    for session in data_set.sessions:  # one of them is in memory at a time
        columns = session.events if session.has_events else session.series
        np.savez_compressed(sessions / f"{session.name}.npz", **_arrays(columns))
        known = session.span_s, session.labels
        contents[session.name] = _hash_columns(columns, *known, data_set.kinds)
    meta = {
        **data_set.meta,
        "format": FORMAT,
        "kinds": list(data_set.kinds),
        "span_s": {session.name: session.span_s for session in data_set.sessions},
        "content_sha256": contents,
        "data_sha256": _hash_of_set(contents, data_set),
    }
    _write_labels(folder / "labels.csv", data_set.sessions)
    for name, content in (("meta.json", meta), ("cleaning.json", cleaning)):
        files.write_json(folder / name, content, ensure_ascii=False, allow_nan=False)


def _open_session(folder, name, span_s, labels, kinds):
    """The `StoredSession` of a file, with its hashes with and without the labels."""
    path = folder / "sessions" / f"{name}.npz"
    columns = _read_columns(path)
    has_events = isinstance(columns, Events)
    with files.parsing(folder, REMEDY):
        hashes = {
            (span_s, known): _hash_columns(columns, span_s, known, kinds)
            for known in {labels, ()}
        }
    read = functools.partial(_read_columns, path)
    return StoredSession(name, span_s, labels, has_events, read, hashes)


def _read_columns(path):
    """The `Events` or `Series` of a session's file."""
    with _part(path):
        with np.load(path, allow_pickle=False) as file:
            columns = dict(file)
        return Events(**columns) if "kind" in columns else Series(**columns)


@contextlib.contextmanager
def _part(path):
    """Turns errors of reading a file of a prepared data set into `Damaged`."""
    try:
        with files.parsing(path, REMEDY):
            yield
    except FileNotFoundError:
        raise files.Damaged(f"{path} is missing: {REMEDY}") from None


def _check_hashes(folder, data_set):
    """Raises `Damaged` where the content does not have the hashes of meta.json.

    Data sets of older versions have no hashes.
    """
    written = data_set.meta.get("content_sha256")
    if written is None:
        return
    with files.parsing(folder, REMEDY):
        hashes = content_hashes(data_set)
        changed = [name for name in hashes if hashes[name] != written.get(name)]
        if changed:
            raise files.Damaged(
                f"{folder}/sessions/{changed[0]}.npz, or its labels in labels.csv, or "
                f"meta.json was changed or damaged after it was written: {REMEDY}"
            )
        if data_hash(data_set) != data_set.meta.get("data_sha256"):
            raise files.Damaged(
                f"{folder}/meta.json was changed or damaged after it was written: "
                f"{REMEDY}"
            )


def _bare_kinds(data_set):
    """Kinds as older versions wrote and sorted them; names of counters as they are."""
    if not any(session.has_events for session in data_set.sessions):
        return list(data_set.kinds)
    return sorted(map(_bare, data_set.kinds))


def _content_hash(session, kinds):
    known = session.span_s, session.labels
    if isinstance(session, StoredSession) and known in session.hashes:
        return session.hashes[known]
    columns = session.events if session.has_events else session.series
    return _hash_columns(columns, *known, kinds)


def _hash_columns(columns, span_s, labels, kinds):
    if isinstance(columns, Events):
        used, number = np.unique(columns.kind, return_inverse=True)  # [K], [N]
        names = sorted(_bare(kinds[kind]) for kind in used)
        place = np.array([names.index(_bare(kinds[kind])) for kind in used], np.int32)
        columns = columns._replace(kind=place[number])
    else:
        measured = ~np.isnan(columns.values).all(0)  # [F]
        order = sorted(np.flatnonzero(measured), key=lambda f: kinds[f])
        names = [kinds[f] for f in order]
        columns = columns._replace(values=columns.values[:, order])
    facts = {
        "kinds": names,
        "labels": [[c, float(onset), float(clear)] for c, onset, clear in labels],
        "span_s": float(span_s),
    }
    return _sha256(facts, _arrays(columns))


def _arrays(columns):
    """The columns by name; data sets of older versions do not have all."""
    return {name: x for name, x in columns._asdict().items() if x is not None}


def _sha256(facts, arrays):
    """The hash of JSON facts, and of arrays with their names, dtypes and shapes."""
    arrays = {
        name: array.astype(array.dtype.newbyteorder("<"), copy=False)
        for name, array in arrays.items()
    }
    kinds = [[name, a.dtype.str, a.shape] for name, a in arrays.items()]
    digest = hashlib.sha256(json.dumps([facts, kinds], sort_keys=True).encode())
    for array in arrays.values():
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _write_labels(path, sessions):
    rows = [("file", *Label._fields)]
    for session in sessions:
        if not session.labels:
            rows.append((session.name, NORMAL, "", ""))
        for condition, onset_s, clear_s in session.labels:
            clear = "" if math.isinf(clear_s) else repr(clear_s)
            rows.append((session.name, condition, repr(onset_s), clear))
    files.write_csv(path, rows)


def _read_labels(path):
    labels: dict[str, list[Label]] = {}
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["onset_s"]:
                condition = files.unescape_cell(row["condition"])
                times = float(row["onset_s"]), float(row["clear_s"] or "inf")
                name = files.unescape_cell(row["file"])
                labels.setdefault(name, []).append(Label(condition, *times))
    return {name: tuple(file_labels) for name, file_labels in labels.items()}
