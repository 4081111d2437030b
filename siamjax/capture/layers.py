"""Decodes a frame down to UDP, TCP or SCTP, through tunnels, with byte offsets only.

A layer is a function of a frame and an offset. It gives the next layer and where that
begins, or the `Datagram` in which it ends. Tables name the layer of each link type,
Ethernet type, protocol of IP and port of a tunnel. A full decode of each layer would
take three times as long.
"""

import contextlib
import struct
from collections.abc import Callable
from typing import NamedTuple

# What a packet turned out to be.
UDP, TCP, SCTP, ICMP, ICMP_ERROR = "udp", "tcp", "sctp", "icmp_other", "icmp_error"
IPSEC, TUNNEL, OTHER_IP = "ipsec", "tunnel", "other_ip"
TOO_DEEP = "too_deep"
NOT_IP, UNKNOWN_LINK = "not_ip", "unknown_link"
FRAGMENT, DAMAGED = "fragment", "malformed"

_IPV4_LINK, _IPV6_LINK = 228, 229  # pcap link types of packets of IP
_MOST_LAYERS = 64  # more have no use; a frame of nothing but tags would have thousands

_ETHERNET_LINK = 1

_two = struct.Struct("!H").unpack_from
_ip4 = struct.Struct("!BxH2sHxB2x4s4s").unpack_from
_ip6 = struct.Struct("!B3xHBx16s16s").unpack_from
_ip6_fragment = struct.Struct("!BxH4s").unpack_from
_udp = struct.Struct("!HHH2x").unpack_from
_ip4_head = struct.Struct("!BBHHHBBH").pack
_ip6_head = struct.Struct("!IHBB").pack
_ppi = struct.Struct("<xxHI").unpack_from
_little = struct.Struct("<HH").unpack_from
# All three headers at once, for the usual form that nearly all packets have.
_ethernet_ip4_udp = struct.Struct("!12xHBxH2sHxB2x4s4sHHH2x").unpack_from


class Part(NamedTuple):
    """Where a fragment belongs in its packet."""

    protocol: int  # of what the packet contains
    offset: int  # bytes
    more: bool  # whether it is not the last one


class Datagram(NamedTuple):
    """The content of a frame. Addresses are bytes of the innermost IP header."""

    what: str
    source: bytes = b""
    target: bytes = b""
    ident: bytes = b""  # of the IP packet; empty where it has none
    payload: bytes = b""  # of UDP, else of IP, the part that was captured
    ports: bytes = b""  # of UDP, source and target, as in its header
    missing: int = 0  # bytes of the payload that were not captured
    part: Part | None = None  # of a fragment


Layer = Callable[[bytes, int], "tuple[Layer, int] | Datagram"]

_new = tuple.__new__  # takes half the time of the class: there are millions of packets


def decode_frame(link: int, frame: bytes) -> Datagram:
    """The `Datagram` of a frame, for a pcap link type."""
    if link == _ETHERNET_LINK and (datagram := _usual(frame)):
        return datagram
    layer = _LINKS.get(link)
    if layer is None:
        return Datagram(UNKNOWN_LINK)
    return _decode(layer, frame, 0)


def part_of(fragment: Datagram) -> Part:
    """Where a fragment belongs."""
    return fragment.part or Part(0, 0, False)


def decode_whole(fragment: Datagram, body: bytes) -> Datagram:
    """The `Datagram` of a packet whose fragments were put together.

    Args:
      fragment: one of its fragments.
      body: all that follows the header of IP, or its beginning.
    """
    ends = fragment.source, fragment.target, fragment.ident
    try:
        step = _above(body, 0, len(body), part_of(fragment).protocol, ends)
    except (IndexError, struct.error):
        return Datagram(DAMAGED, *ends)
    if isinstance(step, Datagram):
        return step
    layer, start = step
    return _decode(layer, body, start)


def write_packet(fragment: Datagram, body: bytes) -> tuple[int, bytes]:
    """Link type and frame of a packet of IP whose fragments were put together.

    Args:
      fragment: one of its fragments.
      body: all that follows the header of IP.
    """
    protocol, size = part_of(fragment).protocol, len(body)
    if len(fragment.source) == 16:
        head = _ip6_head(6 << 28, size & 0xFFFF, protocol, 64)
        link = _IPV6_LINK
    else:
        ident = int.from_bytes(fragment.ident, "big")
        total = (20 + size) & 0xFFFF
        head = _ip4_head(0x45, 0, total, ident, 0, 64, protocol, 0)
        link = _IPV4_LINK
    return link, head + fragment.source + fragment.target + body


