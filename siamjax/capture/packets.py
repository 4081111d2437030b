"""Packets of a capture file: pcap or pcapng, plain or gzip, bzip2, xz, zstd.

The readers of dpkt give times as floats, do not give the original length of a packet
that was cut, and support one interface in a file. So only the constants of the formats
are from dpkt, and the records are read here, with times as exact integers.
"""

import os
import struct
from collections import Counter
from collections.abc import Iterator

from dpkt import pcap, pcapng

from siamjax import files
from siamjax.capture import decompress
from siamjax.types import SiamjaxError

# The largest snap length that libpcap writes: a longer record is damaged. Blocks of
# pcapng that are not packets (names, secrets) may be longer.
_LONGEST, _LONGEST_BLOCK = 1 << 18, 1 << 24
_LONGEST_READ = 2 * _LONGEST  # of a block with a packet, its options included
_LAST_NS = 1 << 62  # the year 2116: a later time is damaged; differences fit 64 bits

# Magic number: nanoseconds in a unit of the fraction, bytes of the header of a record.
_PCAP = {
    pcap.TCPDUMP_MAGIC: (1000, 16),
    pcap.TCPDUMP_MAGIC_NANO: (1, 16),
    pcap.MODPCAP_MAGIC: (1000, 24),
}
# The first fields of blocks with a time: interface (drops), time high and low, both
# lengths.
_TIMED = {pcapng.PCAPNG_BT_EPB: "IIIII", pcapng.PCAPNG_BT_PB: "HHIIII"}
# Other blocks are skipped without being kept in memory.
_READ = frozenset((pcapng.PCAPNG_BT_IDB, pcapng.PCAPNG_BT_SPB, *_TIMED))


def read_packets(
    path: str | os.PathLike, counts: Counter, *, limit_expansion: bool = True
) -> Iterator[tuple[int, int, bytes, int]]:
    """Yields `(time_ns, link type, frame, original length)` of each packet of a file.

    A file may be joined of several captures: `counts["joined"]` is the number of those
    behind the first. A file that is cut is read up to the cut, and
    `counts["truncated"]` is set to 1. A packet without a time has that of the one
    before, and is counted as `untimed`.
    Where a record is damaged, reading ends, since the next one cannot be found, and
    `counts["damaged"]` is increased. A named pipe without a writer is an empty file.

    Args:
      path: of the file; its ending is not used.
      counts: receives the number of irregularities by cause.
      limit_expansion: whether a file that expands beyond the limits is refused.
    Raises:
      SiamjaxError: the file is empty, not a capture, or expands too much.
    """
    with open(path, "rb", opener=files.open_at_once) as file:
        pieces = decompress.read_pieces(file, limited=limit_expansion)
        yield from read_chunks(_guarded(pieces, counts), counts, path)


def read_chunks(
    chunks: Iterator[bytes], counts: Counter, name: str | os.PathLike
) -> Iterator[tuple[int, int, bytes, int]]:
    """Yields the packets of a capture that comes in chunks; see `read_packets`.

    A packet is yielded before the next chunk is asked for.

    Args:
      chunks: its bytes; none of them is empty.
      counts: receives the number of irregularities by cause.
      name: of the capture, for errors.
    """
    head = _at_least(24, b"", chunks)
    if not head:
        what = "damaged or cut at its beginning" if counts else "an empty file"
        raise SiamjaxError(f"{name}: {what}")
    reader = _reader(head)
    if reader is None:
        raise SiamjaxError(f"{name}: not a capture, neither pcap nor pcapng")
    while reader:
        rest = yield from reader(head, chunks, counts)
        head = _at_least(24, rest or b"", chunks)
        reader = _reader(head)
        if reader:
            counts["joined"] += 1
        elif rest is not None:
            counts["damaged"] += 1


def _guarded(chunks, counts):
    """Ends where a compressed stream is broken, and counts the cause."""
    try:
        yield from chunks
    except EOFError:
        counts["truncated"] = 1
    except decompress.BrokenStream:
        counts["damaged"] += 1


def _at_least(size, data, chunks):
    """Data and the next chunks, at least `size` bytes; fewer at the end of the file.

    The bytes are copied once, not once for each chunk.
    """
    parts, length = [data], len(data)
    while length < size and (chunk := next(chunks, b"")):
        parts.append(chunk)
        length += len(chunk)
    return b"".join(parts)


def _after(size, data, chunks):
    """The bytes behind the first `size` of data and the chunks; None: the file is cut.

    The skipped bytes are not kept in memory.
    """
    while len(data) < size:
        size -= len(data)
        data = next(chunks, b"")
        if not data:
            return None
    return data[size:]


# A reader yields packets, and returns where it cannot go on: the bytes from there, in
# which another capture may begin; None at the end of the file.


