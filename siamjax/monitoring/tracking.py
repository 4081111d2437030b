"""Evidence of windows as it comes -> the timeline so far, by the rule for captures.

The cheapest path is found window by window. The timeline of all windows that are kept
is made by the same functions as that of a capture. What lies before a stretch of normal
traffic whose beginning no later window can change is final, and is dropped.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from siamjax.identification import decide, rules, weighing
from siamjax.identification.timeline import Decoder, Span, stretches
from siamjax.monitoring.rows import Rows
from siamjax.types import NORMAL

# The windows that are kept of a session: at most MOST_WINDOWS; fewer where all sessions
# together would have more than ALL_WINDOWS; but at least LEAST_WINDOWS. Of a longer
# stretch that is normal the last windows are kept, of another one every second one of
# the older windows as well.
MOST_WINDOWS, ALL_WINDOWS, LEAST_WINDOWS = 3600, 32 * 3600, 600
# What lies before a stretch of normal traffic is dropped once that stretch has this
# many windows: more than the beginning of a fault can take from it.
_ANCHOR = 64
# The name of a fault of up to _OFTEN windows is judged with every window. Later it is
# judged when the path changes, and with every _SELDOM-th window.
_OFTEN, _SELDOM = 256, 16
# Settled windows are dropped from the decoder once it has this many windows.
_UNSETTLED = 64


def share_windows(sessions: int) -> int:
    """How many windows are kept of each session, if there are so many sessions."""
    return max(min(ALL_WINDOWS // max(sessions, 1), MOST_WINDOWS), LEAST_WINDOWS)


class Windows(NamedTuple):
    """What is kept of N windows."""

    evidence: weighing.Evidence  # as `weighing.weigh_windows` gives it
    costs: np.ndarray  # [N, K + 1]


def take_rows(windows: Windows, rows: np.ndarray | slice) -> Windows:
    """Some of the windows."""
    return Windows(weighing.take_windows(windows.evidence, rows), windows.costs[rows])


class Tracker:
    """The timeline of a session without an end.

    Attributes:
      spans: the timeline of what is kept; the last one is the present.
      most: how many windows are kept.
    """

    def __init__(
        self,
        rule: rules.Rule,
        origins: Sequence[str],
        taught: Collection[str] = (),
    ) -> None:
        """See `decide.find_spans`."""
        self.spans: list[Span] = []
        self.most = MOST_WINDOWS
        self._rule, self._origins, self._taught = rule, origins, taught
        self._windows: Windows | None = None
        self._rows: dict[str, Rows] = {}  # of the arrays of `_windows`, and the path
        self._decoder: Decoder | None = None
        self._odd = 0  # windows that are not normal
        self._begins_s = 0.0  # of the first span
        self._since = 0  # windows since the timeline was made

    def add(self, evidence: weighing.Evidence) -> list[Span]:
        """Takes the next windows; `spans` is the timeline with them.

        Args:
          evidence: of these windows; it ends where the session ends by now.
        Returns:
          The spans that are final and were dropped from `spans`.
        """
        return self.add_weighed(Windows(*weighing.weigh_windows(evidence, self._rule)))

    def add_weighed(self, windows: Windows) -> list[Span]:
        """`add` of windows that were weighed, perhaps with those of other sessions."""
        if self._decoder is None:
            self._begin(windows)
            self._begins_s = float(windows.evidence.start_s[0])
        before = len(self._rows["path"])
        changed = self._append(windows)
        self._since += len(windows.costs)
        states = self._states(max(before - 1, 0))
        is_steady = changed == before and (states == states[-1]).all()
        is_long = before > _OFTEN and self._since < _SELDOM
        if self.spans and is_steady and (is_long or not self._odd):
            self.spans[-1] = self.spans[-1]._replace(end_s=windows.evidence.end_s)
        else:
            self._judge()
        final = self._drop_final()
        self._drop_old()
        return final

    def finish(self, end_s: float) -> list[Span]:
        """The spans that are not final yet, once no window comes any more.

        Args:
          end_s: when the session ends.
        """
        if self._windows is None:
            return []
        evidence = self._windows.evidence._replace(end_s=end_s)
        self._windows = self._windows._replace(evidence=evidence)
        self._judge()
        return self.spans

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on; empty before the first window."""
        if self._windows is None or self._decoder is None:
            return {}
        evidence = self._windows.evidence
        path = self._rows["path"].values
        return dict(
            names=list(evidence.names),
            end_s=evidence.end_s,
            window_s=evidence.window_s,
            hop_s=evidence.hop_s,
            lead_s=evidence.lead_s,
            evidence=weighing.columns_of(evidence),
            decoder=self._decoder.state(),
            path=path[: len(path) - len(self._decoder.back)],
            begins_s=self._begins_s,
            since=self._since,
            spans=[span._asdict() for span in self.spans],
        )

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a `state`.

        Raises:
          ValueError, TypeError, KeyError: it has another form.
        """
        if not state:
            return
        numbers = "end_s", "window_s", "hop_s", "lead_s"
        fields = {name: state[name] for name in numbers}
        evidence = weighing.Evidence(
            names=tuple(state["names"]), **fields, **state["evidence"]
        )
        windows = Windows(*weighing.weigh_windows(evidence, self._rule))
        self._begin(windows)
        assert self._decoder is not None  # it was made now
        self._decoder.restore(state["decoder"])
        self._keep_windows(windows, np.append(state["path"], self._decoder.path()))
        self._begins_s, self._since = state["begins_s"], state["since"]
        # Judged anew, a long fault would have another name or onset than without a
        # restart: it is judged only now and then.
        self.spans = [
            Span(**span | dict(candidates=tuple(span["candidates"])))
            for span in state["spans"]
        ]

    def _begin(self, windows):
        """Begins without a window, but with arrays of their form."""
        start = weighing.start_costs(windows.evidence, self._rule)
        self._decoder = Decoder(start, self._rule.penalty)
        self._keep_windows(take_rows(windows, slice(0)), np.zeros(0, int))

    def _append(self, windows):
        """Takes windows; from which window on the path is another one."""
        rows, path = self._rows, self._rows["path"]
        before = first = len(path)
        for name, values in weighing.columns_of(windows.evidence).items():
            rows[name].append(values)
        rows["costs"].append(windows.costs)
        dropped = before - len(self._decoder.back)
        for row in windows.costs:
            first = min(first, dropped + self._decoder.add(row))
        odd = self._count_odd(first)
        path.append(np.zeros(len(windows.costs), np.int16))
        path.values[first:] = self._decoder.path(first - dropped)
        self._show_rows(windows.evidence)
        self._odd += self._count_odd(first) - odd
        if len(self._decoder.back) > _UNSETTLED:
            self._forget()
        return first

    def _forget(self):
        """Drops windows from the decoder that are settled."""
        decoder = self._decoder
        decoder.forget(min(decoder.settled(), len(decoder.back) - 1))

    def _settled(self):
        """The first windows whose states no later window can change: how many."""
        decoder = self._decoder
        return len(self._rows["path"]) - len(decoder.back) + decoder.settled()

    def _states(self, first=0):
        """The path from a window on; `unknown` where nothing was measured."""
        evidence = self._windows.evidence
        blind = ~np.isfinite(evidence.distances[first:]).any(1)
        return np.where(blind, len(evidence.names), self._rows["path"].values[first:])

    def _normal(self):
        """The state that is normal; -1: there is none."""
        names = self._windows.evidence.names
        return names.index(NORMAL) if NORMAL in names else -1

    def _count_odd(self, first):
        """How many windows from one on are not normal."""
        return np.count_nonzero(self._states(first) != self._normal())

    def _judge(self):
        self._since = 0
        self.spans = decide.spans_of_path(
            *self._windows,
            self._rows["path"].values,
            self._rule,
            self._origins,
            self._taught,
        )
        self.spans[0] = self.spans[0]._replace(start_s=self._begins_s)

    def _drop_final(self):
        """Drops what lies before the last long normal stretch; returns its spans."""
        if not self._odd:
            return []
        path, normal = self._states(), self._normal()
        parts = [part for part in stretches(path[: self._settled()]) if part[0]]
        anchors = [
            first
            for first, end in parts
            if path[first] == normal and end - first >= _ANCHOR
        ]
        if len(path) > 2 * self.most and parts:  # faults in turn, without an end
            anchors.append(parts[len(parts) // 2][0])
        if not anchors:
            return []
        self._judge()
        anchor = max(anchors)
        inside = min(anchor + _ANCHOR, len(path)) - 1
        inside_s = self._windows.evidence.start_s[inside]
        last = sum(span.start_s <= inside_s for span in self.spans) - 1
        final, self.spans = self.spans[:last], self.spans[last:]
        self._begins_s = self.spans[0].start_s
        self._keep(np.arange(anchor, len(path)))
        return final

    def _drop_old(self):
        """Keeps no more than `most` windows, and all changes."""
        count = len(self._rows["path"])
        if count <= self.most:
            return
        if not self._odd:
            self._drop_first(min(count - self.most, self._settled()))
            return
        path, normal = self._states(), self._normal()
        first, end = max(
            stretches(path[: count - _ANCHOR]), key=lambda part: part[1] - part[0]
        )
        is_first = path[first] == normal and not first
        if is_first:
            dropped = np.arange(count - self.most)
        else:
            dropped = np.arange(first + _ANCHOR, (first + end) // 2, 2)
        dropped = dropped[dropped < min(self._settled(), end - _ANCHOR)]
        if is_first:
            self._drop_first(len(dropped))
        else:
            self._keep(np.delete(np.arange(count), dropped))

    def _drop_first(self, count):
        """Drops the first windows, which are normal and settled."""
        self._forget()
        for rows in self._rows.values():
            rows.drop(count)
        self._show_rows(self._windows.evidence)

    def _show_rows(self, evidence):
        """Puts the rows that are kept now into `_windows`."""
        columns = {
            name: self._rows[name].values for name in weighing.columns_of(evidence)
        }
        self._windows = Windows(
            evidence._replace(**columns), self._rows["costs"].values
        )

    def _keep(self, kept):
        """Keeps these windows, among them all that are not settled."""
        self._forget()
        windows = take_rows(self._windows, kept)
        self._keep_windows(windows, self._rows["path"].values[kept])

    def _keep_windows(self, windows, path):
        columns = weighing.columns_of(windows.evidence)
        columns |= dict(costs=windows.costs, path=np.asarray(path, np.int16))
        self._rows = {name: Rows(values) for name, values in columns.items()}
        self._windows, self._odd = windows, 0
        self._odd = self._count_odd(0)
