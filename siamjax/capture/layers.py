"""Decodes a frame down to the payload of UDP, with byte offsets only.

A full decode takes three times as long. The result is always a `Datagram`; its `what`
says how far the frame could be decoded.
"""

import struct
from typing import NamedTuple

# What a packet turned out to be.
UDP, TCP, SCTP, ICMP, ICMP_ERROR = "udp", "tcp", "sctp", "icmp_other", "icmp_error"
TUNNEL, OTHER_IP = "tunnel", "other_ip"
NOT_IP, PPPOE, UNKNOWN_LINK, FRAGMENT = "not_ip", "pppoe", "unknown_link", "fragment"
DAMAGED = "damaged"

_IPV4, _IPV6 = 0x0800, 0x86DD
_VLAN = frozenset((0x8100, 0x88A8, 0x9100, 0x9200))
_PPPOE = (0x8863, 0x8864)
_MPLS = (0x8847, 0x8848)
_FAMILIES = {2: _IPV4, 10: _IPV6, 24: _IPV6, 28: _IPV6, 30: _IPV6}
_PROTOCOLS = {6: TCP, 132: SCTP, 4: TUNNEL, 41: TUNNEL, 47: TUNNEL, 50: TUNNEL}
_TUNNEL_PORTS = frozenset((1701, 2152, 4500, 4789, 6081))  # L2TP GTP-U ESP VXLAN Geneve
_OCTETS = frozenset((0, 43, 60, 135, 139, 140))  # IPv6 headers, length in units of 8
_FRAGMENT_HEADER, _AUTHENTICATION = 44, 51
# Types of ICMP that report an error about a packet.
ERRORS = {1: frozenset((3, 4, 5, 11, 12)), 58: frozenset((1, 2, 3, 4))}

_two = struct.Struct("!H").unpack_from
_ip4 = struct.Struct("!BxH2sHxB2x4s4s").unpack_from
_ip6 = struct.Struct("!B3xHBx16s16s").unpack_from
_ip6_fragment = struct.Struct("!BxH4s").unpack_from
_udp = struct.Struct("!HHH2x").unpack_from
# All three headers at once, for the usual form that nearly all packets have.
_ethernet_ip4_udp = struct.Struct("!12xHBxH2sHxB2x4s4sHHH2x").unpack_from


class Datagram(NamedTuple):
    """The content of a frame. Addresses are bytes of the IP header."""

    what: str
    source: bytes = b""
    target: bytes = b""
    ident: bytes = b""  # of the IP packet; empty where it has none
    payload: bytes = b""  # of UDP, else of IP, the part that was captured
    first_fragment: bool = False
    tunnel_port: bool = False


_new = tuple.__new__  # takes half the time of the class: there are millions of packets


def decode_frame(link: int, frame: bytes) -> Datagram:
    """The `Datagram` of a frame, for a pcap link type."""
    read_link = _LINKS.get(link)
    if read_link is None:
        return Datagram(UNKNOWN_LINK)
    try:
        if read_link is _ethernet and (datagram := _usual(frame)):
            return datagram
        protocol, start = read_link(frame)
        while protocol in _VLAN:
            protocol, start = _two(frame, start + 2)[0], start + 4
        if protocol == _IPV4:
            return _ipv4(frame, start)
        if protocol == _IPV6:
            return _ipv6(frame, start)
    except (IndexError, struct.error):
        return Datagram(DAMAGED)
    if protocol in _PPPOE:
        return Datagram(PPPOE)
    return Datagram(TUNNEL if protocol in _MPLS else NOT_IP)


def _usual(frame):
    """The `Datagram` of Ethernet, IPv4 in one piece without options, UDP; else None."""
    if len(frame) < 42:
        return None
    kind, first, total, ident, fragment, protocol, source, target, from_, to, size = (
        _ethernet_ip4_udp(frame)
    )
    if kind != _IPV4 or first != 0x45 or protocol != 17 or fragment & 0x3FFF:
        return None
    if size < 8 or total < 20 + size:
        return None
    payload = frame[42 : 34 + size]
    tunnel = from_ in _TUNNEL_PORTS or to in _TUNNEL_PORTS
    return _new(Datagram, (UDP, source, target, ident, payload, False, tunnel))


def _ethernet(frame):
    return _two(frame, 12)[0], 14


def _cooked(frame):
    return _two(frame, 14)[0], 16


def _cooked2(frame):
    return _two(frame, 0)[0], 20


def _raw(frame):
    return _IPV6 if frame[0] >> 4 == 6 else _IPV4, 0


def _null(frame):
    # The family is in the byte order of the machine that captured.
    return _FAMILIES.get(frame[0] or frame[3], 0), 4


_LINKS = {
    0: _null,
    108: _null,
    1: _ethernet,
    12: _raw,
    14: _raw,
    101: _raw,
    113: _cooked,
    276: _cooked2,
    228: lambda frame: (_IPV4, 0),
    229: lambda frame: (_IPV6, 0),
}


def _ipv4(frame, start):
    first, total, ident, fragment, protocol, source, target = _ip4(frame, start)
    size = (first & 15) * 4
    # The total is 0 where the network card cuts the segments.
    end = start + total if total else len(frame)
    start += size
    if first >> 4 != 4 or size < 20 or end < start:
        return Datagram(DAMAGED)
    more, offset = fragment & 0x2000, fragment & 0x1FFF
    ends = source, target, ident
    return _above(frame, start, end, protocol, ends, offset, bool(more or offset))


def _ipv6(frame, start):
    first, total, protocol, source, target = _ip6(frame, start)
    if first >> 4 != 6:
        return Datagram(DAMAGED)
    start += 40
    end = start + total if total else len(frame)
    ident, offset, fragmented = b"", 0, False
    while not offset:
        if protocol in _OCTETS:
            protocol, start = frame[start], start + 8 * (frame[start + 1] + 1)
        elif protocol == _AUTHENTICATION:
            protocol, start = frame[start], start + 4 * (frame[start + 1] + 2)
        elif protocol == _FRAGMENT_HEADER:
            protocol, offset, ident = _ip6_fragment(frame, start)
            # A fragment of offset 0 without a following one is complete (RFC 6946).
            fragmented, offset, start = bool(offset & 0xFFF9), offset >> 3, start + 8
        else:
            break
    ends = source, target, ident
    return _above(frame, start, end, protocol, ends, offset, fragmented)


def _above(frame, start, end, protocol, ends, offset, fragmented):
    if offset:
        return Datagram(FRAGMENT, *ends)
    if protocol == 17:
        source, target, size = _udp(frame, start)
        if 0 < size < 8:
            return Datagram(DAMAGED, *ends)
        payload = frame[start + 8 : min(end, start + size) if size else end]
        tunnel = source in _TUNNEL_PORTS or target in _TUNNEL_PORTS
        return Datagram(UDP, *ends, payload, fragmented, tunnel)
    if protocol in ERRORS:
        what = ICMP_ERROR if frame[start] in ERRORS[protocol] else ICMP
    else:
        what = _PROTOCOLS.get(protocol, OTHER_IP)
    return Datagram(what, *ends, frame[start:end], fragmented)
