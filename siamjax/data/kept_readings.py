"""What was read of files, kept beside a data set: no file is read twice.

An entry is named by the hash of the file, of the options and of the code that reads.
So an ingest that was interrupted, or gets more files, reads only what is new.
"""

import functools
import hashlib
import io
import json
import os
import pathlib
import shutil
import zipfile
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

import siamjax
from siamjax import capture, files
from siamjax.capture import cleaning, counters, times
from siamjax.types import Events, SiamjaxError

_RECORDS = {
    f"{record.__module__}.{record.__name__}": record
    for record in (
        Events,
        cleaning.Report,
        counters.Report,
        counters.Table,
        times.Clock,
    )
}


class Storage(Protocol):
    """A folder of entries on any file system."""

    def read(self, name: str) -> bytes:
        """The content of a file; OSError: it is not there."""

    def write(self, name: str, content: bytes) -> None:
        """Writes a file as a whole or not at all; makes the folder."""

    def forget_others(self, names: Iterable[str]) -> None:
        """Removes all other files; where `names` is empty, the folder too."""


class FolderBeside:
    """The hidden folder beside a data set on this machine."""

    def __init__(self, data_set: str | os.PathLike):
        place = pathlib.Path(data_set)
        self._folder = place.parent / folder_name(data_set)

    def read(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        files.write_bytes(self._folder / name, content)

    def forget_others(self, names: Iterable[str]) -> None:
        kept = set(names)
        try:
            for path in list(self._folder.iterdir()):
                if path.name not in kept:
                    path.unlink()
            if not kept:
                shutil.rmtree(self._folder)
        except OSError:  # another ingest may remove them too
            return


def folder_name(data_set: str | os.PathLike) -> str:
    """The name of the folder of entries of a data set."""
    return f".{pathlib.Path(data_set).name}.read"


class KeptReadings:
    """Entries in a storage; one that is damaged counts as not there."""

    def __init__(self, storage: Storage, options: dict[str, Any]):
        """
        Args:
          storage: where the entries are.
          options: what else decides the content of a reading: plain values.
        """
        self.storage = storage
        known = [siamjax.__version__, _code(), options]
        self.key = json.dumps(known, sort_keys=True)

    def load(self, sha256: str) -> Any:
        """What was read of the file with this hash; None: it is not kept."""
        if not sha256:
            return None
        try:
            content = io.BytesIO(self.storage.read(self._name(sha256)))
            with np.load(content, allow_pickle=False) as entry:
                parts = {name: entry[name] for name in entry.files}
            text = parts.pop("text").tobytes().decode()
            return _unpack(json.loads(text), parts)
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
            return None

    def deferred(self, sha256: str, reading: tuple) -> tuple:
        """A reading that was saved, with a function in place of its first part.

        The first part, which is the large one, is then read from the storage each time.
        """
        return functools.partial(self._first_part, sha256), *reading[1:]

    def _first_part(self, sha256):
        reading = self.load(sha256)
        if reading is None:
            raise SiamjaxError(
                "what was read of a file was removed or damaged before it was used: "
                "run the same command again"
            )
        return reading[0]

    def save(self, sha256: str, reading: Any) -> None:
        """Keeps what was read of the file with this hash; an empty hash: of none."""
        if not sha256:
            return
        arrays: dict[str, Any] = {}  # NumPy's
        text = json.dumps(_pack(reading, arrays)).encode()
        arrays["text"] = np.frombuffer(text, np.uint8)
        content = io.BytesIO()
        np.savez(content, **arrays)
        self.storage.write(self._name(sha256), content.getvalue())

    def forget_others(self, hashes: Iterable[str]) -> None:
        """Removes the entries of all other files; with the last one, the folder."""
        self.storage.forget_others({self._name(sha256) for sha256 in hashes if sha256})

    def _name(self, sha256):
        return hashlib.sha256(f"{self.key} {sha256}".encode()).hexdigest() + ".npz"


def held(reading: tuple) -> tuple:
    """A reading in memory, in the form of `KeptReadings.deferred`."""
    return (lambda: reading[0]), *reading[1:]


def _code():
    """A hash of the code that reads files."""
    folder = pathlib.Path(capture.__path__[0])
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _pack(value, arrays):
    """A value as JSON, its arrays taken out."""
    if isinstance(value, np.ndarray):
        arrays[f"a{len(arrays)}"] = value
        return {"array": f"a{len(arrays) - 1}"}
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, "_fields"):
        name = f"{type(value).__module__}.{type(value).__name__}"
        return {"record": name, "items": [_pack(part, arrays) for part in value]}
    if isinstance(value, tuple):
        return {"tuple": [_pack(part, arrays) for part in value]}
    if isinstance(value, list):
        return [_pack(part, arrays) for part in value]
    if isinstance(value, dict):
        return {"dict": [[key, _pack(part, arrays)] for key, part in value.items()]}
    return value


def _unpack(value, arrays):
    """The inverse of `_pack`."""
    if isinstance(value, list):
        return [_unpack(part, arrays) for part in value]
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[value["array"]]
    if "record" in value:
        items = (_unpack(part, arrays) for part in value["items"])
        return _RECORDS[value["record"]](*items)
    if "tuple" in value:
        return tuple(_unpack(part, arrays) for part in value["tuple"])
    return {key: _unpack(part, arrays) for key, part in value["dict"]}
