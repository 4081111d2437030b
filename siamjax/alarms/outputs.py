"""Where the records of the monitor go: receivers, the live page, the metrics."""

import collections
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from siamjax import files
from siamjax.alarms import alarm, delivery, live, prometheus, server, ves, webhook
from siamjax.alarms.alarm import Alarm
from siamjax.alarms.spool import Spool
from siamjax.monitoring import records
from siamjax.reports import page
from siamjax.text import printable
from siamjax.types import SiamjaxError

_LOG = logging.getLogger(__name__)
SPOOL = "alarms.sqlite"
_SCRIPTS = ("timelines.js", "tables.js", "live.js")


class Outputs:
    """Takes the records of the monitor in order; a record that was taken is on disk.

    While the disk is full, alarms wait in memory.
    """

    def __init__(
        self,
        spool: Spool,
        make_calls: Callable[[Sequence[Alarm]], list[tuple[str, dict[str, Any]]]],
        deliveries: Sequence[delivery.Delivery],
    ) -> None:
        """See `open_outputs`."""
        self.live = live.Live()
        self._spool, self._make_calls = spool, make_calls
        self._deliveries = deliveries
        self._lasting = spool.lasting()
        # What is to be put into the spool, in order: arguments of `Spool.put`.
        self._unwritten: collections.deque[tuple] = collections.deque()
        self._is_full = False

    def send(self, record: records.Record) -> None:
        """Takes the next record; one that comes again makes no call."""
        self.live.follow(record)
        lasting, alarms = alarm.follow(self._lasting, record)
        if alarms and not self._spool.has(record.id):
            self._lasting = lasting
            self._unwritten.append((record.id, lasting, self._make_calls(alarms)))
        try:
            self.write()
        except SiamjaxError as error:
            if not self._is_full:
                _LOG.error("alarms wait in memory: %s", printable(error))
            self._is_full = True

    def write(self) -> None:
        """Writes the alarms that wait in memory.

        Raises:
          SiamjaxError: the disk is full; they are lost if the monitor ends.
        """
        while self._unwritten:
            self._spool.put(*self._unwritten[0])
            self._unwritten.popleft()
            for thread in self._deliveries:
                thread.wake()
        self._is_full = False

    def count_calls(self) -> prometheus.Deliveries:
        """Calls of each receiver by result: taken, refused, failed, waiting."""
        waiting = self._spool.waiting()
        return {
            d.receiver: dict(
                taken=d.taken,
                refused=d.refused,
                failed=d.failed,
                waiting=waiting.get(d.receiver, 0),
            )
            for d in self._deliveries
        }


@contextlib.contextmanager
def open_outputs(
    folder: str | os.PathLike,
    *,
    webhooks: Sequence[str] = (),
    collectors: Sequence[str] = (),
    patience_s: float = 5.0,
) -> Iterator[Outputs]:
    """Gives what takes the records and calls the receivers.

    Args:
      folder: where alarms wait until they are taken; one process at a time uses it.
      webhooks: URLs that are called as Alertmanager calls a webhook.
      collectors: URLs of VES collectors, such as https://HOST:8443/eventListener/v7.
      patience_s: how long receivers have at the end to take what waits.
    Raises:
      UsageError: a URL is wrong, the folder is in use, or a package is missing.
      files.Damaged: the file of alarms that wait is damaged.
    """
    posts = {url: delivery.make_poster(url) for url in (*webhooks, *collectors)}
    reporter = socket.gethostname()

    def make_calls(alarms):
        calls = [(url, webhook.notification(alarms, url)) for url in webhooks]
        return calls + [
            (url, ves.fault_event(a, reporter)) for url in collectors for a in alarms
        ]

    folder = Path(folder)
    with contextlib.ExitStack() as stack:
        stack.enter_context(files.locked(folder))
        spool = Spool(folder / SPOOL)
        stack.callback(spool.close)
        for url, count in spool.waiting().items():
            if url not in posts:
                _LOG.warning(
                    "%d alarms wait for %s, which is not given: they stay in %s",
                    count,
                    printable(url),
                    spool.path,
                )
        deliveries = [delivery.Delivery(u, spool, post) for u, post in posts.items()]
        for thread in deliveries:
            stack.callback(thread.close, patience_s)
        receivers = Outputs(spool, make_calls, deliveries)
        stack.callback(receivers.write)
        yield receivers


@contextlib.contextmanager
def serving(
    outputs: Outputs, address: str, conditions: Collection[str]
) -> Iterator[int]:
    """Serves the live page and the metrics until the block ends; gives the port.

    Args:
      outputs: have the state.
      address: HOST:PORT; port 0: any that is free.
      conditions: names that the page shows in their colours.
    Raises:
      UsageError: the address is wrong or in use, or a package is missing.
    """
    collector = prometheus.Collector(outputs.live.snapshot, outputs.count_calls)
    with server.serving(
        server.parse_address(address),
        lambda: live_page(outputs.live.snapshot(), conditions),
        collector,
    ) as port:
        yield port


def live_page(state: live.Snapshot, conditions: Collection[str]) -> str:
    """The page of the present state; `conditions` have their colours on it."""
    data = dict(
        title="What happens now",
        subtitle=state.start.workdir if state.start else "",
        live=live.as_page_data(state),
    )
    seen = [s.change.condition for x in state.sessions.values() for s in x]
    names = list(dict.fromkeys([*conditions, *seen]))
    return page.page_text(data, _SCRIPTS, conditions=names, follow=server.FOLLOW_S)
