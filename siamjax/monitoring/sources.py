"""Where packets come from: a file that is replayed, or a stream without an end."""

import contextlib
import dataclasses
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

from siamjax.capture import packets
from siamjax.types import SiamjaxError

# As `packets.read_packets` gives it: time_ns, link type, frame, original length.
Packet = tuple[int, int, bytes, int]

# A replay waits until the packets of so many seconds are due.
_TICK_S = 0.1
# As fast as possible: so many packets at once.
_MOST_AT_ONCE = 4096
# A stream without a packet says so after so long.
IDLE_S = 0.5
# Bytes of packets that wait until the monitor takes them; then the stream waits.
MOST_WAITING = 1 << 26
_READ_BYTES = 1 << 16


class Notice(NamedTuple):
    """Something that happened to a source."""

    what: str  # of `records.Source`
    detail: str


class Batch(NamedTuple):
    """Packets that came, or none for a while."""

    packets: Sequence[Packet]
    arrived_s: float  # `time.monotonic()` when the first of them came
    notices: Sequence[Notice] = ()


@dataclasses.dataclass
class Tally:
    """What a source counts.

    Attributes:
      counts: what was wrong, by cause of `capture.cleaning.CAUSES`.
      dropped: packets that were lost before they came here.
    """

    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    dropped: int = 0


def replay(path: str | os.PathLike, speed: float, tally: Tally) -> Iterator[Batch]:
    """Yields the packets of a capture file as if they came now.

    Args:
      path: of the file.
      speed: how many times faster than they were captured; 0: as fast as possible.
      tally: receives what was wrong.
    Raises:
      SiamjaxError: it is not a capture.
    """
    waiting: list[Packet] = []
    start_s, zero_ns, tick_ns, due_ns = time.monotonic(), -1, 0, 0
    for packet in packets.read_packets(path, tally.counts):
        time_ns = packet[0]
        if speed and zero_ns < 0:
            zero_ns, tick_ns = time_ns, round(_TICK_S * speed * 1e9)
            due_ns = zero_ns + tick_ns
        if waiting and (time_ns >= due_ns if speed else len(waiting) >= _MOST_AT_ONCE):
            yield Batch(waiting, time.monotonic())
            waiting = []
            while speed and time_ns >= due_ns:
                due_s = start_s + (due_ns - zero_ns) / (1e9 * speed)
                left_s = due_s - time.monotonic()
                if left_s > 0:
                    time.sleep(left_s)
                    yield Batch((), time.monotonic())
                due_ns += tick_ns
        waiting.append(packet)
    yield Batch(waiting, time.monotonic())


class Inbox:
    """Packets on their way from the thread that reads to the one that judges."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[list[Packet], float, int]] = deque()
        self._notices: list[Notice] = []
        self._bytes = 0
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._ended = self._closed = False

    def put(self, some: list[Packet]) -> None:
        """Adds packets; waits while too many are there."""
        size = sum(len(frame) for _, _, frame, _ in some)
        with self._changed:
            while self._bytes > MOST_WAITING and not self._closed:
                self._changed.wait()
            self._waiting.append((some, time.monotonic(), size))
            self._bytes += size
            self._changed.notify_all()

    def notify(self, notice: Notice) -> None:
        """Says what happened to the source."""
        with self._changed:
            self._notices.append(notice)
            self._changed.notify_all()

    def end(self, error: BaseException | None = None) -> None:
        """Nothing comes any more."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing is taken any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def batches(self) -> Iterator[Batch]:
        """Yields what comes, and empty batches while nothing comes."""
        while True:
            with self._changed:
                if not (self._waiting or self._notices or self._ended):
                    self._changed.wait(IDLE_S)
                taken, notices = list(self._waiting), self._notices
                self._waiting.clear()
                self._bytes, self._notices = 0, []
                ended, error = self._ended, self._error
                self._changed.notify_all()
            arrived_s = taken[0][1] if taken else time.monotonic()
            some = [packet for part, _, _ in taken for packet in part]
            yield Batch(some, arrived_s, notices)
            if ended:
                if error is not None:
                    raise error
                return


def stream(file: BinaryIO, name: str, tally: Tally) -> Iterator[Batch]:
    """Yields the packets of a stream of pcap or pcapng, until it ends.

    Args:
      file: not buffered, such as standard input.
      name: of it, for errors.
      tally: receives what was wrong.
    Raises:
      SiamjaxError: it is not a capture.
    """
    inbox = Inbox()
    thread = threading.Thread(
        target=_read_stream, args=(file, name, tally, inbox), daemon=True
    )
    thread.start()
    with contextlib.closing(inbox):
        yield from inbox.batches()


def _read_stream(file, name, tally, inbox):
    waiting: list[Packet] = []

    def chunks():
        while True:
            if waiting:
                inbox.put(waiting.copy())
                waiting.clear()
            data = os.read(file.fileno(), _READ_BYTES)
            if not data:
                return
            yield data

    try:
        for packet in packets.read_chunks(chunks(), tally.counts, name):
            waiting.append(packet)
        if waiting:
            inbox.put(waiting)
        inbox.end()
    except SiamjaxError as error:
        inbox.end(error)
    except OSError as error:
        inbox.end(SiamjaxError(f"{name} cannot be read: {error}"))
