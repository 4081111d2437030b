"""Signalling other than SIP: finds its packets in a capture, and lets tshark read them.

Only packets that look like one of the protocols are given to tshark, so that a capture
of SIP alone does not start it.
"""

import struct
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from siamjax.capture import decode_as, layers, messages, printed, sctp, tshark
from siamjax.capture.clock import Packet, Times
from siamjax.capture.messages import Messages, Numbers
from siamjax.capture.protocols import PROTOCOLS
from siamjax.capture.protocols.gtpv1 import GTPV1
from siamjax.capture.protocols.gtpv2 import GTPV2
from siamjax.capture.protocols.http2 import HTTP2

_DATA, _CONTROL = 0, frozenset(range(1, 15))  # types of chunks (RFC 9260, 3.2)
_GTP = GTPV1.name, GTPV2.name  # the version is in the first three bits
_PREFACE = b"PRI * HTTP/2.0\r\n"

# Where a protocol has a number: at ports, and as an identifier in SCTP.
_KINDS_OF_PORTS = *tshark.TRANSPORTS, "ppid"

_ports = struct.Struct("!HH").unpack_from


class Contents(NamedTuple):
    """What tshark read of a capture."""

    rows: Messages  # in order of time
    kinds: list[str]  # `protocol:procedure[/outcome]`
    version: str  # of tshark; empty: it was not started
    given: np.ndarray  # [N] int64, numbers of the packets that were for a tshark
    failed: np.ndarray  # [M] int64, of those, the ones that it did not read
    unread: Counter  # packets by (cause, protocol), that could not be read without it
    also: Counter  # packets by the name of a protocol that was not asked for
    notes: tuple[str, ...]  # sentences on processes that hung


