"""Packets of IP without signalling, such as speech: they are only counted.

There are millions of them. So packets of one short step of time and of one direction
share a row, and the steps become longer where the rows become many: the memory grows
with the time of a capture, not with its packets.
"""

import struct
from array import array
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from siamjax.capture.clock import Packet

# Lengths of a step. Counts of a bin are exact where it has a whole number of steps: the
# first three do that for bins of half a second.
STEPS_NS = tuple(n * 10**6 for n in (10, 100, 500, 1000, 10_000, 60_000))
# Packets have rows of their own up to this number; beyond it the first ones share rows.
MOST_SINGLE = 1 << 20
# With more shared rows than this, the next length of a step is used.
MOST_SHARED = 1 << 21
# A row as bytes: an array would take each of its numbers alone, in twice the time.
_pack_row, _ROW_BYTES = struct.Struct("=4q").pack, 32
# In place of an address that is no server: only the direction is counted.
NO_SERVER = -1


class Others(NamedTuple):
    """Rows of packets without signalling."""

    packet: np.ndarray  # [N] int64, number of the first one in the capture, from 0
    time_ns: np.ndarray  # [N] int64, of the first one
    source: np.ndarray  # [N] int64, number of the address, or NO_SERVER
    target: np.ndarray  # [N] int64
    packets: np.ndarray  # [N] int64, how many share the row

    def take(self, chosen: np.ndarray) -> "Others":
        return Others(*(column[chosen] for column in self))


def share_rows(rows: Others, step_ns: int, first_ns: int) -> Others:
    """The rows with one for each step, source and target, in order of time.

    Args:
      rows: in any order.
      step_ns: the length of a step.
      first_ns: where the first step begins.
    """
    rows = rows.take(np.lexsort((rows.packet, rows.time_ns)))
    keys = ((rows.time_ns - first_ns) // step_ns, rows.source, rows.target)
    order = np.lexsort(keys[::-1])  # it keeps the order of equal ones
    change = np.zeros(len(order), bool)
    change[:1] = True
    for key in keys:
        change[1:] |= np.diff(key[order]) != 0
    begins = np.flatnonzero(change)
    if not len(begins):
        return rows
    shared = rows.take(order[begins])
    shared = shared._replace(packets=np.add.reduceat(rows.packets[order], begins))
    return shared.take(np.lexsort((shared.packet, shared.time_ns)))


class OtherPackets:
    """Collects packets without signalling.

    Args:
      servers: gives the numbers of addresses that may be the server; others are not
        kept where packets share a row.
      first_ns: gives the time of the first packet of the capture.
    """

    def __init__(
        self, servers: Callable[[], Iterable[int]], first_ns: Callable[[], int]
    ) -> None:
        self._servers, self._first_ns = servers, first_ns
        self._single = bytearray()  # of `_pack_row`
        self._given = array("q")  # numbers of packets that were given to tshark
        self._kept = 0  # of those, how many are among the single rows
        self._shared: list[Others] = []
        self._level = 0

    @property
    def step_ns(self) -> int:
        """The length of a step."""
        return STEPS_NS[self._level]

    def add(self, packet: Packet, source: int, target: int) -> None:
        """Adds a packet and the numbers of its addresses."""
        single = self._single
        single += _pack_row(*packet, source, target)
        if len(single) >= _ROW_BYTES * (self._kept + MOST_SINGLE):
            self._share()

    def keep(self, packet: Packet) -> None:
        """A packet may be a message of another protocol: it has a row of its own."""
        self._given.append(packet[0])

    def take(self) -> Others:
        """The rows since the last call, in any order."""
        rows = _joined([*self._shared, self._take_single()])
        self._shared, self._kept, self._given = [], 0, array("q")
        return rows

    def _take_single(self):
        columns = np.frombuffer(self._single, np.int64).reshape(-1, 4).T
        self._single = bytearray()
        return Others(*columns, np.ones(columns.shape[1], np.int64))

    def _share(self):
        rows, first_ns = self._take_single(), self._first_ns()
        is_given = np.isin(rows.packet, np.array(self._given, np.int64))
        kept = rows.take(is_given)
        self._kept = len(kept.packet)
        self._single += np.stack(kept[:4], 1).tobytes()
        rows, servers = rows.take(~is_given), np.array([*self._servers()], np.int64)
        ends = (
            np.where(np.isin(end, servers), end, NO_SERVER)
            for end in (rows.source, rows.target)
        )
        rows = Others(*rows[:2], *ends, rows.packets)
        self._shared.append(share_rows(rows, self.step_ns, first_ns))
        count = sum(len(shared.packet) for shared in self._shared)
        if count > MOST_SHARED and self._level + 1 < len(STEPS_NS):
            self._level += 1
            rows = _joined(self._shared)
            self._shared = [share_rows(rows, self.step_ns, first_ns)]


def _joined(several):
    return Others(*map(np.concatenate, zip(*several)))
