"""Live traffic: packets as they come -> records of what happens, at every hop."""

import dataclasses
import logging
import math
import pathlib
import resource
import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import siamjax
from siamjax.capture import cleaning
from siamjax.capture.protocols import PROTOCOLS
from siamjax.capture.protocols.sip import SIP
from siamjax.data import columns
from siamjax.identification import assigning, sessions
from siamjax.identification.references import Reference
from siamjax.inference import deciding
from siamjax.monitoring import records
from siamjax.monitoring.binning import FORGET_NS, PacketBinner
from siamjax.monitoring.judging import Judge
from siamjax.monitoring.protocol_binning import ProtocolBinner
from siamjax.monitoring.sources import Batch, Position, Tally
from siamjax.types import UsageError

_LOG = logging.getLogger(__name__)
_PAGE_BYTES = resource.getpagesize()
# After a restart the packets of so much time are read again, if they are in files: then
# the open transactions are known again.
_REWIND_NS = 2 * FORGET_NS
_MARK_NS = 5 * 10**9
# A clock that goes ahead by more than the time that passed here was set. Files may be
# read later than they were written: there it is only sure of a long time.
_STEP_NS, _STEP_IN_FILES_NS = 5 * 10**9, 3600 * 10**9
# Packets of live traffic that waited for longer than this are left out.
_MOST_WAIT_S = 5.0
# If their times are farther from those of this machine, it is no live traffic.
_FAR_NS = 3600 * 10**9


class _Mark(NamedTuple):
    """A position, and what was counted before it."""

    time_ns: int
    position: Position
    packets: int
    counts: dict[str, int]


