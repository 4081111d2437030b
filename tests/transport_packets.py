"""One conversation of SIP in packets of each transport."""

import pathlib
import random
import struct
import tempfile

import numpy as np

from siamjax.capture import events
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
