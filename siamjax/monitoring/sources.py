"""Where packets come from: a file that is replayed, or a stream without an end.

Lines of a table of counters come the same way.
"""

import contextlib
import dataclasses
import itertools
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

from siamjax.capture import packets
from siamjax.types import SiamjaxError

# As `packets.read_packets` gives it: time_ns, link type, frame, original length.
Packet = tuple[int, int, bytes, int]

# A replay gives packets in pieces of this many seconds.
_TICK_S = 0.1
# Packets that are read at once where a replay is as fast as possible.
_MOST_AT_ONCE = 4096
# A stream tells the monitor after this time that no packet came.
IDLE_S = 0.5
# Bytes of packets that wait until the monitor takes them; then the stream waits.
MOST_WAITING = 1 << 26
_READ_BYTES = 1 << 16


class Notice(NamedTuple):
    """Something that happened to a source."""

    what: str  # of `records.Source`
    detail: str


class Position(NamedTuple):
    """A place in files from which reading can go on."""

    file: str
    offset: int  # packets of this file that lie before it; of a table, bytes


class Line(NamedTuple):
    """A line of a table."""

    file: str
    end: int  # bytes of the file up to the next line
    text: str


class Batch(NamedTuple):
    """Packets, or lines of a table, that came, or none for a while."""

    packets: Sequence[Any]  # `Packet` or `Line`
    arrived_s: float  # `time.monotonic()` when the first of them came
    notices: Sequence[Notice] = ()
    position: Position | None = None  # of the first packet; None: it never comes again
    is_live: bool = False  # time passes also when no packet comes


@dataclasses.dataclass
class Tally:
    """What a source counts.

    Attributes:
      counts: what was wrong, by cause of `capture.cleaning.CAUSES`.
      dropped: packets that were lost before they came here.
    """

    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    dropped: int = 0


def replay(
    path: str | os.PathLike, speed: float, tally: Tally, skip: int = 0
) -> Iterator[Batch]:
    """Yields the packets of a capture file as if they came now.

    Args:
      path: of the file.
      speed: how many times faster than they were captured; 0: as fast as possible.
      tally: receives what was wrong.
      skip: so many packets are left out at the beginning.
    Raises:
      SiamjaxError: it is not a capture.
    """
    waiting: list[Packet] = []
    start_s, zero_ns, tick_ns, due_ns = time.monotonic(), -1, 0, 0
    name, number = str(path), skip

    def batch():
        return Batch(waiting, time.monotonic(), (), Position(name, number))

    for packet in itertools.islice(
        packets.read_packets(path, tally.counts), skip, None
    ):
        time_ns = packet[0]
        if speed and zero_ns < 0:
            zero_ns, tick_ns = time_ns, round(_TICK_S * speed * 1e9)
            due_ns = zero_ns + tick_ns
        if waiting and (time_ns >= due_ns if speed else len(waiting) >= _MOST_AT_ONCE):
            yield batch()
            number, waiting = number + len(waiting), []
            while speed and time_ns >= due_ns:
                due_s = start_s + (due_ns - zero_ns) / (1e9 * speed)
                left_s = due_s - time.monotonic()
                if left_s > 0:
                    time.sleep(min(left_s, IDLE_S))
                    yield batch()
                if left_s <= IDLE_S:
                    due_ns += tick_ns
        waiting.append(packet)
    yield batch()


