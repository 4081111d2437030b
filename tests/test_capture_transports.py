"""A capture gives the same events in whatever its messages travel."""

import pathlib
import random
import struct
import tempfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siamjax.capture import events, framing, layers, messages, tcp
from tests import packet_builder as build

MS = 1_000_000
SIP = ("sip",)


def read(records, *, make=build.pcap, pack="plain", **options):
    """Events without `other`, their kinds by name, and the report."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "a"
        path.write_bytes(build.PACK[pack](make(records, **options)))
        got, names, report = events.read_events(path, protocols=SIP)
    build.check_account(report)
    kinds = [names[kind].removeprefix("sip:") for kind in got.kind]
    signalling = np.array([kind != "other" for kind in kinds], bool)
    kept = [column.tolist() for column in got.take(signalling)[:5]]
    kept[2] = [kind for kind in kinds if kind != "other"]
    return kept, report


def conversation(seed=0, calls=3):
    """`(time_ns, message, to the server)` of calls, some of it repeated."""
    draw, steps = random.Random(seed), []
    for call in range(calls):
        start_ns = build.START_NS + call * 700 * MS
        for time_ns, frame in build.call(f"call-{call}", start_ns):
            up = frame[26:30] == bytes((192, 0, 2, 1))
            steps.append((time_ns + call * MS, frame[42:], up))
            if draw.random() < 0.3:
                steps.append((time_ns + 500 * MS + call * MS, frame[42:], up))
    return sorted(steps)


def ends(up):
    return (build.CLIENT, build.SERVER) if up else (build.SERVER, build.CLIENT)


def packets_of(steps):
    """`(time_ns, packet of IP)`."""
    return [
        (time_ns, build.ipv4(build.udp(message), *ends(up), ident=1 + number))
        for number, (time_ns, message, up) in enumerate(steps)
    ]


def in_frames(packets):
    return [(time_ns, build.ethernet(packet)) for time_ns, packet in packets]


STEPS = conversation()
PLAIN = in_frames(packets_of(STEPS))


def split(packet, draw):
    """The fragments of a packet of IP."""
    body, start, parts = packet[20:], 0, []
    while start < len(body):
        size = 8 * draw.randint(4, 40)
        more = 0x2000 if start + size < len(body) else 0
        head = bytearray(packet[:20])
        part = body[start : start + size]
        head[2:4] = struct.pack("!H", 20 + len(part))
        head[6:8] = struct.pack("!H", more | start // 8)
        parts.append(bytes(head) + part)
        start += size
    return parts


def hep3(packet):
    """A packet of UDP as an agent of Homer sends it."""
    chunks = [
        *((1, b"\2"), (2, b"\x11"), (3, packet[12:16]), (4, packet[16:20])),
        *((7, packet[20:22]), (8, packet[22:24]), (11, b"\1"), (15, packet[28:])),
    ]
    body = b"".join(
        struct.pack("!HHH", 0, kind, 6 + len(data)) + data for kind, data in chunks
    )
    return b"HEP3" + struct.pack("!H", 6 + len(body)) + body


def hep2(packet, version=2):
    head = bytes((version, 16, 2, 17)) + packet[20:24] + packet[12:20]
    return head + bytes(12 if version == 2 else 0) + packet[28:]


def over_udp(payload, port, ident=0):
    udp = build.udp(payload, 40000, port)
    return build.ipv4(udp, "192.0.2.8", "192.0.2.9", ident=ident)


# Each gives a frame, of the packet and its number.
TUNNELS = {
    "none": lambda packet, _: build.ethernet(packet),
    "tags": lambda packet, _: build.ethernet(packet, tags=(0x88A8, 0x8100)),
    "pppoe": lambda packet, _: build.ethernet(
        struct.pack("!BBHHH", 0x11, 0, 1, len(packet) + 2, 0x21) + packet, 0x8864
    ),
    "mpls": lambda packet, _: build.ethernet(b"\0\0\1\x40" + packet, 0x8847),
    "ip in ip": lambda packet, number: build.ethernet(
        build.ipv4(packet, "192.0.2.8", "192.0.2.9", protocol=4, ident=number + 1)
    ),
    "gtp": lambda packet, number: build.ethernet(
        over_udp(
            b"\x30\xff" + struct.pack("!HI", len(packet), 7) + packet, 2152, number
        )
    ),
    "vxlan": lambda packet, _: build.ethernet(
        over_udp(b"\x08" + bytes(7) + build.ethernet(packet), 4789)
    ),
    "hep 1": lambda packet, _: build.ethernet(over_udp(hep2(packet, 1), 9060)),
    "hep 2": lambda packet, _: build.ethernet(over_udp(hep2(packet), 9060)),
    "hep 3": lambda packet, _: build.ethernet(over_udp(hep3(packet), 9060)),
}
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


# TCP.


def segments_of(steps, draw, *, most=400, begin=True, first=2**32 - 1500):
    """Frames of a connection: each message in segments of its time."""
    place = {True: first, False: 7000}
    records = []
    if begin:
        for up in (True, False):
            syn = build.tcp(b"", (place[up] - 1) % 2**32, flags=2)
            records.append((steps[0][0], up, syn))
    for time_ns, message, up in steps:
        while message:
            size = draw.randint(1, most)
            data, message = message[:size], message[size:]
            records.append((time_ns, up, build.tcp(data, place[up] % 2**32)))
            place[up] += len(data)
        back = build.tcp(b"", place[not up] % 2**32)
        records.append((time_ns, not up, back))
    return [
        (time_ns, up, build.ipv4(body, *ends(up), protocol=6, ident=number + 1))
        for number, (time_ns, up, body) in enumerate(records)
    ]


def without_repeats(steps):
    """No message is sent again over TCP."""
    known, kept = set(), []
    for time_ns, message, up in steps:
        if message not in known:
            known.add(message)
            kept.append((time_ns, message, up))
    return kept


ONCE = without_repeats(STEPS)


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


def tcp_frame(data, sequence, up=True, *, ident=0, **options):
    packet = build.tcp(data, sequence, **options)
    return build.sip_part(packet, *ends(up), protocol=6, ident=ident)


def read_stream(parts, **options):
    """Kinds and report of `(data, sequence)` that go to the server, 1 ms apart."""
    frames = [
        (build.START_NS + i * MS, tcp_frame(data, sequence, **options))
        for i, (data, sequence) in enumerate(parts)
    ]
    got, report = read(frames)
    return got[2], report


ASK, BYE, PING = (build.request(method) for method in ("INVITE", "BYE", "OPTIONS"))
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


# WebSocket.


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


# SCTP.


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


# What is said of packets that are not taken apart.


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
