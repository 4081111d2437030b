"""The step of one capture, where many machines read the captures of a data set.

A worker copies the capture to its disk, reads it as `ingest` does, and keeps the
reading in a storage that all machines see. It can be done twice without harm.
"""

import functools
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from siamjax.capture import parts, tshark
from siamjax.data import reading, sources
from siamjax.data.kept_readings import KeptReadings, Storage
from siamjax.types import SiamjaxError

Copy = Callable[[str, Path], None]  # a file of any file system to this disk


class Item(NamedTuple):
    """A capture to read."""

    number: int
    source: sources.Source
    urls: Mapping[str, str]  # of its files, by their path below the captures


class Work(NamedTuple):
    """What is the same for all captures."""

    options: dict[str, Any]  # of the readings
    key: str  # of the readings, on the machine that began
    token: str  # of this ingest
    read: Callable[[Path], Any]


def read_capture(item: Item, work: Work, storage: Storage, copy: Copy) -> None:
    """Reads a capture, keeps the reading, and writes its hash beside it, or a failure.

    Raises:
      SiamjaxError: this machine would read otherwise than the one that began.
    """
    options = work.options
    if "tshark" in options:
        options = options | {"tshark": tshark.current_version()}
    kept = KeptReadings(storage, options)
    if kept.key != work.key:
        raise SiamjaxError(
            "a worker has another siamjax or tshark than the machine that began: "
            f"{kept.key} here, {work.key} there; give all the same"
        )
    sha256, failure, file = "", None, item.source.file
    with tempfile.TemporaryDirectory(prefix="siamjax_") as scratch:
        copy_all = functools.partial(_copy_all, urls=item.urls, copy=copy)
        result = reading.try_read(copy_all, Path(scratch), file)
        if not isinstance(result, reading.Failure):
            path = _below(Path(scratch), item.source.path)
            sha256 = sources.file_hash(path)
            result = kept.load(sha256)
            if result is None:
                result = reading.try_read(work.read, path, file)
                if not isinstance(result, reading.Failure):
                    kept.save(sha256, result)
        if isinstance(result, reading.Failure):
            failure = list(result)
    content = json.dumps({"sha256": sha256, "failure": failure})
    storage.write(result_name(work.token, item.number), content.encode())


def result_name(token: str, index: int) -> str:
    """The name of the file with the hash of a capture, or its failure."""
    return f"{token}.{index}.json"


def _copy_all(folder, urls, copy):
    for file, url in urls.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        copy(url, path)


def _below(folder, path):
    """The path of a source in a folder."""
    if isinstance(path, parts.Parts):
        return parts.Parts(path.name, tuple(folder / part for part in path.paths))
    return folder / path
