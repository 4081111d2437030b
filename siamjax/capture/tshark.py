"""Signalling other than SIP: finds its packets, and lets tshark read them.

Only packets that look like one of the protocols are given to tshark, so that a capture
of SIP alone does not start it. It gets them as pcapng on its standard input and prints
the fields of the protocols, a line for each frame.
"""

import functools
import ipaddress
import os
import shutil
import struct
import subprocess
import tempfile
from array import array
from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from siamjax.capture import layers, messages, sctp, transactions
from siamjax.capture.messages import NONE, Messages
from siamjax.capture.protocols import table
from siamjax.capture.protocols.table import Frame, Protocol
from siamjax.capture.transactions import UNSAID, Named

# The memory of tshark grows by 0.3 to 1.9 kB with each packet, so a new one is started
# after so many. It first gets the last packets again: a message may begin in them.
MOST_PACKETS, OVERLAP = 100_000, 500
# A file has at most so many kinds: a sender could make endless ones.
MOST_KINDS = 1024

_COMMON = (
    "frame.number frame.protocols ip.src ip.dst ipv6.src ipv6.dst ip.id ip.len "
    "udp.srcport udp.dstport tcp.srcport tcp.dstport sctp.srcport sctp.dstport "
    "icmp.type icmpv6.type tcp.flags.reset tcp.analysis.retransmission "
    "sctp.retransmission sctp.chunk_type"
).split()
_TRANSPORTS = ("udp", "tcp", "sctp")
# Frames that show a fault of the transport.
_FAULTS = (
    "icmp.type in {3,4,5,11,12}",
    "icmpv6.type in {1,2,3,4}",
    "tcp.flags.reset == 1",
    "tcp.analysis.retransmission",
    "sctp.retransmission",
    "sctp.chunk_type == 6",
)
# How tshark puts together what is in several packets.
OPTIONS = (
    "tcp.reassemble_out_of_order:TRUE",
    "tcp.desegment_tcp_streams:TRUE",
    "sctp.reassembly:TRUE",
    "ip.defragment:TRUE",
)
_ABORT = "6"
_IDENTS = 4096  # of fragmented packets are remembered
_DATA, _CONTROL = 0, frozenset(range(1, 15))  # types of chunks (RFC 9260, 3.2)
_HTTP2 = b"PRI * HTTP/2.0\r\n"

_ports = struct.Struct("!HH").unpack_from


class Contents(NamedTuple):
    """What tshark read of a capture."""

    rows: Messages  # in order of time
    kinds: list[str]  # `protocol:procedure[/outcome]`
    version: str  # of tshark; empty: it was not started
    given: Counter  # packets by cause of `cleaning.CAUSES`, that tshark read
    unread: Counter  # packets by (cause, protocol), that could not be read without it
    failed: int  # packets that a tshark got which then failed


