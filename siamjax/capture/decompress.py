"""The content of a file in bounded pieces: plain or gzip, bzip2, xz, zstd, zip.

A file of 33 kB can expand to gigabytes. So the memory in use is bounded for every
file, and a file that expands beyond the limits below is refused.
"""

import bz2
import contextlib
import io
import lzma
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import Any, BinaryIO, cast

import zstandard

from siamjax.types import SiamjaxError

_CHUNK = 1 << 14  # bytes read at once; at most so many are lost in a broken stream
_PIECE = 1 << 16  # bytes expanded at once
# zstandard cannot limit its output. A block has 4 bytes or more and expands to at most
# 128 kB, so that this many bytes expand to at most 4 MB.
_SLICE = 128
# The largest window of a stream in bytes: enough for xz -9 and zstd -19.
_MEMORY = 66 << 20

# The largest allowed expansion. A capture of SIP expands 20 to 40 times, one of equal
# messages a few hundred times.
MOST_TIMES = 1000
# An expansion to this many bytes is always allowed; one to more is never.
ALWAYS_BYTES, MOST_BYTES = 1 << 24, 1 << 34


_on_read: Callable[[int], None] | None = None


@contextlib.contextmanager
def watching(on_read: Callable[[int], None]) -> Iterator[None]:
    """Calls `on_read` with the number of bytes of each read of a file in the block."""
    global _on_read
    before, _on_read = _on_read, on_read
    try:
        yield
    finally:
        _on_read = before


class _Watched:
    """A file whose reads are watched."""

    def __init__(self, file: BinaryIO, on_read: Callable[[int], None]):
        self._file, self._on_read = file, on_read
        self.name, self.fileno = file.name, file.fileno

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._on_read(len(data))
        return data


class BrokenStream(Exception):
    """A compressed stream that cannot be decompressed."""


def read_pieces(file: BinaryIO, *, limited: bool = True) -> Iterator[bytes]:
    """Yields the content of a file, decompressed, in pieces of at most 5 MB.

    The compression is recognised by the content. A file may have several compressed
    streams, with zeros between them.

    Args:
      file: opened in binary mode by its path.
      limited: whether a file that expands too much is refused.
    Raises:
      EOFError: a stream is cut; all before the cut was yielded.
      BrokenStream: a stream cannot be decompressed.
      SiamjaxError: it expands, or needs memory, beyond the limits of this module.
    """
    opened = file
    if _on_read is not None:
        file = cast(BinaryIO, _Watched(file, _on_read))
    raw = file.read(_CHUNK)
    is_zip = raw.startswith(b"PK\x03\x04")
    kind = next((kind for magic, kind in _KINDS.items() if raw.startswith(magic)), None)
    if is_zip:
        pieces = _unzip(opened)
    elif kind is not None:
        new, feed = kind
        pieces = _streams(file, raw, new, feed, limited)
    else:
        while raw:
            yield raw
            raw = file.read(_CHUNK)
        return
    size, total = os.fstat(file.fileno()).st_size, 0
    most = allowed_bytes(size) if limited else math.inf
    for piece in pieces:
        total += len(piece)
        if total > most:
            raise too_large(file.name, size)
        if piece:
            yield piece


class Decompressed(io.RawIOBase):
    """The content of a file, decompressed, as a file object."""

    def __init__(self, file: BinaryIO, *, limited: bool = True):
        super().__init__()
        self._pieces, self._left = read_pieces(file, limited=limited), memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            self._left = memoryview(next(self._pieces, b""))
        count = min(len(buffer), len(self._left))
        buffer[:count], self._left = self._left[:count], self._left[count:]
        return count


def allowed_bytes(size: int) -> int:
    """The bytes that a compressed file of this size may expand to."""
    return min(MOST_BYTES, max(ALWAYS_BYTES, MOST_TIMES * size))


