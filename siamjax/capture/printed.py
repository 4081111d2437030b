"""Lines that tshark prints -> rows of numbers, as those of SIP are."""

import functools
import ipaddress
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from siamjax.capture import layers, messages, transactions, tshark
from siamjax.capture.clock import Packet, Times
from siamjax.capture.messages import NONE, Messages
from siamjax.capture.protocols import table
from siamjax.capture.protocols.table import Frame, Message, Protocol
from siamjax.capture.transactions import UNSAID, Named

# The most kinds of a file: a sender could make endless ones.
MOST_KINDS = 1024
# The most different procedures and outcomes, for the same reason.
MOST_WORDS = 1 << 16

_ABORT = "6"  # type of a chunk of SCTP
_YES = ("1", "True")


class Printed(NamedTuple):
    """Columns of messages as `transactions.Named`, with the numbers of packets."""

    packet: np.ndarray  # [N] int64
    time_ns: np.ndarray
    protocol: np.ndarray
    procedure: np.ndarray
    outcome: np.ndarray
    source: np.ndarray
    target: np.ndarray
    name: np.ndarray
    mark: np.ndarray

    def take(self, chosen: Any) -> "Printed":
        return Printed(*(column[chosen] for column in self))


_pack_row = struct.Struct(f"={len(Printed._fields)}q").pack


class Recent(dict):
    """A dict that drops what was not used for long."""

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[Any, Any] = {}

    def get(self, key: Any, default: Any = None) -> Any:
        value = super().get(key)
        if value is None and (value := self._before.get(key)) is not None:
            self[key] = value
        return default if value is None else value

    def forget(self) -> None:
        """Drops what was not used since the last call."""
        self._before = dict(self)
        self.clear()


class _Stack(NamedTuple):
    """What the layers of a frame say of it."""

    family: str  # of the innermost packet, `ip` or `ipv6`; empty: no packet of IP
    nth: int  # how many packets of this family are around it
    transport: str  # the innermost; empty: none
    quotes: bool  # it is of ICMP, and may quote another packet
    has_flow: bool  # it belongs to a connection of TCP or SCTP
    protocols: tuple[int, ...]  # indices of those that may have messages in it


