"""Packets -> rows of numbers, from which the events of a capture are made.

Names (addresses, Call-IDs, branches) are replaced by numbers in the order in which they
appear. They are not passed on: later steps only know whether two names are the same.
"""

import contextlib
import gc
import os
from array import array
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from siamjax.capture import layers, packets, sip

ICMP, OTHER = "icmp", "other"
_OTHER_METHOD = OTHER.encode()
NONE = -1

# What a row is: no message, an answer, a request, a request that can begin a dialog.
SILENT, ANSWER, REQUEST, CREATES = range(4)
_CREATING = frozenset((b"INVITE", b"REGISTER", b"SUBSCRIBE", b"PUBLISH", b"MESSAGE"))

# A packet that is seen again within this time is the same one at another port or hop:
# SIP waits 500 ms (T1 of RFC 3261) before it repeats a message.
TWICE_NS = 5_000_000
# At most twice this many bytes of packets are kept for that: 5 ms at 25 Gbit/s. Without
# a limit, a capture whose packets all have the same time would be kept completely.
MOST_REMEMBERED = 1 << 24
_OVERHEAD = 256  # bytes that a packet takes in memory in addition to its payload

_NO_ROW = frozenset(
    (layers.NOT_IP, layers.PPPOE, layers.UNKNOWN_LINK, layers.FRAGMENT, layers.DAMAGED)
)


class Messages(NamedTuple):
    """Columns, with one row for each message or other IP packet."""

    time_ns: np.ndarray  # [N] int64, since 1970
    kind: np.ndarray  # [N] int64, index into kinds
    source: np.ndarray  # [N] int64, number of the address
    target: np.ndarray  # [N] int64
    transaction: np.ndarray  # [N] int64; NONE: unknown
    dialog: np.ndarray  # [N] int64, number of the Call-ID; NONE: unknown
    says: np.ndarray  # [N] int64, SILENT to CREATES

    def take(self, chosen):
        return Messages(*(column[chosen] for column in self))


class CaptureContents(NamedTuple):
    """The packets of a capture as numbers."""

    packet_ns: np.ndarray  # [packets] int64, of all packets, in the file's order
    rows: Messages
    kinds: list[str]
    addresses: dict[bytes, int]
    counts: Counter  # by cause of `cleaning.CAUSES`


# Takes a packet that is no message of SIP: its index in the file, time_ns, link type,
# frame, original length, and how far it could be decoded.
OtherPacket = Callable[[int, int, int, bytes, int, layers.Datagram], None]


def read_messages(
    path: str | os.PathLike, others: OtherPacket | None = None, **options: bool
) -> CaptureContents:
    """Reads the `CaptureContents` of a capture.

    Args:
      path: of the capture file.
      others: is called with each packet that is no message of SIP.
      **options: of `packets.read_packets`.
    """
    numbering = _Numbering(others)
    records = packets.read_packets(path, numbering.counts, **options)
    with _no_garbage_collection():
        for time_ns, link, frame, length in records:
            numbering.add(time_ns, link, frame, length)
    # [N, columns] -> contiguous columns
    flat = np.array(numbering.rows, np.int64).reshape(-1, len(Messages._fields))
    return CaptureContents(
        packet_ns=np.array(numbering.packet_ns, np.int64),
        rows=Messages(*np.ascontiguousarray(flat.T)),
        kinds=[_kind_name(kind) for kind in numbering.kinds],
        addresses=numbering.addresses,
        counts=numbering.counts,
    )


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


