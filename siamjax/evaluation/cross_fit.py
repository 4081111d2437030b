"""Recall of every condition over many trainings, as known and as novel, with intervals.

A cell is one training, with its own novel conditions, test captures and seed. Each pair
of condition and capture is judged in several cells; its recall is the mean over them.
Methods are compared on the same pairs, with the same draws of the examples.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from siamjax.evaluation import statistics
from siamjax.evaluation.one_shot import OneShot
from siamjax.evaluation.statistics import Interval, Table
from siamjax.types import Windows

# If a baseline has this recall on a condition, no method can be clearly better.
TIED = 0.98


class Row(NamedTuple):
    """Recall of the windows of one condition in one capture, in one cell."""

    step: int  # of training
    shots: int  # examples of each condition
    method: str
    condition: str
    capture: str
    role: str  # of the condition in this cell: known or novel
    recall: float


def make_rows(
    judged: OneShot,
    *,
    windows: Windows,
    names: Sequence[str],
    sessions: Sequence[str],
    novel: Sequence[str],
    step: int,
    shots: int,
    method: str,
) -> list[Row]:
    """`Row`s of one judgement; a pair that was never judged has no row.

    Args:
      judged: of `one_shot.recognise`.
      windows: that were judged.
      names: of conditions.
      sessions: names of captures.
      novel: names of the conditions that the training did not see.
      step: of training.
      shots: examples of each condition.
      method: its name.
    """
    rows = []
    for condition, session in sorted(
        {*zip(windows.condition.tolist(), windows.session.tolist())}
    ):
        shown = (windows.condition == condition) & (windows.session == session)
        hits = judged.hits[:, shown]
        if not np.isnan(hits).all():
            name, capture = names[condition], sessions[session]
            role = "novel" if name in novel else "known"
            recall = round(float(np.nanmean(hits)), 5)
            rows.append(Row(step, shots, method, name, capture, role, recall))
    return rows


def tabulate(rows: Iterable[Row]) -> dict[str, dict[str, Table]]:
    """`{role: {method: Table}}` of rows of one step and number of shots.

    All tables of a role have the same captures `[K]` and conditions `[C]`. If one
    method was not judged on a pair, the pair is left out for all methods.
    """
    recalls: dict[str, dict[str, dict[tuple[str, str], list[float]]]] = {}
    for row in rows:
        by_pair = recalls.setdefault(row.role, {}).setdefault(row.method, {})
        by_pair.setdefault((row.capture, row.condition), []).append(row.recall)
    tables: dict[str, dict[str, Table]] = {}
    for role, methods in recalls.items():
        pairs = sorted(set.intersection(*(set(pairs) for pairs in methods.values())))
        captures = {name: i for i, name in enumerate(sorted({p[0] for p in pairs}))}
        conditions = {name: i for i, name in enumerate(sorted({p[1] for p in pairs}))}
        tables[role] = {}
        for method, by_pair in methods.items():
            right, judged = np.zeros((2, len(captures), len(conditions)))
            for capture, condition in pairs:
                place = captures[capture], conditions[condition]
                right[place] = np.mean(by_pair[capture, condition])
                judged[place] = 1.0
            tables[role][method] = Table(right, judged)
    return tables


def by_condition(table: Table) -> np.ndarray:
    """`[C]` mean recall of each condition over its captures."""
    return table.right.sum(0) / table.judged.sum(0)


def subtract(first: Table, second: Table, tied: float = TIED) -> Interval:
    """Recall of the first method less that of the second, with its interval.

    A condition that the second method recognises almost always counts as equal, see
    `TIED`.

    Args:
      first: of one method.
      second: of another method on the same pairs.
      tied: the lowest recall of `second` with which a condition counts as equal.
    """
    mastered = by_condition(second) >= tied
    right = np.where(mastered[None], second.right, first.right)
    return statistics.recall_difference(first._replace(right=right), second)


def settling_times(right: np.ndarray, times_s: np.ndarray, stays: int) -> np.ndarray:
    """When each of N answers becomes right and stays right.

    Args:
      right: `[N, T]`, 1 where the answer is right.
      times_s: `[T]` seconds.
      stays: how many times in a row it must be right, at most T.
    Returns:
      `[N]`, the first of these times in seconds; inf: there is none.
    """
    streaks = np.lib.stride_tricks.sliding_window_view(right == 1, stays, axis=1)
    settled = np.all(streaks, axis=-1)
    return np.where(np.any(settled, axis=1), times_s[settled.argmax(1)], np.inf)