def _decode(layer, frame, start):
    try:
        for _ in range(_MOST_LAYERS):
            step = layer(frame, start)
            if type(step) is Datagram:
                return step
            layer, start = step
    except (IndexError, struct.error):
        return Datagram(DAMAGED)
    return Datagram(TOO_DEEP)


def _usual(frame):
    """The `Datagram` of Ethernet, IPv4 without options, UDP or TCP; else None."""
    if len(frame) < 42:
        return None
    kind, first, total, ident, fragment, protocol, source, target, from_, to, size = (
        _ethernet_ip4_udp(frame)
    )
    if kind != 0x0800 or first != 0x45 or fragment & 0x3FFF:
        return None
    if protocol == 6 and total >= 20:
        payload = frame[34 : 14 + total]
        missing = total - 20 - len(payload)
        return _new(Datagram, (TCP, source, target, ident, payload, b"", missing, None))
    if protocol != 17:
        return None
    if size < 8 or total < 20 + size or from_ in _UDP_TUNNELS or to in _UDP_TUNNELS:
        return None
    payload, ports = frame[42 : 34 + size], frame[34:38]
    missing = size - 8 - len(payload)
    return _new(Datagram, (UDP, source, target, ident, payload, ports, missing, None))


# Links.


def _ethernet(frame, start):
    return _typed(frame, start + 12)


def _cooked(frame, start):
    return _typed(frame, start + 14)


def _cooked2(frame, start):
    return _layer_of(_two(frame, start)[0]), start + 20


def _cisco_hdlc(frame, start):
    return _typed(frame, start + 2)


def _ip(frame, start):
    """IPv4 or IPv6, by the version."""
    return {4: _ipv4, 6: _ipv6}.get(frame[start] >> 4, _not_ip), start


def _null(frame, start):
    # The family is in the byte order of the machine that captured.
    family = frame[start] or frame[start + 3]
    return (_ip if family in (2, 10, 24, 28, 30) else _not_ip), start + 4


def _ppp(frame, start):
    if frame[start] in (0xFF, 0, 1) and frame[start + 1] == 3:  # address and control
        start += 2
    if frame[start] & 1:  # the protocol is compressed to one byte
        protocol, start = frame[start], start + 1
    else:
        protocol, start = _two(frame, start)[0], start + 2
    return {0x21: _ipv4, 0x57: _ipv6, 0x281: _mpls}.get(protocol, _not_ip), start


def _serial(frame, start):
    """PPP, or HDLC as Cisco writes it."""
    return (_cisco_hdlc if frame[start] in (0x0F, 0x8F) else _ppp), start


def _per_packet(frame, start):
    """PPI: the packet names its own link type."""
    size, link = _ppi(frame, start)
    return _LINKS.get(link, _unknown_link), start + size


def _radiotap(frame, start):
    return _wifi, start + _little(frame, start)[1]


def _wifi(frame, start):
    """802.11: only its data, and only where it is not encrypted."""
    control, flags = frame[start], frame[start + 1]
    if control & 0x0C != 8 or control & 0x40:
        return _not_ip, start
    if flags & 0x40:
        return _unknown_link, start
    size = 24 + 6 * (flags & 3 == 3)
    if control & 0x80:  # with a field for the quality of service
        size += 2 + 4 * bool(flags & 0x80)
    if frame[start + size : start + size + 2] != b"\xaa\xaa":
        size = (size + 3) & ~3  # some cards align what follows the header
    return _llc, start + size


def _firewall_log(frame, start):
    """NFLOG: the packet is one of several attributes."""
    start += 4
    while True:
        size, kind = _little(frame, start)
        if kind == 9:
            return _ip, start + 4
        start += max(4, (size + 3) & ~3)


def _exported(frame, start):
    """A PDU that Wireshark exported, with the addresses of its packet."""
    fields = {}
    while kind := _two(frame, start)[0]:
        size = _two(frame, start + 2)[0]
        fields[kind] = frame[start + 4 : start + 4 + size]
        start += 4 + size
    start += 4 + _two(frame, start + 2)[0]
    if fields.get(12, b"").rstrip(b"\0") in (b"ip", b"ipv6"):
        return _ip, start
    source = fields.get(20, fields.get(22, b""))
    target = fields.get(21, fields.get(23, b""))
    ports = fields.get(25, b"")[-2:] + fields.get(26, b"")[-2:]
    return Datagram(UDP, source, target, b"", frame[start:], ports)