class Rows:
    """Collects the messages of lines."""

    def __init__(self, protocols: Sequence[Protocol]):
        self._protocols = protocols
        self._rows = bytearray()  # of `_pack_row`
        self._words: dict[str, int] = {}
        self._ends: dict[str, int] = {}
        self._places = {field: i for i, field in enumerate(tshark.fields_of(protocols))}
        self._by_port = {
            (transport, str(port)): i
            for i, protocol in enumerate(protocols)
            for transport in tshark.TRANSPORTS
            for port in protocol.ports.get(transport, ())
        }
        self._flows = Recent()  # {two ends: protocol}
        # Protocols that share a port, and which of them two addresses spoke last; None:
        # any two.
        self._sharing = frozenset(
            i
            for i, protocol in enumerate(protocols)
            for transport, ports in protocol.ports.items()
            for port in ports
            if self._by_port.get((transport, str(port)), i) != i
            or any(port in p.ports.get(transport, ()) for p in protocols[:i])
        )
        self._spoken = Recent()
        self._stack = functools.lru_cache(4096)(self._read_stack)

    def add_line(self, cells: list[str], packet: Packet) -> None:
        """Adds the messages of a frame, or the fault of the transport that it shows.

        Args:
          cells: the fields of `tshark.fields_of`.
          packet: that the frame is.
        """
        frame = Frame(cells, self._places)
        stack = self._stack(cells[1])
        ends = _ends_of(frame, stack)
        if ends is None:
            return
        if stack.quotes and is_error(frame):
            self._add_fault(frame, ends, packet, table.ERROR)
            return
        is_message = False
        for i in stack.protocols:
            protocol = self._protocols[i]
            if not any(map(frame.first, protocol.markers)):
                continue
            for message in protocol.read(frame):
                self._add(i, message, ends, packet)
                is_message = True
            if stack.has_flow:  # its faults name the connection alone
                self._flows[frozenset(ends)] = i
            if i in self._sharing:
                self._spoken[_addresses(ends)] = self._spoken[None] = i
        if not is_message and stack.has_flow:
            if frame.first("tcp.flags.reset") in _YES or _ABORT in frame.values(
                "sctp.chunk_type"
            ):
                self._add_fault(frame, ends, packet, table.ERROR)
            elif frame.first("tcp.analysis.retransmission") or frame.first(
                "sctp.retransmission"
            ):
                self._add_fault(frame, ends, packet, table.RESENT)

    def _read_stack(self, names):
        """The `_Stack` of a frame's layers, such as `eth:ip:udp:radius`."""
        stack = names.split(":")
        quoting = next((i for i, x in enumerate(stack) if x in ("icmp", "icmpv6")), -1)
        outer = stack[: quoting + 1] if quoting >= 0 else stack
        family = next((x for x in reversed(outer) if x in ("ip", "ipv6")), "")
        transport = next((x for x in reversed(outer) if x in tshark.TRANSPORTS), "")
        return _Stack(
            family=family,
            nth=outer.count(family) - 1,
            transport=transport,
            quotes=quoting >= 0,
            has_flow=transport in ("tcp", "sctp"),
            protocols=tuple(
                i
                for i, protocol in enumerate(self._protocols)
                if set(protocol.layers or (protocol.name,)) & set(stack)
            ),
        )

    def _add(self, i, message, ends, packet):
        source, target = ends
        procedure, outcome = message.procedure, message.outcome
        name = NONE
        if message.name:
            between = self._protocols[i].between
            if between == "ends":
                around = frozenset(ends)
            elif between == "asker":
                around = target if outcome else source
            else:
                around = None
            name = hash((i, around, message.name))
        self._rows += _pack_row(
            *packet,
            i,
            self._word(procedure) if procedure else UNSAID,
            self._word(outcome) if outcome else UNSAID,
            self._end(source),
            self._end(target),
            name,
            hash(message.mark),
        )

    def _add_fault(self, frame, ends, packet, kind):
        """A row of the protocol whose traffic a frame without a message belongs to."""
        number = self._flows.get(frozenset(ends))
        if number is None:
            number = next(
                (
                    self._by_port[transport, port]
                    for transport in tshark.TRANSPORTS
                    for end in ("dst", "src")
                    for port in frame.values(f"{transport}.{end}port")[-1:]
                    if (transport, port) in self._by_port
                ),
                None,
            )
            if number in self._sharing:
                last = self._spoken.get(None, number)
                number = self._spoken.get(_addresses(ends), last)
        if number is not None:
            self._add(number, Message(kind), ends, packet)

    def _word(self, word):
        if len(self._words) >= MOST_WORDS and word not in self._words:
            word = table.OTHER
        return self._words.setdefault(word, len(self._words))

    def _end(self, end):
        return self._ends.setdefault(end[0], len(self._ends))

    def to_messages(
        self, times: Times, addresses: messages.Numbers
    ) -> tuple[Messages, list[str]]:
        """`Messages` in order of time, and their kinds.

        Args:
          times: of the capture's packets.
          addresses: the numbers of the capture's addresses; new ones are added.
        """
        rows = self.take(addresses)
        rows = rows._replace(time_ns=times.settle(rows.packet, rows.time_ns))
        return self.number_rows(rows.take(np.argsort(rows.time_ns, kind="stable")))

    def take(self, addresses: messages.Numbers) -> Printed:
        """The rows since the last call, in the order of the lines.

        Args:
          addresses: the numbers of the capture's addresses; new ones are added.
        """
        flat = np.frombuffer(self._rows, np.int64)
        flat = flat.reshape(-1, len(Printed._fields))
        rows = Printed(*np.ascontiguousarray(flat.T))
        numbers = [addresses[_packed(end)] for end in self._ends]
        place = np.array(numbers, np.int64)
        self._rows, self._ends = bytearray(), {}
        return rows._replace(source=place[rows.source], target=place[rows.target])

    def forget(self) -> None:
        """Drops the connections that were not used since the last call."""
        self._flows.forget()
        self._spoken.forget()

    def number_rows(
        self, printed: Printed, memory: transactions.Memory | None = None
    ) -> tuple[Messages, list[str]]:
        """`Messages` of rows in order of time, and their kinds.

        Args:
          printed: in order of time.
          memory: of the rows before; None: there are none.
        """
        named = Named(*printed[1:])
        transaction, procedure = transactions.number_transactions(
            named, self._protocols, memory
        )
        kind, says, kinds = self._kinds(named, procedure)
        transaction = np.where(says == messages.SILENT, NONE, transaction)
        rows = dict(
            packet=printed.packet,
            time_ns=named.time_ns,
            kind=kind,
            source=named.source,
            target=named.target,
            transaction=transaction,
            dialog=transaction,
            says=says,
            leg=transaction,
        )
        return Messages(**rows), kinds

    def _kinds(self, named, procedure):
        """Kind and `says` of each row, and the names of the kinds."""
        words = [*self._words, ""]  # the last is that of UNSAID
        triples = named.protocol, procedure + 1, named.outcome + 1
        sizes = len(self._protocols), len(words), len(words)
        flat, kind = np.unique(
            np.ravel_multi_index(triples, sizes), return_inverse=True
        )
        used = np.stack(np.unravel_index(flat, sizes), 1) - [0, 1, 1]
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
        return place[kind], np.array(says, np.int64)[kind], kinds


def _ends_of(frame, stack):
    """The two ends `(address, port)` of the innermost packet; None: it has none."""
    if not stack.family:
        return None
    sources = frame.values(f"{stack.family}.src")
    targets = frame.values(f"{stack.family}.dst")
    if stack.nth >= len(sources) or stack.nth >= len(targets):
        return None
    ports = ["", ""]
    if stack.transport:
        ports = [frame.last(f"{stack.transport}.{end}port") for end in ("src", "dst")]
    return (sources[stack.nth], ports[0]), (targets[stack.nth], ports[1])


def _addresses(ends):
    return frozenset(address for address, _ in ends)


def is_error(frame: Frame) -> bool:
    """Whether a frame of ICMP reports an error about a packet, which it quotes."""
    return any(
        table.number(value) in layers.ERRORS[family]
        for family, field in ((1, "icmp.type"), (58, "icmpv6.type"))
        for value in frame.values(field)
    )


def _packed(address):
    return ipaddress.ip_address(address).packed
