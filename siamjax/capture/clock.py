"""Times of a capture whose clock was set while it ran, or that was joined of several.

A clock jumps where it goes back by more than packets are ever out of order, or ahead by
more than a day. Behind a jump the times go on from the packet before: so the order of
the file is kept, and a wrong clock does not stretch the capture.
"""

from array import array
from typing import NamedTuple

import numpy as np

BACK_NS, AHEAD_NS = 10**9, 86_400 * 10**9
# A longer time without a packet is kept as a pause. There are few of them: at most five
# in a second.
PAUSE_NS = 200_000_000
# The number of a packet in its capture, from 0, and its time without jumps.
Packet = tuple[int, int]
_PIECE = 1 << 16  # packets whose times are put in order together


class Times(NamedTuple):
    """When the packets of a capture came, without the jumps of the clock."""

    packets: int
    first_ns: int  # since 1970
    last_ns: int
    reordered: int  # packets that are earlier than the one before
    jumps: int  # of the clock
    pauses_ns: np.ndarray  # [P, 2] int64: begin since the first packet, and length
    changes: np.ndarray  # [C, 2] int64: from which packet on which shift was added
    # [J, 2] int64: where a joined capture is closed: end of a jump ahead, and all
    # jumps up to it.
    closed: np.ndarray

    def settle(self, packet: np.ndarray, time_ns: np.ndarray) -> np.ndarray:
        """The final times of packets of a timeline.

        Args:
          packet: `[N]` int64, their numbers.
          time_ns: `[N]` int64, what `Timeline.add` gave of them.
        """
        if not len(self.closed):
            return time_ns
        place = np.searchsorted(self.changes[:, 0], packet, "right") - 1
        shown_ns = time_ns - self.changes[place, 1]
        passed = np.searchsorted(self.closed[:, 0], shown_ns, "right") - 1
        return shown_ns - self.closed[passed, 1]


class Clock:
    """Mends the times of packets, one after the other.

    A clock that comes back to where it was before a jump shows its own times again.

    Attributes:
      shift: is added to the times of now.
      jumps: how many there were.
    """

    def __init__(self) -> None:
        self.shift, self.jumps = 0, 0
        self._before = 0  # the shift before the last jump
        self._last_ns: int | None = None

    def mend(self, time_ns: int) -> int:
        """The time of the next packet without the jumps of the clock."""
        last_ns, self._last_ns = self._last_ns, time_ns
        if last_ns is not None and not -BACK_NS <= time_ns - last_ns <= BACK_NS:
            self.step(last_ns, time_ns)
        return time_ns + self.shift

    def step(self, last_ns: int, first_ns: int) -> int:
        """The shift from a packet on that is more than `BACK_NS` from the last one."""
        last_ns += self.shift
        if abs(first_ns + self._before - last_ns) <= BACK_NS:
            # It is the clock before the last jump.
            self.shift, self._before = self._before, self.shift
        elif not -BACK_NS <= first_ns + self.shift - last_ns <= AHEAD_NS:
            self.shift, self._before = last_ns - first_ns, self.shift
            self.jumps += 1
        return self.shift


