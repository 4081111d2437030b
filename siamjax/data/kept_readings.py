"""What was read of files, kept beside a data set: no file is read twice.

An entry is named by the hash of the file, of the options and of the code that reads.
So an ingest that was interrupted, or gets more files, reads only what is new.
"""

import hashlib
import json
import os
import pathlib
import shutil
import zipfile
from collections.abc import Iterable
from typing import Any

import numpy as np

import siamjax
from siamjax import capture, files
from siamjax.capture import cleaning, counters, times
from siamjax.types import Events

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


class KeptReadings:
    """Entries in a folder; a file of it that is damaged counts as not there."""

    def __init__(self, data_set: str | os.PathLike, options: dict[str, Any]):
        """
        Args:
          data_set: the folder of the data set; the entries are in a hidden one beside.
          options: what else decides the content of a reading: plain values.
        """
        place = pathlib.Path(data_set)
        self.folder = place.parent / f".{place.name}.read"
        known = [siamjax.__version__, _code(), options]
        self._key = json.dumps(known, sort_keys=True)

    def load(self, sha256: str) -> Any:
        """What was read of the file with this hash; None: it is not kept."""
        if not sha256:
            return None
        try:
            with np.load(self._path(sha256), allow_pickle=False) as entry:
                parts = {name: entry[name] for name in entry.files}
            text = parts.pop("text").tobytes().decode()
            return _unpack(json.loads(text), parts)
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
            return None

    def save(self, sha256: str, reading: Any) -> None:
        """Keeps what was read of the file with this hash; an empty hash: of none."""
        if not sha256:
            return
        arrays: dict[str, np.ndarray] = {}
        text = json.dumps(_pack(reading, arrays)).encode()
        arrays["text"] = np.frombuffer(text, np.uint8)
        with files.replacing(self._path(sha256)) as beside, open(beside, "wb") as file:
            np.savez(file, **arrays)

    def forget_others(self, hashes: Iterable[str]) -> None:
        """Removes the entries of all other files; with the last one, the folder."""
        kept = {self._path(sha256).name for sha256 in hashes}
        try:
            for path in list(self.folder.iterdir()):
                if path.name not in kept:
                    path.unlink()
            if not kept:
                shutil.rmtree(self.folder)
        except OSError:  # another ingest may remove them too
            return

    def _path(self, sha256):
        name = hashlib.sha256(f"{self._key} {sha256}".encode()).hexdigest()
        return self.folder / f"{name}.npz"


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