_LINKS: dict[int, Layer] = {
    **dict.fromkeys((0, 108), _null),
    **dict.fromkeys((12, 14, 101), _ip),
    **dict.fromkeys((9, 50, 166), _serial),
    _ETHERNET_LINK: _ethernet,
    51: lambda frame, start: (_ppp, start + 6),
    104: _cisco_hdlc,
    105: _wifi,
    113: _cooked,
    127: _radiotap,
    192: _per_packet,
    _IPV4_LINK: lambda frame, start: (_ipv4, start),
    _IPV6_LINK: lambda frame, start: (_ipv6, start),
    239: _firewall_log,
    252: _exported,
    276: _cooked2,
}


# Between the link and IP.


def _typed(frame, start):
    """What follows an Ethernet type."""
    return _layer_of(_two(frame, start)[0]), start + 2


def _layer_of(kind):
    return _ETHERTYPES.get(kind, _llc if kind <= 1500 else _not_ip)


def _not_ip(frame, start):
    return Datagram(NOT_IP)


def _unknown_link(frame, start):
    return Datagram(UNKNOWN_LINK)


def _llc(frame, start):
    """802.2, with IP only under the header that is named SNAP."""
    if frame[start : start + 3] != b"\xaa\xaa\3":
        return _not_ip, start
    return _typed(frame, start + 6)


def _mpls(frame, start):
    while not frame[start + 2] & 1:  # the last label has this bit
        start += 4
    start += 4
    if frame[start] >> 4 in (4, 6):
        return _ip, start
    # Ethernet, often behind a control word that begins with zeros.
    return _ethernet, start + 4 * (frame[start] >> 4 == 0)


def _gre(frame, start):
    flags, kind = _two(frame, start)[0], _two(frame, start + 2)[0]
    if flags & 7 == 1:  # of PPTP, which has an acknowledgement as well
        start += 8 + 4 * bool(flags & 0x1000) + 4 * bool(flags & 0x80)
        return _ppp, start
    start += 4 + 4 * bool(flags & 0xC000)
    start += 4 * bool(flags & 0x2000) + 4 * bool(flags & 0x1000)
    if kind == 0x88BE:  # ERSPAN, of whose types I has no header and no sequence
        return _ethernet, start + (8 if flags & 0x1000 else 0)
    if kind == 0x22EB:  # ERSPAN III
        about = _two(frame, start + 10)[0]
        inner = _ip if about >> 10 & 31 == 2 else _ethernet
        return inner, start + 12 + 8 * (about & 1)
    return _layer_of(kind), start


_ETHERTYPES: dict[int, Layer] = {
    0x0800: lambda frame, start: (_ipv4, start),
    0x86DD: lambda frame, start: (_ipv6, start),
    **dict.fromkeys((0x8847, 0x8848), _mpls),
    **dict.fromkeys(
        (0x8100, 0x88A8, 0x9100, 0x9200),  # VLAN
        lambda frame, start: _typed(frame, start + 2),
    ),
    0x8926: lambda frame, start: _typed(frame, start + 4),  # VN-Tag
    0x893F: lambda frame, start: _typed(frame, start + 6),  # E-Tag
    0x8864: lambda frame, start: (_ppp, start + 6),  # PPPoE
    0x880B: _ppp,
    0x6558: _ethernet,
}


# Tunnels over UDP: None where the payload is not of that tunnel.


def _gtp_user(frame, start):
    flags = frame[start]
    if flags >> 4 != 3 or frame[start + 1] != 255:  # not version 1, or no user data
        return None
    extension = frame[start + 11] if flags & 4 else 0
    start += 12 if flags & 7 else 8
    while extension:
        start += 4 * (frame[start] or 1)
        extension = frame[start - 1]
    return _ip, start


def _vxlan(frame, start):
    return (_ethernet, start + 8) if frame[start] & 0x88 == 8 else None


def _geneve(frame, start):
    inner = _ETHERTYPES.get(_two(frame, start + 2)[0])
    if frame[start] >= 0x40 or inner is None:
        return None
    return inner, start + 8 + 4 * (frame[start] & 0x3F)


def _l2tp(frame, start):
    flags = _two(frame, start)[0]
    if flags & 0x800F != 2:  # not data of version 2
        return None
    start += 6 + 2 * bool(flags & 0x4000) + 4 * bool(flags & 0x0800)
    if flags & 0x0200:
        start += 2 + _two(frame, start)[0]
    return _ppp, start


