"""Packets of signalling other than SIP, and tshark as it was recorded.

tests/recorded_tshark.json holds, for each conversation below, what tshark printed of
its packets: a dict of the fields that are not empty. To record it again:

  python -m tests.signalling
"""

import json
import pathlib
import struct
from collections import deque

from siamjax.capture import tshark
from siamjax.capture.protocols import PROTOCOLS
from tests import packet_builder as build

RECORDED = pathlib.Path(__file__).with_name("recorded_tshark.json")
MS = 1_000_000


def radius(code, number, authenticator=1, attributes=b""):
    head = struct.pack(
        "!BBH16s", code, number, 20 + len(attributes), b"%016d" % authenticator
    )
    return head + attributes


def accounting(number, status, authenticator):
    return radius(4, number, authenticator, struct.pack("!BBI", 40, 6, status))


def gtpv1(kind, number, cause=None):
    body = b"" if cause is None else bytes((1, cause))
    return struct.pack("!BBHIHH", 0x32, kind, 4 + len(body), 7, number, 0) + body


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


def tcp(payload, source_port, target_port, sequence, flags=0x18):
    head = (source_port, target_port, sequence, 1, 5 << 12 | flags, 65535, 0, 0)
    return struct.pack("!HHIIHHHH", *head) + payload


class Conversation:
    """Packets between a client and a server as `(time_ns, frame)`."""

    def __init__(self, port, client_port=40000, *, over="udp"):
        self.records = []
        self._ports, self._over = (client_port, port), over
        self._sent = [1, 1]

    def up(self, ms, payload, **options):
        return self._add(ms, payload, True, **options)

    def down(self, ms, payload, **options):
        return self._add(ms, payload, False, **options)

    def error(self, ms, quoted):
        """The server's host says that the port of an earlier packet is closed."""
        body = struct.pack("!BBHI", 3, 3, 0, 0) + self.records[quoted][1][14:]
        packet = build.ipv4(body, build.SERVER, build.CLIENT, protocol=1, ident=999)
        self.records.append((build.START_NS + round(ms * MS), build.ethernet(packet)))
        return self

    def _add(self, ms, payload, up, *, again=False, flags=0x18):
        ports = self._ports if up else self._ports[::-1]
        ends = (build.CLIENT, build.SERVER)[:: 1 if up else -1]
        if self._over == "tcp":
            sequence = self._sent[up] - (len(payload) if again else 0)
            body, protocol = tcp(payload, *ports, sequence, flags), 6
            self._sent[up] = sequence + len(payload)
        else:
            body, protocol = build.udp(payload, *ports), 17
        ident = len(self.records) + 1
        frame = build.ethernet(build.ipv4(body, *ends, protocol=protocol, ident=ident))
        self.records.append((build.START_NS + round(ms * MS), frame))
        return self


def radius_conversation():
    talk = Conversation(1812)
    talk.up(0, radius(1, 5)).down(12, radius(2, 5, 9))
    talk.up(100, radius(1, 6, 2)).up(3100, radius(1, 6, 2)).down(3150, radius(3, 6, 9))
    talk.down(3160, radius(3, 6, 9))
    # The identifier is used again, with another authenticator: a new transaction.
    talk.up(3200, radius(1, 5, 3)).down(3230, radius(11, 5, 9))
    talk.up(4000, accounting(7, 1, 4)).down(4005, radius(5, 7, 9))
    talk.up(5000, accounting(8, 2, 5)).error(5001, -1)
    return talk.records


def gtpv1_conversation():
    talk = Conversation(2123, 2123)
    talk.up(0, gtpv1(1, 1)).down(3, gtpv1(2, 1))
    talk.up(10, gtpv1(16, 2)).down(50, gtpv1(17, 2, 128))
    talk.up(100, gtpv1(16, 3)).up(5100, gtpv1(16, 3)).down(5200, gtpv1(17, 3, 199))
    talk.up(6000, gtpv1(20, 4)).down(6020, gtpv1(21, 4, 128))
    talk.up(7000, gtpv1(16, 5)).error(7001, -1)
    return talk.records


def diameter_conversation():
    talk = Conversation(3868, over="tcp")
    talk.up(0, diameter(257, 1, session=False))
    talk.down(2, diameter(257, 1, result=2001, session=False))
    talk.up(10, diameter(272, 2)).down(40, diameter(272, 2, result=2001, parts=(4012,)))
    talk.up(50, diameter(316, 3)).up(51, diameter(318, 4))
    both = (
        diameter(316, 3, result=5004),
        diameter(318, 4, result=5001, experimental=True),
    )
    talk.down(90, b"".join(both))
    # Two answers in a segment, the first with parts.
    talk.up(100, diameter(272, 5) + diameter(272, 6))
    both = (
        diameter(272, 5, result=2001, parts=(2001, 4012)),
        diameter(272, 6, result=3004),
    )
    talk.down(125, b"".join(both))
    talk.up(200, diameter(280, 7, session=False))
    talk.up(500, diameter(280, 7, session=False), again=True)
    talk.down(501, b"", flags=0x14)
    return talk.records


CONVERSATIONS = dict(
    radius=radius_conversation(),
    gtpv1=gtpv1_conversation(),
    diameter=diameter_conversation(),
)


class RecordedRun:
    """Stands for `tshark._Run`: it printed the same of the same packets."""

    failed = False

    def __init__(self, program, protocols, overlap):
        self.sent, self.lately, self._frames = 0, deque(maxlen=tshark.OVERLAP), []
        self._overlap = overlap
        self._fields = tshark.fields_of(protocols)
        recorded = json.loads(RECORDED.read_text())
        self._lines = {
            frame: cells
            for name, lines in recorded.items()
            for (_, frame), cells in zip(CONVERSATIONS[name], lines, strict=True)
        }

    def send(self, index, time_ns, link, frame, length):
        self._frames.append((index, time_ns, frame))
        self.lately.append((index, time_ns, link, frame, length))
        self.sent += 1

    def lines(self):
        for index, time_ns, frame in self._frames[self._overlap :]:
            if cells := self._lines[frame]:
                row = [cells.get(field, "") for field in self._fields]
                yield row, index, time_ns


def print_fields(records):
    """A dict of fields for each packet; empty: tshark printed no line for it."""
    protocols = [protocol for protocol in PROTOCOLS.values() if protocol.filter]
    run = tshark._Run(tshark.find_tshark(), protocols, 0)
    for index, (time_ns, frame) in enumerate(records):
        run.send(index, time_ns, 1, frame, len(frame))
    fields = tshark.fields_of(protocols)
    lines = [{} for _ in records]
    for cells, _, _ in run.lines():
        named = {field: cell for field, cell in zip(fields, cells) if cell}
        lines[int(named.pop("frame.number")) - 1] = named
    return lines


if __name__ == "__main__":
    printed = {name: print_fields(records) for name, records in CONVERSATIONS.items()}
    RECORDED.write_text(json.dumps(printed, indent=0) + "\n")
