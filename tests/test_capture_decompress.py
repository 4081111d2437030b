"""Compressed files: all that was packed, in bounded pieces, not beyond measure."""

import bz2
import contextlib
import gzip
import lzma
import random
import tempfile
import zipfile
from collections import Counter

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from siamjax.capture import decompress, packets
from siamjax.types import SiamjaxError
from tests import packet_builder as build

PACK = {
    "plain": lambda data: data,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: zstandard.ZstdCompressor().compress(data),
}
COMPRESSED = [kind for kind in PACK if kind != "plain"]
# 4 MB are the most that a slice of zstd expands to, with some blocks under way.
MOST_AT_ONCE = 5_000_000


def pieces(packed, **options):
    with tempfile.NamedTemporaryFile() as file:
        file.write(packed)
        file.flush()
        with open(file.name, "rb") as opened:
            yield from decompress.read_pieces(opened, **options)


def zeros(kind):
    """20 MB of zeros, quickly packed."""
    quick = {"xz": lambda text: lzma.compress(text, preset=0)}
    return quick.get(kind, PACK[kind])(bytes(20 << 20))


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(list(PACK)),
    st.lists(st.tuples(st.binary(max_size=9), st.integers(0, 30_000)), max_size=4),
    st.integers(0, 20_000),
)
def test_the_pieces_are_what_was_packed(kind, parts, gap):
    """Streams may follow each other, with zeros between them."""
    # What begins like a compressed stream is none that is plain.
    parts = [b"\0", *(seed * times for seed, times in parts)]
    between = b"" if kind in ("plain", "zst") else bytes(gap)
    packed = between.join(map(PACK[kind], parts))
    got = list(pieces(packed))
    assert b"".join(got) == b"".join(parts)
    assert all(0 < len(piece) <= MOST_AT_ONCE for piece in got)


@pytest.mark.parametrize("kind", COMPRESSED)
def test_little_is_held_of_what_expands_much(kind):
    packed = zeros(kind)
    assert len(packed) < 25_000
    sizes = [len(piece) for piece in pieces(packed, limited=False)]
    assert max(sizes) <= MOST_AT_ONCE and sum(sizes) == 20 << 20


@pytest.mark.parametrize("kind", ["bz2", "xz", "zst"])
def test_what_expands_beyond_measure_is_refused_in_one_line(kind):
    packed, total = zeros(kind), 0
    with pytest.raises(SiamjaxError, match="--nolimit_expansion") as error:
        for piece in pieces(packed):
            total += len(piece)
    assert total <= decompress.ALWAYS_BYTES  # the rest was never expanded
    assert f"{len(packed)} bytes expand to more than" in str(error.value)
    assert "\n" not in str(error.value)


def test_what_may_expand_how_far():
    assert (
        decompress.allowed_bytes(0)
        == decompress.allowed_bytes(1000)
        == decompress.ALWAYS_BYTES
    )
    assert decompress.allowed_bytes(10**6) == decompress.MOST_TIMES * 10**6
    assert decompress.allowed_bytes(10**9) == decompress.MOST_BYTES


def far_back(kind):
    """Streams that may look back 128 MB."""
    if kind == "xz":
        far = dict(id=lzma.FILTER_LZMA2, preset=6, dict_size=1 << 27)
        return lzma.compress(b"abc", filters=[far])
    far = zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
    packing = zstandard.ZstdCompressor(compression_params=far).compressobj()
    return packing.compress(b"abc") + packing.flush()


@pytest.mark.parametrize("kind", ["xz", "zst"])
def test_a_stream_that_wants_much_memory_is_refused(kind):
    with pytest.raises(SiamjaxError, match="needs more than 66 MB of memory"):
        list(pieces(far_back(kind)))
    assert b"".join(pieces(far_back(kind), limited=False)) == b"abc"


@pytest.mark.parametrize(
    "pack",
    [
        lambda data: lzma.compress(data, preset=9),
        lambda data: zstandard.ZstdCompressor(19).compress(data),
    ],
)
def test_the_strongest_usual_settings_are_read(pack):
    assert b"".join(pieces(pack(b"abc" * 99))) == b"abc" * 99


