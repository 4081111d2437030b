"""TCP: the bytes of each direction of a connection in order, and their messages.

Only sequence numbers are used, not acknowledgements: one direction is enough.
"""

import struct
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from siamjax.capture import framing, layers
from siamjax.capture.clock import Packet

TLS, REPEATED, LOST, SIP = "tls", "tcp_repeated", "tcp_lost", "sip"

# Where the first segment of a connection was not captured, or not yet, the others wait
# this long for it. A hole waits as long as TCP repeats a lost segment.
_BEGIN_NS, _HOLE_NS = 10**8, 60 * 10**9
# Bytes of segments that wait behind a hole in one direction; of those and of messages
# that are not complete in all.
_MOST_WAITING, MOST_BYTES = 1 << 18, 1 << 25
MOST_STREAMS = 1 << 15
_OVERHEAD = 300  # bytes that a segment takes in memory in addition to its payload

_FIN, _SYN, _RST = 1, 2, 4
_header = struct.Struct("!4sI4xBB").unpack_from


class Segment(NamedTuple):
    """Bytes of a connection, and the packet that brought them."""

    time_ns: int
    packet: Packet
    data: bytes
    missing: int  # bytes behind them that were not captured

    @property
    def size(self) -> int:
        return len(self.data) + self.missing

    @property
    def memory(self) -> int:
        return len(self.data) + _OVERHEAD


class _Stream:
    """One direction of a connection."""

    def __init__(self, ends, time_ns):
        self.ends = ends  # source, target, ports
        self.parser = framing.Parser()
        self.first = self.next = None  # sequence numbers; None: not known yet
        self.waiting = {}  # segments behind a hole, by sequence number
        self.held = 0  # memory of those
        self.begun = 0  # bytes of the message that is not complete
        self.hole_ns = time_ns  # since when they wait
        self.packet = None  # the last one that was read
        self.undecided = []  # packets before it is known what the stream carries
        self.early = 0  # packets that were counted as TCP before


