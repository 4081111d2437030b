"""From the costs of a session's windows to a timeline of conditions."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from siamjax.data import labels

UNKNOWN, RECOVERING = labels.RESERVED
# Instead of normal, where a session is compared with a beginning that may be no normal
# traffic.
IN_DOUBT = "normal?"


class Span(NamedTuple):
    """One stretch of a session in one condition."""

    start_s: float  # estimated change, in seconds after the first packet
    end_s: float  # the next change, or the end of the session
    condition: str  # a name, `unknown`, `recovering` or `normal?`
    distance: float  # to the nearest example, median of its windows; NaN: none finite
    margin: float  # how much farther the nearest other condition is; NaN: none
    example: str  # the nearest example; empty: none
    # The nearest other condition; of `unknown` the nearest; empty: none.
    other: str = ""
    # A distance above this would be unknown, median of its windows; NaN: none finite.
    threshold: float = math.nan
    onset_error_s: float = math.nan  # how near the true onset is; NaN: not known
    # How often known traffic is as far from training, see `confidence`; of `unknown`
    # that of the most probable name. NaN: not calibrated.
    p_value: float = math.nan
    # The conditions that it may be, the one it is called first; empty: not calibrated.
    candidates: tuple[str, ...] = ()
    nearest: int = -1  # index of the nearest example; -1: none
    window_s: float = math.nan  # start of the window that is nearest to it; NaN: none


def decode(
    costs: np.ndarray, penalty: float, start: np.ndarray | float = 0.0
) -> np.ndarray:
    """The cheapest states `[N]` for costs `[N, K]`.

    Of states that cost the same the lower one is taken. Dynamic programming (Viterbi,
    IEEE Trans. Inf. Theory 1967).

    Args:
      costs: of each window in each state.
      penalty: what a change costs.
      start: `[K]`, what it costs to begin in each state.
    """
    count, states = costs.shape
    path = np.zeros(count, int)
    if not count:
        return path
    # Whether the path to each state comes from it, or from the cheapest state.
    stays = np.ones((count, states), bool)
    cheapest = np.zeros(count, np.int32)
    total = costs[0] + start
    for i in range(1, count):
        cheapest[i] = best = total.argmin()
        change = total[best] + penalty
        np.less_equal(total, change, out=stays[i])
        np.minimum(total, change, out=total)
        total += costs[i]
    state = int(total.argmin())
    came_from, stayed = cheapest.tolist(), stays.tobytes()
    for i in range(count - 1, 0, -1):
        path[i] = state
        if not stayed[i * states + state]:
            state = came_from[i]
    path[0] = state
    return path


class Decoder:
    """`decode`, window by window: the cheapest path so far is known at any time.

    Args:
      start, penalty: see `decode`.
    Attributes:
      total: `[K]` cost of the cheapest path that ends in each state.
      back: for each window `[K]`, the state before it on that path; of the first the
        states themselves.
    """

    def __init__(self, start: np.ndarray, penalty: float) -> None:
        self.total = np.array(start, float)
        self.back: list[np.ndarray] = []
        self._states, self._penalty = np.arange(len(start)), penalty
        self._path: list[int] = []  # the cheapest up to now

    def add(self, costs: np.ndarray) -> int:
        """Goes on by one window with costs `[K]`.

        Returns:
          From which window on the cheapest path is another one than before.
        """
        if self.back:
            best = self.total.argmin()
            stay = self.total <= self.total[best] + self._penalty
            self.back.append(np.where(stay, self._states, best))
            self.total = np.where(stay, self.total, self.total[best] + self._penalty)
        else:
            self.back.append(self._states)
        self.total = self.total + costs
        state, i = int(self.total.argmin()), len(self._path)
        self._path.append(state)
        while i > 0:
            state = int(self.back[i][state])
            if self._path[i - 1] == state:
                break
            i -= 1
            self._path[i] = state
        return i

    def path(self, first: int = 0) -> np.ndarray:
        """The cheapest states `[N]`, or those from a window on."""
        return np.array(self._path[first:], int)

    def state(self) -> dict[str, np.ndarray]:
        """What `restore` needs to go on."""
        return dict(
            total=self.total,
            back=np.array(self.back, np.int64).reshape(-1, len(self.total)),
            path=self.path(),
        )

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Goes on from a `state`.

        Raises:
          ValueError: it is of another number of states.
        """
        if state["total"].shape != self.total.shape:
            raise ValueError(f"{len(state['total'])} states, not {len(self.total)}")
        self.total, self.back = state["total"], list(state["back"])
        self._path = state["path"].tolist()

    def forget(self, count: int) -> None:
        """Drops the first windows, whose states are settled, but not the last window.

        Then `path` and `settled` begin behind them.
        """
        del self.back[:count], self._path[:count]

    def settled(self) -> int:
        """The first windows whose states no later window can change: how many."""
        states = np.unique(self._states)
        for i in range(len(self.back) - 1, 0, -1):
            if len(states) == 1:
                return i + 1
            states = np.unique(self.back[i][states])
        return min(len(states) == 1, len(self.back))


def stretches(values: np.ndarray) -> list[tuple[int, int]]:
    """First and end index of each stretch of equal values: `[(first, end), ...]`."""
    if len(values) == 0:
        return []
    change = np.flatnonzero(np.diff(values)) + 1
    return list(zip([0, *change.tolist()], [*change.tolist(), len(values)]))
