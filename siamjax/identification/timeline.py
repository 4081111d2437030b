"""From the costs of a session's windows to a timeline of conditions."""

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
    other: str = (
        ""  # the nearest other condition; of `unknown` the nearest; empty: none
    )


def decode(costs: np.ndarray, penalty: float) -> np.ndarray:
    """The cheapest states `[N]` for costs `[N, K]`, where a change costs `penalty`.

    Of states that cost the same the lower one is taken. Dynamic programming (Viterbi,
    IEEE Trans. Inf. Theory 1967).
    """
    n, states = costs.shape
    if n == 0:
        return np.zeros(0, int)
    total, back = costs[0].astype(float), np.zeros((n, states), int)
    for i in range(1, n):
        best = total.argmin()
        stay = total <= total[best] + penalty
        back[i] = np.where(stay, np.arange(states), best)
        total = np.where(stay, total, total[best] + penalty) + costs[i]
    path = np.empty(n, int)
    path[-1] = total.argmin()
    for i in range(n - 1, 0, -1):
        path[i - 1] = back[i, path[i]]
    return path


def stretches(values: np.ndarray) -> list[tuple[int, int]]:
    """First and end index of each stretch of equal values: `[(first, end), ...]`."""
    if len(values) == 0:
        return []
    change = np.flatnonzero(np.diff(values)) + 1
    return list(zip([0, *change.tolist()], [*change.tolist(), len(values)]))