class Streams:
    """The connections of a capture.

    Args:
      message: called with the packet that completes a message, the ends (source,
        target, ports), the bytes of the message, and whether some of it is missing;
        returns whether it is of SIP.
      other: called with a packet that carries no message, the ends, and the cause.
      settle: called with a packet and its cause, for each packet that is not given to
        `other`, once. Both return whether they counted it.
      counts: of causes. Packets before the first message of a connection are moved from
        TCP to SIP there, and holes are counted.
    """

    def __init__(
        self,
        message: Callable[[Packet, tuple, bytes, bool], bool],
        other: Callable[[Packet, tuple, str], bool],
        settle: Callable[[Packet, str], bool],
        counts: Counter[str],
    ) -> None:
        self._message, self._other = message, other
        self._settle, self._counts = settle, counts
        self._streams: dict[tuple, _Stream] = {}
        self._held = 0

    def add(self, packet: Packet, time_ns: int, datagram: layers.Datagram) -> None:
        """Reads one segment.

        Raises:
          struct.error: its header is cut.
        """
        _, source, target, _, payload, _, missing, _ = datagram
        ports, sequence, offset, flags = _header(payload)
        ends = source, target, ports
        if offset < 0x50:  # shorter than a header can be
            self._other(packet, ends, layers.TCP)
            return
        data = payload[(offset >> 4) * 4 :]
        stream = self._streams.get(ends)
        if not (data or missing or flags & _SYN):
            self._add_empty(packet, ends, flags, stream)
            return
        if (
            stream
            and stream.next == sequence
            and stream.parser.is_whole(data)
            and not (stream.waiting or flags & _SYN or missing)
        ):  # nearly always, and worth a short way
            stream.next = (sequence + len(data)) & 0xFFFFFFFF
            stream.packet = packet
            is_sip = self._message(packet, ends, data, False)
            self._settle(packet, SIP if is_sip else layers.TCP)
            return
        segment = Segment(time_ns, packet, data, missing)
        if stream is None:
            if len(self._streams) >= MOST_STREAMS:
                self._drop_oldest()
            stream = self._streams[ends] = _Stream(ends, time_ns)
        if flags & _SYN:
            sequence = (sequence + 1) & 0xFFFFFFFF
            self._begin(stream, sequence, time_ns)
            if not segment.size:
                self._add_early(packet, stream)
        if segment.size:
            self._take(stream, sequence, segment)
        while self._held > MOST_BYTES:
            self._drop_oldest()

    def finish(self) -> None:
        """Gives up what still waits, at the end of the capture."""
        while self._streams:
            self._drop_oldest()

    def _add_empty(self, packet, ends, flags, stream):
        """An acknowledgement of a SIP connection belongs to it, and is nothing else."""
        if not (stream and stream.parser.carries_sip):
            back = self._streams.get(_back(ends))
            if not (back and back.parser.carries_sip):
                if stream or back:
                    self._add_early(packet, stream or back, ends)
                else:
                    self._other(packet, ends, layers.TCP)
                return
        if flags & (_FIN | _RST):
            self._other(packet, ends, SIP)
        else:
            self._settle(packet, SIP)

    def _add_early(self, packet, stream, ends=None):
        """Adds a packet without data, of which it is not known what it is for."""
        if self._carries_sip(stream):
            self._other(packet, ends or stream.ends, SIP)
        else:
            stream.early += self._other(packet, ends or stream.ends, layers.TCP)

    def _carries_sip(self, stream):
        """Whether a connection carries SIP, in one direction or the other."""
        back = self._streams.get(_back(stream.ends))
        return stream.parser.carries_sip or bool(back and back.parser.carries_sip)

    def _move_early(self, stream):
        """Counts the packets before the first message of a connection as its own."""
        for way in (stream, self._streams.get(_back(stream.ends))):
            if way and way.early:
                self._counts[layers.TCP] -= way.early
                self._counts[SIP] += way.early
                way.early = 0

    def _begin(self, stream, first, time_ns):
        """A connection begins, or its beginning was captured late or again."""
        if stream.first not in (None, first):
            self._give_up(stream)
            stream.__init__(stream.ends, time_ns)
        if stream.first is None:
            stream.first = stream.next = first
            self._drain(stream, time_ns)

    def _take(self, stream, sequence, segment):
        if stream.next == sequence and not stream.waiting:
            self._read(stream, sequence, segment)
            return
        if stream.next is not None and _is_before(
            sequence + segment.size, stream.next + 1
        ):
            self._skip(stream, segment)
            return
        time_ns = segment.time_ns
        if not stream.waiting:
            stream.hole_ns = time_ns
        before = stream.waiting.get(sequence)
        if before is None or before.size < segment.size:
            if before and not before.missing:  # what came first counts
                data = before.data + segment.data[before.size :]
                segment = segment._replace(data=data)
            self._hold(stream, segment.memory - (before.memory if before else 0))
            stream.waiting[sequence] = segment
            if before:
                self._settle_repeated(stream, before.packet)
        else:
            self._settle_repeated(stream, segment.packet)
        self._drain(stream, time_ns, segment)
        while stream.waiting and _is_over(stream, time_ns):
            self._skip_hole(stream, time_ns)

    def _drain(self, stream, time_ns, filler=None):
        """Reads the waiting segments up to the next hole.

        Where a segment fills the hole before them, their receiver gets them with it.
        """
        while stream.waiting and stream.next is not None:
            sequence = _lowest(stream)
            if _is_before(stream.next, sequence):
                return
            stream.hole_ns = time_ns
            segment = stream.waiting.pop(sequence)
            self._hold(stream, -segment.memory)
            known = (stream.next - sequence) & 0xFFFFFFFF
            if known >= segment.size:
                self._skip(stream, segment)
            else:
                data = segment.data[known:]
                missing = segment.size - known - len(data)
                came = max(segment[:2], filler[:2] if filler else segment[:2])
                read = Segment(*came, data, missing)
                self._read(stream, stream.next, read, segment.packet)

    def _skip_hole(self, stream, time_ns):
        """Goes on behind the bytes that were not captured."""
        sequence = _lowest(stream)
        if stream.first is None:
            stream.first = sequence
        else:
            self._lose(stream)
        stream.next = sequence
        self._drain(stream, time_ns)

    def _read(self, stream, sequence, segment, bringer=None):
        """Reads a segment; `bringer` is its packet, if not that which completes it."""
        _, packet, data, missing = segment
        stream.next = (sequence + len(data) + missing) & 0xFFFFFFFF
        stream.packet, parser = packet, stream.parser
        are_sip = [
            self._message(packet, stream.ends, message, False)
            for message in parser.feed(data)
        ]
        if missing and (message := parser.lose()):
            self._message(packet, stream.ends, message, True)
        self._weigh(stream)
        packet = bringer or packet
        if parser.carries_sip:
            if are_sip and not any(are_sip):  # of another protocol over WebSocket
                self._other(packet, stream.ends, layers.TCP)
            else:
                stream.undecided.append(packet)
            self._settle_undecided(stream)
            return
        stream.undecided.append(packet)
        if parser.carries != framing.UNKNOWN:
            self._decide(stream)

    def _lose(self, stream):
        if stream.parser.carries_sip:
            self._counts[LOST] += 1
        self._end_message(stream)

    def _end_message(self, stream):
        """The rest of a message that was begun will not come."""
        if message := stream.parser.lose():
            self._message(stream.packet, stream.ends, message, True)
            self._settle_undecided(stream)
        self._weigh(stream)

    def _settle_undecided(self, stream):
        """The packets so far belong to a connection of SIP."""
        for packet in stream.undecided:
            self._settle(packet, SIP)
        stream.undecided.clear()
        self._move_early(stream)

    def _decide(self, stream):
        """The packets so far carry no SIP."""
        cause = TLS if stream.parser.carries == framing.TLS else layers.TCP
        for packet in stream.undecided:
            self._other(packet, stream.ends, cause)
        stream.undecided.clear()

    def _skip(self, stream, segment):
        if stream.parser.carries_sip:
            self._other(segment.packet, stream.ends, REPEATED)
        else:
            stream.early += self._other(segment.packet, stream.ends, layers.TCP)

    def _settle_repeated(self, stream, packet):
        """Another segment that waits has the bytes of this one."""
        if stream.parser.carries_sip:
            self._settle(packet, REPEATED)
        else:
            stream.early += self._settle(packet, layers.TCP)

    def _give_up(self, stream):
        while stream.waiting:
            self._skip_hole(stream, stream.hole_ns)
        self._end_message(stream)
        self._decide(stream)

    def _drop_oldest(self):
        self._give_up(self._streams.pop(next(iter(self._streams))))

    def _weigh(self, stream):
        """Counts the memory of the message that is not complete."""
        begun = stream.parser.begun_bytes
        self._held += begun - stream.begun
        stream.begun = begun

    def _hold(self, stream, memory):
        stream.held += memory
        self._held += memory


def _is_over(stream, time_ns):
    """Whether the bytes before those that wait will not come any more."""
    patience_ns = _BEGIN_NS if stream.next is None else _HOLE_NS
    waited_ns = abs(time_ns - stream.hole_ns)
    return waited_ns > patience_ns or stream.held > _MOST_WAITING


def _is_before(sequence, other):
    """Whether a sequence number is lower than another; they begin again at 0."""
    return (sequence - other) & 0xFFFFFFFF >= 1 << 31


def _back(ends):
    """The ends of the other direction of a connection."""
    source, target, ports = ends
    return target, source, ports[2:] + ports[:2]


def _lowest(stream):
    """The sequence number of the first segment that waits."""
    base = stream.next if stream.next is not None else next(iter(stream.waiting))
    return min(
        stream.waiting, key=lambda number: (number - base + (1 << 31)) & 0xFFFFFFFF
    )
