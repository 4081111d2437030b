"""Puts the fragments of IP packets together, in whatever order they were captured."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from siamjax.capture import layers
from siamjax.capture.clock import Packet

# A packet whose fragments are further apart is given up (RFC 791 waits 15 s, systems
# wait 30 s), and so are the oldest where all that wait are larger than this.
WAIT_NS, MOST_BYTES = 30 * 10**9, 1 << 25
_OVERHEAD = 400  # bytes that a fragment takes in memory in addition to its payload


class Whole(NamedTuple):
    """A packet whose fragments were put together."""

    datagram: layers.Datagram
    link: int  # pcap link type of the frame
    frame: bytes  # as if it had come in one
    packets: int  # that brought its fragments


@dataclasses.dataclass
class Incomplete:
    """The fragments of a packet that were seen so far."""

    packet: Packet  # number of the first one in the capture
    time_ns: int  # of the same
    parts: dict[int, layers.Datagram]  # by offset in bytes
    size: int = 0  # bytes of all parts
    end: int | None = None  # where the last part ends; None: not seen
    packets: int = 0  # that brought them, some of them twice

    def add(self, fragment: layers.Datagram) -> None:
        part = layers.part_of(fragment)
        self.parts[part.offset] = fragment
        self.size += len(fragment.payload)
        if not part.more and not fragment.missing:
            self.end = part.offset + len(fragment.payload)

    def body(self) -> bytes:
        """The bytes from the beginning to the first one that is missing."""
        joined = bytearray()
        for offset in sorted(self.parts):
            if offset > len(joined):
                break
            if offset + len(self.parts[offset].payload) > len(joined):
                joined[offset:] = self.parts[offset].payload
        return bytes(joined)

    def beginning(self) -> layers.Datagram | None:
        """What the first fragments say, or None where the very first is missing."""
        first = self.parts.get(0)
        return first and layers.decode_whole(first, self.body())

    def memory(self) -> int:
        return self.size + _OVERHEAD * len(self.parts)


class Fragments:
    """The packets of which a part was seen so far.

    Args:
      give_up: called with what was seen of a packet that is not completed.
    """

    def __init__(self, give_up: Callable[[Incomplete], None]) -> None:
        self._give_up = give_up
        self._waiting: dict[tuple, Incomplete] = {}
        self._held = 0

    def add(
        self, packet: Packet, time_ns: int, fragment: layers.Datagram
    ) -> Whole | None:
        """The packet that this fragment completes, or None."""
        part = layers.part_of(fragment)
        name = fragment.source, fragment.target, fragment.ident, part.protocol
        self._forget(lambda oldest: abs(time_ns - oldest.time_ns) > WAIT_NS)
        waiting = self._waiting.setdefault(name, Incomplete(packet, time_ns, {}))
        waiting.packets += 1
        if part.offset not in waiting.parts:
            self._held -= waiting.memory()
            waiting.add(fragment)
            self._held += waiting.memory()
        if waiting.end is not None and waiting.size >= waiting.end:
            self._remove(name)
            body = waiting.body()
            if len(body) >= waiting.end:
                datagram = layers.decode_whole(fragment, body)
                frame = layers.write_packet(fragment, body)
                return Whole(datagram, *frame, waiting.packets)
            self._give_up(waiting)  # there are enough bytes, but some overlap
        self._forget(lambda _: self._held > MOST_BYTES)
        return None

    def give_up_all(self) -> None:
        """Gives up all packets that are not complete, at the end of the capture."""
        self._forget(lambda _: True)

    def _forget(self, is_over):
        while self._waiting:
            name, oldest = next(iter(self._waiting.items()))
            if not is_over(oldest):
                return
            self._remove(name)
            self._give_up(oldest)

    def _remove(self, name):
        self._held -= self._waiting.pop(name).memory()
