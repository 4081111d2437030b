"""Recall of every condition over many trainings, as known and as novel, with intervals.

A cell is one training: its novel conditions, its captures for the test, its seed. Each
(condition, capture) pair is judged in several cells; its recall is their mean, and it
is pairs of that kind, on the same draws, in which methods are compared.
"""

from typing import NamedTuple

import numpy as np

from siamjax.evaluation import statistics

# A condition that a baseline recognises so well leaves nothing to be better at.
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


def rows(judged, *, windows, names, sessions, novel, step, shots, method):
    """`Row`s of one `one_shot.OneShot`; what was never judged has none.

    Args:
      windows: `types.Windows` that were judged.
      names: of conditions.
      sessions: names of captures.
      novel: names of the conditions that the training did not see.
      step: of training.
      shots: examples of each condition.
      method: its name.
    """
    out = []
    for c, s in sorted({*zip(windows.condition.tolist(), windows.session.tolist())}):
        hits = judged.hits[:, (windows.condition == c) & (windows.session == s)]
        if not np.isnan(hits).all():
            role = "novel" if names[c] in novel else "known"
            recall = round(float(np.nanmean(hits)), 5)
            out.append(Row(step, shots, method, names[c], sessions[s], role, recall))
    return out


def tables(found):
    """`{role: {method: Table}}` of `Row`s of one step and number of shots.

    Every table of a role has the same captures `[K]` and conditions `[C]`; a pair that
    a method was not judged on is left out for all of them.
    """
    by = {}
    for row in found:
        of = by.setdefault(row.role, {}).setdefault(row.method, {})
        of.setdefault((row.capture, row.condition), []).append(row.recall)
    out = {}
    for role, methods in by.items():
        pairs = sorted(set.intersection(*(set(of) for of in methods.values())))
        captures = {name: i for i, name in enumerate(sorted({p[0] for p in pairs}))}
        conditions = {name: i for i, name in enumerate(sorted({p[1] for p in pairs}))}
        out[role] = {}
        for method, of in methods.items():
            right, judged = np.zeros((2, len(captures), len(conditions)))
            for capture, condition in pairs:
                at = captures[capture], conditions[condition]
                right[at], judged[at] = np.mean(of[capture, condition]), 1.0
            out[role][method] = statistics.Table(right, judged)
    return out


def by_condition(table):
    """`[C]` mean recall of each condition over its captures."""
    return table.right.sum(0) / table.judged.sum(0)


def less(first, second, tied=TIED):
    """`statistics.recall_difference` where conditions that `second` masters are equal.

    Args:
      first: `Table` of one method.
      second: `Table` of another on the same pairs.
      tied: recall of `second` from which on a condition counts as equal.
    """
    mastered = by_condition(second) >= tied
    right = np.where(mastered[None], second.right, first.right)
    return statistics.recall_difference(first._replace(right=right), second)


def settled(right, times_s, stays):
    """When an answer becomes right and stays so.

    Args:
      right: `[N, T]`, 1 where it is right.
      times_s: `[T]` seconds.
      stays: so many times in a row count.
    Returns:
      `[N]` seconds; inf: never.
    """
    runs = np.lib.stride_tricks.sliding_window_view(right == 1, stays, axis=1).all(-1)
    return np.where(runs.any(1), times_s[runs.argmax(1)], np.inf)
