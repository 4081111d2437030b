"""Finds the messages in the bytes of a connection: SIP, SIP over WebSocket, HEP 3.

What a connection carries is recognised by its bytes, at any port, even where the
capture joins in the middle.
"""

import re
import struct

from siamjax.capture import hep, sip

# What a connection carries.
UNKNOWN, SIP, WEBSOCKET, HEP, TLS, OTHER = "unknown sip websocket hep tls other".split()

# After this many bytes without a message, the connection carries something else.
_MOST_UNKNOWN = 1 << 16
_MOST_HEADERS, _MOST_BODY, _LONGEST_LINE = 1 << 16, 1 << 20, 1 << 12

# In the middle of a stream only a method of SIP is the beginning of a message: the end
# of a word may look like another method.
_METHODS = sorted(sip.METHODS)
_BEGINNING = re.compile(
    rb"SIP/2\.0 [1-6]\d\d |(?:%s) [^ \r\n]++ SIP/2\.0\r?\n" % b"|".join(_METHODS)
)
_LATER = re.compile(rb"\n(?=%s)" % _BEGINNING.pattern)
_WORDS = (b"SIP/2.0 ", *(method + b" " for method in _METHODS))
_BLANK_LINES = re.compile(rb"[\r\n]*+")
_USUAL_LENGTH = b"\nContent-Length: "
_LENGTH = re.compile(rb"\n(?:content-length|l)[ \t]*+:\s*+(\d++)", re.IGNORECASE)
_TLS = re.compile(rb"[\x14-\x17]\x03[\x00-\x04][\x00-\x41]", re.DOTALL)
_UPGRADE = re.compile(rb"GET [^ \r\n]++ HTTP/1\.1\r\n|HTTP/1\.1 101 ")


class Parser:
    """Takes the bytes of one direction of a connection in order."""

    def __init__(self) -> None:
        self.carries = UNKNOWN
        self._buffer: bytes | bytearray = b""  # from the beginning of a message
        self._needed = 0  # bytes of it, before it is worth another look
        self._searched = 0  # up to here, the end of the headers was looked for
        self._in_step = True  # the next byte begins a message
        self._unknown = 0  # bytes before it is known what they are
        self._message = b""  # the earlier frames of a message of WebSocket

    @property
    def carries_sip(self) -> bool:
        return self.carries in _NEXT

    @property
    def begun_bytes(self) -> int:
        """Bytes of messages that are not complete."""
        return len(self._buffer) + len(self._message)

    def feed(self, data: bytes | bytearray) -> list[bytes]:
        """The messages that these bytes complete."""
        if not data:
            return []
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return []
            data = self._buffer
        position, messages = 0, []
        if self.carries == UNKNOWN:
            position = self._recognise(data)
        while self.carries_sip and position < len(data):
            message, position = _NEXT[self.carries](self, data, position)
            if message is None:
                break
            messages.append(message)
        if self.carries in (TLS, OTHER):
            position = len(data)
        if isinstance(self._buffer, bytearray) and data is self._buffer:
            del self._buffer[:position]
        elif position < len(data):
            self._buffer = bytearray(data[position:])  # which can grow
        return list(filter(None, messages))

    def is_whole(self, data: bytes) -> bool:
        """Whether these bytes are one message of SIP, and no other is begun."""
        if self.carries != SIP or self._buffer or not self._in_step:
            return False
        end = data.find(b"\r\n\r\n")
        place = data.rfind(_USUAL_LENGTH, 0, end) + len(_USUAL_LENGTH)
        size = data[place : data.find(b"\r", place)]
        return (
            place >= len(_USUAL_LENGTH)
            and size.isdigit()
            and end + 4 + int(size[:10]) == len(data)
            and sip.FIRST_LINE.match(data) is not None
        )

    def lose(self) -> bytes:
        """Goes on behind bytes that are lost; gives the message they were part of."""
        message, carried, in_step = bytes(self._buffer), self.carries, self._in_step
        self._buffer, self._message = b"", b""
        self._needed, self._searched, self._in_step = 0, 0, False
        if carried in (WEBSOCKET, HEP):
            self.carries = UNKNOWN
        if not in_step or carried not in (UNKNOWN, SIP):
            return b""
        if not sip.parse_message(message, cut=True):
            return b""
        self.carries = SIP
        return message

    def _recognise(self, data):
        """Where the first message begins, once it is known what the bytes are."""
        start = _BLANK_LINES.match(data).end()
        later = None
        if _BEGINNING.match(data, start):
            self.carries = SIP
        elif _TLS.match(data):
            self.carries = TLS
        elif data.startswith(hep.MAGIC):
            self.carries = HEP
        elif _begins_in_frame(data):
            self.carries = WEBSOCKET
        elif _UPGRADE.match(data):
            end = data.find(b"\r\n\r\n")
            if end < 0 and len(data) < _MOST_HEADERS:
                return 0
            websocket = b"websocket" in data[:end].lower()
            self.carries = WEBSOCKET if websocket else OTHER
            return end + 4
        elif later := _LATER.search(data):
            self.carries = SIP
        if self.carries != UNKNOWN:
            self._in_step = True
            return later.end() if later else 0
        position = _last_line(data, 0)
        self._unknown += position + 1
        if self._unknown > _MOST_UNKNOWN:
            self.carries = OTHER
        return position

    # Each gives a message and where it ends; or None and where the next one may begin,
    # if it is not complete. Empty messages only serve to go on.

    def _next_sip(self, data, position):
        start = _BLANK_LINES.match(data, position).end()
        if self._in_step and not sip.FIRST_LINE.match(data, start):
            if data.find(b"\n", start) < 0 and len(data) - start < _LONGEST_LINE:
                return None, start
            self._in_step = False
        if not self._in_step:
            if not _BEGINNING.match(data, start):
                later = _LATER.search(data, position)
                if not later:
                    return None, _last_line(data, position)
                start = later.end()
            self._in_step, self._searched = True, 0
        line = data.find(b"\n", start)
        blank = b"\r\n\r\n" if data[line - 1 : line] == b"\r" else b"\n\n"
        end = data.find(blank, max(start, self._searched))
        if end < 0:
            self._searched = max(len(data) - start - len(blank), 0)
            if len(data) - start > _MOST_HEADERS:
                self._in_step = False
            return None, start
        end += len(blank)
        stop = end + _body_size(data, start, end)
        if stop > len(data):
            self._needed = stop - start
            return None, start
        self._needed = self._searched = 0
        return bytes(data[start:stop]), stop

    def _next_websocket(self, data, position):
        """RFC 6455, 5.2: frames, of which one or more are a message."""
        head = _frame_head(data, position)
        if head is None:
            return None, position
        start, size = head
        if size + len(self._message) > _MOST_BODY or data[position] & 0x70:
            self.carries = OTHER  # it is compressed, or something else
            return None, position
        end = start + size
        if end > len(data):
            self._needed = end - position
            return None, position
        self._needed = 0
        if data[position] & 8:  # a frame that keeps or ends the connection
            return b"", end
        self._message += _unmasked(data, position, start, end)
        if not data[position] & 0x80:
            return b"", end
        message, self._message = self._message, b""
        return message, end

    def _next_hep(self, data, position):
        size = int.from_bytes(data[position + 4 : position + 6], "big")
        if not hep.MAGIC.startswith(data[position : position + 4]):
            self.carries = OTHER
        end = position + size
        if len(data) < position + 6 or end > len(data) or size < 6:
            return None, position
        return bytes(data[position:end]), end


