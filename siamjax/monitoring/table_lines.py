"""Lines of a table as they come -> rows of a run's columns, by the functions for files.

The first lines show how a table is written. Each later line is parsed together with
some of the first ones, so that the parser takes the same decisions for all.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from siamjax.capture import counters, tables
from siamjax.text import printable
from siamjax.types import SiamjaxError

_LOG = logging.getLogger(__name__)
# The layout and the step of a table are found from rows of at least this many times.
FIRST_TIMES = 16
# Reading fails if neither was found in this many lines.
_MOST_LINES = 1 << 18
# Number of first rows that are parsed again with each later one.
_SAMPLE = 50
# Characters of a header that a warning shows.
_SHOWN = 200
# Causes of `counters.CAUSES` that are counted line by line.
_COUNTED = ("ragged", "time_unread", "unread")


class Measured(NamedTuple):
    """Rows, N of them."""

    time_ns: np.ndarray  # [N] int64
    key: list[str]  # [N] what tells the rows of one time apart; empty: nothing
    values: np.ndarray  # [N, F] float64; NaN where nothing was measured
    rest: np.ndarray  # [N, F] float64, what these lost of large integers


class _Form(NamedTuple):
    """How the lines of a table are read."""

    layout: tables.Layout | None  # None: lines of JSON
    header: list[str]  # the lines up to the first row
    sample: list[str]  # the first lines of rows
    rows: int  # how many rows these give
    counted: dict[str, int]  # of the sample
    choices: counters.Choices


class LineReader:
    """Reads the lines of a table.

    Attributes:
      step_ns: of the table; None: too few lines came.
      counts: what was wrong, by cause of `counters.CAUSES`.
      is_long: several rows have one time.
      names: columns of the run that the table had so far.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Begins without a line; `names` are those of the F columns."""
        self.step_ns: int | None = None
        self.counts: Counter[str] = Counter()
        self.names: set[str] = set()
        self._place = {name: f for f, name in enumerate(names)}
        self._form: _Form | None = None
        self._waiting: list[str] = []  # first lines, until they are enough
        self._tried = 0  # how many of them were too few
        # A line that was read, and the time that it had.
        self._anchor: tuple[str, int] | None = None

    @property
    def is_long(self) -> bool:
        return self._form is not None and self._form.choices.keys is not None

    def read(self, lines: Sequence[str], *, ended: bool = False) -> list[Measured]:
        """The rows of the next lines.

        Args:
          lines: whole ones.
          ended: whether no other line follows.
        Raises:
          SiamjaxError: the first lines are no table of counters.
        """
        parts: list[Measured] = []
        row_lines: list[str] = []
        for line in lines:
            line = line.strip("\ufeff\r\n")
            if not line.strip():
                continue
            if "\0" in line:  # its time, too, may be cut there
                self.counts["time_unread"] += 1
            elif self._form is None:
                self._waiting.append(line)
            elif self._is_header(line):
                parts += self._read(row_lines)
                row_lines = []
                if line != self._form.header[-1]:  # other columns
                    # From here on columns of the run may be missing.
                    _LOG.warning("a new table begins: %s", printable(line[:_SHOWN]))
                    self._form, self._waiting, self._tried = None, [line], 0
            else:
                row_lines.append(line)
        if self._form is None and self._waiting:
            parts += self._begin(ended)
        return parts + self._read(row_lines)

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on."""
        form = self._form
        return dict(
            step_ns=self.step_ns,
            form=form
            and dict(
                layout=form.layout and list(form.layout),
                header=form.header,
                sample=form.sample,
                choices=list(form.choices),
            ),
            waiting=self._waiting,
            anchor=list(self._anchor) if self._anchor else None,
        )

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a `state`."""
        if form := state["form"]:
            layout = form["layout"] and tables.Layout(*form["layout"])
            choices = counters.Choices(*form["choices"])
            self._form = _make_form(layout, form["header"], form["sample"], choices)
        self.step_ns, self._waiting = state["step_ns"], list(state["waiting"])
        self._anchor = tuple(state["anchor"]) if state["anchor"] else None

    def _is_header(self, line):
        layout = self._form.layout
        return layout is not None and tables.is_header(line, layout)

    def _begin(self, ended):
        """The rows of the first lines, once they are enough."""
        lines = self._waiting
        if not ended and len(lines) < max(FIRST_TIMES, 1.25 * self._tried):
            return []
        self._tried = len(lines)
        if lines[0].lstrip().startswith("["):
            raise SiamjaxError(
                "a JSON list cannot grow: write one JSON object a line, or CSV"
            )
        try:
            layout = _find_layout(lines)
            begin = 0 if layout is None else layout.skipped + layout.has_header
            rows, lines, rest = _read_first(lines, layout, begin)
            if not ended and _count_times(rows) < FIRST_TIMES:
                return []
            if self.step_ns is None:
                self.step_ns = counters.find_step(rows)
            header, sample = lines[:begin], lines[begin : begin + _SAMPLE]
            form = _make_form(layout, header, sample, rows.choices)
        except (tables.Unusable, ValueError) as error:
            if not ended and len(lines) < _MOST_LINES:
                return []
            if self.step_ns is None:
                raise SiamjaxError(str(error)) from None
            # It was a table before: what comes may be one again.
            self.counts["time_unread"] += len(lines)
            self._waiting = []
            return []
        self._form, self._waiting = form, []
        self.counts.update({cause: rows.counted[cause] for cause in _COUNTED})
        self._keep_anchor(lines[len(form.header) :], rows, 0, rows.time_ns)
        first = self._to_columns(rows, np.arange(len(rows.time_ns)), rows.time_ns)
        return [first, *self.read(rest, ended=ended)]

    def _read(self, lines):
        """The rows of lines behind those of the sample."""
        form = self._form
        if not lines or form is None:
            return []
        anchor = [self._anchor[0]] if self._anchor else []
        first = [*form.header, *form.sample, *anchor]
        try:
            content = tables.read_lines([*first, *lines], form.layout)
            rows = counters.read_rows(content, [], form.choices)
        except tables.Unusable:  # such as a quote that does not end
            if len(lines) == 1:
                self.counts["ragged"] += 1
                return []
            half = len(lines) // 2
            return self._read(lines[:half]) + self._read(lines[half:])
        time_ns, begin = rows.time_ns, form.rows + len(anchor)
        if self._anchor:  # its time must stay: local times may have changed since
            place = np.flatnonzero(rows.row == form.rows)
            time_ns = time_ns + (self._anchor[1] - time_ns[place]).sum()
        for cause in _COUNTED:
            self.counts[cause] += max(rows.counted[cause] - form.counted[cause], 0)
        self._keep_anchor(lines, rows, begin, time_ns)
        return [self._to_columns(rows, np.flatnonzero(rows.row >= begin), time_ns)]

    def _keep_anchor(self, lines, rows, begin, time_ns):
        """Remembers the last line whose time was read, if it is known which it is."""
        is_new = len(rows.row) and rows.row[-1] >= begin
        is_whole = not rows.counted["ragged"] or not self._anchor
        if is_new and is_whole and rows.row[-1] - begin < len(lines):
            self._anchor = lines[rows.row[-1] - begin], int(time_ns[-1])

    def _to_columns(self, rows, chosen, time_ns):
        """`Measured` of the chosen rows."""
        values = np.full((len(chosen), len(self._place)), np.nan)
        rest = np.zeros(values.shape)
        key = np.zeros(len(chosen), int) if rows.key is None else rows.key[chosen]
        for k, key_name in enumerate(rows.key_names):
            mine = np.flatnonzero(key == k)
            if not len(mine):
                continue
            shown = counters.column_names(rows.names, [key_name])
            self.names.update(name for name in shown if name in self._place)
            for f, (name, column) in enumerate(zip(rows.names, shown)):
                if column in self._place:
                    place = self._place[column]
                    values[mine, place] = rows.values[chosen[mine], f]
                    if name in rows.rests:
                        rest[mine, place] = rows.rests[name][chosen[mine]]
        names = [rows.key_names[k] for k in key.tolist()]
        return Measured(time_ns[chosen], names, values, rest)


def _read_first(lines, layout, begin):
    """The rows of the first lines, these lines, and those that follow another header.

    Many lines may come at once. Where too few rows lie before another header, all lines
    are read as one table.
    """
    if layout is not None:
        for end in range(begin + FIRST_TIMES, len(lines)):
            if tables.is_header(lines[end], layout):
                rows = counters.read_rows(tables.read_lines(lines[:end], layout), [])
                if _count_times(rows) >= FIRST_TIMES:
                    return rows, lines[:end], lines[end:]
    return counters.read_rows(tables.read_lines(lines, layout), []), lines, []


def _count_times(rows):
    return len(np.unique(rows.time_ns))


def _find_layout(lines):
    """The layout of a table with these first lines; None: they are of JSON."""
    if lines[0].lstrip().startswith("{"):
        return None
    return tables.find_layout("\n".join(lines[: tables.HEAD_LINES]) + "\n")


def _make_form(layout, header, sample, choices):
    content = tables.read_lines([*header, *sample], layout)
    rows = len(content.frame)
    counted = counters.read_rows(content, [], choices).counted
    return _Form(layout, header, sample, rows, counted, choices)
