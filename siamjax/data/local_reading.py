"""Captures on this machine, read by its processes."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from siamjax.capture import parts
from siamjax.data import kept_readings, reading, sources
from siamjax.data.kept_readings import FolderBeside, KeptReadings
from siamjax.data.sources import Input, Paths, Source

# The end of a line about a file that was changed while it was read.
GROWING = "what was complete is used; ingest again when it is finished"


class LocalReader(NamedTuple):
    """A `sources.Reader` of captures on this machine."""

    workers: int | None = None  # number of processes; None: one for each core

    def list_inputs(self, captures: Paths, labels_path: Paths) -> list[Input]:
        return sources.list_inputs(captures, labels_path)

    def open_readings(
        self, folder: str | os.PathLike, options: dict[str, Any], *, reusable: bool
    ) -> KeptReadings | None:
        return KeptReadings(FolderBeside(folder), options) if reusable else None

    def hash_files(
        self,
        files: Sequence[Source],
        read: Callable[[Path], Any],
        kept: KeptReadings | None,
    ) -> dict[str, str]:
        return {file.file: sources.file_hash(file.path) for file in files}

    def read_files(
        self,
        files: Sequence[Source],
        read: Callable[[Path], Any],
        hashes: dict[str, str],
        kept: KeptReadings | None,
        say: Callable[[str], None],
    ) -> list[Any]:
        """See `sources.Reader`; each reading is kept as soon as it is there."""
        results: list[Any] = []
        for file in files:  # one of them is in memory at a time
            before = kept.load(hashes[file.file]) if kept else None
            if kept and before is not None:
                before = kept.deferred(hashes[file.file], before)
            results.append(before)
        rest = [i for i, result in enumerate(results) if result is None]
        if len(rest) < len(files):
            count = len(files) - len(rest)
            sources.tell([f"{count} of {len(files)} files were read before"], say)

        listed = {file.file: file.size for file in files}

        def on_result(task, result):
            sha256 = hashes[task.file]
            grew = parts.size_of(task.path) != listed[task.file]
            if not kept or not sha256 or grew or sources.lacks_tshark(result):
                return kept_readings.held(result)
            kept.save(sha256, result)
            return kept.deferred(sha256, result)

        tasks = [reading.Task(read, files[i].path, files[i].file) for i in rest]
        for i, result in zip(rest, reading.read_all(tasks, self.workers, on_result)):
            results[i] = result
        if kept:
            kept.forget_others(hashes.values())
        growing = [f.file for f in files if parts.size_of(f.path) != f.size]
        if growing:
            names = sources.shown(growing)
            sources.tell([f"{names}: still being written: {GROWING}"], say)
        hashes |= dict.fromkeys(growing, "")
        sources.remove_unfinished(hashes, files, results)
        return results


# Reads with one process for each core.
ON_ALL_CORES = LocalReader()
