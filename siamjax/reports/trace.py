"""The trace: the points of a fixed set of windows at chosen steps of training.

trace.json describes the windows. trace.bin has one record per step, all of the same
size: a run that was killed and resumed cuts the file at its checkpoint and continues.
"""

import contextlib
import logging
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import IO, Any, NamedTuple

import numpy as np

from siamjax import files, forms
from siamjax.checks import require

ABOUT, FILE = "trace.json", "trace.bin"
_FORM = dict(
    head=str,
    dim=int,
    conditions=[str],
    captures=[str],
    times=[float],
    roles=[str],
    novel=[str],
)
# Training counts its steps in 32 bits.
_BEYOND = 2**31
_LOG = logging.getLogger(__name__)


class Trace(NamedTuple):
    """A trace of K steps and N windows."""

    about: dict[str, Any]  # the arguments of `open_writer`: head, dim, lists of N
    steps: np.ndarray  # [K] int, ascending
    points: np.ndarray  # [K, N, E] float32


def choose_steps(steps: int, frames: int) -> list[int]:
    """The steps to trace: 0 and at most `frames` more up to `steps`, denser early."""
    return sorted(
        {round(steps * (i / frames) ** 2) for i in range(frames + 1) if frames}
    )


class Writer:
    """Appends records; `flush` before a checkpoint."""

    def __init__(self, file: IO[bytes], record: np.dtype, last: int):
        self._file, self._record, self._last = file, record, last

    def append(self, step: int, points: np.ndarray) -> None:
        """Writes points `[N, E]` of a step, unless the file already has the step."""
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

    def flush(self) -> None:
        """Makes sure that everything written is on the disk."""
        files.sync(self._file)


@contextlib.contextmanager
def open_writer(
    workdir: str | os.PathLike,
    step: int,
    *,
    head: str,
    dim: int,
    conditions: Sequence[str],
    captures: Sequence[str],
    times: Sequence[float] | np.ndarray,
    roles: Sequence[str] | np.ndarray,
    novel: Sequence[str],
) -> Iterator[Writer]:
    """A `Writer` that continues after `step`; later records are cut off.

    Args:
      workdir: a folder.
      step: the last one to keep, that of the checkpoint; 0 for a new run.
      head: whose points are traced.
      dim: E, its dimensions.
      conditions: N names.
      captures: N names.
      times: `[N]` seconds after the capture's first packet.
      roles: N words: train, valid, test.
      novel: names of conditions that training never sees.
    Raises:
      files.Damaged: records to keep cannot be read.
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
    path, record = folder / FILE, _record(about)
    kept = np.zeros(0, record)
    if step > 0 and path.exists():
        if (folder / ABOUT).exists() and _read_about(folder) == about:
            kept = _read_records(folder, record)
        elif path.stat().st_size:
            _LOG.warning("%s is of other windows: it starts again", path)
    kept = kept[kept["step"] <= step]
    with files.open_file(path, "r+b" if path.exists() else "w+b") as file:
        file.truncate(len(kept) * record.itemsize)
        file.seek(0, os.SEEK_END)
        if not len(kept):  # old records must be gone before trace.json changes
            os.fsync(file.fileno())
            files.write_json(folder / ABOUT, about)
        write = Writer(file, record, int(kept["step"][-1]) if len(kept) else -1)
        try:
            yield write
        finally:
            write.flush()


def read_trace(workdir: str | os.PathLike) -> Trace | None:
    """The `Trace` of a run, or None if there is none yet.

    Points can be infinite or NaN where the training diverged.

    Raises:
      files.Damaged: a file of it cannot be used.
    """
    folder = pathlib.Path(workdir)
    if not (folder / ABOUT).exists() or not (folder / FILE).exists():
        return None
    about = _read_about(folder)
    rows = _read_records(folder, _record(about))
    return Trace(about, rows["step"], rows["points"]) if len(rows) else None


def _read_about(folder):
    path, remedy = folder / ABOUT, _remedy(folder)
    with files.parsing(path, remedy):
        about = files.read_json(path, remedy)
        forms.check_form(about, _FORM)
        count = len(about["conditions"])
        for name in ("captures", "times", "roles"):
            if len(about[name]) != count:
                raise ValueError(f"{len(about[name])} {name} of {count} windows")
        if not count or not about["dim"]:
            raise ValueError("no windows, or no dimensions")
        _record(about)
    return about


def _read_records(folder, record):
    """The records, without a last one that a kill cut short."""
    path = folder / FILE
    with files.parsing(path, _remedy(folder)):
        data = path.read_bytes()
        count = len(data) // record.itemsize
        if data and not count:
            raise ValueError(f"{len(data)} bytes are less than one record")
        rows = np.frombuffer(data, record, count)
        steps = rows["step"]
        if (np.diff(steps, prepend=-1, append=_BEYOND) <= 0).any():
            raise ValueError("its steps do not ascend")
    return rows


def _record(about):
    shape = (len(about["conditions"]), about["dim"])
    return np.dtype([("step", "<i8"), ("points", "<f4", shape)])


def _remedy(folder):
    return (
        f"move {ABOUT} and {FILE} of {folder} away: only the film and the cube of "
        "points are lost"
    )