def _tazmen(frame, start):
    """TZSP, in which access points and routers send what they capture."""
    inner = {1: _ethernet, 18: _wifi}.get(_two(frame, start + 2)[0])
    if frame[start] != 1 or frame[start + 1] > 1 or inner is None:
        return None
    start += 4
    while frame[start] != 1:  # the end of the tags; 0 is padding
        start += 2 + frame[start + 1] if frame[start] else 1
    return inner, start + 1


_UDP_TUNNELS = {
    1701: _l2tp,
    2152: _gtp_user,
    4789: _vxlan,
    6081: _geneve,
    8472: _vxlan,
    37008: _tazmen,
}
_UDP_TUNNELS[4500] = lambda frame, start: None  # IPsec, which has no inner layer


# IP and what it contains.

_PROTOCOLS = {6: TCP, 132: SCTP, 50: IPSEC, 115: TUNNEL}
_IP_TUNNELS: dict[int, Layer] = {
    4: lambda frame, start: (_ipv4, start),
    41: lambda frame, start: (_ipv6, start),
    47: _gre,
    97: lambda frame, start: (_ethernet, start + 2),
    137: _mpls,
    143: _ethernet,
}
# Extension headers of IPv6, and their lengths: units in bytes, and how many more.
_EXTENSIONS = {**dict.fromkeys((0, 43, 60, 135, 139, 140), (8, 1)), 51: (4, 2)}
_FRAGMENT_HEADER = 44
# Types of ICMP that report an error about a packet.
ERRORS = {1: frozenset((3, 4, 5, 11, 12)), 58: frozenset((1, 2, 3, 4))}


def _ipv4(frame, start):
    first, total, ident, fragment, protocol, source, target = _ip4(frame, start)
    size = (first & 15) * 4
    # The total is 0 where the network card cuts the segments.
    end = start + total if total else len(frame)
    start += size
    if first >> 4 != 4 or size < 20 or end < start:
        return Datagram(DAMAGED)
    more, offset = bool(fragment & 0x2000), (fragment & 0x1FFF) * 8
    ends = source, target, ident
    if more or offset:
        return _fragment(frame, start, end, ends, Part(protocol, offset, more))
    return _above(frame, start, end, protocol, ends)


def _ipv6(frame, start):
    first, total, protocol, source, target = _ip6(frame, start)
    if first >> 4 != 6:
        return Datagram(DAMAGED)
    start += 40
    end = start + total if total else len(frame)
    return _above(frame, start, end, protocol, (source, target, b""))


def _fragment(frame, start, end, ends, part):
    payload = frame[start:end]
    missing = max(end - start - len(payload), 0)
    return Datagram(FRAGMENT, *ends, payload, missing=missing, part=part)


def _above(frame, start, end, protocol, ends):
    while protocol in _EXTENSIONS or protocol == _FRAGMENT_HEADER:
        if protocol == _FRAGMENT_HEADER:
            protocol, place, ident = _ip6_fragment(frame, start)
            ends, start = (*ends[:2], ident), start + 8
            # A fragment of offset 0 without a following one is complete (RFC 6946).
            if place & 0xFFF9:
                part = Part(protocol, place & 0xFFF8, bool(place & 1))
                return _fragment(frame, start, end, ends, part)
        else:
            unit, more = _EXTENSIONS[protocol]
            protocol, start = frame[start], start + unit * (frame[start + 1] + more)
    if protocol == 17:
        return _datagram(frame, start, end, ends)
    if protocol in _IP_TUNNELS:
        return _IP_TUNNELS[protocol], start
    if protocol in ERRORS:
        what = ICMP_ERROR if frame[start] in ERRORS[protocol] else ICMP
    else:
        what = _PROTOCOLS.get(protocol, OTHER_IP)
    payload = frame[start:end]
    missing = max(end - start - len(payload), 0)
    return Datagram(what, *ends, payload, missing=missing)


def _datagram(frame, start, end, ends):
    source, target, size = _udp(frame, start)
    if 0 < size < 8:
        return Datagram(DAMAGED, *ends)
    ports = frame[start : start + 4]
    end = min(end, start + size) if size else end
    start += 8
    tunnel = _UDP_TUNNELS.get(source) or _UDP_TUNNELS.get(target)
    if tunnel:
        with contextlib.suppress(IndexError, struct.error):
            if step := tunnel(frame[:end], start):
                return step
    payload = frame[start:end]
    what = UDP
    if 4500 in (source, target) and len(payload) > 8 and payload[:4] != bytes(4):
        what = IPSEC  # not a key exchange, which has four zeros first
    missing = max(end - start - len(payload), 0)
    return Datagram(what, *ends, payload, ports, missing)
