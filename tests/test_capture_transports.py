"""A capture gives the same events in whatever its messages travel."""

import random
import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from siamjax.capture import layers, messages
from tests import packet_builder as build
from tests.transport_packets import (
    ASK,
    BYE,
    MS,
    ONCE,
    PING,
    STEPS,
    TUNNELS,
    ends,
    hep3,
    in_frames,
    packets_of,
    read,
    read_stream,
    segments_of,
    split,
    tcp_frame,
)

PLAIN = in_frames(packets_of(STEPS))


HOMER = {"hep 1", "hep 2", "hep 3"}


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(TUNNELS)),
    st.sampled_from([build.pcap, build.pcapng]),
    st.sampled_from(list(build.PACK)),
    *(st.booleans() for _ in range(4)),
    st.integers(0, 2**32),
)
def test_the_way_of_a_message_changes_no_event(
    tunnel, make, pack, inside, outside, twice, shuffled, seed
):
    draw = random.Random(seed)
    frames = []
    for number, (time_ns, packet) in enumerate(packets_of(STEPS)):
        parts = split(packet, draw) if inside and tunnel not in HOMER else [packet]
        for place, part in enumerate(parts):
            frame = TUNNELS[tunnel](part, 100 * number + place)
            pieces = [frame]
            if outside and frame[12:14] == b"\x08\0":
                outer = bytearray(frame[14:])
                outer[4:6] = struct.pack("!H", 100 * number + place + 1)
                pieces = map(build.ethernet, split(bytes(outer), draw))
                if tunnel == "none":
                    pieces = [frame]
            frames += [(time_ns, piece) for piece in pieces]
    if twice:
        # The first of a file is kept, so that a later one may not come before it.
        most_ns = 0 if shuffled else 3 * MS
        copies = [(time_ns + draw.randint(0, most_ns), f) for time_ns, f in frames]
        frames += draw.sample(copies, len(copies) // 2)
    late_ns = 50 * MS if shuffled else 0
    frames.sort(key=lambda record: record[0] + draw.randint(0, late_ns))
    want, report = read(PLAIN)
    got, same = read(frames, make=make, pack=pack)
    assert report.causes == {} and report.retransmitted > 0
    assert got == want
    assert set(same.causes) <= {"reordered", "duplicated", "assembled"}
    assert (same.messages, same.server) == (report.messages, report.server)


@settings(max_examples=30, deadline=None)
@given(st.booleans(), st.integers(0, 2**32))
def test_times_that_are_wrong_by_50_ms_change_only_times_and_latencies(over_tcp, seed):
    """Direction, kind, repetition and server of each message stay the same.

    An answer less than 50 ms behind its request may come before it: then it has no
    latency. A longer latency is wrong by as much as the two times are.
    """
    draw = random.Random(seed)
    late_ns = draw.sample(range(50 * MS), len(STEPS))
    times_ns = [step[0] + late for step, late in zip(STEPS, late_ns)]
    order = sorted(range(len(STEPS)), key=times_ns.__getitem__)
    packets = [packet for _, packet in packets_of(STEPS)]
    if over_tcp:  # the bytes of each direction stay in their place
        packets = [packet for *_, packet in segments_of(STEPS, Whole(), begin=False)]
        packets = packets[::2]  # without acknowledgements
    frames = [(times_ns[i], build.ethernet(packets[i])) for i in order]
    (_, *wanted), report = read(PLAIN, nano=True)
    (got_ns, *got), same = read(frames, nano=True)
    assert (same.by_protocol, same.servers) == (report.by_protocol, report.servers)
    assert same.retransmitted == report.retransmitted > 0
    if over_tcp:  # a message is complete with the last byte before it
        assert sorted(zip(*got[:3])) == sorted(zip(*wanted[:3]))
        return
    for column, expected in zip(got[:3], wanted):
        assert column == [expected[i] for i in order]
    for latency_ns, i in zip(got[3], order):
        if wanted[3][i] > 50 * MS:
            assert abs(latency_ns - wanted[3][i]) <= 50 * MS
    first_ns = min(times_ns)
    assert got_ns == [times_ns[i] - first_ns for i in order]


class Whole:
    """Gives the largest part."""

    def randint(self, low, high):
        return high


def test_a_copy_is_one_where_only_the_first_was_in_fragments_of_its_tunnel():
    """So at both ends of a gateway, whose outer packets differ in size."""
    draw = random.Random(0)
    parts = split(packets_of(STEPS)[0][1], draw)
    assert len(parts) > 1
    frames = []
    for place, part in enumerate(parts):
        outer = TUNNELS["gtp"](part, 100 + place)[14:]
        frames += split(outer[:4] + struct.pack("!H", 50 + place) + outer[6:], draw)
    frames = [build.ethernet(piece) for piece in frames]
    frames += [TUNNELS["gtp"](part, 200 + place) for place, part in enumerate(parts)]
    got, report = read([(i * MS, frame) for i, frame in enumerate(frames)])
    assert got[2] == ["INVITE"]
    assert report.causes.pop("assembled") == len(parts) + len(split(parts[0], draw))
    assert report.causes == {"duplicated": len(parts)}


def frame_of(data, *, opcode=1, final=True, key=b""):
    """A frame of RFC 6455."""
    size = len(data)
    masked = 0x80 if key else 0
    if size < 126:
        head = bytes([masked | size])
    elif size < 65536:
        head = bytes([masked | 126]) + struct.pack("!H", size)
    else:
        head = bytes([masked | 127]) + struct.pack("!Q", size)
    if key:
        data = bytes(byte ^ key[i % 4] for i, byte in enumerate(data))
    return bytes([opcode | (0x80 if final else 0)]) + head + key + data


UPGRADE = b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\n\r\n"
BIG = ASK.replace(b"Content-Length: 0", b"Content-Length: 70000") + bytes(70_000)


@settings(max_examples=40, deadline=None)
@given(st.booleans(), st.booleans(), st.integers(1, 900), st.booleans())
def test_messages_in_websocket(upgraded, masked, size, in_parts):
    key = b"\1\2\3\xfe" if masked else b""
    stream = UPGRADE if upgraded else b""
    for message in (ASK, BYE, PING):
        if in_parts:
            stream += frame_of(message[:150], final=False, key=key)
            stream += frame_of(b"", opcode=9, key=key)
            stream += frame_of(message[150:], opcode=0, key=key)
        else:
            stream += frame_of(message, key=key)
    pieces = [(stream[i : i + size], i) for i in range(0, len(stream), size)]
    got, report = read_stream(pieces, ports=(40000, 80))
    if upgraded or size > 20:
        assert got == ["INVITE", "BYE", "OPTIONS"]
        assert set(report.causes) <= {"signalling"}


def test_other_frames_of_websocket_are_none():
    answer = b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n"
    stream = answer + frame_of(BIG) + frame_of(b"", opcode=8)
    pieces = [(stream[i : i + 1400], i) for i in range(0, len(stream), 1400)]
    got, _ = read_stream(pieces)
    assert got == ["INVITE"]
    stream = UPGRADE + frame_of(b'{"a": 1}') + bytes([0xC1, 3]) + b"\1\2\3"
    got, report = read_stream([(stream, 0)])
    assert got == [] and report.causes == {"tcp": 1}


def test_homer_over_tcp():
    packets = [packet for _, packet in packets_of(ONCE)]
    stream, want = b"".join(map(hep3, packets)), read(in_frames(packets_of(ONCE)))[0]
    pieces = [(stream[i : i + 500], i) for i in range(0, len(stream), 500)]
    frames = [(0, tcp_frame(*piece, ident=0)) for piece in pieces]
    got, report = read(frames)
    assert sorted(got[2]) == sorted(want[2]) and report.messages == len(packets)
    assert report.server == "found" and set(report.causes) <= {"signalling"}


def sctp_frame(body, up=True):
    return build.sip_part(body, *ends(up), protocol=132, ident=0)


def test_messages_in_sctp():
    first, second = build.sctp(ASK, 1), build.sctp(BYE, 2)
    together = first + second[12:]
    parts = [
        build.sctp(PING[:100], 3, flags=2),
        build.sctp(PING[100:200], 4, flags=0),
        build.sctp(PING[200:], 5, flags=1),
    ]
    acknowledged = first[:12] + struct.pack("!BBHIIHH", 3, 0, 16, 1, 99, 0, 0)
    bodies = [together, first, acknowledged, *parts[::-1]]
    frames = [(i * MS, sctp_frame(body)) for i, body in enumerate(bodies)]
    got, report = read(frames)
    assert got[2] == ["INVITE", "BYE", "OPTIONS"]
    # The copy of the first chunk, and the parts before the last one that came.
    assert report.causes == {"sctp": 3, "other_ip": 1}
    damaged = first[:12] + b"\0\3\0\2" + bytes(30)
    _, report = read([(0, sctp_frame(damaged)), (MS, sctp_frame(b"\0\1"))])
    assert report.messages == 0 and report.packets == 2


def test_rtp_beside_sip_takes_few_rows(monkeypatch):
    rtp = build.udp(b"\x80\0" + bytes(170), 6000, 6002)
    monkeypatch.setattr("siamjax.capture.others.MOST_SINGLE", 100)
    numbering = messages.MessageReader()
    for number in range(1000):
        packet = build.ipv4(rtp[:-2] + struct.pack("!H", number), ident=number)
        numbering.add(number * MS, 1, build.ethernet(packet), 214)
    rows, others = numbering.take()
    assert len(rows.packet) == 0
    assert (others.packets.sum(), len(others.packet)) == (1000, 100)


def test_a_packet_of_many_layers_ends():
    nested = build.udp(ASK)
    for _ in range(100):
        nested = build.ipv4(nested, protocol=4 if nested[:1] == b"\x45" else 17)
    assert layers.decode_frame(101, nested).what == layers.TOO_DEEP
