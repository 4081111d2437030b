"""Packets, messages and capture files, built byte by byte."""

import gzip
import ipaddress
import lzma
import struct

import zstandard

from siamjax.capture import cleaning

CLIENT, SERVER, OTHER = "192.0.2.1", "192.0.2.2", "192.0.2.3"
START_NS = 1_700_000_000_123_456_000

PACK = {
    "plain": lambda data: data,
    "gz": gzip.compress,
    "xz": lzma.compress,
    "zst": lambda data: zstandard.ZstdCompressor().compress(data),
}


def request(
    method="INVITE", call="call-1", number=1, branch="z9hG4bK-1", *, spelling="usual"
):
    """A SIP request."""
    first = f"{method} sip:bob@example.org SIP/2.0"
    return _message(first, call, f"{number} {method}", branch, spelling)


def answer(
    status,
    method="INVITE",
    call="call-1",
    number=1,
    branch="z9hG4bK-1",
    *,
    spelling="usual",
):
    """A SIP answer."""
    first = f"SIP/2.0 {status} Because"
    return _message(first, call, f"{number} {method}", branch, spelling)


def _message(first, call, cseq, branch, spelling):
    usual = [
        f"Via: SIP/2.0/UDP 192.0.2.1:5060;branch={branch};rport",
        "Max-Forwards: 70",
        f"CSeq: {cseq}",
        f"Call-ID: {call}",
        "From: <sip:alice@example.org>;tag=1",
        "To: <sip:bob@example.org>",
        "Content-Length: 0",
    ]
    compact = [
        "f: <sip:alice@example.org>;tag=1",
        f"i:{call}",
        f"CSEQ \t: {cseq.replace(' ', '   ')}",
        f"v  : SIP/2.0/UDP a ; Branch = {branch} ;rport, SIP/2.0/UDP b;branch=c",
        "v: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK-below",
        "l: 0",
    ]
    lines = {"usual": usual, "compact": compact}[spelling]
    return "\r\n".join([first, *lines, "", ""]).encode()


def udp(payload, source_port=5060, target_port=5060):
    return struct.pack("!HHHH", source_port, target_port, 8 + len(payload), 0) + payload


def ipv4(
    body,
    source=CLIENT,
    target=SERVER,
    *,
    protocol=17,
    ident=1,
    ttl=64,
    fragment=0,
    options=b"",
):
    """An IPv4 packet; fragment is the 16-bit field of flags and offset."""
    size = 20 + len(options)
    return (
        struct.pack(
            "!BBHHHBBH4s4s",
            0x40 | size // 4,
            0,
            size + len(body),
            ident,
            fragment,
            ttl,
            protocol,
            0,
            ipaddress.ip_address(source).packed,
            ipaddress.ip_address(target).packed,
        )
        + options
        + body
    )


def ipv6(body, source="2001:db8::1", target="2001:db8::2", *, protocol=17):
    return (
        struct.pack("!IHBB", 6 << 28, len(body), protocol, 64)
        + b"".join(ipaddress.ip_address(address).packed for address in (source, target))
        + body
    )


def ethernet(packet, kind=None, tags=()):
    """A frame; tags are the kinds of VLAN headers, the outer first."""
    kind = kind or (0x86DD if packet[0] >> 4 == 6 else 0x0800)
    kinds = [*tags, kind]
    vlans = b"".join(struct.pack("!HH", 7, inner) for inner in kinds[1:])
    return b"\2" * 12 + struct.pack("!H", kinds[0]) + vlans + packet


def sip_frame(message, source=CLIENT, target=SERVER, **options):
    return ethernet(ipv4(udp(message), source, target, **options))


def sip_part(part, source=CLIENT, target=SERVER, **options):
    """A frame of a part of a datagram."""
    return ethernet(ipv4(part, source, target, **options))


