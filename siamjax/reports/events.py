"""Event files of TensorBoard, written without TensorFlow and without a thread.

When `EventFile.add` returns, the record is in the file; else it raises the error of the
system. So a full disk ends a run, and does not leave it hanging. The records and their
checksums are written by tensorboard's own writer.
"""

import os
import pathlib
import re
import socket
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from siamjax import files

if TYPE_CHECKING:  # slow to import, and not needed before a file is opened
    from tensorboard.compat.proto.summary_pb2 import Summary

_NAME = re.compile(r"events\.out\.tfevents\.(\d+)\.")


class EventFile:
    """An event file that is open for writing."""

    def __init__(self, folder: str | os.PathLike, *, purge_from: int | None = None):
        """Starts a new file, which TensorBoard reads after the existing ones.

        Args:
          folder: of the run.
          purge_from: TensorBoard ignores records of earlier files from this step on.
        """
        from tensorboard.compat.proto import event_pb2
        from tensorboard.summary.writer import record_writer

        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{_next_number(folder)}.{socket.gethostname()}"
        self._file = open(folder / f"{name}.{os.getpid()}", "xb")
        self._records = record_writer.RecordWriter(self._file)
        self._event = event_pb2.Event
        self._write(file_version="brain.Event:2")
        if purge_from is not None:
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._write(step=purge_from, session_log=start)

    def add(self, step: int, summary: "Summary") -> None:
        """Writes a summary of a step; TensorBoard can see it when this returns."""
        self._write(step=step, summary=summary)
        with files.naming_file(self._file.name):
            self._file.flush()

    def sync(self) -> None:
        """Makes sure that all records are on the disk."""
        files.sync(self._file)

    def close(self) -> None:
        """Writes buffered records and closes the file."""
        with files.naming_file(self._file.name):
            self._file.close()

    def _write(self, **fields):
        event = self._event(wall_time=time.time(), **fields)
        with files.naming_file(self._file.name):
            self._records.write(event.SerializeToString())


def scalar_summary(values: dict[str, float]) -> "Summary":
    """{name: number} as one summary; names with `/` are grouped."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(
        value=[Summary.Value(tag=name, simple_value=x) for name, x in values.items()]
    )


def image_summary(name: str, png: bytes, size: Iterable[int]) -> "Summary":
    """A PNG picture of a size (width, height) in pixels."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    width, height = size
    content = Summary.Image(width=width, height=height, encoded_image_string=png)
    return Summary(value=[Summary.Value(tag=name, image=content)])


def _next_number(folder):
    """A number above those of all event files of a folder.

    TensorBoard reads files in the order of their names, which begin with a time in
    seconds. A new file must come last, even if the clock was set back.
    """
    names = (_NAME.match(path.name) for path in folder.glob("events.out.tfevents.*"))
    newest = max((int(match[1]) for match in names if match), default=0)
    return max(int(time.time()), newest + 1)
