"""From a frame to UDP: all link types, the headers between, damaged ones."""

import struct

import dpkt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from siamjax.capture import layers
from tests import packet_builder as build

MESSAGE = build.request()
FOUR = build.ipv4(build.udp(MESSAGE), ident=77)
SIX = build.ipv6(build.udp(MESSAGE))


def cooked(packet, kind):
    return struct.pack("!HHH8sH", 0, 1, 6, b"\2" * 8, kind) + packet


def cooked2(packet, kind):
    return struct.pack("!HHIHBB8s", kind, 0, 1, 1, 0, 6, b"\2" * 8) + packet


@pytest.mark.parametrize(
    "link, frame",
    [
        (1, build.ethernet(FOUR)),
        (1, build.ethernet(FOUR) + b"\0" * 18),  # padding of a short frame
        (1, build.ethernet(FOUR, tags=(0x8100,))),
        (1, build.ethernet(FOUR, tags=(0x88A8, 0x8100))),
        (1, build.ethernet(FOUR, tags=(0x9100, 0x9200, 0x8100))),
        (
            1,
            build.ethernet(
                build.ipv4(build.udp(MESSAGE), ident=77, options=b"\1" * 12)
            ),
        ),
        (113, cooked(FOUR, 0x0800)),
        (113, cooked(struct.pack("!HH", 7, 0x0800) + FOUR, 0x8100)),
        (276, cooked2(FOUR, 0x0800)),
        (12, FOUR),
        (14, FOUR),
        (101, FOUR),
        (228, FOUR),
        (0, b"\2\0\0\0" + FOUR),
        (0, b"\0\0\0\2" + FOUR),
        (108, b"\0\0\0\2" + FOUR),
    ],
)
def test_ipv4_over_every_link(link, frame):
    got = layers.decode_frame(link, frame)
    assert got.what == layers.UDP
    assert got.payload == MESSAGE
    assert got.source == b"\xc0\0\2\1" and got.target == b"\xc0\0\2\2"
    assert got.ident == b"\0\x4d"
    assert got.ports == b"\x13\xc4\x13\xc4" and not got.missing


@pytest.mark.parametrize(
    "link, frame",
    [
        (1, build.ethernet(SIX)),
        (1, build.ethernet(SIX, tags=(0x8100,))),
        (113, cooked(SIX, 0x86DD)),
        (276, cooked2(SIX, 0x86DD)),
        (101, SIX),
        (229, SIX),
        (0, b"\x1e\0\0\0" + SIX),
        (0, b"\0\0\0\x18" + SIX),
    ],
)
def test_ipv6_over_every_link(link, frame):
    got = layers.decode_frame(link, frame)
    assert got.what == layers.UDP
    assert got.payload == MESSAGE
    assert got.source.hex() == "20010db8" + "0" * 23 + "1"


def test_ipv6_headers_on_the_way_to_udp():
    hop_by_hop = struct.pack("!BB6x", 60, 0)
    destination = struct.pack("!BB14x", 43, 1)
    routing = struct.pack("!BB6x", 51, 0)
    authentication = struct.pack("!BB10x", 44, 1)
    whole = struct.pack("!BBHI", 17, 0, 0, 99)  # RFC 6946: a fragment that is all of it
    body = (
        hop_by_hop + destination + routing + authentication + whole + build.udp(MESSAGE)
    )
    got = layers.decode_frame(101, build.ipv6(body, protocol=0))
    assert (got.what, got.payload) == (layers.UDP, MESSAGE)