class Collector:
    """Collects packets of signalling; `add` takes them in the order of the file.

    Packets of other protocols are only counted.
    """

    def __init__(self, names: Sequence[str], ports: decode_as.Ports | None = None):
        """
        Args:
          names: of the protocols whose packets are collected.
          ports: of protocols, besides their usual ones.
        """
        ports = ports or {}
        known = {n: decode_as.add_ports(p, ports) for n, p in PROTOCOLS.items()}
        self._protocols = [known[name] for name in names if known[name].filter]
        self._names = frozenset(p.name for p in self._protocols)
        others = [p for p in known.values() if p.name not in self._names]
        # At a port of several protocols, one that was asked for has it, and before it
        # the one whose own port it is.
        self._by_port: dict[str, dict[int, str]] = {
            kind: {} for kind in _KINDS_OF_PORTS
        }
        for protocol in others[::-1]:
            self._add_ports(protocol, protocol.name)
        for protocol in self._protocols:
            for carrier in protocol.carriers:
                self._add_ports(known[carrier], protocol.name)
        for protocol in self._protocols:
            self._add_ports(protocol, protocol.name)
        self._recognisers = {
            layers.UDP: self._of_udp,
            layers.TCP: self._of_tcp,
            layers.SCTP: self._of_sctp,
            layers.ICMP_ERROR: self._of_error,
        }
        self._flows: dict[tuple, str] = {}
        # What tshark is told with -d, in the order in which it appears.
        self._decode_as = dict.fromkeys(decode_as.decode_entries(ports))
        self._program = tshark.find_tshark()
        self._run: tshark.Run | None = None
        self._rows = printed.Rows(self._protocols)
        self._unread: Counter[tuple[str, str]] = Counter()
        self._also: Counter[str] = Counter()
        self._hangs: list[str] = []  # sentences on them
        self._given, self._failed = array("q"), array("q")  # numbers of packets

    def add(
        self,
        packet: Packet,
        time_ns: int,
        link: int,
        frame: bytes,
        length: int,
        datagram: layers.Datagram,
    ) -> int:
        """Takes a packet that is no message of SIP, as `messages.OtherPacket`."""
        name = self._recognise(datagram)
        if name is None:
            return messages.NOT_TAKEN
        if name not in self._names:
            if not _has_data(datagram):
                return messages.NOT_TAKEN
            self._also[name] += 1
            return messages.COUNTED
        what = datagram.what
        if what == layers.SCTP and not sctp.has_data(datagram):
            what = layers.OTHER_IP
        if self._program is None:
            self._unread[what, name] += 1
            return messages.COUNTED
        self._given.append(packet[0])
        self._send(packet, time_ns, link, frame, length)
        return messages.GIVEN

    def finish(self, times: Times, addresses: Numbers) -> Contents:
        """Ends tshark and returns what it read.

        Args:
          times: of the capture's packets.
          addresses: the numbers of the capture's addresses; new ones are added.
        """
        self._end_run()
        rows, kinds = self._rows.to_messages(times, addresses)
        version = ""
        if self._program and self._given:
            version = tshark.tshark_version(self._program)
        return Contents(
            rows,
            kinds,
            version,
            np.array(self._given, np.int64),
            np.array(self._failed, np.int64),
            self._unread,
            self._also,
            tuple(self._hangs),
        )

    def _add_ports(self, protocol, name):
        for transport, ports in protocol.ports.items():
            self._by_port[transport] |= dict.fromkeys(ports, name)

    def _recognise(self, packet):
        """The name of the protocol that a packet may hold, or None."""
        recognise = self._recognisers.get(packet[0])
        return recognise and recognise(packet)

    def _of_udp(self, packet):
        name = self._of_ports("udp", packet.ports)
        if name in _GTP:  # both versions use port 2123
            name = _GTP[packet.payload[:1] >= b"\x40"]
        return name

    def _of_ports(self, transport, data):
        if len(data) < 4:
            return None
        source, target = _ports(data)
        by_port = self._by_port[transport]
        return by_port.get(target) or by_port.get(source)

    def _of_tcp(self, packet):
        payload = packet.payload
        name = self._of_ports("tcp", payload)
        if name or len(payload) < 20:
            return name
        begins = payload.startswith(_PREFACE, (payload[12] >> 4) * 4)
        if not (begins or self._flows):
            return None  # nearly always
        source, target = _ports(payload)
        flow = (packet.source, source, packet.target, target)
        name = self._flows.get(flow)
        if name is None and begins:
            name = HTTP2.name
            # tshark looks for HTTP/2 at the ports of HTTP, and a 5G core uses any.
            if name in self._names:
                self._decode_as[decode_as.decode_entry(HTTP2, "tcp", target)] = None
            self._flows[flow] = self._flows[(*flow[2:], *flow[:2])] = name
        return name

    def _of_sctp(self, packet):
        payload = packet.payload
        return self._of_ports("sctp", payload) or self._of_chunks(payload)

    def _of_chunks(self, payload):
        """By the identifier of the first data in a packet of SCTP (RFC 9260)."""
        start = 12
        while start + 4 <= len(payload):
            kind, _, size = struct.unpack_from("!BBH", payload, start)
            if kind == _DATA and start + 16 <= len(payload):
                ppid = struct.unpack_from("!I", payload, start + 12)[0]
                return self._by_port["ppid"].get(ppid)
            if kind not in _CONTROL or size < 4:
                return None
            start += (size + 3) // 4 * 4
        return None

    def _of_error(self, packet):
        """By the ports of the packet that an error of ICMP quotes."""
        quoted = packet.payload[8:]
        if len(quoted) < 28:
            return None
        if quoted[0] >> 4 == 6:
            protocol, start = quoted[6], 40
        else:
            protocol, start = quoted[9], (quoted[0] & 15) * 4
        transport = {17: "udp", 6: "tcp", 132: "sctp"}.get(protocol)
        return transport and self._of_ports(transport, quoted[start:])

    def _send(self, *packet):
        if self._run and self._run.hung:
            self._end_run()  # its last packets are not given to another one
        if len(self._hangs) >= tshark.MOST_HANGS:
            self._failed.append(packet[0][0])
            return
        run, entries = self._run, tuple(self._decode_as)
        most = tshark.MOST_PACKETS + tshark.OVERLAP
        if run is None or run.sent >= most or run.decode_as != entries:
            before = list(run.lately) if run else []
            self._end_run()
            run = self._run = tshark.Run(
                self._program,
                self._protocols,
                self._rows.add_line,
                overlap=len(before),
                decode_as=entries,
            )
            for sent in before:
                run.send(*sent)
        run.send(*packet)

    def _end_run(self):
        if self._run is None:
            return
        run, self._run = self._run, None
        run.finish()
        unread = run.unread()
        self._failed.extend(unread)
        if run.hung and unread:
            self._hangs.append(
                f"tshark hung for {tshark.PATIENCE_S:g} s and was ended: packets "
                f"{unread[0] + 1} to {unread[-1] + 1} were given to it and not read"
            )


def _has_data(packet):
    """Whether a packet does more than keep its connection going."""
    if packet.what == layers.SCTP:
        return sctp.has_data(packet)
    if packet.what == layers.TCP:
        size = packet.payload[12:13]  # absent where the header is cut
        return bool(size) and len(packet.payload) > (size[0] >> 4) * 4
    return packet.what == layers.UDP
