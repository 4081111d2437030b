"""A table of counters that grows -> records of what happens, at every row."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

from siamjax.capture import counters
from siamjax.monitoring import records
from siamjax.monitoring.monitor import Monitor
from siamjax.monitoring.row_binning import RowBinner
from siamjax.monitoring.sources import Batch, Position
from siamjax.types import UsageError

# A table is silent if it misses this many rows.
_SILENT_ROWS = 3


class TableMonitor(Monitor):
    """Turns lines of a table into records.

    The times are those of its rows. While no row comes, nothing is judged: when rows
    come again, what they leave out was not measured, as in a file.
    """

    _binner: RowBinner

    def first_time(self, batch: Batch) -> int | None:
        return None

    def heartbeat(self) -> records.Heartbeat:
        return dataclasses.replace(super().heartbeat(), is_table=True)

    def state(self) -> dict[str, Any]:
        position = self._binner.position
        return super().state() | dict(
            position=list(position) if position else None, table=self._binner.state()
        )

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self._binner.restore(state["table"])
        self._binner.timeline.packets = state["packets"]
        if state["position"] is not None:
            self.position = self._binner.position = Position(*state["position"])

    def _make_binner(self, run, by_server):
        if by_server:
            raise UsageError(
                f"{run.workdir} was trained on counters, which have no servers: leave "
                "out --session_by"
            )
        return RowBinner(run.config.data.bin_s, run.columns)

    def _read(self, batch):
        notices = []
        if self._is_silent:
            notices += self._notice(records.BACK, "there are rows again")
        self._is_silent = self._is_lost = False
        for line in batch.packets:
            self._binner.add(*line)
        self._came_s = batch.arrived_s
        return notices

    def _ready(self):
        ready = super()._ready()
        skipped = self._binner.take_skipped()
        if skipped is not None:
            self._done = skipped
            self._judge.skip(skipped)
        return ready

    def _warn_of_other_traffic(self):
        """A table of other counters is refused when it is read."""

    def _must_shed(self, batch):
        return False

    def _wait(self, batch):
        silent_s = time.monotonic() - self._came_s
        step_s = (self._binner.step_ns or 0) / 1e9
        longest_s = max(self._silent_s, _SILENT_ROWS * step_s)
        if not batch.is_live or self._is_silent or silent_s < longest_s:
            return []
        if not self._binner.timeline.packets:
            return []
        self._is_silent = True
        detail = f"there was no row for {longest_s:g} s"
        return self._notice(records.SILENT, detail)

    def _not_read(self):
        all_counts = self.counts()
        missing = {c: n for c in counters.CAUSES if (n := all_counts[c])}
        late = self._binner.late
        return missing | ({"late": late} if late else {})
