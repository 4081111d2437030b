"""Conversations of signalling other than SIP, and tshark as it was recorded.

tests/recorded_tshark.json holds, for each conversation, what tshark printed of its
packets: a dict of the fields that are not empty. To record it again:

  python -m tests.signalling
"""

import json
import pathlib
import struct
from collections import deque

from siamjax.capture import tshark
from siamjax.capture.protocols import PROTOCOLS
from tests import packet_builder as build
from tests import signalling_packets as packet

RECORDED = pathlib.Path(__file__).with_name("recorded_tshark.json")
MS = 1_000_000
UE = 8, b"\0\1"  # a number of a terminal, in S1AP and in NGAP
UE_5G = 85, b"\0\1"


class Conversation:
    """Packets between a client and a server as `(time_ns, frame)`."""

    def __init__(self, port, client_port=40000, *, over="udp", ppid=0):
        self.records = []
        self._ports, self._over, self._ppid = (client_port, port), over, ppid
        self._sent = [1, 1]

    def up(self, ms, payload, **options):
        return self._add(ms, payload, True, **options)

    def down(self, ms, payload, **options):
        return self._add(ms, payload, False, **options)

    def error(self, ms, quoted):
        """The server's host says that the port of an earlier packet is closed."""
        body = struct.pack("!BBHI", 3, 3, 0, 0) + self.records[quoted][1][14:]
        datagram = build.ipv4(body, build.SERVER, build.CLIENT, protocol=1, ident=999)
        self.records.append((build.START_NS + round(ms * MS), build.ethernet(datagram)))
        return self

    def _add(self, ms, payload, up, *, again=False, flags=0x18):
        ports = self._ports if up else self._ports[::-1]
        ends = (build.CLIENT, build.SERVER)[:: 1 if up else -1]
        if self._over == "tcp":
            sequence = self._sent[up] - (len(payload) if again else 0)
            body = packet.tcp(payload, *ports, sequence, flags)
            self._sent[up] = sequence + len(payload)
        elif self._over == "sctp":
            body = packet.sctp(payload, *ports, self._sent[up], self._ppid)
            self._sent[up] += 1
        else:
            body = build.udp(payload, *ports)
        protocol = {"tcp": 6, "sctp": 132, "udp": 17}[self._over]
        ident = len(self.records) % 65535 + 1
        frame = build.ethernet(build.ipv4(body, *ends, protocol=protocol, ident=ident))
        self.records.append((build.START_NS + round(ms * MS), frame))
        return self


def _radius():
    talk = Conversation(1812)
    talk.up(0, packet.radius(1, 5)).down(12, packet.radius(2, 5, 9))
    ask = packet.radius(1, 6, 2)
    talk.up(100, ask).up(3100, ask).down(3150, packet.radius(3, 6, 9))
    talk.down(3160, packet.radius(3, 6, 9))
    # The identifier is used again, with another authenticator: a new transaction.
    talk.up(3200, packet.radius(1, 5, 3)).down(3230, packet.radius(11, 5, 9))
    talk.up(4000, packet.accounting(7, 1, 4)).down(4005, packet.radius(5, 7, 9))
    talk.up(5000, packet.accounting(8, 2, 5)).error(5001, -1)
    return talk


def _gtpv1():
    talk = Conversation(2123, 2123)
    talk.up(0, packet.gtpv1(1, 1)).down(3, packet.gtpv1(2, 1))
    talk.up(10, packet.gtpv1(16, 2)).down(50, packet.gtpv1(17, 2, 128))
    talk.up(100, packet.gtpv1(16, 3)).up(5100, packet.gtpv1(16, 3))
    talk.down(5200, packet.gtpv1(17, 3, 199))
    talk.up(6000, packet.gtpv1(20, 4)).down(6020, packet.gtpv1(21, 4, 128))
    talk.up(7000, packet.gtpv1(16, 5)).error(7001, -1)
    return talk


def _diameter():
    talk = Conversation(3868, over="tcp")
    talk.up(0, packet.diameter(257, 1, session=False))
    talk.down(2, packet.diameter(257, 1, result=2001, session=False))
    talk.up(10, packet.diameter(272, 2))
    talk.down(40, packet.diameter(272, 2, result=2001, parts=(4012,)))
    talk.up(50, packet.diameter(316, 3)).up(51, packet.diameter(318, 4))
    first = packet.diameter(316, 3, result=5004)
    talk.down(90, first + packet.diameter(318, 4, result=5001, experimental=True))
    # Two answers in a segment, the first with parts.
    talk.up(100, packet.diameter(272, 5) + packet.diameter(272, 6))
    first = packet.diameter(272, 5, result=2001, parts=(2001, 4012))
    talk.down(125, first + packet.diameter(272, 6, result=3004))
    watchdog = packet.diameter(280, 7, session=False)
    talk.up(200, watchdog).up(500, watchdog, again=True).down(501, b"", flags=0x14)
    return talk


