"""SCTP (RFC 9260): the user messages in its chunks of data."""

import struct
from collections.abc import Iterator

from siamjax.capture import layers

_DATA = 0
_ENDS, _BEGINS = 1, 2
_HEADER_BYTES, _DATA_BYTES = 12, 16
_header = struct.Struct("!4s4s").unpack_from
_chunk = struct.Struct("!BBH").unpack_from
_number = struct.Struct("!I").unpack_from

# Numbers of chunks that are remembered to know one that is sent again, twice as many
# at most; bytes of messages that wait for their other chunks.
_MOST_NUMBERS, _MOST_BYTES = 1 << 16, 1 << 24
_OVERHEAD = 200
_MOST_CHUNKS = 1000  # of a message


def has_data(datagram: layers.Datagram) -> bool:
    """Whether a packet has a chunk of data, not only what keeps an association."""
    return any(True for _ in _chunks_of_data(datagram.payload))


class Associations:
    """The chunks of a capture that were seen so far.

    An association is known by its ports and its tag: its addresses may change.
    """

    def __init__(self) -> None:
        self._lately: set[int] = set()
        self._before: set[int] = set()
        self._waiting: dict[tuple, tuple[int, bytes]] = {}  # flags and bytes of a chunk
        self._held = 0

    def add(self, datagram: layers.Datagram) -> Iterator[bytes]:
        """Yields the user messages that this packet completes; b"" for other data.

        Raises:
          struct.error: its header is cut.
        """
        association = _header(datagram.payload)
        for flags, number, data in _chunks_of_data(datagram.payload):
            yield self._add_chunk(association, number, flags, data)

    def _add_chunk(self, association, number, flags, data):
        if self._is_repeated((association, number)):
            return b""
        if flags & _BEGINS and flags & _ENDS:
            return data
        if self._held > _MOST_BYTES:
            self._waiting.clear()
            self._held = 0
        self._waiting[association, number] = flags, data
        self._held += len(data) + _OVERHEAD
        return self._joined(association, number)

    def _joined(self, association, number):
        """The message of this chunk, if all its chunks are there, else b""."""
        first = self._edge(association, number, -1, _BEGINS)
        last = self._edge(association, number, 1, _ENDS)
        if first is None or last is None:
            return b""
        count = ((last - first) & 0xFFFFFFFF) + 1
        numbers = [(first + i) & 0xFFFFFFFF for i in range(count)]
        chunks = [self._waiting.pop((association, number))[1] for number in numbers]
        message = b"".join(chunks)
        self._held -= len(message) + _OVERHEAD * count
        return message

    def _edge(self, association, number, step, flag):
        """The number of a message's first or last chunk; None: one is missing."""
        for _ in range(_MOST_CHUNKS):
            flags, _ = self._waiting.get((association, number), (None, b""))
            if flags is None:
                return None
            if flags & flag:
                return number
            number = (number + step) & 0xFFFFFFFF
        return None

    def _is_repeated(self, name):
        """Whether the chunk was there before, in two sets, of which the older goes."""
        name = hash(name)
        if name in self._lately or name in self._before:
            return True
        if len(self._lately) >= _MOST_NUMBERS:
            self._before, self._lately = self._lately, set()
        self._lately.add(name)
        return False


def _chunks_of_data(payload):
    """Yields flags, number and content of each chunk of data."""
    start = _HEADER_BYTES
    while start + 4 <= len(payload):
        kind, flags, size = _chunk(payload, start)
        if size < 4:
            return
        if kind == _DATA and size > _DATA_BYTES and start + 8 <= len(payload):
            number = _number(payload, start + 4)[0]
            yield flags, number, payload[start + _DATA_BYTES : start + size]
        start += (size + 3) & ~3