class Signalling:
    """Collects packets of signalling; `add` takes them in the order of the file."""

    def __init__(self, protocols: Sequence[Protocol]):
        self._protocols = [p for p in protocols if p.filter]
        self._by_port = {
            (transport, port): protocol.name
            for protocol in self._protocols
            for transport in (*_TRANSPORTS, "ppid")
            for port in protocol.ports.get(transport, ())
        }
        self._flows: dict[tuple, str] = {}
        self._http2_ports: dict[int, None] = {}  # in the order in which they appear
        self._idents: dict[tuple, str] = {}
        self._program = find_tshark()
        self._run: _Run | None = None
        self._reading = _Rows(self._protocols)
        self._given, self._unread = Counter(), Counter()
        self._failed = 0

    def add(
        self,
        index: int,
        time_ns: int,
        link: int,
        frame: bytes,
        length: int,
        packet: layers.Datagram,
    ) -> None:
        """Takes a packet that is no message of SIP, as `messages.OtherPacket`."""
        name = self._recognise(packet)
        if name is None:
            return
        what = packet.what
        if what == layers.SCTP and not sctp.has_data(packet):
            what = layers.OTHER_IP  # it is counted there
        if self._program is None:
            self._unread[what, name] += 1
            return
        if what != layers.FRAGMENT:  # only lost ones are counted
            self._given[what] += 1
        self._send(index, time_ns, link, frame, length)

    def finish(self, packet_ns: np.ndarray, addresses: dict[bytes, int]) -> Contents:
        """Ends tshark and returns what it read.

        Args:
          packet_ns: `[packets]` int64, the times of the capture's packets.
          addresses: the numbers of the capture's addresses; new ones are added.
        """
        self._end_run()
        rows, kinds = self._reading.to_messages(packet_ns, addresses)
        version = tshark_version(self._program) if self._program and self._given else ""
        return Contents(rows, kinds, version, self._given, self._unread, self._failed)

    def _recognise(self, packet):
        """The name of the protocol that a packet may hold, or None."""
        whole = packet.source, packet.target, packet.ident
        if packet.what != layers.FRAGMENT:
            return self._of_payload(packet)
        if layers.part_of(packet).offset:
            return self._idents.get(whole)
        name = self._of_payload(layers.decode_whole(packet, packet.payload))
        if name:
            if len(self._idents) > _IDENTS:
                self._idents.clear()
            self._idents[whole] = name
        return name

    def _of_payload(self, packet):
        what, payload = packet.what, packet.payload
        if what == layers.UDP:
            return self._of_ports("udp", packet.ports)
        if what == layers.TCP:
            return self._of_tcp(packet)
        if what == layers.SCTP:
            return self._of_ports("sctp", payload) or self._of_chunks(payload)
        if what == layers.ICMP_ERROR:
            return self._of_quoted(payload)
        return None

    def _of_ports(self, transport, data):
        if len(data) < 4:
            return None
        source, target = _ports(data)
        by_port = self._by_port
        return by_port.get((transport, target)) or by_port.get((transport, source))

    def _of_tcp(self, packet):
        name = self._of_ports("tcp", packet.payload)
        if name or len(packet.payload) < 20:
            return name
        source, target = _ports(packet.payload, 0)
        flow = (packet.source, source, packet.target, target)
        name = self._flows.get(flow)
        if name is None:
            start = (packet.payload[12] >> 4) * 4
            if packet.payload.startswith(_HTTP2, start) and self._has("http2"):
                name = "http2"
                # tshark looks for HTTP/2 at the ports of HTTP, and a 5G core uses any.
                self._http2_ports[target] = None
                self._flows[flow] = self._flows[(*flow[2:], *flow[:2])] = name
        return name

    def _has(self, name):
        return any(protocol.name == name for protocol in self._protocols)

    def _of_chunks(self, payload):
        """By the identifier of the first data in a packet of SCTP (RFC 9260)."""
        start = 12
        while start + 4 <= len(payload):
            kind, _, size = struct.unpack_from("!BBH", payload, start)
            if kind == _DATA and start + 16 <= len(payload):
                ppid = struct.unpack_from("!I", payload, start + 12)[0]
                return self._by_port.get(("ppid", ppid))
            if kind not in _CONTROL or size < 4:
                return None
            start += (size + 3) // 4 * 4
        return None

    def _of_quoted(self, payload):
        """By the ports of the packet that an error of ICMP quotes."""
        quoted = payload[8:]
        if len(quoted) < 28:
            return None
        if quoted[0] >> 4 == 6:
            protocol, start = quoted[6], 40
        else:
            protocol, start = quoted[9], (quoted[0] & 15) * 4
        transport = {17: "udp", 6: "tcp", 132: "sctp"}.get(protocol)
        return transport and self._of_ports(transport, quoted[start:])

    def _send(self, *packet):
        run, ports = self._run, tuple(self._http2_ports)
        if run is None or run.sent >= MOST_PACKETS + OVERLAP or run.ports != ports:
            before = list(run.lately) if run else []
            self._end_run()
            run = self._run = _Run(self._program, self._protocols, len(before), ports)
            for sent in before:
                run.send(*sent)
        run.send(*packet)

    def _end_run(self):
        if self._run is None:
            return
        for line in self._run.lines():
            self._reading.add_line(*line)
        self._failed += self._run.sent * self._run.failed
        self._run = None


