"""Packets of capture files: all formats and compressions, exact times, every cut."""

import io
import itertools
import os
import struct
from collections import Counter

import dpkt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siamjax.capture import packets
from siamjax.types import SiamjaxError
from tests import packet_builder as build

FRAMES = [bytes(range(i, i + 40 + i)) for i in range(7)]
# No two differences alike, and nanoseconds that a float of seconds cannot hold.
TIMES = [build.START_NS + i * i * 1_234_567_891 + i for i in range(7)]
RECORDS = list(zip(TIMES, FRAMES))


def read(path, data):
    path.write_bytes(data)
    counts = Counter()
    return list(packets.read_packets(path, counts)), counts


def expected(unit_ns, link=1):
    return [(t // unit_ns * unit_ns, link, f, len(f)) for t, f in RECORDS]


@pytest.mark.parametrize("compression", build.PACK)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("nano", [False, True])
def test_pcap_in_all_its_forms(tmp_path, compression, order, nano):
    data = build.PACK[compression](
        build.pcap(RECORDS, order=order, nano=nano, link=113)
    )
    got, counts = read(tmp_path / "a", data)
    assert got == expected(1 if nano else 1000, link=113)
    assert not counts


@pytest.mark.parametrize("compression", build.PACK)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("resolution, unit_ns", [(6, 1000), (9, 1), (3, 1_000_000)])
def test_pcapng_in_all_its_forms(tmp_path, compression, order, resolution, unit_ns):
    data = build.pcapng(RECORDS, order=order, resolution=resolution, offset_s=3600)
    got, counts = read(tmp_path / "a", build.PACK[compression](data))
    assert got == expected(unit_ns)
    assert not counts


def test_a_resolution_in_powers_of_two_rounds_down_to_a_nanosecond(tmp_path):
    got, _ = read(tmp_path / "a", build.pcapng(RECORDS, resolution=0x80 | 30))
    assert all(0 <= t - row[0] <= 1 for t, row in zip(TIMES, got))


def test_dpkt_reads_the_same_frames(tmp_path):
    for data in (build.pcap(RECORDS), build.pcapng(RECORDS)):
        ours, _ = read(tmp_path / "a", data)
        theirs = list(dpkt.pcap.UniversalReader(io.BytesIO(data)))
        assert [row[2] for row in ours] == [frame for _, frame in theirs]
        assert [row[0] for row in ours] == [
            round(float(t) * 1e6) * 1000 for t, _ in theirs
        ]


def test_sections_and_interfaces_keep_their_own_link_type_and_clock(tmp_path):
    first = build.pcapng(
        [(TIMES[0], FRAMES[0], 1), (TIMES[1], FRAMES[1], 0)], links=(1, 101)
    )
    second = build.pcapng(
        [(TIMES[2], FRAMES[2])], links=(276,), resolution=9, order=">"
    )
    got, counts = read(tmp_path / "a", first + second)
    assert [row[1] for row in got] == [101, 1, 276]
    assert got[2][0] == TIMES[2]
    assert counts == {"joined": 1}


def test_old_packet_blocks_are_read_and_blocks_without_a_time_too(tmp_path):
    high, low = divmod(TIMES[0] // 1000, 2**32)
    old = build.block(2, struct.pack("<HHIIII", 0, 9, high, low, 4, 60) + b"abcd")
    simple = build.block(3, struct.pack("<I", 6) + b"abcdefgh")
    names = build.block(4, bytes(2_000_000))  # longer than any packet
    data = build.pcapng([]) + simple + names + old + simple
    got, counts = read(tmp_path / "a", data)
    # What comes before any time has none.
    time_ns = TIMES[0] // 1000 * 1000
    assert got == [(time_ns, 1, b"abcd", 60), (time_ns, 1, b"abcdef", 6)]
    assert counts == {"untimed": 2}


@pytest.mark.parametrize("size", [0, 1, 8, 30, 2**32 - 4])
def test_a_section_of_pcapng_with_a_wrong_size_is_no_capture(tmp_path, size):
    damaged = bytearray(build.pcapng(RECORDS))
    damaged[4:8] = struct.pack("<I", size)
    with pytest.raises(SiamjaxError, match="not a capture"):
        read(tmp_path / "a", bytes(damaged))
    got, counts = read(tmp_path / "b", build.pcap(RECORDS) + bytes(damaged))
    assert len(got) == len(RECORDS) and counts == {"damaged": 1}


def test_captures_joined_to_one_file_are_all_read(tmp_path):
    forms = [
        build.pcap(RECORDS[:2], link=101),
        build.pcap(RECORDS[2:4], nano=True, order=">"),
        build.pcapng(RECORDS[4:6], resolution=9),
        build.pcap([]),
        build.pcap(RECORDS[6:], nano=True),
    ]
    for order in (forms, forms[::-1]):
        got, counts = read(tmp_path / "a", b"".join(order))
        assert sorted(row[2] for row in got) == sorted(FRAMES)
        assert counts == {"joined": 4}
    got, counts = read(tmp_path / "a", forms[0] + b"\0" * 16 + forms[1])
    assert len(got) == 2 and counts == {"damaged": 1}


def test_the_snap_length_shows_in_the_original_length(tmp_path):
    for data in (build.pcap(RECORDS, snap=41), build.pcapng(RECORDS, snap=41)):
        got, _ = read(tmp_path / "a", data)
        assert [row[2] for row in got] == [frame[:41] for frame in FRAMES]
        assert [row[3] for row in got] == [len(frame) for frame in FRAMES]


@pytest.mark.parametrize("make", [build.pcap, build.pcapng])
def test_a_file_cut_anywhere_gives_the_packets_before_the_cut(tmp_path, make):
    ends = [len(make(RECORDS[:n])) for n in range(len(RECORDS) + 1)]
    data = make(RECORDS)
    for size in range(ends[0], len(data)):
        got, counts = read(tmp_path / "a", data[:size])
        assert len(got) == sum(end <= size for end in ends) - 1
        assert counts["truncated"] == (size not in ends)


@pytest.mark.parametrize("compression", ["gz", "xz", "zst"])
def test_a_cut_compressed_file_is_truncated(tmp_path, compression):
    many = [
        (t + i, f)
        for i, (t, f) in enumerate(itertools.islice(itertools.cycle(RECORDS), 20_000))
    ]
    data = build.PACK[compression](build.pcap(many))
    got, counts = read(tmp_path / "a", data[: len(data) * 2 // 3])
    assert counts == {"truncated": 1}
    # How much comes out of a cut stream is up to the compression.
    assert 0 < len(got) < len(many)


def test_a_broken_compressed_file_gives_what_stands_before(tmp_path):
    noise = np.random.default_rng(0)
    many = [(t, noise.bytes(1400)) for t in range(0, 100_000, 1000)]
    data = bytearray(build.PACK["gz"](build.pcap(many)))
    data[-6] ^= 255  # the checksum
    got, counts = read(tmp_path / "a", bytes(data))
    assert counts["damaged"] == 1
    assert 80 <= len(got) < 100
    assert [row[2] for row in got] == [frame for _, frame in many[: len(got)]]


@pytest.mark.parametrize("compression", ["gz", "xz", "zst"])
def test_compressed_streams_may_follow_each_other(tmp_path, compression):
    data, pack = build.pcap(RECORDS), build.PACK[compression]
    gap = b"" if compression == "zst" else b"\0" * 300_000
    got, counts = read(tmp_path / "a", pack(data[:100]) + gap + pack(data[100:]))
    assert got == expected(1000)
    assert not counts


def test_a_record_longer_than_any_ends_the_file(tmp_path):
    data = build.pcap(RECORDS[:3])
    broken = data + struct.pack("<IIII", 1, 2, 0x7FFFFFFF, 60) + b"x" * 500
    got, counts = read(tmp_path / "a", broken)
    assert got == expected(1000)[:3]
    assert counts == {"damaged": 1}


@pytest.mark.parametrize("zeros", [16, 1 << 16])
def test_zeros_that_a_crash_left_at_the_end_are_no_packets(tmp_path, zeros):
    got, counts = read(tmp_path / "a", build.pcap(RECORDS) + bytes(zeros))
    assert got == expected(1000) and counts == {"damaged": 1}


def test_a_pipe_is_read_and_one_without_a_writer_is_an_empty_file(tmp_path):
    os.mkfifo(tmp_path / "a")
    with pytest.raises(SiamjaxError, match="an empty file"):
        list(packets.read_packets(tmp_path / "a", Counter()))
    end, beginning = os.pipe()
    with open(end, "rb"), open(beginning, "wb") as writer:
        writer.write(build.pcap(RECORDS))
        writer.close()
        assert list(packets.read_packets(f"/dev/fd/{end}", Counter())) == expected(1000)


def test_blocks_that_make_no_sense_are_counted(tmp_path):
    no_interface = build.pcapng([(TIMES[0], FRAMES[0], 5)])
    short = build.block(6, b"\0" * 8)
    got, counts = read(tmp_path / "a", no_interface + short + build.pcapng(RECORDS))
    assert got == expected(1000)
    assert counts == {"damaged": 2}


def test_a_time_that_no_clock_shows_is_damage(tmp_path):
    got, counts = read(tmp_path / "a", build.pcapng([(2**63, FRAMES[0]), *RECORDS]))
    assert got == expected(1000)
    assert counts == {"damaged": 1}


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "an empty file"),
        (build.PACK["xz"](b""), "an empty file"),
        (b"# A README, not a capture\n", "not a capture"),
        (build.PACK["gz"](b"file,condition\n" * 9), "not a capture"),
        (build.pcap([])[:20], "not a capture"),
        (b"\x1f\x8b", "damaged or cut at its beginning"),
        (b"\x1f\x8b" + b"?" * 50, "damaged or cut at its beginning"),
    ],
    # Bytes that hold the time of packing, as names, would differ between workers.
    ids=["empty", "empty-xz", "text", "text-gz", "cut", "magic", "damaged"],
)
def test_what_is_no_capture_is_refused_by_name(tmp_path, data, message):
    with pytest.raises(SiamjaxError, match=f"some.pcap: {message}"):
        read(tmp_path / "some.pcap", data)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_damage_is_fatal(tmp_path_factory, data):
    make = data.draw(st.sampled_from([build.pcap, build.pcapng]))
    broken = bytearray(make(RECORDS))
    for _ in range(data.draw(st.integers(1, 8))):
        broken[data.draw(st.integers(24, len(broken) - 1))] = data.draw(
            st.integers(0, 255)
        )
    path = tmp_path_factory.getbasetemp() / "broken"
    got, _ = read(path, bytes(broken))
    assert len(got) <= len(broken) // 16
    assert all(0 <= row[0] < 2**62 for row in got)