class Timeline:
    """The times of all packets, in memory that grows with the pauses among them.

    Attributes:
      packets: how many there were.
    """

    def __init__(self) -> None:
        self.packets = 0
        self._clock, self._shift = Clock(), 0
        self._last_ns: int | None = None
        self._piece = array("q")  # times as the clock showed them
        self._changes = array("q", (0, 0))  # number of a packet, and shift from it on
        self._shown, self._mended = _Stretches(), _Stretches()

    def add(self, time_ns: int) -> Packet:
        """The number and time of the next packet."""
        number = self.packets
        self.packets = number + 1
        # As `Clock.mend`, without its call: there are millions of packets.
        last_ns, self._last_ns = self._last_ns, time_ns
        if last_ns is not None and not -BACK_NS <= time_ns - last_ns <= BACK_NS:
            shift = self._clock.step(last_ns, time_ns)
            if shift != self._shift:
                self._shift = shift
                self._changes.extend((number, shift))
        self._piece.append(time_ns)
        if len(self._piece) >= _PIECE:
            self._end_piece()
        return number, time_ns + self._shift

    def first_ns(self) -> int:
        """The earliest time so far. There must be a packet."""
        self._end_piece()
        return self._mended.first_ns()

    def finish(self, *, joined: bool) -> Times:
        """The times of all packets.

        Args:
          joined: whether the file was joined of several, whose times may overlap: then
            packets are only put in order, and the jumps ahead are closed.
        """
        self._end_piece()
        changes = np.array(self._changes, np.int64).reshape(-1, 2)
        closed = np.zeros((0, 2), np.int64)
        if not self.packets:
            return Times(0, 0, 0, 0, 0, closed, changes, closed)
        stretches = self._shown if joined else self._mended
        first_ns, last_ns = stretches.first_ns(), stretches.last_ns()
        begin_ns, length_ns = stretches.pauses()
        jumps, total_ns = self._clock.jumps, 0
        if joined:
            ahead = length_ns > AHEAD_NS
            passed_ns = np.cumsum(np.where(ahead, length_ns, 0))
            jumps = int(ahead.sum())
            ends_ns = (begin_ns + length_ns)[ahead]
            closed = np.stack([ends_ns, passed_ns[ahead]], 1)
            closed = np.concatenate([[[np.iinfo(np.int64).min, 0]], closed])
            total_ns = int(passed_ns[-1]) if len(passed_ns) else 0
            begin_ns, length_ns = (begin_ns - passed_ns)[~ahead], length_ns[~ahead]
        return Times(
            packets=self.packets,
            first_ns=first_ns,
            last_ns=last_ns - total_ns,
            reordered=stretches.backwards,
            jumps=jumps,
            pauses_ns=np.stack([begin_ns - first_ns, length_ns], 1),
            changes=changes,
            closed=closed,
        )

    def _end_piece(self):
        if not self._piece:
            return
        shown_ns = np.array(self._piece, np.int64)
        self._piece = array("q")
        self._shown.add(shown_ns)
        changes = np.array(self._changes, np.int64).reshape(-1, 2)
        numbers = np.arange(self.packets - len(shown_ns), self.packets)
        place = np.searchsorted(changes[:, 0], numbers, "right") - 1
        self._mended.add(shown_ns + changes[place, 1])


class LiveTimeline:
    """The times of packets of a stream without an end: nothing is kept of them.

    Attributes:
      packets: how many there were.
      last_ns: the latest time so far, of packets or of `advance`.
      clock: mends their times.
    """

    def __init__(self) -> None:
        self.packets, self.last_ns = 0, 0
        self.clock = Clock()
        self._first_ns: int | None = None

    def add(self, time_ns: int) -> Packet:
        """The number and time of the next packet."""
        number, self.packets = self.packets, self.packets + 1
        mended_ns = self.clock.mend(time_ns)
        if self._first_ns is None:
            self._first_ns = self.last_ns = mended_ns
        elif mended_ns > self.last_ns:
            self.last_ns = mended_ns
        elif mended_ns < self._first_ns:
            self._first_ns = mended_ns
        return number, mended_ns

    def advance(self, time_ns: int) -> None:
        """Says that it is this time, although no packet came."""
        self.last_ns = max(self.last_ns, time_ns)

    def first_ns(self) -> int:
        """The earliest time so far. There must be a packet."""
        assert self._first_ns is not None
        return self._first_ns


class _Stretches:
    """When there were packets, without a pause.

    Attributes:
      backwards: packets that are earlier than the one before.
    """

    def __init__(self):
        self.backwards = 0
        self._last_ns = None  # of the packet before
        self._begins, self._ends = [], []  # arrays, one a piece

    def add(self, times_ns):
        """Takes the next packets in the order of the file."""
        last_ns = times_ns[0] if self._last_ns is None else self._last_ns
        self.backwards += int((np.diff(times_ns, prepend=last_ns) < 0).sum())
        self._last_ns = times_ns[-1]
        in_order = np.sort(times_ns)
        cuts = np.flatnonzero(np.diff(in_order) > PAUSE_NS)
        self._begins.append(in_order[np.concatenate([[0], cuts + 1])])
        self._ends.append(in_order[np.concatenate([cuts, [-1]])])

    def first_ns(self):
        return int(min(begins[0] for begins in self._begins))

    def last_ns(self):
        return int(max(ends[-1] for ends in self._ends))

    def pauses(self):
        """`[P]` begins and `[P]` lengths of pauses in all packets, in order of time."""
        begins_ns, ends_ns = map(np.concatenate, (self._begins, self._ends))
        order = np.argsort(begins_ns, kind="stable")
        latest_ns = np.maximum.accumulate(ends_ns[order])[:-1]
        length_ns = begins_ns[order][1:] - latest_ns
        long = length_ns > PAUSE_NS
        return latest_ns[long], length_ns[long]