def too_large(path: str | os.PathLike, size: int) -> SiamjaxError:
    """The error for a file of `size` bytes that expands beyond the allowed size."""
    return _refused(path, f"{size} bytes expand to more than {allowed_bytes(size)}")


def _refused(path, what):
    return SiamjaxError(
        f"{path}: {what}, which may be an attack; if you trust the file, decompress it "
        "first, or ingest it with --nolimit_expansion"
    )


def _unzip(file):
    """Pieces of the only file in a zip file."""
    try:
        opened = zipfile.ZipFile(file)
    except zipfile.BadZipFile:  # the list of its files is at its end
        raise SiamjaxError(
            f"{file.name}: a zip file that is cut or damaged: get it again"
        ) from None
    try:
        with opened as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) != 1:
                raise _packed(file, f"with {len(members)} files")
            with archive.open(members[0]) as member:
                while piece := member.read(_PIECE):
                    yield piece
    except (zipfile.BadZipFile, io.UnsupportedOperation, *_BROKEN) as error:
        raise BrokenStream(str(error)) from None
    except (RuntimeError, NotImplementedError):
        raise _packed(file, "with a password or of an unusual kind") from None


def _packed(file, what):
    return SiamjaxError(f"{file.name}: a zip file {what}: unzip it first")


def _streams(file, raw, new, feed, limited):
    """Pieces of the compressed streams of a file that begins with `raw`."""
    while raw:
        try:
            stream, rest = new(limited), b""
            while raw and not stream.eof:
                rest = yield from feed(stream, raw)
                raw = b"" if stream.eof else file.read(_CHUNK)
        except _BROKEN as error:
            if "memory" in str(error).lower():  # no library has its own class for it
                what = f"to decompress it needs more than {_MEMORY >> 20} MB of memory"
                raise _refused(file.name, what) from None
            raise BrokenStream(str(error)) from None
        if not stream.eof:
            raise EOFError("a compressed stream is cut")
        raw = rest.lstrip(b"\0")
        while not raw and (more := file.read(_CHUNK)):
            raw = more.lstrip(b"\0")


Feeding = Generator[bytes, None, bytes]  # yields pieces, returns the bytes behind them


def _feed_zlib(stream: Any, raw: bytes) -> Feeding:
    while raw and not stream.eof:
        yield stream.decompress(raw, _PIECE)
        raw = stream.unconsumed_tail
    return stream.unused_data


def _feed_lzma(stream: Any, raw: bytes) -> Feeding:
    """For xz and bzip2, whose decompressors have the same methods."""
    try:
        yield stream.decompress(raw, _PIECE)
        while not (stream.eof or stream.needs_input):
            yield stream.decompress(b"", _PIECE)
    except OSError as error:  # the only error of bz2
        raise BrokenStream(str(error)) from None
    return stream.unused_data


def _feed_zstd(stream: Any, raw: bytes) -> Feeding:
    for start in range(0, len(raw), _SLICE):
        end = start + _SLICE
        yield stream.decompress(raw[start:end])
        if stream.eof:
            return stream.unused_data + raw[end:]
    return b""


def _new_xz(limited):
    return lzma.LZMADecompressor(memlimit=_MEMORY if limited else None)


def _new_zstd(limited):
    window = _MEMORY if limited else 1 << 31
    return zstandard.ZstdDecompressor(max_window_size=window).decompressobj()


_BROKEN = (zlib.error, lzma.LZMAError, zstandard.ZstdError)
# First bytes of a compressed stream: its decompressor, and the function that feeds it.
_KINDS = {
    b"\x1f\x8b": (lambda limited: zlib.decompressobj(wbits=31), _feed_zlib),
    b"BZh": (lambda limited: bz2.BZ2Decompressor(), _feed_lzma),
    b"\xfd7zXZ\x00": (_new_xz, _feed_lzma),
    b"\x28\xb5\x2f\xfd": (_new_zstd, _feed_zstd),
}
