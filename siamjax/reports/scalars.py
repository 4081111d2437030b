"""Scalars of a run: scalars.csv and TensorBoard, without TensorFlow.

A run that was killed and resumed has the scalars of a quiet one: what was written
beyond the checkpoint is taken out of the CSV, and TensorBoard is told to drop it.
"""

import contextlib
import csv
import logging
import os
import pathlib
import time

FILE, HEADER = "scalars.csv", ["step", "name", "value"]


class Writer:
    """Appends to both; `flush` before a checkpoint: none is ahead of its scalars."""

    def __init__(self, file, events):
        self._file, self._events = file, events
        self._csv = csv.writer(file, lineterminator="\n")

    def add(self, step, values):
        """Writes {name: number} of a step; names with `/` are grouped."""
        for name, value in values.items():
            self._csv.writerow([step, name, repr(float(value))])
            self._events.add_scalar(name, float(value), step)

    def flush(self):
        """Everything written so far is on the disk when this returns."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._events.flush()


@contextlib.contextmanager
def writer(workdir, step):
    """A `Writer` that goes on after `step`; what workdir has beyond it is dropped.

    Args:
      workdir: a folder; gets scalars.csv (step,name,value) and event files.
      step: the last one that is kept, that of the checkpoint; 0 for a new run.
    """
    from tensorboardX import SummaryWriter  # slow to import, and not needed before

    # A NaN is a fact about a run, written as one; no line for each.
    logging.getLogger("tensorboardX.x2num").setLevel(logging.ERROR)
    path = pathlib.Path(workdir) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    purge(path, step)
    events = SummaryWriter(
        str(workdir),
        purge_step=step + 1,
        flush_secs=10,
        # Files are named by second; a run resumed within one must not overwrite, and
        # TensorBoard reads them in order of name.
        filename_suffix=f".{time.time_ns()}",
    )
    with open(path, "a", newline="", encoding="utf-8") as file:
        write = Writer(file, events)
        try:
            yield write
        finally:
            write.flush()
            events.close()


def purge(path, step):
    """Rewrites a CSV with its complete rows up to `step`, atomically, or makes it."""
    kept = [HEADER, *(row for row in rows(path) if int(row[0]) <= step)]
    beside = path.with_name(path.name + ".new")
    with open(beside, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(kept)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


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
