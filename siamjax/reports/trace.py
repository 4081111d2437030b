"""The trace: where a fixed set of windows lay at chosen steps of training.

trace.json says what the windows are; trace.bin has a record per step, of one size, so
that a run that was killed and resumed cuts the file back to its checkpoint and goes on.
"""

import contextlib
import json
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from siamjax.checks import require

ABOUT, FILE = "trace.json", "trace.bin"


class Trace(NamedTuple):
    """A trace as read. K steps, N windows."""

    about: dict[
        str, Any
    ]  # head, dim, and a list of N for each of what `writer` was given
    steps: np.ndarray  # [K] int, ascending
    points: np.ndarray  # [K, N, E] float32


def rhythm(steps, frames):
    """The steps to trace: 0 and up to `frames` more, dense early, `steps` the last."""
    return sorted(
        {round(steps * (i / frames) ** 2) for i in range(frames + 1) if frames}
    )


class Writer:
    """Appends records; `flush` before a checkpoint."""

    def __init__(self, file, record, last):
        self._file, self._record, self._last = file, record, last

    def append(self, step, points):
        """Writes points `[N, E]` of a step; what is there already stays."""
        if step <= self._last:
            return
        row, want = np.zeros((), self._record), self._record["points"].shape
        require(
            points.shape == want,
            f"the trace has points {list(want)}, not {list(points.shape)}",
        )
        row["step"], row["points"] = step, points
        self._file.write(row.tobytes())
        self._last = step

    def flush(self):
        """Everything written so far is on the disk when this returns."""
        self._file.flush()
        os.fsync(self._file.fileno())


@contextlib.contextmanager
def writer(workdir, step, *, head, dim, conditions, captures, times, roles, novel):
    """A `Writer` that goes on after `step`; what lies beyond it is cut off.

    Args:
      workdir: a folder.
      step: the last one that is kept, that of the checkpoint; 0 for a new run.
      head: whose points are traced.
      dim: E, its dimensions.
      conditions: N names.
      captures: N names.
      times: `[N]` seconds after the capture's first packet.
      roles: N words: train, valid, test.
      novel: names of conditions that training never sees.
    """
    folder = pathlib.Path(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    about = dict(
        head=head,
        dim=dim,
        conditions=list(conditions),
        captures=list(captures),
        times=[float(t) for t in times],
        roles=[str(role) for role in roles],
        novel=list(novel),
    )
    text, record = json.dumps(about), _record(about)
    path = folder / FILE
    before = folder / ABOUT
    same = before.exists() and before.read_text(encoding="utf-8") == text
    kept = _records(path, record) if same and path.exists() else np.zeros(0, record)
    kept = kept[kept["step"] <= step]
    with open(path, "r+b" if path.exists() else "w+b") as file:
        file.truncate(len(kept) * record.itemsize)
        file.seek(0, os.SEEK_END)
        before.write_text(text, encoding="utf-8")
        write = Writer(file, record, int(kept["step"][-1]) if len(kept) else -1)
        try:
            yield write
        finally:
            write.flush()


def read(workdir):
    """The `Trace` of a run, or None where there is none yet."""
    folder = pathlib.Path(workdir)
    if not (folder / ABOUT).exists() or not (folder / FILE).exists():
        return None
    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    rows = _records(folder / FILE, _record(about))
    return Trace(about, rows["step"], rows["points"]) if len(rows) else None


def _record(about):
    shape = (len(about["conditions"]), about["dim"])
    return np.dtype([("step", "<i8"), ("points", "<f4", shape)])


def _records(path, record):
    """The complete records; a kill may have cut the last one short."""
    data = path.read_bytes()
    return np.frombuffer(data[: len(data) // record.itemsize * record.itemsize], record)
