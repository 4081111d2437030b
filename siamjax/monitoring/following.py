"""Capture files that grow, and files of a ring buffer, one after the other."""

import glob
import os
from collections.abc import Iterator
from pathlib import Path

from siamjax.monitoring import records, sources
from siamjax.monitoring.sources import Batch, Position, Tally
from siamjax.types import SiamjaxError, UsageError

# How often a file that ended is looked at again.
_LOOK_S = 0.2
_READ_BYTES = 1 << 16


def follow(
    pattern: str | os.PathLike,
    tally: Tally,
    position: Position | None = None,
    put: sources.Put = sources.put_packets,
) -> Iterator[Batch]:
    """Yields the packets of a file that grows, or of the files of a ring buffer.

    A file is read to its end, then the one that was begun next. It begins with the file
    that was written last. In an empty folder it waits for the first file.

    Args:
      pattern: a file, a folder, or a pattern of paths.
      tally: receives what was wrong.
      position: from which it goes on, if that file is still there.
      put: `table_sources.put_lines` for tables of counters.
    Raises:
      UsageError: no file fits.
    """
    if not list_files(pattern) and not Path(pattern).is_dir():
        raise UsageError(f"--follow={pattern}: there is no such file")
    return sources.read_in_thread(
        lambda inbox: _follow(pattern, tally, inbox, position, put)
    )


def list_files(pattern: str | os.PathLike) -> dict[Path, int]:
    """The files of a pattern, in the order in which they were written last, which is
    given in ns."""
    path = Path(pattern)
    paths = path.iterdir() if path.is_dir() else map(Path, glob.glob(str(pattern)))
    listed = []
    for path in paths:
        try:
            if path.is_file() and not path.name.startswith("."):
                listed.append((path.stat().st_mtime_ns, path))
        except OSError:  # it was removed just now
            continue
    return {path: mtime_ns for mtime_ns, path in sorted(listed)}


def _follow(pattern, tally, inbox, position, put):
    if position and Path(position.file).exists():
        path = Path(position.file)
    else:
        if position:
            inbox.notify(records.LOST, f"{position.file} is not there any more")
            inbox.notify(records.BACK, "it goes on with the newest file")
        path, position = _wait_for_file(pattern, inbox), None
    is_lost = False
    while path is not None and not inbox.closed:
        if is_lost:
            inbox.notify(records.BACK, f"it goes on with {path}")
        following = _Following(path, pattern, inbox)
        chunks, begin = following.chunks(), position or Position(str(path), 0)
        try:
            put(chunks, str(path), tally, inbox, begin)
            is_lost = False
        except SiamjaxError as error:
            is_lost = True
            inbox.notify(records.LOST, str(error))
        for _ in chunks:  # a damaged file cannot be read, but another one may follow
            pass
        path, position = following.next, None


def _wait_for_file(pattern, inbox):
    """The file that was written last, or the first one of an empty folder; None: the
    inbox is closed."""
    listed, place = [*list_files(pattern)], -1
    while not listed and not inbox.closed:
        inbox.wait(_LOOK_S)
        listed, place = [*list_files(pattern)], 0
    return listed[place] if listed else None


class _Following:
    """One file, until another one is written."""

    def __init__(self, path, pattern, inbox):
        self.next: Path | None = None
        self._path, self._pattern, self._inbox = path, pattern, inbox
        self._read = 0

    def chunks(self):
        """Yields what is in the file and what is added."""
        with open(self._path, "rb") as file:
            self._file = file
            while not self._inbox.closed:
                if data := file.read(_READ_BYTES):
                    self._read += len(data)
                    yield data
                elif self.next is not None:
                    return
                else:
                    self.next = self._look()  # then the rest is read first
                    if self.next is None:
                        self._inbox.wait(_LOOK_S)

    def _look(self):
        """The file that was begun after this one; None: there is none."""
        opened = os.fstat(self._file.fileno())
        try:
            current = self._path.stat()
        except OSError:  # it was moved or removed
            current = None
        if current is not None:
            if not os.path.samestat(current, opened) or current.st_size < self._read:
                return self._path  # it was begun again
        later = [
            path
            for path, mtime_ns in list_files(self._pattern).items()
            if mtime_ns > opened.st_mtime_ns and path != self._path
        ]
        return later[0] if later else None