def test_a_fragment_says_where_it_belongs():
    body = build.udp(MESSAGE)
    first = layers.decode_frame(101, build.ipv4(body[:200], fragment=0x2000))
    assert (first.what, first.part) == (layers.FRAGMENT, (17, 0, True))
    assert first.payload == body[:200]
    for flags, more in ((0x2019, True), (0x0019, False)):
        later = layers.decode_frame(101, build.ipv4(body[200:], fragment=flags))
        assert later.part == (17, 200, more)
    header = struct.pack("!BBHI", 17, 0, 25 << 3 | 1, 99)
    later = layers.decode_frame(101, build.ipv6(header + body[200:], protocol=44))
    assert later.part == (17, 200, True) and later.ident == b"\0\0\0\x63"
    whole = layers.decode_whole(later, body)
    assert (whole.what, whole.payload) == (layers.UDP, MESSAGE)


@pytest.mark.parametrize(
    "link, frame, what",
    [
        (1, build.ethernet(b"\0" * 28, kind=0x0806), layers.NOT_IP),
        (
            1,
            build.ethernet(b"\x42\x42\3" + b"\0" * 30, kind=38),
            layers.NOT_IP,
        ),  # 802.3
        (1, build.ethernet(b"\x11\x09" + b"\0" * 20, kind=0x8863), layers.NOT_IP),
        (1, build.ethernet(b"\x11\0\0\1\0\6\xc0\x21\1\1", kind=0x8864), layers.NOT_IP),
        (0, b"\7\0\0\0" + FOUR, layers.NOT_IP),
        (147, FOUR, layers.UNKNOWN_LINK),
        (101, build.ipv4(b"\0" * 20, protocol=6), layers.TCP),
        (101, build.ipv4(b"\0" * 20, protocol=132), layers.SCTP),
        (101, build.ipv4(b"\0" * 20, protocol=115), layers.TUNNEL),
        (101, build.ipv4(b"\0" * 20, protocol=50), layers.IPSEC),
        (101, build.ipv4(build.udp(b"\1" * 20, 4500, 4500)), layers.IPSEC),
        (101, build.ipv4(build.udp(bytes(4) + b"\1" * 20, 4500, 4500)), layers.UDP),
        (101, build.ipv4(build.udp(b"\xff", 4500, 4500)), layers.UDP),
        (1, build.ethernet(b"", kind=0x8100) + b"\0\0\x81\0" * 99, layers.TOO_DEEP),
        (101, build.ipv4(b"\0" * 20, protocol=89), layers.OTHER_IP),
        (101, build.ipv4(b"\3\3" + b"\0" * 6 + FOUR, protocol=1), layers.ICMP_ERROR),
        (101, build.ipv4(b"\x0b\0" + b"\0" * 6, protocol=1), layers.ICMP_ERROR),
        (101, build.ipv4(b"\x08\0" + b"\0" * 6, protocol=1), layers.ICMP),
        (101, build.ipv6(b"\1\4" + b"\0" * 6, protocol=58), layers.ICMP_ERROR),
        (101, build.ipv6(b"\x87\0" + b"\0" * 22, protocol=58), layers.ICMP),
        (101, build.ipv6(b"", protocol=59), layers.OTHER_IP),
        (1, b"\2" * 13, layers.DAMAGED),
        (1, build.ethernet(FOUR)[:30], layers.DAMAGED),
        (1, build.ethernet(FOUR)[:41], layers.DAMAGED),
        (1, build.ethernet(b"", kind=0x8100), layers.DAMAGED),
        (101, b"", layers.DAMAGED),
        (101, b"\x44" + FOUR[1:], layers.DAMAGED),  # a header of 16 bytes
        (228, SIX, layers.DAMAGED),
        (229, FOUR + FOUR, layers.DAMAGED),
        (
            101,
            FOUR[:2] + b"\0\x10" + FOUR[4:],
            layers.DAMAGED,
        ),  # total below the header
        (101, build.ipv4(struct.pack("!HHHH", 1, 2, 7, 0)), layers.DAMAGED),
    ],
)
def test_what_is_not_udp_has_a_name(link, frame, what):
    assert layers.decode_frame(link, frame).what == what


def snap(packet, kind=0x0800):
    return b"\xaa\xaa\3\0\0\0" + struct.pack("!H", kind) + packet


SNAP = snap(FOUR)