class _Run:
    """One process of tshark."""

    def __init__(self, program, protocols, overlap, http2_ports=()):
        self.failed, self.ports = False, http2_ports
        self.sent, self.lately = 0, deque(maxlen=OVERLAP)
        self._overlap = overlap
        self._packets, self._links = array("q"), {}
        # A file, not a pipe: tshark must not wait for who reads it.
        self._output = tempfile.TemporaryFile()
        # An empty folder, not the settings of a user: a capture gives the same
        # everywhere.
        self._settings = tempfile.TemporaryDirectory(prefix="siamjax")
        self._process = subprocess.Popen(
            [program, *_arguments(protocols, http2_ports)],
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=subprocess.DEVNULL,
            env={
                **os.environ,
                "WIRESHARK_CONFIG_DIR": self._settings.name,
                "LC_ALL": "C",
            },
        )
        self._write(_block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)))

    def send(self, index, time_ns, link, frame, length):
        if link not in self._links:
            self._links[link] = len(self._links)
            nanoseconds = struct.pack("<HHB3xHH", 9, 1, 9, 0, 0)
            self._write(_block(1, struct.pack("<HHI", link, 0, 0) + nanoseconds))
        head = struct.pack(
            "<IIIII",
            self._links[link],
            time_ns >> 32,
            time_ns & 0xFFFFFFFF,
            len(frame),
            max(length, len(frame)),
        )
        self._write(_block(6, head + frame + bytes(-len(frame) % 4)))
        self._packets.append(index)
        self.lately.append((index, time_ns, link, frame, length))
        self.sent += 1

    def _write(self, data):
        try:
            self._process.stdin.write(data)
        except BrokenPipeError:  # it ended: `lines` gives what it printed
            pass

    def lines(self):
        """Yields `(cells, index)` of each frame, without those sent again."""
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        self.failed = self._process.wait() != 0
        self._settings.cleanup()
        self._output.seek(0)
        with self._output as output:
            for line in output:
                cells = line.decode("utf-8", "replace").rstrip("\n").split("\t")
                place = int(cells[0]) - 1
                if place >= self._overlap:
                    yield cells, self._packets[place]


class _Rows:
    """Rows of numbers from the lines that tshark prints."""

    def __init__(self, protocols):
        self._protocols = protocols
        self._rows = array("q")
        self._words, self._ends = {}, {}
        self._places = {field: i for i, field in enumerate(fields_of(protocols))}
        self._by_port = {
            (transport, str(port)): i
            for i, protocol in enumerate(protocols)
            for transport in _TRANSPORTS
            for port in protocol.ports.get(transport, ())
        }
        self._flows = {}

    def add_line(self, cells, index):
        """Adds the messages of a frame, or the fault of the transport that it shows."""
        frame = Frame(cells, self._places)
        stack = cells[1].split(":")
        quoting = next((i for i, x in enumerate(stack) if x in ("icmp", "icmpv6")), -1)
        ends = _ends_of(frame, stack[: quoting + 1] if quoting >= 0 else stack)
        if ends is None:
            return
        if quoting >= 0 and is_error(frame):
            self._add_fault(frame, ends, index, table.ERROR)
            return
        is_message = False
        for i, protocol in enumerate(self._protocols):
            if any(map(frame.first, protocol.markers)):
                for message in protocol.read(frame):
                    self._add(i, message, ends, index)
                    is_message = True
                if "udp" not in stack:  # its faults name the connection alone
                    self._flows[frozenset(ends)] = i
        if not is_message:
            reset = frame.first("tcp.flags.reset") in ("1", "True")
            again = ("tcp.analysis.retransmission", "sctp.retransmission")
            if reset or _ABORT in frame.values("sctp.chunk_type"):
                self._add_fault(frame, ends, index, table.ERROR)
            elif any(map(frame.first, again)):
                self._add_fault(frame, ends, index, table.RESENT)

    def _add(self, i, message, ends, index):
        source, target = ends
        protocol, procedure, outcome = self._protocols[i], message.procedure, UNSAID
        name = NONE
        if message.name:
            asker = target if message.outcome else source
            between = {"ends": frozenset(ends), "asker": asker, "all": None}
            name = hash((i, between[protocol.between], message.name))
        if message.outcome:
            outcome = self._word(message.outcome)
        self._rows.extend(
            (
                index,
                i,
                self._word(procedure) if procedure else UNSAID,
                outcome,
                self._end(source),
                self._end(target),
                name,
                hash(message.mark),
            )
        )

    def _add_fault(self, frame, ends, index, kind):
        """A row of the protocol whose traffic a frame without a message belongs to."""
        number = self._flows.get(frozenset(ends))
        if number is None:
            number = next(
                (
                    self._by_port[transport, port]
                    for transport in _TRANSPORTS
                    for end in ("dst", "src")
                    for port in frame.values(f"{transport}.{end}port")[-1:]
                    if (transport, port) in self._by_port
                ),
                None,
            )
        if number is not None:
            self._add(number, table.Message(kind), ends, index)

    def _word(self, word):
        return self._words.setdefault(word, len(self._words))

    def _end(self, end):
        return self._ends.setdefault(end[0], len(self._ends))

    def to_messages(self, packet_ns, addresses):
        """`Messages` in order of time, and their kinds."""
        flat = np.array(self._rows, np.int64).reshape(-1, len(Named._fields))
        flat = flat[np.argsort(packet_ns[flat[:, 0]], kind="stable")]
        numbers = [
            addresses.setdefault(_packed(end), len(addresses)) for end in self._ends
        ]
        place = np.array(numbers, np.int64)
        packet, *columns = np.ascontiguousarray(flat.T)
        named = Named(packet_ns[packet], *columns)
        transaction, procedure = transactions.number_transactions(
            named, self._protocols
        )
        kind, says, kinds = self._kinds(named, procedure)
        transaction = np.where(says == messages.SILENT, NONE, transaction)
        rows = dict(
            packet=packet,
            time_ns=named.time_ns,
            kind=kind,
            source=place[named.source],
            target=place[named.target],
            transaction=transaction,
            dialog=transaction,
            says=says,
            leg=transaction,
        )
        return Messages(**rows), kinds

    def _kinds(self, named, procedure):
        """Kind and `says` of each row, and the names of the kinds."""
        words = [*self._words, ""]  # the last is that of UNSAID
        triples = np.stack([named.protocol, procedure, named.outcome], 1)
        used, kind = np.unique(triples, axis=0, return_inverse=True)
        names, says = [], []
        for number, what, outcome in used.tolist():
            protocol, what = self._protocols[number], words[what] or table.OTHER
            if what in (table.ERROR, table.RESENT):
                says.append(messages.SILENT)
            elif outcome == UNSAID or what in protocol.notices:
                says.append(messages.CREATES)
            else:
                says.append(messages.ANSWER)
            answer = words[outcome] if len(names) < MOST_KINDS else table.OTHER
            parts = [what] if outcome == UNSAID else [what, answer]
            names.append(f"{protocol.name}:{'/'.join(parts)}")
        kinds = sorted(set(names))
        place = np.array([kinds.index(name) for name in names], np.int64)
        return place[kind.ravel()], np.array(says, np.int64)[kind.ravel()], kinds


