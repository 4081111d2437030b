"""Scalars of a run: scalars.csv and TensorBoard, without TensorFlow.

A run that was killed and resumed has the same scalars as one without a break: scalars
beyond the checkpoint are removed from the CSV, and TensorBoard is told to ignore them.
"""

import contextlib
import csv
import hashlib
import io
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import IO

from siamjax import files
from siamjax.reports import events

FILE, HEADER = "scalars.csv", ["step", "name", "value"]
# The folder of the event files: TensorBoard shows it as the name of a run.
RUN = "training"


class Writer:
    """Appends to both; `flush` before each checkpoint, so that no scalars are lost."""

    def __init__(self, file: IO[str], event_file: events.EventFile):
        self._file, self._event_file = file, event_file
        self._csv = csv.writer(file, lineterminator="\n")

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Writes {name: number} of a step; names with `/` are grouped."""
        numbers = {name: float(value) for name, value in values.items()}
        self._csv.writerows([step, name, repr(x)] for name, x in numbers.items())
        self._event_file.add(step, events.scalar_summary(numbers))

    def flush(self) -> None:
        """Makes sure that everything written is on the disk."""
        files.sync(self._file)
        self._event_file.sync()


@contextlib.contextmanager
def open_writer(workdir: str | os.PathLike, step: int) -> Iterator[Writer]:
    """A `Writer` that continues after `step`; later scalars in workdir are removed.

    Args:
      workdir: a folder; gets scalars.csv (step,name,value) and event files in
        training/, or beside those of a version that wrote them into the folder itself.
      step: the last one to keep, that of the checkpoint; 0 for a new run.
    """
    path = pathlib.Path(workdir) / FILE
    drop_after(path, step)
    old = any(path.parent.glob("events.out.tfevents.*"))
    folder = path.parent if old else path.parent / RUN
    with (
        contextlib.closing(events.EventFile(folder, purge_from=step + 1)) as records,
        files.open_file(path, "a", newline="", encoding="utf-8") as file,
    ):
        writer = Writer(file, records)
        try:
            yield writer
        finally:
            writer.flush()


def drop_after(path: pathlib.Path, step: int) -> None:
    """Keeps the complete rows up to `step` of a CSV, or makes an empty one.

    Raises:
      files.Damaged: there are rows to keep, and they cannot be read.
    """
    kept = [row for row in _rows(path) if row[0] <= step] if step > 0 else []
    files.write_csv(
        path, [HEADER, *([number, name, repr(x)] for number, name, x in kept)]
    )


def read_scalars(
    workdir: str | os.PathLike,
) -> dict[str, tuple[list[int], list[float]]]:
    """{name: (steps, values)} of a run, in the order written; empty without scalars.

    Raises:
      files.Damaged: the file cannot be used.
    """
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for step, name, value in _rows(pathlib.Path(workdir) / FILE):
        steps, values = curves.setdefault(name, ([], []))
        steps.append(step)
        values.append(value)
    return curves


def hash_scalars(workdir: str | os.PathLike) -> str:
    """The SHA-256 of scalars.csv: it tells one training from another; '': no scalars.

    A copy of a run has the same one, and a run that is trained further another.
    """
    path = pathlib.Path(workdir) / FILE
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def _rows(path):
    """`[(step, name, value)]` of a CSV, without a last row that a kill cut short."""
    if not path.exists():
        return []
    remedy = "move it away: only the curves of the steps so far are lost"
    with files.parsing(path, remedy):
        text = path.read_bytes().decode()
        complete = text[: text.rfind("\n") + 1]
        first, *rows = list(csv.reader(io.StringIO(complete, newline=""))) or [HEADER]
        if first != HEADER:
            raise ValueError(f"it does not begin with {','.join(HEADER)}")
        rows = [(int(step), name, float(value)) for step, name, value in rows]
        steps = [step for step, _, _ in rows]
        if steps != sorted(steps) or (steps and not 0 <= steps[0] <= steps[-1] < 2**63):
            raise ValueError("its steps do not ascend")
        return rows
