"""Evidence of windows as it comes -> the timeline so far, by the rule for captures.

The cheapest path is found window by window. The timeline of all windows that are kept
is made by the same functions as that of a capture. What lies before a stretch of normal
traffic whose beginning no later window can change is final, and is dropped.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from siamjax.identification import decide
from siamjax.identification.timeline import Decoder, Span, stretches
from siamjax.types import NORMAL

# So many windows are kept. Longer stretches are judged by their last windows, if they
# are normal, and otherwise by every second of the older ones.
MOST_WINDOWS = 3600
# A stretch of normal traffic is at least so many windows long when what lies before it
# is dropped: longer than what the beginning of a fault can take from it.
_ANCHOR = 64
# In a fault that lasts longer than so many windows, its name is judged again only when
# the path changes, or with every so many windows.
_OFTEN, _SELDOM = 256, 16


class Windows(NamedTuple):
    """What is kept of N windows."""

    evidence: decide.Evidence  # as `decide.weigh_windows` gives it
    costs: np.ndarray  # [N, K + 1]


class Tracker:
    """The timeline of a session without an end.

    Attributes:
      spans: the timeline of what is kept; the last one is the present.
    """

    def __init__(
        self,
        rule: decide.Rule,
        origins: Sequence[str],
        taught: Collection[str] = (),
    ) -> None:
        """See `decide.find_spans`."""
        self.spans: list[Span] = []
        self._rule, self._origins, self._taught = rule, origins, taught
        self._windows: Windows | None = None
        self._decoder: Decoder | None = None
        self._path = np.zeros(0, int)  # of the windows that the decoder has dropped
        self._begins_s = 0.0  # of the first span
        self._since = 0  # windows since the timeline was made

    def add(self, evidence: decide.Evidence) -> list[Span]:
        """Takes the next windows; `spans` is the timeline with them.

        Args:
          evidence: of these windows; it ends where the session ends by now.
        Returns:
          The spans that are final and were dropped from `spans`.
        """
        evidence, costs = decide.weigh_windows(evidence, self._rule)
        if self._decoder is None:
            self._decoder = Decoder(costs.shape[1], self._rule.penalty)
            self._begins_s = float(evidence.start_s[0])
        before = len(self._path) + len(self._decoder.back)
        changed = before
        for row in costs:
            changed = min(changed, len(self._path) + self._decoder.add(row))
        self._windows = _joined(self._windows, Windows(evidence, costs))
        self._since += len(costs)
        path, normal = self._states()
        is_steady = changed == before and (path[before - 1 :] == path[-1]).all()
        is_long = before > _OFTEN and self._since < _SELDOM
        if self.spans and is_steady and (is_long or (path == normal).all()):
            self.spans[-1] = self.spans[-1]._replace(end_s=evidence.end_s)
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
        evidence, costs = self._windows
        return dict(
            names=list(evidence.names),
            end_s=evidence.end_s,
            window_s=evidence.window_s,
            evidence=decide.columns_of(evidence),
            costs=costs,
            decoder=self._decoder.state(),
            path=self._path,
            begins_s=self._begins_s,
            since=self._since,
        )

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a `state`.

        Raises:
          ValueError, TypeError, KeyError: it has another form.
        """
        if not state:
            return
        fields = {name: state[name] for name in ("end_s", "window_s")}
        evidence = decide.Evidence(
            names=tuple(state["names"]), **fields, **state["evidence"]
        )
        self._windows = Windows(evidence, state["costs"])
        self._decoder = Decoder(state["costs"].shape[1], self._rule.penalty)
        self._decoder.restore(state["decoder"])
        self._path, self._begins_s = state["path"], state["begins_s"]
        since = state["since"]
        self._judge()
        self._since = since

    def _states(self):
        """The path, where nothing was measured `unknown`; the state of normal."""
        names = self._windows.evidence.names
        path = np.concatenate([self._path, self._decoder.path()])
        blind = ~np.isfinite(self._windows.evidence.distances).any(1)
        normal = names.index(NORMAL) if NORMAL in names else -1
        return np.where(blind, len(names), path), normal

    def _judge(self):
        self._since = 0
        self.spans = decide.spans_of_path(
            *self._windows,
            np.concatenate([self._path, self._decoder.path()]),
            self._rule,
            self._origins,
            self._taught,
        )
        self.spans[0] = self.spans[0]._replace(start_s=self._begins_s)

    def _drop_final(self):
        """Drops what lies before the last long normal stretch; returns its spans."""
        path, normal = self._states()
        settled = len(self._path) + self._decoder.settled()
        parts = [part for part in stretches(path[:settled]) if part[0]]
        anchors = [
            first
            for first, end in parts
            if path[first] == normal and end - first >= _ANCHOR
        ]
        if len(path) > 2 * MOST_WINDOWS and parts:  # faults in turn, without an end
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
        """Keeps no more than `MOST_WINDOWS` windows, and all changes."""
        path, normal = self._states()
        if len(path) <= MOST_WINDOWS:
            return
        first, end = max(
            stretches(path[: len(path) - _ANCHOR]), key=lambda part: part[1] - part[0]
        )
        if path[first] == normal and not first:
            dropped = np.arange(len(path) - MOST_WINDOWS)
        else:
            dropped = np.arange(first + _ANCHOR, (first + end) // 2, 2)
        settled = len(self._path) + self._decoder.settled()
        dropped = dropped[dropped < min(settled, end - _ANCHOR)]
        self._keep(np.delete(np.arange(len(path)), dropped))

    def _keep(self, rows):
        """Keeps these windows, among them all that are not settled."""
        evidence, costs = self._windows
        self._windows = Windows(decide.take_windows(evidence, rows), costs[rows])
        settled = self._decoder.settled()
        path = np.concatenate([self._path, self._decoder.path()])[rows]
        self._decoder.forget(min(settled, len(self._decoder.back) - 1))
        self._path = path[: len(rows) - len(self._decoder.back)]


def _joined(windows, more):
    if windows is None:
        return more
    return Windows(
        decide.join_windows([windows.evidence, more.evidence]),
        np.concatenate([windows.costs, more.costs]),
    )