def find_tshark() -> str | None:
    """The path of tshark; None: it is not installed."""
    return shutil.which("tshark")


@functools.cache
def tshark_version(program: str) -> str:
    """The version of tshark, such as `4.0.17`; empty: it does not say it."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    words = said.partition("\n")[0].split()
    return next((word.strip(".") for word in words if word[0].isdigit()), "")


def fields_of(protocols: Sequence[Protocol]) -> list[str]:
    """All fields that tshark prints of a frame, in order."""
    own = [field for p in protocols for field in (*p.markers, *p.fields)]
    return list(dict.fromkeys([*_COMMON, *own]))


def _arguments(protocols, http2_ports):
    filters = [f"({protocol.filter})" for protocol in protocols]
    arguments = ["-n", "-r", "-", "-Y", " || ".join([*filters, *_FAULTS])]
    for option in OPTIONS:
        arguments += ["-o", option]
    for port in http2_ports:
        arguments += ["-d", f"tcp.port=={port},http2"]
    for print_as in ("occurrence=a", f"aggregator={table.SEPARATOR}", "separator=/t"):
        arguments += ["-E", print_as]
    for field in fields_of(protocols):
        arguments += ["-e", field]
    return [*arguments, "-T", "fields"]


def _block(kind, body):
    size = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + size + body + size


def _ends_of(frame, stack):
    """The two ends `(address, port)` of the innermost packet in a stack of layers."""
    family = next((x for x in reversed(stack) if x in ("ip", "ipv6")), None)
    if family is None:
        return None
    nth = stack.count(family) - 1
    sources, targets = frame.values(f"{family}.src"), frame.values(f"{family}.dst")
    if nth >= len(sources) or nth >= len(targets):
        return None
    transport = next((x for x in reversed(stack) if x in _TRANSPORTS), None)
    ports = ["", ""]
    if transport:
        ports = [frame.values(f"{transport}.{end}port")[-1:] for end in ("src", "dst")]
        ports = [port[0] if port else "" for port in ports]
    return (sources[nth], ports[0]), (targets[nth], ports[1])


def is_error(frame: Frame) -> bool:
    """Whether a frame of ICMP reports an error about a packet, which it quotes."""
    return any(
        table.number(value) in layers.ERRORS[family]
        for family, field in ((1, "icmp.type"), (58, "icmpv6.type"))
        for value in frame.values(field)
    )


def _packed(address):
    return ipaddress.ip_address(address).packed
