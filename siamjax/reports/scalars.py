"""Scalars of a run: scalars.csv and TensorBoard, without TensorFlow.

A run that was killed and resumed has the scalars of a quiet one: what was written
beyond the checkpoint is taken out of the CSV, and TensorBoard is told to drop it.
"""

import contextlib
import csv
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import TextIO

from siamjax import files
from siamjax.reports import events

FILE, HEADER = "scalars.csv", ["step", "name", "value"]


class Writer:
    """Appends to both; `flush` before a checkpoint: none is ahead of its scalars."""

    def __init__(self, file: TextIO, event_file: events.EventFile):
        self._file, self._event_file = file, event_file
        self._csv = csv.writer(file, lineterminator="\n")

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Writes {name: number} of a step; names with `/` are grouped."""
        numbers = {name: float(value) for name, value in values.items()}
        self._csv.writerows([step, name, repr(x)] for name, x in numbers.items())
        self._event_file.add(step, events.scalars(numbers))

    def flush(self) -> None:
        """Everything written so far is on the disk when this returns."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._event_file.sync()


@contextlib.contextmanager
def writer(workdir: str | os.PathLike, step: int) -> Iterator[Writer]:
    """A `Writer` that goes on after `step`; what workdir has beyond it is dropped.

    Args:
      workdir: a folder; gets scalars.csv (step,name,value) and event files.
      step: the last one that is kept, that of the checkpoint; 0 for a new run.
    """
    path = pathlib.Path(workdir) / FILE
    purge(path, step)
    with (
        contextlib.closing(events.EventFile(workdir, purge_from=step + 1)) as records,
        open(path, "a", newline="", encoding="utf-8") as file,
    ):
        writer = Writer(file, records)
        try:
            yield writer
        finally:
            writer.flush()


def purge(path: pathlib.Path, step: int) -> None:
    """Rewrites a CSV with its complete rows up to `step`, atomically, or makes it."""
    kept = (row for row in rows(path) if int(row[0]) <= step)
    files.write_csv(path, [HEADER, *kept])


def read(workdir):
    """{name: (steps, values)} of a run, in the order written; empty without scalars."""
    out = {}
    for step, name, value in rows(pathlib.Path(workdir) / FILE):
        steps, values = out.setdefault(name, ([], []))
        steps.append(int(step))
        values.append(float(value))
    return out


def rows(path):
    """The complete rows of a CSV; a kill may have cut the last one short."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    complete = text[: text.rfind("\n") + 1]
    return [row for row in csv.reader(complete.splitlines())][1:]
