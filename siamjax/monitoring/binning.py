"""Packets as they come -> counts of whole bins, by the functions that read files."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from siamjax.capture import clock, messages, pairing
from siamjax.capture.messages import Messages
from siamjax.capture.others import Others
from siamjax.capture.protocols.sip import SIP
from siamjax.data.counts import EventBinner, nanoseconds
from siamjax.monitoring.servers import NONE, Servers
from siamjax.monitoring.sources import Notice
from siamjax.types import UNCLEAR, Events

# A packet may come later than one that was captured after it, by at most this time. So
# a bin waits this time before it is closed. A larger step back is a jump of the clock.
PATIENCE_NS = clock.BACK_NS
# Transactions that were not used for two such times are forgotten, or earlier where
# there are more of them than this. No protocol waits longer for an answer.
FORGET_NS, MOST_TRANSACTIONS = 180 * 10**9, 500_000


ALL = "all"  # the name of a session of all traffic


class Bins(NamedTuple):
    """Bins that were closed, of one session."""

    counts: np.ndarray  # [n, F]
    messages: np.ndarray  # [n] int64

    def behind(self, count: int) -> "Bins":
        """The bins behind the first ones."""
        return Bins(self.counts[count:], self.messages[count:])


class Closed(NamedTuple):
    """Bins that were closed."""

    first: int  # number of the first one
    messages: np.ndarray  # [n] int64, of all sessions and of none
    sessions: dict[str, Bins]


class PacketBinner:
    """Counts packets in bins from the first one on.

    Attributes:
      zero_ns: time of the first packet, when the first bin begins; None: none came.
      timeline: of the packets.
      late: messages that were known after their bin was closed.
      bins: how many were closed.
    """

    def __init__(
        self, bin_s: float, protocols: Sequence[str], *, by_server: bool = False
    ) -> None:
        """Begins without a packet.

        Args:
          bin_s: the length of a bin.
          protocols: names of those whose columns are counted.
          by_server: each server is a session of its own.
        """
        self.bin_ns = nanoseconds(bin_s)
        self.zero_ns: int | None = None
        self.late = self.bins = 0
        self.timeline = clock.LiveTimeline()
        self._reader = messages.MessageReader(timeline=self.timeline)
        self._with_sip = SIP.name in protocols
        self._kinds: list[str] = []
        self._protocols = tuple(protocols)
        self.servers = Servers() if by_server else None
        self._event_binner = self._make_event_binner()
        self._memory = pairing.Memory()
        self._forgot_ns = 0
        self._pending, self._pending_others = _NO_ROWS, _NO_OTHERS
        # Takes the next packet, as `packets.read_packets` gives it.
        self.add = self._reader.add

    @property
    def counts(self) -> Counter[str]:
        """What was wrong, by cause of `capture.cleaning.CAUSES`."""
        return self._reader.counts + Counter(clock_step=self.timeline.clock.jumps)

    def bin_of(self, time_ns: int) -> int:
        """The number of the bin of a time."""
        assert self.zero_ns is not None
        return (time_ns - self.zero_ns) // self.bin_ns

    def begin(self) -> None:
        """The first bin begins with the first packet, which must be there."""
        if self.zero_ns is None:
            self.zero_ns = self.timeline.first_ns()

    def skip(self, bins: int) -> None:
        """Goes on at a bin: the traffic before it was not seen as a whole."""
        assert self.zero_ns is not None
        rows, _ = self._take_until(self.zero_ns + bins * self.bin_ns)
        pairing.pair_messages(
            messages.in_order(rows), pairing.longest_pauses(self._kinds), self._memory
        )
        self.bins = bins
        self._event_binner = self._make_event_binner()

    def forget_transactions(self) -> None:
        """The clock was set: no answer is compared with the time of its request."""
        self._memory = pairing.Memory()

    def ready(self) -> int:
        """How many bins can be closed because no packet of them will come any more."""
        return self._until(PATIENCE_NS)

    def finish(self) -> int:
        """Reads what waited for more packets; how many bins are complete now."""
        self._reader.finish()
        return self._until(0)

    def _until(self, patience_ns):
        if not self.timeline.packets:
            return 0
        until_ns = self.timeline.last_ns - patience_ns
        if self.zero_ns is None:
            if until_ns < self.timeline.first_ns():
                return 0
            self.begin()
        passed = (until_ns - self.zero_ns) // self.bin_ns
        return max(passed, self.bins)

    def close(self, bins: int) -> Closed:
        """Closes the bins up to `bins`, which `ready` or `finish` gave, and more than
        there were."""
        assert self.zero_ns is not None
        first_ns = self.zero_ns + self.bins * self.bin_ns
        rows, others = self._take_until(self.zero_ns + bins * self.bin_ns)
        self.late += int((rows.time_ns < first_ns).sum())
        rows = _not_before(messages.in_order(rows), first_ns)
        others = _not_before(others, first_ns)
        events = self._events(rows, others)
        is_message = rows.says != messages.SILENT
        bin_of = (rows.time_ns - first_ns) // self.bin_ns
        names, of_rows, of_others = self._assign(rows, others)
        session = np.concatenate([of_rows, of_others])
        inside, count = session != NONE, bins - self.bins
        counted = self._event_binner.add_sessions(
            events.take(inside), session[inside], len(names), self._kinds, bins
        )
        spoke = is_message & (of_rows != NONE)
        spoken = np.bincount(
            of_rows[spoke] * count + bin_of[spoke], minlength=len(names) * count
        ).reshape(-1, count)
        closed = Closed(
            self.bins,
            np.bincount(bin_of[is_message], minlength=count),
            {name: Bins(*part) for name, *part in zip(names, counted, spoken)},
        )
        self.bins = bins
        self._forget()
        return closed

    def _make_event_binner(self):
        binner = EventBinner(self.bin_ns, self._protocols)
        binner.bins = self.bins
        return binner

    def _assign(self, rows, others):
        """The names of the sessions, and of all rows the place of their session there,
        or NONE."""
        if self.servers is None:
            return [ALL], *(np.zeros(len(x.packet), int) for x in (rows, others))
        addresses = self._reader.addresses
        self.servers.learn(rows, addresses)
        of_rows, of_others = (
            self.servers.assign(table, addresses) for table in (rows, others)
        )
        return self.servers.names, of_rows, of_others

    def take_notices(self) -> list[Notice]:
        """What happened while packets were read, since the last call."""
        return []

    def end(self) -> None:
        """Ends what reads packets: nothing comes any more."""

    def _take_until(self, end_ns):
        """The rows of packets before a time; the others wait."""
        rows, others = self._take()
        rows, self._pending = split_rows(join_rows(self._pending, rows), end_ns)
        others, self._pending_others = split_rows(
            join_rows(self._pending_others, others), end_ns
        )
        return rows, others

    def _take(self):
        """The rows of the packets since the last call, with kinds of all protocols."""
        rows, others = self._reader.take()
        for kind in list(self._reader.kinds)[len(self._kinds) :]:
            self._kinds.append(messages.with_protocol(messages.kind_name(kind)))
        if not self._with_sip:
            return rows.take(slice(0)), _NO_OTHERS
        return rows, others

    def _events(self, rows, others):
        """`Events`; packets without signalling are at the end."""
        pauses_ns = pairing.longest_pauses(self._kinds)
        retransmitted, latency_ns = pairing.pair_messages(rows, pauses_ns, self._memory)
        events = _events(rows, self.zero_ns)._replace(
            retransmitted=retransmitted, latency_ns=latency_ns
        )
        if not len(others.packet):
            return events
        if messages.OTHER not in self._reader.kinds:
            self._reader.kinds[messages.OTHER] = len(self._reader.kinds)
            self._kinds.append(messages.OTHER)
        kind = self._kinds.index(messages.OTHER)
        count = len(others.packet)
        more = Events(
            time_ns=others.time_ns - self.zero_ns,
            direction=np.full(count, UNCLEAR, np.int8),
            kind=np.full(count, kind, np.int64),
            retransmitted=np.zeros(count, bool),
            latency_ns=np.full(count, -1, np.int64),
            packets=others.packets,
        )
        events = events._replace(packets=np.ones(len(rows.packet), np.int64))
        return Events(*map(np.concatenate, zip(events, more)))

    def _forget(self):
        last_ns = self.timeline.last_ns
        is_long = last_ns - self._forgot_ns > FORGET_NS
        if is_long or len(self._memory) > MOST_TRANSACTIONS:
            self._forgot_ns = last_ns
            self._forget_names()

    def _forget_names(self):
        self._reader.forget_names()
        self._memory.forget()
        self._event_binner.forget()


_NO_ROWS = Messages(*(np.zeros(0, np.int64) for _ in Messages._fields))
_NO_OTHERS = Others(*(np.zeros(0, np.int64) for _ in Others._fields))


def join_rows(first: Any, second: Any) -> Any:
    """The rows of two tables of one kind."""
    if not len(first.time_ns):
        return second
    return type(first)(*map(np.concatenate, zip(first, second)))


def split_rows(rows: Any, end_ns: int) -> tuple[Any, Any]:
    """The rows before a time, and those from it on."""
    is_before = rows.time_ns < end_ns
    if is_before.all():
        return rows, type(rows)(*(column[:0] for column in rows))
    return tuple(
        type(rows)(*(column[part] for column in rows))
        for part in (is_before, ~is_before)
    )


def _not_before(rows, first_ns):
    """Rows that are late count in the first bin that is open."""
    return rows._replace(time_ns=np.maximum(rows.time_ns, first_ns))


def _events(rows, zero_ns):
    count = len(rows.time_ns)
    return Events(
        time_ns=rows.time_ns - zero_ns,
        direction=np.full(count, UNCLEAR, np.int8),
        kind=rows.kind,
        retransmitted=np.zeros(count, bool),
        latency_ns=np.full(count, -1, np.int64),
    )
