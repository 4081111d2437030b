"""SIP over TCP: messages from segments of any size and order."""

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siamjax.capture import framing, messages, tcp
from tests import packet_builder as build
from tests.transport_packets import (
    ASK,
    BYE,
    MS,
    ONCE,
    PING,
    TUNNELS,
    in_frames,
    packets_of,
    read,
    read_stream,
    segments_of,
    tcp_frame,
)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["none", "gtp", "vxlan", "tags"]),
    st.sampled_from([20, 200, 2000]),
    *(st.booleans() for _ in range(4)),
    st.integers(0, 2**32),
)
def test_segments_in_any_size_and_order_give_the_same_events(
    tunnel, most, begin, again, twice, shuffled, seed
):
    draw = random.Random(seed)
    packets = segments_of(ONCE, draw, most=most, begin=begin)
    if again:  # sent again by TCP
        packets += [
            (t + 90 * MS, up, packet[:4] + struct.pack("!H", 9000 + i) + packet[6:])
            for i, (t, up, packet) in enumerate(draw.sample(packets, 5))
        ]
    if twice:  # captured again
        packets += draw.sample(packets, len(packets) // 2)
    packets.sort(key=lambda record: record[0] + draw.randint(0, 50 * MS * shuffled))
    frames = [
        (time_ns, TUNNELS[tunnel](packet, number))
        for number, (time_ns, _, packet) in enumerate(packets)
    ]
    want, _ = read(in_frames(packets_of(ONCE)))
    got, report = read(frames)
    assert got == want
    expected = {"reordered", "duplicated", "signalling", "tcp_repeated"}
    if shuffled:  # an acknowledgement may come before all data
        expected.add("tcp")
    assert set(report.causes) <= expected and report.account["hold messages"] > 0


BODY = b"v=0\r\ns=INVITE sip:x SIP/2.0\r\n"
WITH_BODY = ASK.replace(b"Content-Length: 0", b"l : \r\n %d" % len(BODY)) + BODY


def test_several_messages_share_a_segment_and_a_body_is_no_message():
    stream = b"\r\n\r\n" + ASK + WITH_BODY + b"\r\n" + BYE + PING
    got, report = read_stream([(stream, 5)])
    assert got == ["INVITE", "INVITE", "BYE", "OPTIONS"]
    # At once, so that they are of one time; the second INVITE repeats the first.
    assert report.retransmitted == 1 and report.causes == {}


@pytest.mark.parametrize("lines", [b"\r\n", b"\n"])
def test_a_connection_joined_in_the_middle_goes_on_at_the_next_message(lines):
    rest = (ASK[40:] + BYE + PING).replace(b"\r\n", lines)
    got, report = read_stream([(rest[:9], 5), (rest[9:400], 14), (rest[400:], 405)])
    assert got == ["BYE", "OPTIONS"] and "tcp" not in report.causes


def test_the_bytes_that_came_first_count_where_a_longer_segment_repeats_them():
    stream, half = ASK + BYE, len(ASK) // 2
    longer = b"Z" * half + ASK[half : half + 30]
    parts = [(stream[:half], 5), (longer, 5), (stream[half:], 5 + half)]
    got, _ = read_stream(parts)
    assert got == ["INVITE", "BYE"]


@pytest.mark.parametrize("lost", [1, 2, 3, 4])
def test_a_lost_segment_costs_its_messages_and_no_others(lost):
    messages_sent = [ASK, BYE, PING, build.request("INFO"), build.request("UPDATE")]
    stream = b"".join(messages_sent)
    sizes = [len(ASK) + 30, 50, 300, 200, len(stream)]
    parts, start = [], 0
    for size in sizes:
        if data := stream[start : start + size]:
            parts.append((data, start))
        start += size
    kept = [part for i, part in enumerate(parts) if i != lost]
    whole, _ = read_stream(parts)
    got, report = read_stream(kept)
    assert whole == ["INVITE", "BYE", "OPTIONS", "INFO", "UPDATE"]
    end = lost == len(parts) - 1  # then it is not known that one is missing
    assert report.causes.get("tcp_lost", 0) == (not end)
    assert set(got) <= set(whole) and len(got) >= len(whole) - 2
    assert got[0] == "INVITE"


def test_a_hole_that_is_filled_gives_its_messages_when_it_is_filled():
    half = len(ASK) // 2
    frames = [
        (0, tcp_frame(b"", 2**32 - 1, flags=2)),
        (0, tcp_frame(BYE, 0)),
        (MS, tcp_frame(ASK[half:], len(BYE) + half)),
        (2 * MS, tcp_frame(PING, len(BYE + ASK))),
        (900 * MS, tcp_frame(ASK[:half], len(BYE))),
    ]
    got, _ = read(frames)
    assert got[2] == ["BYE", "INVITE", "OPTIONS"]
    assert [round(t / MS) for t in got[0]] == [0, 900, 900]


def test_a_port_that_is_used_again_is_another_connection():
    syn = dict(flags=2)
    frames = [
        (0, tcp_frame(b"", 99, **syn)),
        (MS, tcp_frame(ASK, 100)),
        (2 * MS, tcp_frame(BYE[:50], 100 + len(ASK))),
        (3 * MS, tcp_frame(b"", 5000, **syn)),
        (4 * MS, tcp_frame(PING, 5001)),
    ]
    got, report = read(frames)
    # What the first one left behind names no transaction.
    assert got[2] == ["INVITE", "BYE", "OPTIONS"]
    assert report.causes == {"unnamed": 1, "signalling": 2}


def test_segments_cut_by_the_snap_length_give_what_is_left_of_each():
    frames = [
        (i * MS, tcp_frame(message, sum(map(len, (ASK, BYE, PING)[:i]))))
        for i, message in enumerate((ASK, BYE, PING))
    ]
    for snap, causes in ((200, {"snapped": 3}), (120, {"snapped": 3, "unnamed": 3})):
        got, report = read(frames, snap=54 + snap)
        assert got[2] == ["INVITE", "BYE", "OPTIONS"] and report.causes == causes


def test_what_is_no_sip_over_tcp_has_its_cause():
    def causes(*parts):
        got, report = read_stream(parts)
        assert got == []
        return report.causes

    hello = b"\x16\3\1\2\0\1" + bytes(600)
    assert causes((hello[:2], 0), (hello[2:], 2), (b"\x17\3\3\0", 606)) == {"tls": 3}
    assert causes((b"GET / HTTP/1.1\r\n\r\n", 0), (b"SIP/2.0 x", 18)) == {"tcp": 2}
    bulk = [(b"\1" * 1400, 1400 * i) for i in range(50)]
    assert causes(*bulk, (ASK, 70_000)) == {"tcp": 51}
    assert causes((b"\n", 0)) == {"tcp": 1}


def test_what_is_kept_of_connections_is_bounded(monkeypatch):
    monkeypatch.setattr(tcp, "MOST_STREAMS", 10)
    frames = [
        (i * MS, tcp_frame(ASK[:300], 5, ports=(1000 + i, 5060))) for i in range(30)
    ]
    frames += [
        (i * MS, tcp_frame(ASK[300:], 305, ports=(970 + i, 5060)))
        for i in range(50, 60)
    ]
    assert read(frames)[0][2] == ["INVITE"] * 30
    # Messages whose bodies do not come.
    begun = PING.replace(b"Content-Length: 0", b"Content-Length: 900")
    monkeypatch.setattr(tcp, "MOST_BYTES", 3000)
    numbering = messages.MessageReader()
    for i in range(90):
        frame = tcp_frame(begun, 1, ports=(1000 + i, 5060))
        syn = tcp_frame(b"", 0, ports=(1000 + i, 5060), flags=2)
        for packet in (syn, frame):
            numbering.add(i * MS, 1, packet, len(packet))
        assert numbering._streams._held <= 3000
    early = len(numbering.take()[0].kind)
    assert early > 70
    numbering.finish()
    assert early + len(numbering.take()[0].kind) == 90
    assert numbering._streams._held == 0
    # Segments behind a hole.
    monkeypatch.setattr(tcp, "MOST_BYTES", 10_000)
    frames = [
        (i * MS, tcp_frame(PING, 10_000 * i, ports=(1000 + i % 3, 5060)))
        for i in range(3, 90)
    ]
    assert read(frames)[0][2] == ["OPTIONS"] * 87


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([ASK, BYE, WITH_BODY, b"\r\n", b"\r\n\r\n"]), max_size=6),
    st.lists(
        st.integers(1, 400) | st.sampled_from([len(ASK), len(BYE), len(WITH_BODY)]),
        min_size=1,
        max_size=8,
    ),
)
def test_a_parser_finds_the_same_messages_in_any_pieces(parts, sizes):
    stream, start, found, turn = b"".join(parts), 0, [], 0
    parser = framing.Parser()
    while start < len(stream):
        size = sizes[turn % len(sizes)]
        piece = stream[start : start + size]
        found += [piece] if parser.is_whole(piece) else parser.feed(piece)
        start, turn = start + size, turn + 1
    assert found == [part for part in parts if part.strip()]
    assert parser.lose() == b""


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=30), max_size=6), st.booleans())
def test_no_bytes_of_a_connection_are_fatal(pieces, begun):
    parser = framing.Parser()
    heads = [b"", ASK, b"HEP3", b"\x81\xfe", b"GET / HTTP/1.1\r\nUpgrade: websocket"]
    for head, piece in zip([*heads, *heads], pieces):
        parser.feed(head + piece if begun else piece)
        if begun and piece[:1] < b"\x40":
            parser.lose()
