"""Which differences are real: paired, with intervals over what would be drawn anew.

All methods are judged on the same conditions, captures, examples and seeds, so two of
them differ cell by cell. What lies in one condition, in one capture or in one repeat
varies together; folds are the training sets at hand, no sample of others.
"""

import itertools
from typing import NamedTuple

import numpy as np

from siamjax.evaluation import statistics

LEVEL = 0.05


class Scores(NamedTuple):
    """One readout of one method, cell by cell and unit by unit. N of them."""

    value: np.ndarray  # [N]
    weight: np.ndarray  # [N], their sum is 1: each repeat, fold and condition alike
    condition: np.ndarray  # [N] names
    capture: np.ndarray  # [N] names
    repeat: np.ndarray  # [N] int
    judged: float  # windows times draws behind it


class Pair(NamedTuple):
    """The first of two methods less the second."""

    first: str
    second: str
    found: statistics.Clustered
    p_holm: float  # holds for all pairs together

    @property
    def verdict(self):
        """1: the first is better, -1: the second is, 0: no difference to be seen."""
        real = self.p_holm < LEVEL
        return int(np.sign(self.found.value)) if real else 0


def scores(cells, read, key, repeats):
    """`Scores` of one method, None where a cell of it is missing.

    Args:
      cells: its `final.Cell`s on one data set.
      read: {cell name: {key: `readouts.Units`}}.
      key: (head, metric, group); a baseline has one head, ``.
      repeats: those that count; what has no seed is the same in all of them.
    """
    by = {}
    for cell in cells:
        found = read[cell.name]
        units = found.get(key, found.get(("", *key[1:])))
        by.setdefault(cell.fold, {})[cell.repeat] = units
    parts = []
    for of in (by[fold] for fold in sorted(by)):
        for repeat in repeats:
            units = of.get(repeat, of[0] if set(of) == {0} else None)
            if units is None:
                return None
            parts.append(_part(units, repeat))
    if not parts:
        return None
    columns = [np.concatenate(column) for column in zip(*parts)]
    columns[1] = columns[1] / columns[1].sum()
    return Scores(*columns[:5], judged=float(columns[5].sum()))


def level(of):
    """`statistics.Clustered` of a method's readout."""
    return statistics.clustered_mean(of.value, of.weight, _ways(of))


def pairs(by_method):
    """A `Pair` for any two of {method: `Scores`}, with Holm's correction."""
    names = list(by_method)
    found = [
        (a, b, difference(by_method[a], by_method[b]))
        for a, b in itertools.combinations(names, 2)
    ]
    held = statistics.holm([f.p_value for *_, f in found]) if found else []
    return [Pair(a, b, f, float(p)) for (a, b, f), p in zip(found, held)]


def difference(first, second):
    """`statistics.Clustered` of the first less the second, on the same cells."""
    value = first.value - second.value
    return statistics.clustered_mean(value, first.weight, _ways(first))


def tally(found):
    """{method: (wins, ties, losses)} of all `Pair`s."""
    out = {}
    for pair in found:
        for name, sign in ((pair.first, 1), (pair.second, -1)):
            row = out.setdefault(name, [0, 0, 0])
            row[1 - sign * pair.verdict] += 1
    return {name: tuple(row) for name, row in out.items()}


def naive(of):
    """Half the interval that the usual formula gives: every judged draw a witness."""
    value = float(of.weight @ of.value)
    return 1.96 * float(np.sqrt(max(value * (1 - value), 0.0) / max(of.judged, 1.0)))


def power(found):
    """(alone, among all): the least true difference that is found with 80 % chance, of
    the pair in the middle, alone and where Holm's correction is hardest."""
    if not found:
        return float("nan"), float("nan")
    middle = sorted(found, key=lambda p: p.found.deviation)[len(found) // 2].found
    return tuple(
        statistics.least_difference(middle.deviation, middle.freedom, level=1 - alpha)
        for alpha in (LEVEL, LEVEL / len(found))
    )


def ranks(by_method):
    """{method: mean rank}, 1 the best, over the conditions of a readout; ties share."""
    from scipy import stats

    each = {}
    for name, of in by_method.items():
        each[name] = [
            float(np.average(of.value[rows], weights=of.weight[rows]))
            for c in np.unique(of.condition)
            for rows in [of.condition == c]
        ]
    table = -np.array(list(each.values()))  # [methods, conditions]
    return dict(zip(each, stats.rankdata(table, axis=0).mean(1).tolist()))


def _part(units, repeat):
    """Columns of `Scores` of one cell, each condition with the same weight."""
    kept = units.weight > 0
    condition, weight = units.condition[kept], units.weight[kept]
    _, at = np.unique(condition, return_inverse=True)
    share = weight / np.bincount(at, weight)[at] / (at.max(initial=0) + 1)
    return (
        units.score[kept] / weight, share, condition, units.capture[kept],
        np.full(len(condition), repeat), weight,
    )  # fmt: skip


def _ways(of):
    return [of.condition, of.capture, of.repeat]