def _gtpv2():
    talk = Conversation(2123, 2124)
    talk.up(0, packet.gtpv2(32, 1)).down(30, packet.gtpv2(33, 1, 16))
    talk.up(40, packet.gtpv2(34, 2)).up(3040, packet.gtpv2(34, 2))
    talk.down(3050, packet.gtpv2(35, 2, 73))
    talk.down(4000, packet.gtpv2(95, 1)).up(4010, packet.gtpv2(96, 1, 87))
    talk.up(5000, packet.gtpv2(1, 3)).down(5001, packet.gtpv2(2, 3))
    return talk


def _pfcp():
    talk = Conversation(8805, 8806)
    talk.up(0, packet.pfcp(5, 1)).error(1, -1)
    talk.up(1000, packet.pfcp(5, 1)).down(1004, packet.pfcp(6, 1, 1))
    talk.up(2000, packet.pfcp(50, 2)).down(2009, packet.pfcp(51, 2, 75))
    talk.down(3000, packet.pfcp(56, 3)).up(3002, packet.pfcp(57, 3, 1))
    talk.up(4000, packet.pfcp(1, 4)).down(4001, packet.pfcp(2, 4))
    return talk


def _s1ap():
    """The same terminal asks twice; the second is a new transaction."""
    talk, mme = Conversation(36412, over="sctp", ppid=18), (0, b"\0\1")
    attach = packet.nas(7, 0x41, 0x71, 0)
    talk.up(0, packet.elementary(0, 12, UE, attach))
    talk.down(20, packet.elementary(0, 11, mme, UE, packet.nas(7, 0x44, 15)))
    talk.down(100, packet.elementary(0, 9, mme, UE))
    talk.up(150, packet.elementary(1, 9, mme, UE))
    talk.down(200, packet.elementary(0, 9, mme, UE))
    talk.up(230, packet.elementary(2, 9, mme, UE, packet.S1AP_CAUSE))
    talk.up(300, packet.elementary(0, 18, mme, UE, packet.S1AP_CAUSE))
    return talk


def _ngap():
    talk, amf = Conversation(38412, over="sctp", ppid=60), (10, b"\0\1")
    talk.up(0, packet.elementary(0, 21)).down(5, packet.elementary(1, 21))
    register = packet.nas_5gs(0x7E, 0, 0x41, 1)
    talk.up(100, packet.elementary(0, 15, UE_5G, register))
    reject = packet.nas_5gs(0x7E, 0, 0x44, 22)
    talk.down(160, packet.elementary(0, 4, amf, UE_5G, reject))
    talk.down(200, packet.elementary(0, 41, amf, UE_5G, packet.NGAP_CAUSE))
    talk.up(210, packet.elementary(1, 41, amf, UE_5G))
    talk.up(300, packet.elementary(0, 42, amf, UE_5G, packet.NGAP_CAUSE))
    return talk


def _ss7():
    """Two dialogues of MAP, a datagram that is returned, and a call of ISUP."""
    talk = Conversation(2905, over="sctp", ppid=3)

    def sccp(data, **options):
        return packet.m3ua(1, 1, 3, packet.udt(data, **options))

    talk.up(0, packet.m3ua(3, 1)).down(2, packet.m3ua(3, 4))
    begin = packet.dialogue(0x62, packet.invoke(1, 56), otid=b"\0\0\0\1")
    end = packet.dialogue(0x64, packet.result(1, 56), dtid=b"\0\0\0\1")
    talk.up(100, sccp(begin)).down(150, sccp(end))
    begin = packet.dialogue(0x62, packet.invoke(1, 2), otid=b"\0\0\0\2")
    end = packet.dialogue(0x64, packet.error(1, 8), dtid=b"\0\0\0\2")
    talk.up(200, sccp(begin)).down(280, sccp(end))
    talk.down(400, sccp(b"", returned=1))

    def isup(*message):
        return packet.m3ua(1, 1, 5, packet.isup(*message))

    called = b"\0\0\0\x0a\0\2\0\4\3\x10\x21\x43"
    talk.up(500, isup(9, 1, called)).down(700, isup(9, 6, b"\0\0\0"))
    talk.down(2700, isup(9, 9))
    talk.up(5000, packet.m3ua(1, 1, 5, packet.release(9, 16))).down(5010, isup(9, 16))
    return talk


