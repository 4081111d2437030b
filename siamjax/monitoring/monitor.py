"""Live traffic: packets as they come -> records of what happens, at every hop."""

import logging
import pathlib
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

import siamjax
from siamjax.capture import cleaning
from siamjax.data import columns
from siamjax.identification import decide, identify, sessions
from siamjax.monitoring import records
from siamjax.monitoring.binning import PacketBinner
from siamjax.monitoring.session import Session
from siamjax.monitoring.sources import Batch, Tally
from siamjax.types import Baseline, UsageError

_LOG = logging.getLogger(__name__)
ALL = "all"  # the name of a session of all traffic
# Windows are compared in programs of these sizes, so that nothing is compiled later.
_SIZES = (8, 128)
_PAGE_BYTES = resource.getpagesize()


class Monitor:
    """Turns packets into records.

    Attributes:
      tally: what the source counts.
      windows: how many were compared.
    """

    def __init__(self, reference: identify.Reference, tally: Tally) -> None:
        """Begins without any packet.

        Args:
          reference: what windows are compared with.
          tally: of the source.
        Raises:
          UsageError: the run is of counters.
        """
        run = reference.run
        if run.columns[0].role == columns.COUNTER:
            raise UsageError(f"{run.workdir} was trained on counters, not on packets")
        self.tally, self.windows = tally, 0
        self._reference = reference
        self._protocols = columns.protocols_of(run.columns)
        self._binner = PacketBinner(run.config.data.bin_s, self._protocols)
        self._hop = sessions.hop_bins(run)
        self._sessions: dict[str, Session] = {}
        self._comparisons: dict[bool, sessions.Comparison] = {}
        self._lag_s = 0.0  # the longest since the last heartbeat

    @property
    def now(self) -> str:
        """The time of packets, in RFC 3339."""
        return records.format_time(self._binner.timeline.last_ns or time.time_ns())

    def add(self, batch: Batch) -> list[records.Record]:
        """Takes packets; what is new by them."""
        made: list[records.Record] = []
        add = self._binner.add
        for packet in batch.packets:
            add(*packet)
        ready = self._binner.ready() // self._hop * self._hop
        if ready > self._binner.bins:
            made += self._close(ready)
            self._lag_s = max(self._lag_s, time.monotonic() - batch.arrived_s)
        return made

    def finish(self) -> list[records.Record]:
        """What is new, once no packet comes any more."""
        made = self._close(self._binner.finish())
        for session in self._sessions.values():
            made += session.finish()
        return made

    def heartbeat(self) -> records.Heartbeat:
        """That the monitor is alive, and its counts."""
        lag_s, self._lag_s = self._lag_s, 0.0
        return records.Heartbeat(
            time=self.now,
            id=f"heartbeat@{self.now}",
            network=self._network,
            packets=self._binner.timeline.packets,
            messages=self._binner.messages,
            windows=self.windows,
            dropped=self.tally.dropped,
            shed=0,
            not_read=self._not_read(),
            lag_s=lag_s,
            memory_bytes=resident_bytes(),
            conditions={name: s.condition for name, s in self._sessions.items()},
        )

    def start(self, source: str, *, resumed: bool = False) -> records.Start:
        """That the monitor begins."""
        run = self._reference.run
        return records.Start(
            time=self.now,
            id=f"start@{self.now}",
            network=self._network,
            source=source,
            workdir=str(run.workdir),
            checkpoint=run.step,
            version=siamjax.__version__,
            resumed=resumed,
        )

    def stop(self, reason: str) -> records.Stop:
        """That the monitor ends."""
        return records.Stop(
            time=self.now,
            id=f"stop@{self.now}",
            network=self._network,
            reason=reason,
        )

    @property
    def _network(self):
        network = self._reference.network
        return network.name if network else None

    def _not_read(self):
        binner = self._binner
        counts = binner.counts + self.tally.counts
        causes = {c: counts[c] for c in cleaning.CAUSES if counts[c]}
        report = cleaning.Report(
            *("", binner.timeline.packets, binner.messages, 0, 0.0, "", causes, [])
        )
        missing = cleaning.not_read(report)
        return missing | ({"late": binner.late} if binner.late else {})

    def _close(self, bins):
        """Closes bins, and compares the windows that they complete."""
        if bins == self._binner.bins:
            return []
        closed = self._binner.close(bins)
        if ALL not in self._sessions:
            zero_ns = self._binner.zero_ns
            self._sessions[ALL] = Session(ALL, self._reference, zero_ns)
        made: list[records.Record] = []
        waiting = []
        for session in self._sessions.values():
            before = session.traffic
            session.add(closed)
            if before is None and session.traffic is not None:
                for warning in session.traffic.warnings:
                    _LOG.warning("%s: %s", session.name, warning)
            windows = session.windows()
            if windows is not None:
                waiting.append((session, windows))
        for across in {session.traffic.across for session, _ in waiting}:
            chosen = [pair for pair in waiting if pair[0].traffic.across == across]
            made += self._compare(chosen, across)
        return made

    def _compare(self, waiting, across):
        """Compares the windows of several sessions in one call."""
        if across not in self._comparisons:
            reference = self._reference
            self._comparisons[across] = sessions.Comparison(
                reference.run, reference.examples, reference.network, across=across
            )
        compare = self._comparisons[across].compare
        counts = np.concatenate([windows.counts for _, windows in waiting])
        baseline = Baseline(
            *map(np.concatenate, zip(*(windows.baseline for _, windows in waiting)))
        )
        start_s = np.concatenate([windows.start_s for _, windows in waiting])
        self.windows += len(counts)
        evidence = compare_padded(compare, counts, baseline, start_s)
        made, first = [], 0
        for session, windows in waiting:
            end = first + len(windows.counts)
            made += session.judge(decide.take_windows(evidence, np.arange(first, end)))
            first = end
        return made