def check_account(report):
    """Each packet is in one group of the account, and each cause in its group."""
    assert sum(report.account.values()) == report.packets
    assert min([0, *report.account.values(), *report.causes.values()]) == 0
    for group, causes in cleaning.ACCOUNT.items():
        counted = sum(report.causes.get(cause, 0) for cause in causes)
        assert not causes or report.account.get(group, 0) == counted
    assert report.account.get("hold messages", 0) <= report.messages


def tcp(data, sequence=0, *, ports=(5060, 5060), flags=0x10):
    return struct.pack("!HHIIBBHHH", *ports, sequence, 0, 0x50, flags, 99, 0, 0) + data


def sctp(data, number=1, *, ports=(5060, 5060), flags=3):
    """A packet with one chunk of data."""
    chunk = struct.pack("!BBHIHHI", 0, flags, 16 + len(data), number, 0, 0, 0) + data
    head = struct.pack("!HHII", *ports, 1, 0)
    return head + chunk.ljust(-(-len(chunk) // 4) * 4, b"\0")


def pcap(records, *, link=1, nano=False, order="<", snap=None):
    """A capture file of `(time_ns, frame)`."""
    magic, unit = (0xA1B23C4D, 1) if nano else (0xA1B2C3D4, 1000)
    parts = [struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, snap or 262144, link)]
    for time_ns, frame in records:
        seconds, fraction_ns = divmod(time_ns, 10**9)
        kept = frame[:snap]
        parts.append(
            struct.pack(
                f"{order}IIII", seconds, fraction_ns // unit, len(kept), len(frame)
            )
            + kept
        )
    return b"".join(parts)


def pcapng(records, *, links=(1,), resolution=6, offset_s=0, order="<", snap=None):
    """The same as pcapng: `(time_ns, frame)` or `(time_ns, frame, interface)`."""
    per_second = (2 if resolution & 0x80 else 10) ** (resolution & 0x7F)
    blocks = [section(order)]
    for link in links:
        options = struct.pack(
            f"{order}HHB3xHHqHH", 9, 1, resolution, 14, 8, offset_s, 0, 0
        )
        blocks.append(
            block(1, struct.pack(f"{order}HHI", link, 0, snap or 0) + options, order)
        )
    for time_ns, frame, *interface in records:
        ticks = (time_ns - offset_s * 10**9) * per_second // 10**9
        kept = frame[:snap]
        head = struct.pack(
            f"{order}IIIII",
            *(interface or (0,)),
            ticks >> 32,
            ticks & 0xFFFFFFFF,
            len(kept),
            len(frame),
        )
        blocks.append(block(6, head + kept.ljust(-(-len(kept) // 4) * 4, b"\0"), order))
    return b"".join(blocks)


def section(order="<"):
    return block(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def block(kind, body, order="<"):
    size = struct.pack(f"{order}I", 12 + len(body))
    return struct.pack(f"{order}I", kind) + size + body + size


def call(call_id="call-1", start_ns=START_NS, client=CLIENT, server=SERVER):
    """An answered call of 2 s as `(time_ns, frame)`; every packet has its own ident."""
    ms, invite, bye = 1_000_000, "z9hG4bK-i" + call_id, "z9hG4bK-b" + call_id
    steps = [
        (0, request("INVITE", call_id, 1, invite), True),
        (5, answer(100, "INVITE", call_id, 1, invite), False),
        (250, answer(180, "INVITE", call_id, 1, invite), False),
        (700, answer(200, "INVITE", call_id, 1, invite), False),
        (710, request("ACK", call_id, 1, invite + "a"), True),
        (1990, request("BYE", call_id, 2, bye), True),
        (2000, answer(200, "BYE", call_id, 2, bye), False),
    ]
    return [
        (
            start_ns + offset_ms * ms,
            sip_frame(
                message,
                *((client, server) if to_server else (server, client)),
                ident=1 + number,
            ),
        )
        for number, (offset_ms, message, to_server) in enumerate(steps)
    ]