def radiotap(*, control=0x88, flags=1, quality=b"\0\0", body=SNAP):
    header = bytes([control, flags]) + bytes(22) + quality
    return b"\0\0\x08\0\0\0\0\0" + header + body


def ppp(packet, kind=0x21):
    return struct.pack("!H", kind) + packet


def gtp(packet, *, flags=0x30, extra=b"", kind=255):
    size = len(extra) + len(packet)
    return struct.pack("!BBHI", flags, kind, size, 9) + extra + packet


def over_udp(payload, port):
    return build.ipv4(build.udp(payload, 40000, port), build.OTHER, "192.0.2.4")


def exported(packet):
    fields = [(12, b"sip\0"), (20, packet[12:16]), (21, packet[16:20])]
    fields += [(24, b"\0\0\0\3"), (25, b"\0\0\x13\xc4"), (26, b"\0\0\x13\xc4")]
    tags = b"".join(struct.pack("!HH", k, len(v)) + v for k, v in fields)
    return tags + b"\0\0\0\0" + packet[28:]


FRAME = build.ethernet(FOUR)
PPPOE = b"\x11\0\0\1" + struct.pack("!H", len(FOUR) + 2)
TEB = b"\x65\x58"


@pytest.mark.parametrize(
    "link, frame",
    [
        (1, build.ethernet(PPPOE + ppp(FOUR), kind=0x8864)),
        (1, build.ethernet(snap(FOUR), kind=len(FOUR) + 8)),
        (1, build.ethernet(b"\0\0\x10\x40\0\0\1\xff" + FOUR, kind=0x8847)),
        (1, build.ethernet(b"\0\0\1\x40" + bytes(4) + FRAME, kind=0x8847)),
        (1, build.ethernet(b"\x80\0\0\1\x08\0" + FOUR, kind=0x8926)),
        (1, build.ethernet(b"\0" * 6 + b"\x08\0" + FOUR, kind=0x893F)),
        (9, b"\xff\3" + ppp(FOUR)),
        (9, b"\x21" + FOUR),
        (50, b"\x0f\0\x08\0" + FOUR),
        (51, PPPOE + ppp(FOUR)),
        (104, b"\x8f\0\x08\0" + FOUR),
        (105, radiotap()[8:]),
        (127, radiotap()),
        (127, radiotap(body=b"\0\0" + snap(FOUR))),  # aligned
        (127, radiotap(control=8, flags=3, quality=bytes(6))),
        (192, b"\0\0\x08\0\x69\0\0\0" + radiotap()[8:]),
        (239, b"\2\0\0\0\x05\0\1\0x\0\0\0" + struct.pack("<HH", 9, 9) + FOUR),
        (101, build.ipv4(FOUR, protocol=4)),
        (101, build.ipv6(FOUR, protocol=4)),
        (101, build.ipv4(b"\0\0\x08\0" + FOUR, protocol=47)),
        (101, build.ipv4(b"\xb0\0" + TEB + bytes(12) + FRAME, protocol=47)),
        (101, build.ipv4(b"\x30\x81\x88\x0b" + bytes(12) + ppp(FOUR), protocol=47)),
        (101, build.ipv4(b"\x10\0\x88\xbe" + bytes(12) + FRAME, protocol=47)),
        (101, build.ipv4(b"\0\0\x88\xbe" + FRAME, protocol=47)),
        (101, build.ipv4(b"\x10\0\x22\xeb" + bytes(16) + FRAME, protocol=47)),
        (
            101,
            build.ipv4(
                b"\x10\0\x22\xeb" + bytes(15) + b"\1" + bytes(8) + FRAME, protocol=47
            ),
        ),
        (101, build.ipv4(b"\x30\0" + FRAME, protocol=97)),
        (101, build.ipv4(b"\0\0\1\xff" + FOUR, protocol=137)),
        (101, build.ipv4(FRAME, protocol=143)),
        (101, build.ipv4(b"\4\4" + bytes(22) + FOUR, protocol=51)),
        (1, build.ethernet(over_udp(gtp(FOUR), 2152))),
        (1, build.ethernet(over_udp(gtp(FOUR, flags=0x32, extra=bytes(4)), 2152))),
        (
            101,
            over_udp(gtp(FOUR, flags=0x34, extra=b"\0\0\0\x85\1\x10\5\0"), 2152),
        ),
        (101, over_udp(b"\x08" + bytes(7) + FRAME, 4789)),
        (101, over_udp(b"\1\0" + TEB + bytes(8) + FRAME, 6081)),
        (101, over_udp(b"\x48\x02" + bytes(10) + b"\xff\3" + ppp(FOUR), 1701)),
        (101, over_udp(b"\1\0\0\1\0\x0a\1\x05\1" + FRAME, 37008)),
        (101, over_udp(gtp(build.ipv4(over_udp(gtp(FOUR), 2152), protocol=4)), 2152)),
        (252, exported(FOUR)),
        (252, struct.pack("!HH4sI", 12, 4, b"ip", 0) + FOUR),
    ],
)
def test_what_ip_travels_in_is_opened(link, frame):
    got = layers.decode_frame(link, frame)
    assert got.what == layers.UDP
    assert got.payload == MESSAGE
    assert got.source == b"\xc0\0\2\1" and got.target == b"\xc0\0\2\2"
    assert got.ports == b"\x13\xc4\x13\xc4"


