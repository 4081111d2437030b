"""From a frame to UDP: all link types, the headers between, damaged ones."""

import struct

import dpkt
import pytest
from hypothesis import given, settings
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
    assert not got.first_fragment and not got.tunnel_port


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
    assert (got.what, got.payload, got.first_fragment) == (layers.UDP, MESSAGE, False)


def test_the_first_fragment_is_read_and_the_others_are_not():
    body = build.udp(MESSAGE)
    first = layers.decode_frame(101, build.ipv4(body[:200], fragment=0x2000))
    assert first.what == layers.UDP and first.first_fragment
    assert first.payload == MESSAGE[:192]
    for flags in (0x2019, 0x0019):  # more to come, and the last
        assert (
            layers.decode_frame(101, build.ipv4(body[200:], fragment=flags)).what
            == "fragment"
        )

    header = struct.pack("!BBHI", 17, 0, 1, 99)
    first = layers.decode_frame(101, build.ipv6(header + body[:200], protocol=44))
    assert first.first_fragment and first.payload == MESSAGE[:192]
    header = struct.pack("!BBHI", 17, 0, 25 << 3, 99)
    later = layers.decode_frame(101, build.ipv6(header + body[200:], protocol=44))
    assert later.what == layers.FRAGMENT


@pytest.mark.parametrize(
    "link, frame, what",
    [
        (1, build.ethernet(b"\0" * 28, kind=0x0806), layers.NOT_IP),
        (
            1,
            build.ethernet(b"\x42\x42\3" + b"\0" * 30, kind=38),
            layers.NOT_IP,
        ),  # 802.3
        (
            1,
            build.ethernet(b"\x11\0\0\1\0\x20\0\x21" + FOUR, kind=0x8864),
            layers.PPPOE,
        ),
        (1, build.ethernet(b"\0\0\1\xff" + FOUR, kind=0x8847), layers.TUNNEL),
        (0, b"\7\0\0\0" + FOUR, layers.NOT_IP),
        (147, FOUR, layers.UNKNOWN_LINK),
        (101, build.ipv4(b"\0" * 20, protocol=6), layers.TCP),
        (101, build.ipv4(b"\0" * 20, protocol=132), layers.SCTP),
        (101, build.ipv4(FOUR, protocol=4), layers.TUNNEL),
        (101, build.ipv4(b"\0" * 20, protocol=47), layers.TUNNEL),
        (101, build.ipv4(b"\0" * 20, protocol=50), layers.TUNNEL),
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


def test_tunnels_over_udp_are_known_by_their_port():
    gtp = build.udp(b"\x30\xff\0\x54\0\0\0\1" + FOUR, 2152, 2152)
    assert layers.decode_frame(101, build.ipv4(gtp)).tunnel_port
    assert not layers.decode_frame(101, FOUR).tunnel_port


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
    frame = build.ethernet(
        build.ipv4(build.udp(payload, source_port, target_port)), tags=tags
    )
    got, theirs = layers.decode_frame(1, frame), dpkt.ethernet.Ethernet(frame).data
    assert (got.source, got.target) == (theirs.src, theirs.dst)
    assert got.payload == bytes(theirs.data.data)
