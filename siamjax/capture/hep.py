"""HEP, in which the agents of Homer send SIP messages with the addresses they had."""

import struct
import zlib

from siamjax.capture.layers import UDP, Datagram

MAGIC = b"HEP3"
_HEAD = struct.Struct("!HH").unpack_from
_IPV4, _IPV6 = 2, 10
# Types of HEP3, all of vendor 0.
_SOURCE, _TARGET = (3, 5), (4, 6)
_SOURCE_PORT, _TARGET_PORT, _SECONDS, _MICROSECONDS = 7, 8, 9, 10
_PROTOCOL, _PAYLOAD, _COMPRESSED = 11, 15, 16
_SIP = 1
_MOST_BYTES = 1 << 16  # of a message that was compressed


def decode_hep(payload: bytes) -> Datagram | None:
    """The `Datagram` that a payload of HEP 1, 2 or 3 contains, else None."""
    try:
        return _hep3(payload) if payload.startswith(MAGIC) else _hep2(payload)
    except (ValueError, IndexError, struct.error, zlib.error):
        return None


def capture_time(payload: bytes) -> int | None:
    """When an agent captured the message of a payload, ns since 1970; None: unknown."""
    try:
        if payload.startswith(MAGIC):
            fields = _fields(payload) or {}
            seconds, microseconds = (
                int.from_bytes(fields[kind], "big")
                for kind in (_SECONDS, _MICROSECONDS)
            )
        else:
            version, size = payload[:2]
            if version != 2 or _hep2(payload) is None:
                return None
            # In HEP 2 they are in the byte order of the agent, nearly always this one.
            seconds, microseconds = struct.unpack_from("<II", payload, size)
    except (KeyError, ValueError, IndexError, struct.error):
        return None
    return seconds * 10**9 + microseconds * 1000


def _fields(payload):
    """The fields of HEP 3 by their types; None: it is damaged."""
    end = min(_HEAD(payload, 2)[1], len(payload))
    fields, start = {}, 6
    while start + 6 <= end:
        vendor, kind = _HEAD(payload, start)
        size = struct.unpack_from("!H", payload, start + 4)[0]
        if size < 6:
            return None
        if vendor == 0:
            fields[kind] = payload[start + 6 : min(start + size, end)]
        start += size
    return fields


def _hep3(payload):
    fields = _fields(payload)
    if fields is None or fields.get(_PROTOCOL, b"\1")[-1:] != bytes([_SIP]):
        return None
    source, target = (
        next((fields[kind] for kind in kinds if kind in fields), b"")
        for kinds in (_SOURCE, _TARGET)
    )
    ports = fields.get(_SOURCE_PORT, b"") + fields.get(_TARGET_PORT, b"")
    message = fields.get(_PAYLOAD, b"")
    if _COMPRESSED in fields and not message:
        message = zlib.decompressobj().decompress(fields[_COMPRESSED], _MOST_BYTES)
    return Datagram(UDP, source, target, b"", message, ports)


def _hep2(payload):
    """HEP 1 and 2: a head of fixed size, addresses, and in HEP 2 the time."""
    version, size, family = payload[:3]
    width = {_IPV4: 4, _IPV6: 16}.get(family)
    if version not in (1, 2) or width is None or size != 8 + 2 * width:
        return None
    source, target = payload[8 : 8 + width], payload[8 + width : size]
    start = size + (12 if version == 2 else 0)
    return Datagram(UDP, source, target, b"", payload[start:], payload[4:8])
