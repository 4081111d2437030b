"""Lines of a table of counters as they come -> values of whole bins.

The rows are put on an even grid, and growing counters become growth, as in a file. A
row is used once a later one is there: it may come late, and only the next one tells
whether a counter that fell is a glitch.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from siamjax.capture import clock, growth
from siamjax.data import counts, prepared
from siamjax.data.counts import nanoseconds
from siamjax.monitoring import records
from siamjax.monitoring.binning import ALL, Bins, Closed
from siamjax.monitoring.sources import Notice, Position
from siamjax.monitoring.table_lines import LineReader
from siamjax.text import short
from siamjax.types import Column, SiamjaxError

# A row that is farther than this from the newest one, in ns and in steps, is used only
# if the next row agrees with it: then the clock was set, or the table went on after a
# long time.
_FAR_NS, _FAR_STEPS = clock.AHEAD_NS, 1000
# After this many late rows, one after the other, a notice says so.
_MANY_LATE = 10


class _Row(NamedTuple):
    time_ns: int
    key: str
    values: np.ndarray  # [F]
    rest: np.ndarray  # [F]


class RowBinner:
    """Counts in bins what is in the lines of a table, as `PacketBinner` does.

    Attributes:
      zero_ns: time of the first row, when the first bin begins; None: not known yet.
      timeline: has the time of the newest row, and how many lines came.
      late: rows that came after their bin was closed.
      bins: how many were closed.
      position: of the last line that was taken.
    """

    servers = None

    def __init__(self, bin_s: float, columns: Sequence[Column]) -> None:
        """Begins without a line.

        Args:
          bin_s: the length of a bin.
          columns: of the run, all of counters.
        """
        self.bin_ns, self._bin_s = nanoseconds(bin_s), bin_s
        self.zero_ns: int | None = None
        self.late = self.bins = 0
        self.timeline = clock.LiveTimeline()
        self.position: Position | None = None
        self._columns = [column.name for column in columns]
        self._reader = LineReader(self._columns)
        self._grows = any(column.grows for column in columns)
        self._growth = growth.LiveGrowth([column.grows for column in columns])
        self._lines: list[str] = []
        self._next = self._newest = 0  # rows of the grid: to be closed, with a value
        self._pending: dict[int, dict[tuple[int, str], _Row]] = {}
        self._shift_ns = 0  # is added to times, after the clock was set back
        self._odd: _Row | None = None  # far from the newest row
        self._late_in_turn = 0
        self._skipped: int | None = None  # bins, which the table left out
        self._said: list[str] = []
        self._contradicting = 0

    @property
    def step_ns(self) -> int | None:
        """From one row to the next; None: not known yet."""
        return self._reader.step_ns

    @property
    def counts(self) -> Counter[str]:
        """What was wrong, by cause of `counters.CAUSES`."""
        more = Counter(contradicting=self._contradicting)
        return self._reader.counts + more

    def add(self, file: str, end: int, text: str) -> None:
        """Takes the next line, as `sources.Line`."""
        self.timeline.packets += 1
        self.position = Position(file, end)
        self._lines.append(text)

    def ready(self) -> int:
        """How many bins can be closed, because later rows are there."""
        self._take(ended=False)
        return self._until(self._count_complete())

    def finish(self) -> int:
        """Takes what waited for more lines; how many bins are complete now."""
        self._take(ended=True)
        return self._until(self._newest + 1 if self._pending else self._next)

    def take_skipped(self) -> int | None:
        """The first bin behind a part that the table leaves out, once; None: it left
        out nothing."""
        skipped, self._skipped = self._skipped, None
        return skipped

    def take_notices(self) -> list[Notice]:
        """What happened to the times of rows, since the last call."""
        said, self._said = self._said, []
        return [Notice(records.CLOCK_STEP, detail) for detail in said]

    def end(self) -> None:
        """Nothing comes any more."""

    def close(self, bins: int) -> Closed:
        """Closes the bins up to `bins`, which `ready` or `finish` gave, and more than
        there were."""
        first = self._next
        end = first
        while self._bin_of(end) < bins:
            end += 1
        known = self._newest + 1 - self._reader.is_long
        ahead = max(min(known, end + 2) - end, 0)
        rows = [self._join(row) for row in range(first, end + ahead)]
        values, rest = (np.stack(part) for part in zip(*rows))
        grown = self._growth.add(values, rest, ahead).astype(np.float32)
        for row in range(first, end):
            self._pending.pop(row, None)
        bin_of = self._bin_of(np.arange(first, end)) - self.bins
        count = bins - self.bins
        if np.array_equal(bin_of, np.arange(count)):
            binned = grown
        else:
            binned = counts.average_rows(grown, bin_of, count)
        measured = np.isfinite(grown).any(1)
        messages = np.bincount(bin_of[measured], minlength=count)
        closed = Closed(self.bins, messages, {ALL: Bins(binned, messages)})
        self._next, self.bins = end, bins
        return closed

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on."""
        rows = [row for rows in self._pending.values() for row in rows.values()]
        none = np.zeros((0, len(self._columns)))
        return dict(
            reader=self._reader.state(),
            next=self._next,
            newest=self._newest,
            bins=self.bins,
            shift_ns=self._shift_ns,
            times_ns=[row.time_ns for row in rows],
            keys=[row.key for row in rows],
            values=np.stack([row.values for row in rows]) if rows else none,
            rest=np.stack([row.rest for row in rows]) if rows else none,
            grown_values=self._growth.values,
            grown_rest=self._growth.rest,
            largest=self._growth.largest,
        )

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a `state`, when `zero_ns` is set."""
        self._reader.restore(state["reader"])
        self._next, self._newest = state["next"], state["newest"]
        self.bins, self._shift_ns = state["bins"], state["shift_ns"]
        for row in zip(*(state[n] for n in ("times_ns", "keys", "values", "rest"))):
            self._put(_Row(*row))
        self._growth.values, self._growth.rest = (
            state["grown_values"],
            state["grown_rest"],
        )
        self._growth.largest = state["largest"]

    def _bin_of(self, row):
        return counts.bin_of_row(row, self.step_ns, self.bin_ns)

    def _until(self, rows):
        if self.zero_ns is None:
            return 0
        return max(int(self._bin_of(rows)), self.bins)

    def _count_complete(self):
        """Up to which row of the grid no other row is waited for."""
        row, wait = self._next, 2 if self._reader.is_long else 1
        while self._newest >= row + wait + (row not in self._pending):
            row += 1
        return row

    def _take(self, *, ended):
        lines, self._lines = self._lines, []
        if not lines and not ended:
            return
        for part in self._reader.read(lines, ended=ended):
            if not len(part.time_ns):
                continue
            if self.zero_ns is None:
                self._begin(part)
            for row in map(
                _Row, part.time_ns.tolist(), part.key, part.values, part.rest
            ):
                self._add(row)

    def _begin(self, part):
        """The first rows say where the grid begins, and whether they can be used."""
        if not self._reader.names:
            raise SiamjaxError(
                f"the table has none of the {len(self._columns)} columns of training, "
                f"such as {short(self._columns[0])!r}"
            )
        step = prepared.to_series(part.values[:2], self.step_ns)
        if problem := counts.why_too_coarse(step, self._bin_s):
            raise SiamjaxError(f"the table cannot be used: {problem}")
        self.zero_ns = int(part.time_ns.min())
        self._newest = -1

    def _add(self, row):
        """Takes a row, if its time is likely."""
        row = row._replace(time_ns=row.time_ns + self._shift_ns)
        far_ns = max(_FAR_NS, _FAR_STEPS * self.step_ns)
        newest_ns = self.zero_ns + self._newest * self.step_ns
        if self._newest < 0 or abs(row.time_ns - newest_ns) <= far_ns:
            self._odd = None
            self._put(row)
            return
        before, self._odd = self._odd, row
        if before is None or abs(row.time_ns - before.time_ns) > far_ns:
            return
        if row.time_ns == before.time_ns:  # of another node: it does not say more
            return
        self._odd = None
        self._jump(before, row, newest_ns)

    def _jump(self, before, row, newest_ns):
        """Two rows are far from those before, and agree with each other."""
        moved_ns = before.time_ns - newest_ns
        which = "ahead" if moved_ns > 0 else "back"
        self._said.append(
            f"the times of the rows went {which} by {abs(moved_ns) / 1e9:.0f} s"
        )
        self.timeline.clock.jumps += 1
        if moved_ns > 0:
            # What lies between is left out: nothing was measured for long.
            slot = self._slot(before.time_ns)
            bins = int(self._bin_of(slot)) + 1
            self._skipped = self.bins = bins
            self._pending.clear()
            self._next = slot
            while self._bin_of(self._next) < bins:
                self._next += 1
            self._newest = slot
        else:
            shift_ns = self.step_ns - moved_ns
            self._shift_ns += shift_ns
            before, row = (
                x._replace(time_ns=x.time_ns + shift_ns) for x in (before, row)
            )
        self._put(before)
        self._put(row)

    def _slot(self, time_ns):
        return round((time_ns - self.zero_ns) / self.step_ns)

    def _put(self, row):
        """Puts a row on the grid."""
        slot = self._slot(row.time_ns)
        if slot < self._next:
            self.late += 1
            self._late_in_turn += 1
            if self._late_in_turn == _MANY_LATE:
                self._said.append("rows come late: they are left out")
            return
        self._late_in_turn = 0
        rows = self._pending.setdefault(slot, {})
        name = row.time_ns, row.key
        if name in rows and not np.array_equal(
            rows[name].values, row.values, equal_nan=True
        ):
            self._contradicting += 1
        rows[name] = row
        self._newest = max(self._newest, slot)
        self.timeline.last_ns = max(self.timeline.last_ns, row.time_ns)

    def _join(self, slot):
        """Values and rest `[F]` of a row of the grid: the mean of the rows there."""
        rows = [*self._pending.get(slot, {}).values()]
        if not rows:
            width = len(self._columns)
            return np.full(width, np.nan), np.zeros(width)
        if len(rows) == 1:
            return rows[0].values, rows[0].rest
        values = np.stack([row.values for row in rows])
        measured = ~np.isnan(values)
        count = np.maximum(measured.sum(0), 1)
        total = np.where(measured, values, 0.0).sum(0)
        lost = np.where(measured, [row.rest for row in rows], 0.0).sum(0) / count
        return np.where(measured.any(0), total / count, np.nan), lost