def compare_padded(
    compare: Callable[..., decide.Evidence],
    counts: np.ndarray,
    baseline: Baseline,
    start_s: np.ndarray,
) -> decide.Evidence:
    """The `Evidence` of windows, compared in programs of few sizes.

    Args:
      compare: of `sessions.Comparison`.
      counts, baseline, start_s: of the windows, N of them.
    """
    parts, largest = [], _SIZES[-1]
    for first in range(0, len(counts), largest):
        rows = np.arange(first, min(first + largest, len(counts)))
        size = next(size for size in _SIZES if size >= len(rows))
        padded = np.concatenate([rows, np.repeat(rows[-1:], size - len(rows))])
        part = compare(
            counts[padded],
            Baseline(*(x[padded] for x in baseline)),
            start_s=start_s[padded],
            end_s=0.0,
        )
        parts.append(decide.take_windows(part, np.arange(len(rows))))
    return decide.join_windows(parts)


def resident_bytes() -> int:
    """The resident memory of this process."""
    try:
        pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
        return int(pages) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):  # not Linux: the most so far
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def watch(
    monitor: Monitor,
    batches: Iterable[Batch],
    *,
    source: str,
    heartbeat_s: float,
    stopped: Callable[[], Any] = bool,
) -> Iterator[records.Record]:
    """Yields the records of a source, until it ends or `stopped` says so.

    Args:
      monitor: takes the packets.
      batches: of the source.
      source: its name.
      heartbeat_s: seconds from one heartbeat to the next.
      stopped: whether to stop; by default never.
    """
    started, next_s = False, time.monotonic() + heartbeat_s
    for batch in batches:
        made = monitor.add(batch)
        if not started and (batch.packets or time.monotonic() >= next_s):
            started = True
            yield monitor.start(source)
        yield from made
        if time.monotonic() >= next_s:
            next_s = time.monotonic() + heartbeat_s
            yield monitor.heartbeat()
        if stopped():
            break
    else:
        yield from monitor.finish()
    if not started:
        yield monitor.start(source)
    yield monitor.heartbeat()
    yield monitor.stop("interrupted" if stopped() else "the source ended")