def _reader(head):
    for order in "<>":
        magic = struct.unpack(f"{order}I", head[:4].ljust(4, b"\0"))[0]
        if magic in _PCAP and len(head) >= 24:
            return lambda *arguments: _pcap(order, *_PCAP[magic], *arguments)
        if magic == pcapng.PCAPNG_BT_SHB and len(head) >= 12:
            return _pcapng if _is_size(_section(head, 0)[1]) else None
    return None


def _section(data, position):
    """Byte order and size of a section header of pcapng."""
    little = data[position + 8 : position + 12] == b"\x4d\x3c\x2b\x1a"
    order = "<" if little else ">"
    return order, struct.unpack_from(f"{order}I", data, position + 4)[0]


def _is_size(size):
    """Whether a block of pcapng may have so many bytes."""
    return size >= 12 and not size % 4 and size <= _LONGEST_BLOCK


def _pcap(order, unit_ns, size, head, chunks, counts):
    link = struct.unpack_from(f"{order}I", head, 20)[0] & 0xFFFF
    unpack = struct.Struct(f"{order}IIII").unpack_from
    data, position, needed = head, 24, size
    while True:
        end = len(data)
        while end - position >= size:
            seconds, fraction, captured, length = unpack(data, position)
            # No packet has 0 bytes: the rest of the file are zeros of the disk.
            if captured > _LONGEST or not (captured or length):
                return data[position:]
            needed = size + captured
            stop = position + needed
            if stop > end:
                break
            time_ns = seconds * 1_000_000_000 + fraction * unit_ns
            yield time_ns, link, data[position + size : stop], length
            position, needed = stop, size
        data, position = _at_least(needed, data[position:], chunks), 0
        if len(data) < needed:
            break
    if data:
        counts["truncated"] = 1
    return None


def _pcapng(head, chunks, counts):
    data, position, order, interfaces = head, 0, "<", []
    time_ns = None  # of the last packet
    while True:
        if len(data) - position < 12:
            data, position = _at_least(12, data[position:], chunks), 0
            if len(data) < 12:
                break
        kind, size = struct.unpack_from(f"{order}II", data, position)
        if kind == pcapng.PCAPNG_BT_SHB:  # its number is the same in both byte orders
            if time_ns is not None:
                counts["joined"] += 1
            (order, size), interfaces = _section(data, position), []
        if not _is_size(size):
            return data[position:]
        stop = position + size
        if kind in _READ and size <= _LONGEST_READ:
            if stop > len(data):
                data, position, stop = _at_least(size, data[position:], chunks), 0, size
                if len(data) < size:
                    break
            try:
                body = data[position + 8 : stop - 4]
                if kind == pcapng.PCAPNG_BT_IDB:
                    interfaces.append(_interface(order, body))
                elif kind in _TIMED:
                    packet = _timed(order, _TIMED[kind], body, interfaces)
                    time_ns = packet[0]
                    yield packet
                else:
                    counts["untimed"] += 1
                    if time_ns is not None:
                        yield time_ns, *_simple(order, body, interfaces)
            except (struct.error, IndexError):
                counts["damaged"] += 1
        else:
            if kind in _READ:
                counts["damaged"] += 1
            if stop > len(data):
                data, stop = _after(size, data[position:], chunks), 0
                if data is None:
                    break
        position = stop
    if data is None or data:
        counts["truncated"] = 1
    return None


def _simple(order, body, interfaces):
    """Link type, frame and original length of a packet without a time."""
    length = struct.unpack_from(f"{order}I", body)[0]
    return interfaces[0][0], body[4 : 4 + length], length


def _timed(order, layout, body, interfaces):
    head = struct.Struct(order + layout)
    interface, *_, high, low, captured, length = head.unpack_from(body)
    link, to_ns = interfaces[interface]
    time_ns = to_ns(high << 32 | low)
    start = head.size
    if captured > len(body) - start or not 0 <= time_ns < _LAST_NS:
        raise IndexError
    return time_ns, link, body[start : start + captured], length


def _interface(order, body):
    """Link type of an interface, and its function from ticks to nanoseconds."""
    link = struct.unpack_from(f"{order}H", body)[0]
    resolution, offset_s, position = 6, 0, 8
    while position + 4 <= len(body):
        code, size = struct.unpack_from(f"{order}HH", body, position)
        if code == pcapng.PCAPNG_OPT_IF_TSRESOL:
            resolution = body[position + 4]
        elif code == pcapng.PCAPNG_OPT_IF_TSOFFSET:
            offset_s = struct.unpack_from(f"{order}q", body, position + 4)[0]
        position += 4 + (size + 3) // 4 * 4
    per_second = (2 if resolution & 0x80 else 10) ** (resolution & 0x7F)
    return link, lambda ticks: ticks * 10**9 // per_second + offset_s * 10**9
