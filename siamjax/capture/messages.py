"""Packets -> rows of numbers, from which the events of a capture are made.

Names (addresses, Call-IDs, branches) are replaced by numbers in the order in which they
appear. They are not passed on: later steps only know whether two names are the same.
"""

import contextlib
import gc
import os
import struct
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import numpy as np

from siamjax.capture import (
    clock,
    duplicates,
    fragments,
    hep,
    layers,
    parts,
    sctp,
    sip,
    tcp,
)
from siamjax.capture.others import OtherPackets, Others

ICMP, OTHER = "icmp", "other"
_OTHER_METHOD = OTHER.encode()
NONE = -1

# What a row is: no message, an answer, a request, a request that can begin a dialog.
SILENT, ANSWER, REQUEST, CREATES = range(4)
# Packets that carry SIP, and copies and fragments that another packet stands for, are
# counted beside the causes of those that are not read.
CARRIES_SIP, DUPLICATED, ASSEMBLED = "sip", "duplicated", "assembled"
_CREATING = frozenset((b"INVITE", b"REGISTER", b"SUBSCRIBE", b"PUBLISH", b"MESSAGE"))
# Answers that may come from several branches of a forked call.
_FORKED = frozenset((b"INVITE", first) for first in (b"1", b"2"))

# Addresses that may be the server while a capture is read: those asked most.
_SERVERS = 4

_NO_ROW = frozenset(
    (layers.NOT_IP, layers.UNKNOWN_LINK, layers.DAMAGED, layers.TOO_DEEP)
)


class Messages(NamedTuple):
    """Columns, with one row for each message or ICMP error."""

    packet: np.ndarray  # [N] int64, number in the file, from 0
    time_ns: np.ndarray  # [N] int64, since 1970
    kind: np.ndarray  # [N] int64, index into kinds
    source: np.ndarray  # [N] int64, number of the address
    target: np.ndarray  # [N] int64
    transaction: np.ndarray  # [N] int64; NONE: unknown
    dialog: np.ndarray  # [N] int64, number of the Call-ID; NONE: unknown
    says: np.ndarray  # [N] int64, SILENT to CREATES
    leg: np.ndarray  # [N] int64, transaction, branch of a fork or hop of an ACK

    def take(self, chosen):
        return Messages(*(column[chosen] for column in self))


# A row as bytes: an array would take each of its numbers alone, in twice the time.
_pack_row = struct.Struct(f"={len(Messages._fields)}q").pack


class CaptureContents(NamedTuple):
    """The packets of a capture as numbers."""

    times: clock.Times
    rows: Messages
    others: Others
    kinds: list[str]
    addresses: "Numbers"
    counts: Counter  # by cause of `cleaning.CAUSES`
    seams: list[parts.Seam]  # where files of a session meet
    step_ns: int  # of rows that packets without signalling share


# Takes a packet that is no message of SIP: its number and time, the time that the file
# has, link type, frame, original length, and how far it could be decoded. Says whether
# it did not take it, counts it itself, or also may find a message of another protocol.
OtherPacket = Callable[[clock.Packet, int, int, bytes, int, layers.Datagram], int]
NOT_TAKEN, COUNTED, GIVEN = range(3)


def read_messages(
    path: str | os.PathLike,
    take_other: OtherPacket | None = None,
    server_address: bytes | None = None,
    **options: bool,
) -> CaptureContents:
    """Reads the `CaptureContents` of a capture.

    Times are those of `clock.Times`; rows are in order of time.

    Args:
      path: of the capture file, or `parts.Parts`.
      take_other: is called with each packet that is no message of SIP.
      server_address: bytes of the server's address, if it is known.
      **options: of `parts.read_in_order`.
    """
    timeline = clock.Timeline()
    reader = MessageReader(take_other, server_address, timeline)
    seams: list[parts.Seam] = []
    records = parts.read_in_order(path, reader.counts, seams, **options)
    with _no_garbage_collection():
        for time_ns, link, frame, length in records:
            reader.add(time_ns, link, frame, length)
        reader.finish()
    joined = reader.counts["joined"] > 0 or parts.overlap(seams)
    times = timeline.finish(joined=joined)
    reader.counts["clock_step"] += times.jumps
    rows, others = (
        in_order(table._replace(time_ns=times.settle(table.packet, table.time_ns)))
        for table in reader.take()
    )
    return CaptureContents(
        times=times,
        rows=rows,
        others=others,
        kinds=list(map(kind_name, reader.kinds)),
        addresses=reader.addresses,
        counts=reader.counts,
        seams=seams,
        step_ns=reader.step_ns,
    )


