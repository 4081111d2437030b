"""Times of a capture whose clock was set while it ran, or that was joined of several.

A clock jumps where it goes back by more than packets are ever out of order, or ahead by
more than a day. Behind a jump the times go on from the packet before: so the order of
the file is kept, and a wrong clock does not stretch the capture.
"""

import numpy as np

BACK_NS, AHEAD_NS = 10**9, 86_400 * 10**9


def mend(times_ns: np.ndarray, *, joined: bool = False) -> tuple[np.ndarray, int]:
    """Times without the jumps of the clock, and how many jumps there were.

    A clock that comes back to where it was before a jump shows its own times again.

    Args:
      times_ns: `[N]` int64, in the file's order.
      joined: whether the file was joined of several, whose times may overlap: then
        packets are only put in order, and the jumps ahead are closed.
    Returns:
      `[N]` int64 in the file's order; the number of jumps.
    """
    if joined:
        order = np.argsort(times_ns, kind="stable")
        mended = np.empty_like(times_ns)
        mended[order], jumps = mend(times_ns[order])
        return mended, jumps
    step_ns = np.diff(times_ns)
    if not ((step_ns < -BACK_NS) | (step_ns > AHEAD_NS)).any():
        return times_ns, 0
    begins = np.flatnonzero(np.abs(step_ns) > BACK_NS) + 1
    firsts, lasts = times_ns[begins].tolist(), times_ns[begins - 1].tolist()
    clock = Clock()
    shifts = [0, *map(clock.step, lasts, firsts)]
    lengths = np.diff([0, *begins.tolist(), len(times_ns)])
    return times_ns + np.repeat(np.array(shifts, np.int64), lengths), clock.jumps


class Clock:
    """`mend`, packet by packet.

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