@pytest.mark.parametrize(
    "payload, port",
    [
        (gtp(b"", kind=1, extra=b"\0" * 4), 2152),  # an echo
        (gtp(FOUR, flags=0x10), 2152),
        (b"\x80" + bytes(7) + FRAME, 4789),
        (b"\xc8\2" + bytes(20), 1701),  # control
        (MESSAGE, 2152),
        (MESSAGE, 6081),
    ],
)
def test_what_is_no_tunnel_is_only_udp(payload, port):
    got = layers.decode_frame(101, over_udp(payload, port))
    assert (got.what, got.payload) == (layers.UDP, payload)


def test_what_is_encrypted_in_the_air_is_not_read():
    frame = radiotap(flags=0x41)
    assert layers.decode_frame(127, frame).what == layers.UNKNOWN_LINK
    no_data = radiotap(control=0xC8)
    assert layers.decode_frame(127, no_data).what == layers.NOT_IP


def test_a_total_length_of_zero_means_as_far_as_it_was_captured():
    got = layers.decode_frame(101, FOUR[:2] + b"\0\0" + FOUR[4:])
    assert got.payload == MESSAGE


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=90), st.sampled_from(sorted(layers._LINKS)))
def test_no_frame_is_fatal(frame, link):
    layers.decode_frame(link, frame)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_the_usual_way_is_only_faster(data):
    """Without its frame a packet takes the long way, and both find the same."""
    frame = bytearray(build.ethernet(FOUR)[: data.draw(st.integers(34, 60))])
    for _ in range(data.draw(st.integers(0, 3))):
        frame[data.draw(st.integers(14, len(frame) - 1))] = data.draw(
            st.integers(0, 255)
        )
    assert layers.decode_frame(1, bytes(frame)) == layers.decode_frame(
        228, bytes(frame[14:])
    )


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=60),
    st.integers(0, 65535),
    st.integers(0, 65535),
    st.sampled_from([(), (0x8100,), (0x88A8, 0x8100)]),
)
def test_dpkt_finds_the_same_payload(payload, source_port, target_port, tags):
    assume(not {source_port, target_port} & layers._UDP_TUNNELS.keys())
    frame = build.ethernet(
        build.ipv4(build.udp(payload, source_port, target_port)), tags=tags
    )
    got, theirs = layers.decode_frame(1, frame), dpkt.ethernet.Ethernet(frame).data
    assert (got.source, got.target) == (theirs.src, theirs.dst)
    assert got.payload == bytes(theirs.data.data)