def in_order(rows: Any) -> Any:
    """`Messages` or `Others` in order of time and packet."""
    if (np.diff(rows.time_ns) > 0).all():
        return rows
    return rows.take(np.lexsort((rows.packet, rows.time_ns)))


@contextlib.contextmanager
def _no_garbage_collection():
    """Saves 7 % of the time: millions of names are kept, none in a reference cycle."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class Numbers(dict):
    """The numbers of names, in the order in which they appear.

    A stream without an end can `forget` the names that it did not use for long.
    """

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[Hashable, int] = {}
        self._count = 0

    def __missing__(self, name: Hashable) -> int:
        number = self._before.get(name)
        if number is None:
            number, self._count = self._count, self._count + 1
        self[name] = number
        return number

    def forget(self) -> None:
        """Drops the names that were not used since the last call."""
        self._before = dict(self)
        self.clear()


class MessageReader:
    """The rows of packets, and the numbers of their names.

    Call-IDs and transactions are kept as hashes of 64 bits: among ten million, two have
    the same hash with a probability of 3 in a million.

    Attributes:
      timeline: the times of the packets.
      kinds, addresses: their numbers.
      counts: by cause of `cleaning.CAUSES`; packets that carry SIP or report an error
        of ICMP, too. Each packet is counted once, if `take_other` does not count it.
    """

    def __init__(
        self,
        take_other: OtherPacket | None = None,
        server_address: bytes | None = None,
        timeline: clock.Timeline | clock.LiveTimeline | None = None,
    ) -> None:
        self._take_other, self._server_address = take_other, server_address
        self.timeline = clock.Timeline() if timeline is None else timeline
        self._rows = bytearray()  # of `_pack_row`
        self._others = OtherPackets(self._servers, self.timeline.first_ns)
        self.kinds: dict[Any, int] = {}
        self.addresses = Numbers()
        self.counts: Counter[str] = Counter()
        self._dialogs, self._transactions = Numbers(), Numbers()
        self._recent = duplicates.RecentPackets()
        self._fragments = fragments.Fragments(self._give_up)
        self._streams = tcp.Streams(
            self._add_streamed, self._add_other, self._settle, self.counts
        )
        self._counted: set[int] = set()  # packets of TCP that `take_other` counts
        self._associations = sctp.Associations()

    def add(self, time_ns, link, frame, length):
        """Adds one packet: as rows, or as a count of its cause, or as both."""
        packet = self.timeline.add(time_ns)
        datagram = layers.decode_frame(link, frame)
        what = datagram[0]
        cut = length > len(frame)
        if cut:
            self.counts["snapped"] += 1
        if what in _NO_ROW:
            short = cut and what == layers.DAMAGED
            self.counts["cut_short" if short else what] += 1
        elif self._recent.is_copy(time_ns, datagram):
            self.counts[DUPLICATED] += 1
        else:
            self._add_datagram(packet, (time_ns, link, frame, length), datagram, cut)

    def finish(self):
        """Adds what waited for packets that did not come."""
        self._fragments.give_up_all()
        self._streams.finish()

    @property
    def step_ns(self):
        """The length of the steps of rows that packets without signalling share."""
        return self._others.step_ns

    def take(self) -> tuple[Messages, Others]:
        """The rows since the last call, in order of time."""
        # [N, columns] -> contiguous columns
        table = Messages(*self._columns())
        self._rows = bytearray()
        return in_order(table), in_order(self._others.take())

    def forget_names(self) -> None:
        """Drops the names that were not used since the last call."""
        for numbers in (self.addresses, self._dialogs, self._transactions):
            numbers.forget()

    def _add_datagram(self, packet, record, datagram, cut):
        """Adds what a packet contains.

        Args:
          packet: its number and time.
          record: its time in the file, link type, frame and original length.
          datagram: how far it could be decoded.
          cut: whether it is cut by the snap length.
        """
        what, source, target, _, payload, ports, _, _ = datagram
        ends = source, target, ports
        if what == layers.UDP:
            message = sip.parse_message(payload, cut)
            if message:
                self._add_message(packet, ends, payload, message)
                self.counts[CARRIES_SIP] += 1
            elif self._add_hep(packet, payload, cut):
                self.counts[CARRIES_SIP] += 1
            elif self._is_taken(packet, record, datagram):
                self._add_uncounted(packet, ends)
            else:
                self._add_other(packet, ends, what)
        elif what == layers.TCP:
            if self._is_taken(packet, record, datagram):
                self._counted.add(packet[0])
            try:
                self._streams.add(packet, record[0], datagram)
            except struct.error:
                self._settle(packet, "cut_short" if cut else layers.DAMAGED)
        elif what == layers.SCTP:
            cause = self._add_chunks(packet, ends, datagram, cut)
            if cause == CARRIES_SIP:
                self.counts[cause] += 1
            elif self._is_taken(packet, record, datagram):
                self._add_uncounted(packet, ends)
            else:
                self._add_other(packet, ends, cause)
        elif what == layers.FRAGMENT:
            whole = self._whole(packet, record[0], datagram)
            if whole:
                record = record[0], whole.link, whole.frame, len(whole.frame)
                self._add_datagram(packet, record, whole.datagram, cut)
        elif what == layers.ICMP_ERROR:
            self._add_row(packet, ICMP, ends, NONE, NONE, SILENT, NONE)
            if not self._is_taken(packet, record, datagram):
                self.counts[what] += 1
        elif what in _NO_ROW:
            self.counts[what] += 1
        else:
            self._add_other(packet, ends, what)

    def _is_taken(self, packet, record, datagram):
        """Whether `take_other` counts a packet."""
        if not self._take_other:
            return False
        taken = self._take_other(packet, *record, datagram)
        if taken == GIVEN:
            self._others.keep(packet)
        return taken != NOT_TAKEN

    def _whole(self, packet, time_ns, datagram):
        """The packet that a fragment completes; it may be a fragment in a tunnel."""
        whole = self._fragments.add(packet, time_ns, datagram)
        while whole:
            self.counts[ASSEMBLED] += whole.packets - 1
            if self._recent.is_copy(time_ns, whole.datagram):
                self.counts[DUPLICATED] += 1
                return None
            if whole.datagram.what != layers.FRAGMENT:
                return whole
            whole = self._fragments.add(packet, time_ns, whole.datagram)
        return None

    def _add_hep(self, packet, payload, cut):
        """Adds the message that an agent of Homer captured, if there is one."""
        inner = hep.decode_hep(payload)
        message = inner and sip.parse_message(inner.payload, cut)
        if message:
            ends = inner.source, inner.target, inner.ports
            self._add_message(packet, ends, inner.payload, message)
        return message

    def _add_streamed(self, packet, ends, payload, cut):
        """Adds a message of a connection of TCP, and says whether it is of SIP."""
        message = sip.parse_message(payload, cut)
        if message:
            self._add_message(packet, ends, payload, message)
        return bool(message or self._add_hep(packet, payload, cut))

    def _add_chunks(self, packet, ends, datagram, cut):
        """Adds the messages of SCTP, and returns the cause by which it counts.

        A packet without data only keeps the association going.
        """
        cause = layers.OTHER_IP
        try:
            for payload in self._associations.add(datagram):
                message = sip.parse_message(payload, cut)
                if message:
                    self._add_message(packet, ends, payload, message)
                    cause = CARRIES_SIP
                elif cause != CARRIES_SIP:
                    cause = layers.SCTP
        except struct.error:
            cause = layers.SCTP
        return cause

    def _give_up(self, incomplete):
        """Adds what the first fragments of a packet say, if the others are lost."""
        self.counts[layers.FRAGMENT] += incomplete.packets
        datagram = incomplete.beginning()
        if datagram and datagram.what == layers.UDP:
            packet, payload = incomplete.packet, datagram.payload
            ends = datagram.source, datagram.target, datagram.ports
            message = sip.parse_message(payload, True)
            if message:
                self._add_message(packet, ends, payload, message)
            if message or self._add_hep(packet, payload, True):
                self.counts[layers.FRAGMENT] -= 1
                self.counts[CARRIES_SIP] += 1
            else:
                self._add_uncounted(packet, ends)

    def _add_message(self, packet, ends, payload, message):
        method, status, call_id, number, branch = message
        dialogs, transactions = self._dialogs, self._transactions
        dialog = transaction = NONE
        if call_id:
            dialog = dialogs[hash(call_id)]
        if dialog != NONE and number:
            # Some clients send the ACK of each repeated 200 with a new branch.
            name = hash((dialog, number, method, None if method == b"ACK" else branch))
            transaction = transactions[name]
        else:
            self.counts["unnamed"] += 1
        leg = transaction
        if status is None:
            says = CREATES if method in _CREATING else REQUEST
            if method == b"ACK":  # so its hop is known by its ports and Max-Forwards
                name = hash((transaction, ends[2], sip.max_forwards(payload)))
                leg = transactions[name]
        else:
            says = ANSWER
            if (method, status[:1]) in _FORKED and status != b"100":
                name = hash((transaction, sip.to_tag(payload)))
                leg = transactions[name]
        if method is None:  # an answer without CSeq: its request is unknown
            kind = OTHER
        elif method in sip.METHODS:
            kind = method, status
        else:  # otherwise a sender could make endless kinds
            self.counts["other_method"] += 1
            kind = _OTHER_METHOD, status
        self._add_row(packet, kind, ends, transaction, dialog, says, leg)

    def _add_row(self, packet, kind, ends, transaction, dialog, says, leg):
        kinds, addresses = self.kinds, self.addresses
        kind = kinds.setdefault(kind, len(kinds))
        source, target = addresses[ends[0]], addresses[ends[1]]
        self._rows += _pack_row(
            *packet, kind, source, target, transaction, dialog, says, leg
        )

    def _columns(self):
        """`[columns, N]` int64, of the rows since they were taken."""
        rows = np.frombuffer(self._rows, np.int64).reshape(-1, len(Messages._fields))
        return np.ascontiguousarray(rows.T)

    def _add_other(self, packet, ends, cause):
        """Adds a packet without signalling; whether it was counted by its cause."""
        self._add_uncounted(packet, ends)
        return self._settle(packet, cause)

    def _add_uncounted(self, packet, ends):
        addresses = self.addresses
        self._others.add(packet, addresses[ends[0]], addresses[ends[1]])

    def _settle(self, packet, cause):
        """Counts a packet by its cause, unless `take_other` does."""
        counted = self._counted
        if counted and packet[0] in counted:
            counted.remove(packet[0])
            return False
        self.counts[cause] += 1
        return True

    def _servers(self):
        """Addresses that may be the server: those that begin most dialogs are asked."""
        given = self.addresses.get(self._server_address)
        rows = Messages(*self._columns())
        asked = rows.target[rows.says == CREATES]
        most = np.argsort(-np.bincount(asked), kind="stable")[:_SERVERS].tolist()
        return most if given is None else [*most, given]


def with_protocol(kind: str) -> str:
    """The kind of an event, for a name of `kind_name`."""
    return kind if kind in (ICMP, OTHER) else f"sip:{kind}"


def kind_name(kind: str | tuple[bytes, bytes | None]) -> str:
    """The name of a kind of `MessageReader`, without its protocol."""
    if isinstance(kind, str):
        return kind
    return "/".join(part.decode() for part in kind if part is not None)