_NEXT = {
    SIP: Parser._next_sip,
    WEBSOCKET: Parser._next_websocket,
    HEP: Parser._next_hep,
}


def _last_line(data, position):
    """Where a first line may begin that is not complete: at the last line feed."""
    return max(data.rfind(b"\n", position), position, len(data) - _LONGEST_LINE)


def _body_size(data, start, end):
    """Content-Length; 0 where it is missing, or too large to be true."""
    place = data.rfind(_USUAL_LENGTH, start, end)
    length = _LENGTH.match(data, place) if place >= 0 else None
    length = length or _LENGTH.search(data, start, end)
    size = int(length[1][:10]) if length else 0
    return size if size <= _MOST_BODY else 0


def _frame_head(data, position):
    """Where the payload of a frame begins, and its size; None: the head is cut."""
    try:
        size = data[position + 1] & 0x7F
        start = position + 2
        if size == 126:
            size, start = struct.unpack_from("!H", data, start)[0], start + 2
        elif size == 127:
            size, start = struct.unpack_from("!Q", data, start)[0], start + 8
    except (IndexError, struct.error):
        return None
    return start + 4 * (data[position + 1] >> 7), size


def _unmasked(data, position, start, end):
    payload = bytes(data[start:end])
    if not data[position + 1] & 0x80:
        return payload
    key = bytes(data[start - 4 : start]) * (len(payload) // 4 + 1)
    mask = int.from_bytes(key[: len(payload)], "big")
    plain = int.from_bytes(payload, "big") ^ mask
    return plain.to_bytes(len(payload), "big")


def _begins_in_frame(data):
    """Whether it begins with a frame of WebSocket that begins with a message."""
    if data[0] & 0x7F not in (1, 2):  # text or bytes
        return False
    head = _frame_head(data, 0)
    if head is None:
        return False
    start, size = head
    return _unmasked(data, 0, start, start + min(size, 12)).startswith(_WORDS)