def _http2():
    talk = Conversation(7777, over="tcp")
    talk.up(0, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + packet.http2(4, 0, flags=0))
    path = "/nausf-auth/v1/ue-authentications/imsi-001010000000001"
    both = packet.post(1, path), packet.post(3, "/secret/v1/of-a-user")
    talk.up(10, b"".join(both))
    talk.down(25, packet.status(1, 404)).down(30, packet.status(3, 200))
    talk.up(40, packet.post(5, "/npcf-smpolicycontrol/v1/sm-policies"))
    talk.down(60, packet.http2(3, 5, b"\0\0\0\2", flags=0))
    return talk


def _mgcp():
    talk = Conversation(2427, 2727)
    create = packet.mgcp("CRCX 12 aaln/1@gw MGCP 1.0", "C: 1", "L: p:10")
    talk.up(0, create).down(5, packet.mgcp("100 12 Pending"))
    talk.down(50, packet.mgcp("200 12 OK", "I: 2"))
    talk.up(100, packet.mgcp("DLCX 13 aaln/1@gw MGCP 1.0", "C: 1"))
    talk.down(110, packet.mgcp("515 13 Unknown"))
    return talk


def _megaco():
    talk = Conversation(2944, 2945)
    talk.up(0, packet.megaco("Transaction=5{Context=1{Subtract=A/1}}"))
    talk.down(8, packet.megaco("Reply=5{Context=1{Subtract=A/1}}"))
    talk.up(100, packet.megaco("Transaction=6{Context=9{Modify=A/1}}"))
    talk.down(120, packet.megaco('Reply=6{Error=411{"unknown"}}'))
    return talk


def _dns():
    talk = Conversation(53)
    talk.up(0, packet.dns(1, 35)).down(40, packet.dns(1, 35, 3))
    talk.up(100, packet.dns(2, 1)).up(5100, packet.dns(2, 1))
    talk.down(5120, packet.dns(2, 1, 0))
    return talk


def _dhcp():
    talk = Conversation(67, 68)
    talk.up(0, packet.dhcp(1, 7, 1)).down(3, packet.dhcp(2, 7, 2))
    talk.up(10, packet.dhcp(1, 7, 3)).down(13, packet.dhcp(2, 7, 6))
    return talk


_TALKS = dict(
    radius=_radius(),
    gtpv1=_gtpv1(),
    diameter=_diameter(),
    gtpv2=_gtpv2(),
    pfcp=_pfcp(),
    s1ap=_s1ap(),
    ngap=_ngap(),
    ss7=_ss7(),
    http2=_http2(),
    mgcp=_mgcp(),
    megaco=_megaco(),
    dns=_dns(),
    dhcp=_dhcp(),
)
CONVERSATIONS = {name: talk.records for name, talk in _TALKS.items()}


class RecordedRun:
    """Stands for `tshark.Run`: it printed the same of the same packets."""

    failed = hung = False

    def __init__(
        self, program, protocols, take_line, *, overlap=0, decode_as=(), **options
    ):
        self.sent, self.lately, self._frames = 0, deque(maxlen=tshark.OVERLAP), []
        self.decode_as, self._overlap = decode_as, overlap
        self._take_line, self._fields = take_line, tshark.fields_of(protocols)
        recorded = json.loads(RECORDED.read_text())
        self._lines = {
            frame: cells
            for name, lines in recorded.items()
            for (_, frame), cells in zip(CONVERSATIONS[name], lines, strict=True)
        }

    def send(self, packet, time_ns, link, frame, length):
        self._frames.append((packet, frame))
        self.lately.append((packet, time_ns, link, frame, length))
        self.sent += 1

    def unread(self):
        return []

    def answer_all(self, time_ns):
        self.finish()
        return True

    def finish(self):
        for sent, frame in self._frames[self._overlap :]:
            if cells := self._lines[frame]:
                self._take_line([cells.get(name, "") for name in self._fields], sent)
        self._frames, self._overlap = [], max(self._overlap - len(self._frames), 0)

    def end(self):
        self.hung = True


def print_fields(records):
    """A dict of fields for each packet; empty: tshark printed no line for it."""
    protocols = [protocol for protocol in PROTOCOLS.values() if protocol.filter]
    fields = tshark.fields_of(protocols)
    lines = [{} for _ in records]

    def take_line(cells, packet):
        lines[packet[0]] = {field: cell for field, cell in zip(fields, cells) if cell}
        del lines[packet[0]]["frame.number"]

    program = tshark.find_tshark()
    run = tshark.Run(program, protocols, take_line, decode_as=["tcp.port==7777,http2"])
    for index, (time_ns, frame) in enumerate(records):
        run.send((index, time_ns), time_ns, 1, frame, len(frame))
    run.finish()
    return lines


if __name__ == "__main__":
    printed = {name: print_fields(records) for name, records in CONVERSATIONS.items()}
    RECORDED.write_text(json.dumps(printed, indent=0) + "\n")