class Inbox:
    """Packets on their way from the thread that reads to the one that judges."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[list[Any], float, Position | None]] = deque()
        self._notices: list[Notice] = []
        self._bytes = 0
        self._changed = threading.Condition()
        self._error: Exception | None = None
        self._ended = self.closed = False

    def put(self, items: list[Any], position: Position | None = None) -> None:
        """Adds packets or lines; waits while too many are there."""
        with self._changed:
            while self._bytes > MOST_WAITING and not self.closed:
                self._changed.wait()
            self._waiting.append((items, time.monotonic(), position))
            self._bytes += _size_of(items)
            self._changed.notify_all()

    def notify(self, what: str, detail: str) -> None:
        """Says what happened to the source."""
        with self._changed:
            self._notices.append(Notice(what, detail))
            self._changed.notify_all()

    def end(self, error: Exception | None = None) -> None:
        """Nothing comes any more."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing is taken any more."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Waits, but not longer than until it is closed."""
        with self._changed:
            if not self.closed:
                self._changed.wait(seconds)

    def batches(self, *, is_live: bool) -> Iterator[Batch]:
        """Yields what comes, and empty batches while nothing comes.

        Args:
          is_live: of the batches.
        """
        while True:
            with self._changed:
                if not (self._waiting or self._notices or self._ended):
                    self._changed.wait(IDLE_S)
                taken, notices, self._notices = [], self._notices, []
                count = 0
                while self._waiting and count < _MOST_AT_ONCE:
                    taken.append(self._waiting.popleft())
                    count += len(taken[-1][0])
                    self._bytes -= _size_of(taken[-1][0])
                ended = self._ended and not self._waiting
                self._changed.notify_all()
            batch = [packet for part, _, _ in taken for packet in part]
            now_s = time.monotonic()
            arrived_s, position = taken[0][1:] if taken else (now_s, None)
            yield Batch(batch, arrived_s, notices, position, is_live)
            if ended:
                if self._error is not None:
                    raise self._error
                return


def _size_of(items):
    """The bytes of packets, or the characters of lines."""
    return sum(len(content) for _, _, content, *_ in items)


def read_in_thread(
    read: Callable[[Inbox], None], *, is_live: bool = True
) -> Iterator[Batch]:
    """Yields the batches of what a function puts into an inbox, in a thread.

    Args:
      read: ends when the source ends, or when the inbox is closed.
      is_live: of the batches.
    Raises:
      SiamjaxError: `read` raised it.
    """
    inbox = Inbox()

    def run():
        try:
            read(inbox)
            inbox.end()
        except SiamjaxError as error:
            inbox.end(error)
        except OSError as error:
            inbox.end(SiamjaxError(f"the source cannot be read: {error}"))

    threading.Thread(target=run, daemon=True).start()
    with contextlib.closing(inbox):
        yield from inbox.batches(is_live=is_live)


def stream(
    file: BinaryIO, name: str, tally: Tally, put: "Put | None" = None
) -> Iterator[Batch]:
    """Yields the packets of a stream of pcap or pcapng, until it ends.

    Args:
      file: such as standard input; only its descriptor is read.
      name: of it, for errors.
      tally: receives what was wrong.
      put: `table_sources.put_lines` for the lines of a table; by default
        `put_packets`.
    Raises:
      SiamjaxError: it is not a capture.
    """

    def chunks():
        while data := os.read(file.fileno(), _READ_BYTES):
            yield data

    put = put or put_packets
    return read_in_thread(lambda inbox: put(chunks(), name, tally, inbox))


# Puts what is in chunks of a file into an inbox, as `put_packets` does.
Put = Callable[..., None]


def put_packets(
    chunks: Iterator[bytes],
    name: str,
    tally: Tally,
    inbox: Inbox,
    position: Position | None = None,
) -> None:
    """Puts the packets of a capture into an inbox, before the next chunk is read.

    Args:
      chunks: of the capture.
      name: of it, for errors.
      tally: receives what was wrong.
      inbox: takes the packets.
      position: if the capture is a file; the packets before it are left out.
    """
    waiting: list[Packet] = []
    number = position.offset if position else 0

    def put():
        nonlocal number, waiting
        if waiting:
            inbox.put(waiting, position and position._replace(offset=number))
            number, waiting = number + len(waiting), []

    def asked():
        for data in chunks:
            yield data
            put()

    arrived = packets.read_chunks(asked(), tally.counts, name)
    for packet in itertools.islice(arrived, number, None):
        waiting.append(packet)
    put()