class _Numbering:
    """The rows of the packets so far, and the numbers of their names.

    Call-IDs and transactions are kept as hashes of 64 bits: among ten million, two have
    the same hash with a probability of 3 in a million.
    """

    def __init__(self, others=None):
        self._others = others
        self.packet_ns, self.rows = array("q"), array("q")
        self.kinds, self.addresses = {}, {}
        self.counts = Counter()
        self._dialogs, self._transactions = {}, {}
        self._lately, self._before = {}, {}
        self._since_ns = self._remembered = 0

    def add(self, time_ns, link, frame, length):
        """Adds one packet: as a row, or as a count of its cause, or as both."""
        self.packet_ns.append(time_ns)
        packet = layers.decode_frame(link, frame)
        what, source, target, _, payload, first_fragment, tunnel_port = packet
        counts, kinds, addresses = self.counts, self.kinds, self.addresses
        cut = length > len(frame)
        if cut:
            counts["snapped"] += 1
        if what in _NO_ROW:
            if self._others:
                index = len(self.packet_ns) - 1
                self._others(index, time_ns, link, frame, length, packet)
            counts["cut_short" if cut and what == layers.DAMAGED else what] += 1
            return
        if first_fragment:
            counts[layers.FRAGMENT] += 1
            cut = True
        if self._twice(time_ns, packet):
            counts["duplicated"] += 1
            return
        message = sip.parse_message(payload, cut) if what == layers.UDP else None
        if message:
            kind, transaction, dialog, says = self._number(message)
        else:
            if self._others:
                index = len(self.packet_ns) - 1
                self._others(index, time_ns, link, frame, length, packet)
            what = layers.TUNNEL if tunnel_port else what
            kind, transaction, dialog, says = self._count(what)
        kind = kinds.setdefault(kind, len(kinds))
        source = addresses.setdefault(source, len(addresses))
        target = addresses.setdefault(target, len(addresses))
        self.rows.extend((time_ns, kind, source, target, transaction, dialog, says))

    def _number(self, message):
        """Kind, transaction, dialog and `says` of a message."""
        method, status, call_id, number, branch = message
        dialogs, transactions = self._dialogs, self._transactions
        dialog = transaction = NONE
        if call_id:
            dialog = dialogs.setdefault(hash(call_id), len(dialogs))
        if dialog != NONE and number:
            # Some clients send the ACK of each repeated 200 with a new branch.
            name = hash((dialog, number, method, None if method == b"ACK" else branch))
            transaction = transactions.setdefault(name, len(transactions))
        else:
            self.counts["unnamed"] += 1
        if status is None:
            says = CREATES if method in _CREATING else REQUEST
        else:
            says = ANSWER
        if method is None:  # an answer without CSeq: its request is unknown
            return OTHER, transaction, dialog, says
        if method not in sip.METHODS:  # otherwise a sender could make endless kinds
            self.counts["other_method"] += 1
            method = _OTHER_METHOD
        return (method, status), transaction, dialog, says

    def _count(self, what):
        """The same for a packet that is not a message."""
        if what == layers.ICMP_ERROR:
            return ICMP, NONE, NONE, SILENT
        self.counts[what] += 1
        return OTHER, NONE, NONE, SILENT

    def _twice(self, time_ns, packet):
        """Whether the same packet was seen just before, at any port or hop.

        Packets are kept in two maps, of which the older one is dropped in turn. So
        memory does not grow with the capture, even if its times are wrong.
        """
        what, source, target, ident, payload, _, _ = packet
        if ident > b"\0\0":
            name = hash((source, target, ident, len(payload)))
        elif what == layers.UDP:
            name = hash((source, target, payload))
        else:
            return False  # two equal acknowledgements of TCP are not copies
        is_over = abs(time_ns - self._since_ns) > TWICE_NS
        if is_over or self._remembered > MOST_REMEMBERED:
            self._before, self._lately = self._lately, {}
            self._since_ns, self._remembered = time_ns, 0
        self._remembered += len(payload) + _OVERHEAD
        seen = self._lately.get(name) or self._before.get(name)
        self._lately[name] = time_ns, payload
        if seen is None:
            return False
        # Frame and time to live differ from hop to hop, so they are not compared.
        seen_ns, seen_payload = seen
        return seen_payload == payload and abs(time_ns - seen_ns) <= TWICE_NS


def _kind_name(kind):
    if isinstance(kind, str):
        return kind
    return "/".join(part.decode() for part in kind if part is not None)