class Monitor:
    """Turns packets into records.

    Attributes:
      tally: what the source counts.
      position: from which the source must go on after `restore`; None: from now on.
    """

    def __init__(
        self,
        reference: Reference,
        tally: Tally,
        *,
        by_prefix: Mapping[assigning.Prefix, Reference] | None = None,
        by_server: bool = False,
        silent_s: float = 10.0,
    ) -> None:
        """Begins without any packet.

        Args:
          reference: what windows are compared with.
          tally: of the source.
          by_prefix: what windows of servers with such an address are compared with, of
            the same run with the same examples.
          by_server: each server is a session of its own.
          silent_s: after so long without a packet, a live source is silent.
        Raises:
          UsageError: the run does not fit.
        """
        run = reference.run
        if run.config.encoder.norm == "session":
            raise UsageError(f"{run.workdir} normalises by whole sessions")
        self.tally = tally
        self.position: Position | None = None
        self._reference, self._silent_s = reference, silent_s
        self._binner = self._make_binner(run, by_server)
        self._hop = sessions.hop_bins(run)
        self._judge = Judge(reference, by_prefix or {})
        self._lag_s = 0.0  # the longest since the last heartbeat
        self._messages = self._shed = self._notices = 0
        self._done = 0  # bins that were judged, also before a restart
        self._marks: deque[_Mark] = deque()
        self._before: Counter[str] = Counter()  # counts before a restart
        # When the last packet came, by the clock of this machine.
        self._came_s = time.monotonic()
        self._is_resumed = False
        # Whether the source is silent; packets were lost; packets are being left out.
        self._is_silent = self._is_lost = self._is_shedding = False
        self._is_away = False  # the source is lost and was not back since
        self._silent_ns = 0  # the time of the last packet before the silence
        self._has_warned = False  # that no packet is a message

    @property
    def windows(self) -> int:
        """How many were compared."""
        return self._judge.windows

    @property
    def now(self) -> str:
        """The time of packets, in RFC 3339."""
        return records.format_time(self._binner.timeline.last_ns or time.time_ns())

    def first_time(self, batch: Batch) -> int | None:
        """The time of the first packet of a batch; None: it is not known."""
        return batch.packets[0][0] if batch.packets else None

    def add(self, batch: Batch) -> list[records.Record]:
        """Takes packets; what is new by them."""
        new_records: list[records.Record] = []
        for what, detail in batch.notices:
            new_records += self._notice(what, detail)
            self._is_lost |= what == records.LOST
            if what in (records.LOST, records.BACK):
                self._is_away = what == records.LOST
                self._came_s = batch.arrived_s
        if not batch.packets:
            new_records += self._wait(batch)
        elif self._must_shed(batch):
            new_records += self._leave_out(batch)
        else:
            new_records += self._read(batch)
        ready = self._ready() // self._hop * self._hop
        if ready > self._binner.bins:
            new_records += self._close(ready)
            self._lag_s = max(self._lag_s, time.monotonic() - batch.arrived_s)
        return new_records + self._tell_notices()

    def finish(self) -> list[records.Record]:
        """What is new, once no packet comes any more."""
        new_records = self._close(self._binner.finish()) + self._judge.finish()
        new_records += self._tell_notices()
        for session in self._judge.sessions.values():
            new_records += session.finish()
        return new_records

    def end(self) -> None:
        """Ends the processes that read packets."""
        self._binner.end()

    def heartbeat(self) -> records.Heartbeat:
        """That the monitor is alive, and its counts."""
        self._warn_of_other_traffic()
        lag_s, self._lag_s = self._lag_s, 0.0
        return records.Heartbeat(
            **self._common("heartbeat"),
            packets=self._binner.timeline.packets,
            messages=self._messages,
            windows=self.windows,
            dropped=self.tally.dropped,
            shed=self._shed,
            not_read=self._not_read(),
            lag_s=lag_s,
            memory_bytes=resident_bytes(),
            conditions={name: s.condition for name, s in self._judge.sessions.items()},
        )

    def start(self, source: str, time_ns: int | None = None) -> records.Start:
        """That the monitor begins, with a packet of this time, or now without one."""
        run = self._reference.run
        began = self.now if time_ns is None else records.format_time(time_ns)
        return records.Start(
            **self._common("start") | dict(time=began),
            source=source,
            workdir=str(run.workdir),
            checkpoint=run.step,
            version=siamjax.__version__,
            resumed=self._is_resumed,
        )

    def stop(self, reason: str) -> records.Stop:
        """That the monitor ends."""
        return records.Stop(**self._common("stop"), reason=reason)

    def last_changes(self) -> list[records.Record]:
        """The last change of each session, as it was told."""
        return self._judge.last_changes()

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on, at any time between two calls."""
        binner = self._binner
        mark = self._marks[0] if self._marks else None
        counts = self.counts()
        return dict(
            run=self._fingerprint(),
            compared=self._judge.compared,
            zero_ns=binner.zero_ns,
            last_ns=binner.timeline.last_ns,
            done=self._done,
            messages=self._messages,
            windows=self.windows,
            shed=self._shed,
            notices=self._notices,
            late=binner.late,
            dropped=self.tally.dropped,
            packets=mark.packets if mark else binner.timeline.packets,
            counts=mark.counts if mark else dict(counts),
            position=list(mark.position) if mark else None,
            servers=binner.servers.state() if binner.servers else None,
            sessions=self._judge.state(),
        )

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a `state`, before the first packet.

        If the library or the rule changed, what lasts is judged anew.

        Raises:
          UsageError: it is of another run or of other sessions.
          ValueError, TypeError, KeyError: it has another form.
        """
        if state["run"] != self._fingerprint():
            raise UsageError("it is of another run")
        binner = self._binner
        if (state["servers"] is None) != (binner.servers is None):
            raise UsageError("it is of other sessions, see --session_by")
        self._is_resumed = True
        if state["position"] is not None:
            self.position = Position(*state["position"])
        if state["zero_ns"] is None:  # it ended before the first bin
            return
        binner.zero_ns, self._done = state["zero_ns"], state["done"]
        binner.timeline.last_ns = state["last_ns"]
        binner.timeline.packets, binner.late = state["packets"], state["late"]
        self._messages, self._judge.windows = state["messages"], state["windows"]
        self._shed, self._notices = state["shed"], state["notices"]
        self._before = Counter(state["counts"])
        self.tally.dropped = state["dropped"]
        if binner.servers is not None:
            binner.servers.restore(state["servers"])
        self._judge.restore(state["sessions"], state["compared"], state["zero_ns"])
        self._is_lost = True

    def _make_binner(self, run, by_server):
        bin_s, protocols = run.config.data.bin_s, columns.protocols_of(run.columns)
        if protocols == (SIP.name,):
            return PacketBinner(bin_s, protocols, by_server=by_server)
        return ProtocolBinner(bin_s, protocols, run.ports, by_server=by_server)

    def _ready(self):
        """How many bins can be closed."""
        return self._binner.ready()

    def _tell_notices(self):
        """What happened while packets were read."""
        notices = self._binner.take_notices()
        return [record for notice in notices for record in self._notice(*notice)]

    def _fingerprint(self):
        """A text that is the same if counts and baselines are of the same kind."""
        run = self._reference.run
        return repr((deciding.fingerprint(run.deciding), run.step))

    def _common(self, kind):
        """The fields of a record that is never told again."""
        # By the clock of this machine: without a packet, that of packets stands still,
        # and a file may begin again with the same packet.
        here = records.format_time(time.time_ns())
        return dict(
            time=self.now,
            id=f"{kind}@{here}",
            network=self._reference.network_name or None,
        )

    def _notice(self, what, detail):
        self._notices += 1
        common = self._common("source")
        common["id"] += f"#{self._notices}"  # there may be two at a time
        return [records.Source(**common, what=what, detail=detail)]

    def _notice_jump(self):
        """That the clock was set; it is told again if its packets are read again."""
        (notice,) = self._notice(
            records.CLOCK_STEP, "the clock of the packets was set: time goes on"
        )
        binner = self._binner
        began_ns = binner.zero_ns or binner.timeline.first_ns()
        number = self.counts()["clock_step"]
        name = f"clock_step@{records.format_time(began_ns)}#{number}"
        return [dataclasses.replace(notice, id=name)]

    def _read(self, batch):
        """Takes the packets of a batch, and tells what happened to the source."""
        new_records, timeline = [], self._binner.timeline
        if self._is_silent or self._is_shedding:
            new_records += self._notice(records.BACK, "there are packets again")
            self._is_silent = self._is_shedding = False
        self._mark(batch)
        jumps, add = timeline.clock.jumps, self._binner.add
        step_ns = _longest_step(batch)
        longest_ns = step_ns + max(batch.arrived_s - self._came_s, 0) * 1e9
        for packet in batch.packets:
            last_ns = timeline.last_ns
            add(*packet)
            if self._is_lost or timeline.last_ns - last_ns > longest_ns:
                new_records += self._pass_gap(last_ns)
            longest_ns = step_ns
        if timeline.clock.jumps > jumps:
            new_records += self._notice_jump()
        self._came_s = batch.arrived_s
        return new_records

    def _pass_gap(self, before_ns):
        """Goes on at the last packet; the one before had the time `before_ns`."""
        new_records, time_ns = [], self._binner.timeline.last_ns
        is_step = bool(before_ns) and not self._is_lost
        if is_step:
            ahead_s = (time_ns - before_ns) / 1e9
            detail = f"the clock of the packets went ahead by {ahead_s:.0f} s"
            new_records += self._notice(records.CLOCK_STEP, detail)
            self._is_lost = True
            self._binner.begin()  # the gap may lie before the first bin
        if self._is_lost and self._binner.zero_ns is not None:
            self._skip(time_ns)
        if is_step:
            self._binner.forget_transactions()
        self._is_lost = False
        return new_records

    def _skip(self, time_ns):
        """Goes on at a packet; between it and the last one, packets were lost."""
        binner = self._binner
        # At the beginning of a stream of files that is read again, nothing was lost.
        first = binner.bin_of(time_ns)
        if first >= self._done:
            first += 1  # the bin of the packet is not there as a whole
        binner.skip(max(first, 0))
        if binner.bins > self._done:
            self._done = binner.bins
            self._judge.skip(binner.bins)

    def _warn_of_other_traffic(self):
        """Says once that there are packets, but no message of the run's protocols."""
        packets = self._binner.timeline.packets
        if not packets or self._messages or self._has_warned:
            return
        self._has_warned = True
        names = columns.protocols_of(self._reference.run.columns)
        titles = ", ".join(PROTOCOLS[name].short for name in names)
        _LOG.warning(
            "no message of %s was read in %d packets, so there is no verdict: see what "
            "is captured, and what siamjax identify says of a capture of it",
            titles,
            packets,
        )

    def _must_shed(self, batch):
        """Whether the packets waited too long, because the monitor is too slow."""
        waited_s = time.monotonic() - batch.arrived_s
        if not batch.is_live or waited_s < _MOST_WAIT_S:
            return False
        return abs(time.time_ns() - batch.packets[-1][0]) < _FAR_NS

    def _leave_out(self, batch):
        new_records = []
        if not self._is_shedding:
            detail = f"packets waited for {_MOST_WAIT_S:g} s: they are left out"
            new_records = self._notice(records.SHED, detail)
        self._is_shedding = self._is_lost = True
        self._shed += len(batch.packets)
        self._came_s = batch.arrived_s
        return new_records

    def _wait(self, batch):
        """Time passes without a packet."""
        timeline = self._binner.timeline
        if not batch.is_live or self._is_away:
            return []
        silent_s = time.monotonic() - self._came_s
        if silent_s < self._silent_s:
            return []
        new_records = []
        if not self._is_silent:
            self._is_silent = True
            detail = f"there was no packet for {self._silent_s:g} s"
            new_records = self._notice(records.SILENT, detail)
            self._silent_ns = timeline.last_ns - round(silent_s * 1e9)
        if timeline.packets and not self._is_lost:
            timeline.advance(
                self._silent_ns + round((time.monotonic() - self._came_s) * 1e9)
            )
        return new_records

    def _mark(self, batch):
        """Remembers a position from time to time, and forgets those that are old."""
        timeline, marks = self._binner.timeline, self._marks
        if batch.position is None:
            return
        if not marks or timeline.last_ns - marks[-1].time_ns > _MARK_NS:
            counts = dict(self.counts())
            marks.append(
                _Mark(timeline.last_ns, batch.position, timeline.packets, counts)
            )
        while len(marks) > 1 and marks[1].time_ns < timeline.last_ns - _REWIND_NS:
            marks.popleft()

    def counts(self) -> Counter[str]:
        """What was read and what was wrong, by cause of `cleaning.CAUSES`."""
        return self._binner.counts + self.tally.counts + self._before

    def _not_read(self):
        binner, counts = self._binner, self.counts()
        causes = {c: counts[c] for c in cleaning.CAUSES if counts[c]}
        report = cleaning.Report(
            *("", binner.timeline.packets, self._messages, 0, 0.0, "", causes, [])
        )
        missing = cleaning.not_read(report)
        return missing | ({"late": binner.late} if binner.late else {})

    def _close(self, bins):
        """Closes bins, and compares the windows that they complete."""
        if bins <= self._binner.bins:
            return []
        closed = self._binner.close(bins)
        old = max(self._done - closed.first, 0)  # read again after a restart
        if closed.first + old >= bins:
            return []
        self._done = bins
        self._messages += int(closed.messages[old:].sum())
        assert self._binner.zero_ns is not None
        return self._judge.add(closed, old, self._binner.zero_ns)


def _longest_step(batch):
    """By how many ns the clock of packets may go ahead at once."""
    if not batch.is_live:
        return math.inf
    return _STEP_NS if batch.position is None else _STEP_IN_FILES_NS


def resident_bytes() -> int:
    """The resident memory of this process."""
    try:
        pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
        return int(pages) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):  # not Linux: the most so far
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
