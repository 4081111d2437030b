"""Protocols that tshark reads, live: its process lives as long as the monitor.

Before bins are closed, tshark is asked to read all that it got. So what is counted does
not depend on how fast it is. The packets that it did not read yet are kept: if it ends
or hangs, another one gets them.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from siamjax.capture import (
    decode_as,
    messages,
    printed,
    signalling,
    transactions,
    tshark,
)
from siamjax.capture.protocols.http2 import HTTP2
from siamjax.monitoring import records
from siamjax.monitoring.binning import PacketBinner, join_rows, split_rows
from siamjax.monitoring.sources import Notice
from siamjax.types import SiamjaxError, UsageError

# A tshark that neither reads nor prints for this time hangs.
PATIENCE_S = 10.0
# Most packets that wait for tshark: then it is asked to read all of them, even if no
# bin is closed.
_MOST_WAITING = 10_000
# After this many failures, one after the other, the monitor ends with an error.
_MOST_FAILURES = 10
# Numbers of transactions from here on are those of tshark.
_FIRST_TRANSACTION = 1 << 40
_NO_ROWS = printed.Printed(*(np.zeros(0, np.int64) for _ in printed.Printed._fields))


class LiveCollector(signalling.Collector):
    """Collects packets of signalling without an end.

    Attributes:
      failed: packets that no tshark read.
      notices: what happened to tshark.
    """

    def __init__(
        self, names: Sequence[str], ports: decode_as.Ports | None = None
    ) -> None:
        """See `signalling.Collector`.

        Raises:
          UsageError: tshark is not installed, or a protocol cannot be read live.
        """
        super().__init__(names, ports)
        if HTTP2.name in names:
            raise UsageError(
                "HTTP/2 is not read live: its headers are compressed with all that was "
                "sent before; use siamjax identify on captures"
            )
        if self._program is None:
            raise UsageError(
                f"{', '.join(names)} need tshark: install it, such as apt install "
                "tshark"
            )
        self.failed, self.notices = 0, list[Notice]()
        self._waiting: list[tuple] = []  # packets that it may not have read yet
        self._failures = 0  # in turn

    @property
    def counts(self) -> Counter[str]:
        """Packets by cause of `cleaning.CAUSES`."""
        return Counter(tshark=self.failed, not_asked=self._also.total())

    def take(self, addresses: messages.Numbers) -> printed.Printed:
        """The rows of all packets since the last call."""
        self.sync()
        return self._rows.take(addresses)

    def number_rows(
        self, rows: printed.Printed, memory: transactions.Memory
    ) -> tuple[messages.Messages, list[str]]:
        """See `printed.Rows.number_rows`."""
        return self._rows.number_rows(rows, memory)

    def forget(self) -> None:
        """Drops the connections that were not used since the last call."""
        self._rows.forget()

    def sync(self) -> None:
        """Waits until tshark has read all packets that it got."""
        again = False
        while self._waiting:
            assert self._run is not None
            if self._run.answer_all(self._waiting[-1][1]):
                self._waiting.clear()
                self._failures = 0
                if again:
                    self.notices.append(Notice(records.BACK, "tshark reads again"))
                return
            self._recover(again)
            again = True

    def end(self) -> None:
        """Ends tshark."""
        self._waiting.clear()
        if self._run is not None:
            self._run.end()
            self._run.finish()
            self._run = None

    def _recover(self, again):
        """Another tshark gets the packets that one did not read; once."""
        run = self._run
        run.finish()
        run.failed = True  # also if it ended without an error
        unread = set(run.unread())
        self._run = None
        self._waiting = [p for p in self._waiting if p[0][0] in unread]
        self._failures += 1
        if self._failures >= _MOST_FAILURES:
            raise SiamjaxError(f"tshark failed {self._failures} times in turn")
        what = "hung and was ended" if run.hung else "ended"
        if again:
            self.failed += len(self._waiting)
            detail = f"tshark {what} again: {len(self._waiting)} packets are not read"
            self._waiting = []
        else:
            detail = f"tshark {what}: {len(self._waiting)} packets are given to another"
            self._start([p for p in run.lately if p[0][0] not in unread])
            for packet in self._waiting:
                self._run.send(*packet)
        self.notices.append(Notice(records.LOST, detail))

    def _send(self, *packet):
        self._given = type(self._given)("q")  # of files only
        most = tshark.MOST_PACKETS + tshark.OVERLAP
        is_old = self._run is not None and self._run.sent >= most
        if is_old or len(self._waiting) >= _MOST_WAITING:
            self.sync()
        if self._run is None or is_old:
            before = list(self._run.lately) if self._run else []
            self._end_run()
            self._start(before)
        self._waiting.append(packet)
        self._run.send(*packet)

    def _start(self, before):
        """Starts a tshark, which gets some packets again."""
        try:
            self._run = tshark.Run(
                self._program,
                self._protocols,
                self._rows.add_line,
                overlap=len(before),
                decode_as=tuple(self._decode_as),
                patience_s=PATIENCE_S,
                own_session=True,
            )
        except OSError as error:
            raise SiamjaxError(f"tshark cannot be started: {error}") from None
        for packet in before:
            self._run.send(*packet)


class ProtocolBinner(PacketBinner):
    """`PacketBinner` of protocols that tshark reads, besides SIP."""

    def __init__(
        self,
        bin_s: float,
        protocols: Sequence[str],
        ports: decode_as.Ports | None = None,
        *,
        by_server: bool = False,
    ) -> None:
        """Begins without a packet.

        Args:
          bin_s, protocols, by_server: see `PacketBinner`.
          ports: of protocols, besides their usual ones.
        Raises:
          UsageError: the protocols cannot be read live.
        """
        super().__init__(bin_s, protocols, by_server=by_server)
        self._collector = LiveCollector(protocols, ports)
        self._reader = messages.MessageReader(
            self._collector.add, timeline=self.timeline
        )
        self.add = self._reader.add
        self._pending_printed = _NO_ROWS
        self._named = transactions.Memory()

    @property
    def counts(self) -> Counter[str]:
        return super().counts + self._collector.counts

    def take_notices(self) -> list[Notice]:
        notices, self._collector.notices = self._collector.notices, []
        return notices

    def end(self) -> None:
        self._collector.end()

    def _take_until(self, end_ns):
        rows, others = super()._take_until(end_ns)
        mine = self._collector.take(self._reader.addresses)
        mine = join_rows(self._pending_printed, mine)
        mine, self._pending_printed = split_rows(mine, end_ns)
        if not len(mine.packet):
            return rows, others
        mine = mine.take(np.argsort(mine.time_ns, kind="stable"))
        others = others.take(~np.isin(others.packet, mine.packet))
        more, names = self._collector.number_rows(mine, self._named)
        kinds = np.array([self._number_kind(name) for name in names], np.int64)
        transaction = np.where(
            more.transaction == messages.NONE,
            messages.NONE,
            more.transaction + _FIRST_TRANSACTION,
        )
        more = more._replace(
            kind=kinds[more.kind],
            transaction=transaction,
            dialog=transaction,
            leg=transaction,
        )
        return join_rows(rows, more), others

    def _number_kind(self, name):
        """The number of a kind; of too many, answers of all kinds are one."""
        if name not in self._kinds and len(self._kinds) >= printed.MOST_KINDS:
            name = name.partition("/")[0] + "/other"
        if name not in self._kinds:
            self._reader.kinds[name] = len(self._kinds)
            self._kinds.append(name)
        return self._kinds.index(name)

    def _forget_names(self):
        super()._forget_names()
        self._named.forget()
        self._collector.forget()
