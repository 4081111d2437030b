"""Runs a monitor on a source: yields its records, and saves its state."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from siamjax.monitoring import records
from siamjax.monitoring.monitor import Monitor
from siamjax.monitoring.sources import Batch
from siamjax.text import printable
from siamjax.types import SiamjaxError

_LOG = logging.getLogger(__name__)


def watch(
    monitor: Monitor,
    batches: Iterable[Batch],
    *,
    source: str,
    heartbeat_s: float,
    save: Callable[[Monitor], None] = lambda _: None,
    stopped: Callable[[], Any] = bool,
) -> Iterator[records.Record]:
    """Yields the records of a source, until it ends or `stopped` says so.

    Args:
      monitor: takes the packets.
      batches: of the source.
      source: its name.
      heartbeat_s: seconds from one heartbeat to the next.
      save: is called with the first packets and with each heartbeat, when all records
        before it were taken. If it fails, that is said, and it is tried again at the
        next heartbeat; at the end the error is raised.
      stopped: whether to stop; by default never.
    """
    last = monitor.last_changes()
    started = saved = False
    next_s = time.monotonic() + heartbeat_s
    for batch in batches:
        new_records = monitor.add(batch)
        is_due = time.monotonic() >= next_s
        if not started and (batch.packets or new_records or is_due):
            started = True
            yield monitor.start(source, monitor.first_time(batch))
            yield from last
        yield from new_records
        if is_due:
            next_s = time.monotonic() + heartbeat_s
            yield monitor.heartbeat()
        # With the first packets, too: a restart goes on from them.
        if is_due or (batch.packets and not saved):
            saved = saved or bool(batch.packets)
            _try_to_save(save, monitor)
        if stopped():
            break
    else:
        yield from monitor.finish()
    if not started:
        yield monitor.start(source)
        yield from last
    yield monitor.heartbeat()
    save(monitor)
    yield monitor.stop("interrupted" if stopped() else "the source ended")


def _try_to_save(save, monitor):
    """Saves the state, or says why it cannot, such as on a full disk."""
    try:
        save(monitor)
    except (OSError, SiamjaxError) as error:
        _LOG.error("the state is not saved: %s", printable(error))
