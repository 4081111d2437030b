"""Messages of signalling, byte by byte: the least that tshark decodes."""

import struct

# Cause of S1AP and of NGAP (TS 36.413, 38.413): radio network, user inactivity (20).
S1AP_CAUSE, NGAP_CAUSE = (2, b"\2\x80"), (15, b"\5\0")


def radius(code, number, authenticator=1, attributes=b""):
    size = 20 + len(attributes)
    return (
        struct.pack("!BBH16s", code, number, size, b"%016d" % authenticator)
        + attributes
    )


def accounting(number, status, authenticator):
    return radius(4, number, authenticator, struct.pack("!BBI", 40, 6, status))


def gtpv1(kind, number, cause=None):
    body = b"" if cause is None else bytes((1, cause))
    return struct.pack("!BBHIHH", 0x32, kind, 4 + len(body), 7, number, 0) + body


def gtpv2(kind, number, cause=None):
    body = b"" if cause is None else struct.pack("!BHBBB", 2, 2, 0, cause, 0)
    return struct.pack("!BBHI", 0x40, kind, 4 + len(body), number << 8) + body


def pfcp(kind, number, cause=None):
    body = b"" if cause is None else struct.pack("!HHB", 19, 1, cause)
    return struct.pack("!BBHI", 0x20, kind, 4 + len(body), number << 8) + body


def diameter(command, hop, *, result=None, parts=(), session=True, experimental=False):
    """A request; or an answer with a result, and parts with results of their own."""
    avps = avp(263, b"session") if session else avp(264, b"peer.example.org")
    if result is not None:
        code = avp(298, struct.pack("!I", result))
        plain = avp(268, struct.pack("!I", result))
        avps += avp(297, code) if experimental else plain
    for part in parts:
        avps += avp(456, avp(268, struct.pack("!I", part)))
    flags = 0x80 if result is None else 0
    sizes = (1 << 24 | 20 + len(avps), flags << 24 | command)
    return struct.pack("!IIIII", *sizes, 4, hop, hop) + avps


def avp(code, value):
    head = struct.pack("!II", code, 0x40 << 24 | 8 + len(value))
    return head + value + bytes(-len(value) % 4)


def dns(number, kind, code=None):
    flags = 0x0100 if code is None else 0x8180 | code
    name = b"\3ims\4mnc1\0"
    head = struct.pack("!HHHHHH", number, flags, 1, 0, 0, 0)
    return head + name + struct.pack("!HH", kind, 1)


def dhcp(operation, number, kind):
    head = struct.pack("!BBBBI", operation, 1, 6, 0, number) + bytes(20)
    return (
        head + b"\2" * 6 + bytes(202) + b"\x63\x82\x53\x63" + bytes((53, 1, kind, 255))
    )


def mgcp(*lines):
    return "\r\n".join([*lines, ""]).encode()


def megaco(text):
    return f"MEGACO/1 [192.0.2.1]:2944\r\n{text}\r\n".encode()


def elementary(kind, procedure, *elements):
    """A message of S1AP or NGAP in aligned PER; elements are `(number, value)`."""
    body = struct.pack("!BH", 0, len(elements))
    for number, value in elements:
        body += struct.pack("!HBB", number, 0, len(value)) + value
    return struct.pack("!BBBB", kind << 5, procedure, 0, len(body)) + body


def nas(*data):
    """A message of NAS as an element of S1AP (26)."""
    return 26, bytes((len(data), *data))


def nas_5gs(*data):
    """The same of NGAP (38)."""
    return 38, bytes((len(data), *data))


def m3ua(kind, number, service=0, user=b""):
    """A message of M3UA; data of a user part has its service indicator."""
    body = b""
    if user:
        data = struct.pack("!IIBBBB", 100, 200, service, 2, 0, 1) + user
        body = struct.pack("!HH", 0x210, 4 + len(data)) + data + bytes(-len(data) % 4)
    return struct.pack("!BBBBI", 1, 0, kind, number, 8 + len(body)) + body


def udt(data, returned=None):
    """A datagram of SCCP from one MAP subsystem to another, or its return."""
    first = bytes((9, 0)) if returned is None else bytes((10, returned))
    ends = bytes((3, 5, 7, 2, 0x42, 6, 2, 0x42, 7, len(data)))
    return first + ends + data


def dialogue(kind, *components, otid=b"", dtid=b""):
    """Of TCAP: 0x62 begins, 0x65 continues, 0x64 ends."""
    parts = [ber(0x48, otid)] * bool(otid) + [ber(0x49, dtid)] * bool(dtid)
    return ber(kind, *parts, *([ber(0x6C, *components)] if components else []))


def invoke(number, operation):
    return ber(0xA1, ber(2, bytes((number,))), ber(2, bytes((operation,))))


def result(number, operation):
    content = ber(0x30, ber(2, bytes((operation,))), ber(0x30))
    return ber(0xA2, ber(2, bytes((number,))), content)


def error(number, code):
    return ber(0xA3, ber(2, bytes((number,))), ber(2, bytes((code,))))


def ber(tag, *parts):
    body = b"".join(parts)
    return bytes((tag, len(body))) + body


def isup(circuit, kind, body=b"\0"):
    return struct.pack("<H", circuit) + bytes((kind,)) + body


def release(circuit, cause):
    return isup(circuit, 12, bytes((2, 0, 2, 0x80, 0x80 | cause)))


def http2(kind, stream, payload=b"", flags=5):
    size = struct.pack("!I", len(payload))[1:]
    return size + bytes((kind, flags)) + struct.pack("!I", stream) + payload


def post(stream, path):
    """Headers of a request: POST, http, a path (RFC 7541, without a table)."""
    return http2(1, stream, b"\x83\x86\x04" + bytes((len(path),)) + path.encode())


def status(stream, code):
    return http2(1, stream, b"\x08\3" + str(code).encode())


def tcp(payload, source_port, target_port, sequence, flags=0x18):
    head = (source_port, target_port, sequence, 1, 5 << 12 | flags, 65535, 0, 0)
    return struct.pack("!HHIIHHHH", *head) + payload


def sctp(payload, source_port, target_port, sequence, ppid):
    size = 16 + len(payload)
    chunk = struct.pack("!BBHIHHI", 0, 3, size, sequence, 0, sequence & 0xFFFF, ppid)
    head = struct.pack("!HHII", source_port, target_port, 7, 0)
    return head + chunk + payload + bytes(-len(payload) % 4)
