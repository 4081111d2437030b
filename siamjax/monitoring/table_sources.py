"""Where lines of a table of counters come from: a file, a stream, a replay."""

import logging
import os
import time
from collections.abc import Iterator

import numpy as np

from siamjax import files
from siamjax.capture import decompress, tables
from siamjax.monitoring import sources
from siamjax.monitoring.sources import Batch, Inbox, Line, Position, Tally
from siamjax.monitoring.table_lines import LineReader
from siamjax.text import printable
from siamjax.types import SiamjaxError

_LOG = logging.getLogger(__name__)
# A file with a zero byte in its first line, or among so many bytes, is no text. A later
# one is damage, such as a block that was never written.
_HEAD_BYTES = 64
# A line of more bytes is left out: without a limit, one without an end would fill the
# memory.
_LONGEST_LINE = 1 << 24
# In its place: `LineReader` leaves out a line with a zero byte, and counts it.
_LEFT_OUT = "\0"
# Lines that are read at once where a replay is as fast as possible.
_MOST_AT_ONCE = 4096
# A replay looks for due lines at most ten times in this time.
_TICK_S = 0.1


def split_lines(
    chunks: Iterator[bytes], name: str, *, is_whole: bool
) -> Iterator[list[Line]]:
    """Yields the lines of each chunk of a text, in UTF-8 or Latin-1.

    Args:
      chunks: of the text.
      name: of its file.
      is_whole: the text ends with the chunks: the last line needs no end.
    Raises:
      SiamjaxError: it is no such text.
    """
    begun = bytearray()  # a line, as far as it is there
    end = left_out = 0  # bytes of whole lines, and of a line that is too long
    for data in chunks:
        begun += data
        head = begun[:_HEAD_BYTES]
        *ended, begun = begun.split(b"\n") if b"\n" in data else [begun]
        if not end and b"\0" in head + [*ended, begun][0]:
            raise SiamjaxError(
                f"{name}: not a table that grows: it must be CSV or lines of JSON, in "
                "UTF-8, not compressed"
            )
        lines = []
        for line in ended:
            size, left_out = left_out + len(line), 0
            end += size + 1
            lines.append(Line(name, end, _to_text(line, size, name)))
        if left_out + len(begun) > _LONGEST_LINE:
            left_out, begun = left_out + len(begun), bytearray()
        yield lines
    size = left_out + len(begun)
    if size and (is_whole or left_out):
        last = Line(name, end + size, _to_text(begun, size, name))
        yield [last] if is_whole else []


def _to_text(line, size, name):
    """A line of `size` bytes as text; `_LEFT_OUT` if it is too long, with a warning."""
    if size > _LONGEST_LINE:
        _LOG.warning(
            "%s: a line of %d bytes is left out, the longest allowed is %d bytes",
            printable(name),
            size,
            _LONGEST_LINE,
        )
        return _LEFT_OUT
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


def put_lines(
    chunks: Iterator[bytes],
    name: str,
    tally: Tally,
    inbox: Inbox,
    position: Position | None = None,
) -> None:
    """Puts the lines of a table into an inbox, as `sources.put_packets` does packets.

    A line that was not written to its end waits for its end. If another file follows,
    it is left out.
    """
    skipped = position.offset if position else 0
    if skipped and not _is_end_of_line(name, skipped):  # it was begun again
        skipped = 0
    for lines in split_lines(chunks, name, is_whole=position is None):
        new = [line for line in lines if line.end > skipped]
        if new:
            inbox.put(new, position and Position(name, new[-1].end))


def _is_end_of_line(path, size):
    with open(path, "rb") as file:
        file.seek(size - 1)
        return file.read(1) == b"\n"


def replay_lines(
    path: str | os.PathLike, speed: float, skip: int = 0
) -> Iterator[Batch]:
    """Yields the lines of a table as if they came now.

    They come evenly, as far apart as its first rows are in the mean.

    Args:
      path: of the file; it may be compressed.
      speed: how many times faster than they were written; 0: as fast as possible.
      skip: so many bytes are left out at the beginning.
    Raises:
      SiamjaxError: it is no table.
    """
    name = str(path)
    with open(path, "rb", opener=files.open_at_once) as file:
        if str(path).endswith(".parquet"):
            raise SiamjaxError(f"{path}: Parquet does not grow: use siamjax identify")
        lines = [
            line
            for piece in split_lines(decompress.read_pieces(file), name, is_whole=True)
            for line in piece
            if line.end > skip
        ]
    each_s = _line_s([line.text for line in lines[: tables.HEAD_LINES]])
    start_s, first = time.monotonic(), 0
    while first < len(lines):
        if speed and each_s:
            due = int((time.monotonic() - start_s) * speed / each_s) + 1
            end = min(due, len(lines))
            if end <= first:
                due_s = start_s + first * each_s / speed
                left_s = max(due_s - time.monotonic(), 0.0)
                time.sleep(min(max(left_s, _TICK_S / 10), sources.IDLE_S))
                yield Batch([], time.monotonic())
                continue
        else:
            end = first + _MOST_AT_ONCE
        due_lines = lines[first:end]
        yield Batch(due_lines, time.monotonic(), (), Position(name, due_lines[-1].end))
        first = end
    yield Batch([], time.monotonic())


def _line_s(lines):
    """How many seconds lie between two lines; 0: it is not known."""
    rows = LineReader(()).read(lines, ended=True)
    time_ns = np.concatenate([part.time_ns for part in rows]) if rows else np.zeros(0)
    return float(np.ptp(time_ns)) / 1e9 / max(len(time_ns) - 1, 1) if len(rows) else 0.0