@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_cut_stream_and_a_broken_one_are_told_apart(kind):
    text = np.random.default_rng(0).bytes(200_000)
    packed = PACK[kind](text)
    with pytest.raises(EOFError):
        got = b""
        for piece in pieces(packed[: len(packed) * 2 // 3]):
            got += piece
    assert text.startswith(got)
    if kind != "zst":  # which has no checksum unless asked for
        broken = bytearray(packed)
        broken[len(broken) // 2] ^= 255
        with pytest.raises(decompress.BrokenStream):
            list(pieces(bytes(broken)))
    # What looks like a header of zstd may ask for terabytes.
    with pytest.raises((decompress.BrokenStream, EOFError, SiamjaxError)):
        list(pieces(packed[:6] + b"?" * 500))


def test_a_capture_that_expands_beyond_measure_is_refused_before_its_first_packet(
    tmp_path,
):
    """A name of 16 MB is passed over in pieces; then comes what is too much."""
    text = build.pcapng([]) + build.block(4, bytes((1 << 24) - 12)) * 4
    (tmp_path / "a").write_bytes(zstandard.ZstdCompressor(19).compress(text))
    with pytest.raises(SiamjaxError, match="expand to more than 16777216, which may"):
        list(packets.read_packets(tmp_path / "a", Counter()))
    counts = Counter()
    assert (
        list(packets.read_packets(tmp_path / "a", counts, limit_expansion=False)) == []
    )
    assert not counts


def test_blocks_of_pcapng_are_passed_over_wherever_the_pieces_end(tmp_path):
    record = build.call()[0]
    names = [build.block(4, bytes(4 * n)) for n in (0, 1, 4000, 5000, 1_000_000)]
    packet = build.pcapng([record])
    too_long = build.block(6, bytes(1 << 20))  # no packet is so long
    text = packet + packet.join([*names, too_long, b""])
    for data in (text, PACK["zst"](text), PACK["gz"](text)):
        (tmp_path / "a").write_bytes(data)
        counts = Counter()
        assert len(list(packets.read_packets(tmp_path / "a", counts))) == 7
        assert counts == {"damaged": 1, "joined": 6}


def zip_file(path, kind=zipfile.ZIP_DEFLATED, **members):
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("folder/", b"")
        for name, data in members.items():
            archive.writestr(f"folder/{name}", data)
    return path


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_only_file_in_a_zip_file_is_read(tmp_path, kind):
    data = build.pcap(build.call())
    path = zip_file(tmp_path / "a", kind, capture=data)
    counts = Counter()
    assert len(list(packets.read_packets(path, counts))) == 7 and not counts
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(SiamjaxError, match="a zip file that is cut or damaged"):
        list(packets.read_packets(path, Counter()))


@pytest.mark.parametrize("kind", ["gz", "xz", "zst"])
def test_a_stream_that_is_cut_anywhere_gives_what_is_before_the_cut(tmp_path, kind):
    """More bytes never give fewer packets, and a line says that it is cut."""
    noise = random.Random(1).randbytes
    path, records = tmp_path / "a", [(i, noise(900)) for i in range(400)]
    packed = build.PACK[kind](build.pcap(records))
    for size in range(0, len(packed), len(packed) // 19):
        path.write_bytes(packed[:size])
        counts, read = Counter(), []
        with contextlib.suppress(SiamjaxError):
            read = list(packets.read_packets(path, counts))
        assert [frame for _, _, frame, _ in read] == [
            f for _, f in records[: len(read)]
        ]
        lost = size - sum(len(frame) + 16 for _, _, frame, _ in read)
        assert lost < 150_000  # a block of zstd, or one read
        assert counts["truncated"] or not read


def test_a_zip_file_that_is_not_simply_read_is_named_in_one_line(tmp_path):
    data = build.pcap(build.call())
    several = zip_file(tmp_path / "a", one=data, two=data)
    with pytest.raises(SiamjaxError, match="a zip file with 2 files: unzip it first"):
        list(packets.read_packets(several, Counter()))
    secret = bytearray(zip_file(tmp_path / "b", one=data).read_bytes())
    secret[6] |= 1
    secret[secret.rindex(b"PK\1\2") + 8] |= 1  # the flag of encryption
    (tmp_path / "b").write_bytes(secret)
    with pytest.raises(SiamjaxError, match="with a password or of an unusual kind"):
        list(packets.read_packets(tmp_path / "b", Counter()))
    names = build.block(4, bytes((1 << 24) - 12))  # passed over, all zeros
    bomb = zip_file(tmp_path / "c", one=build.pcapng([]) + 3 * names)
    with pytest.raises(SiamjaxError, match="expand to more than"):
        list(packets.read_packets(bomb, Counter()))
