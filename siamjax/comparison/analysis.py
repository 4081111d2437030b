"""Which differences are real: in pairs, with intervals.

All methods are judged on the same conditions, captures, examples and seeds, so two
methods are compared cell by cell. Scores of one condition vary together, and so do
those of one capture and of one repeat: the intervals take these as clusters. Folds are
taken as given: the intervals do not say what other folds would give.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from siamjax.comparison.readouts import Units
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
    difference: statistics.Clustered
    p_holm: float  # holds for all pairs together

    @property
    def verdict(self) -> int:
        """1: the first is better, -1: the second is, 0: no difference is shown."""
        real = self.p_holm < LEVEL
        return int(np.sign(self.difference.value)) if real else 0


def scores(
    cells: Sequence[Any],
    readouts: Mapping[str, Mapping[tuple[str, str, str], Units]],
    key: tuple[str, str, str],
    repeats: Sequence[int],
) -> Scores | None:
    """`Scores` of one method, None where a cell of it is missing.

    Args:
      cells: its `test_readout.Cell`s on one data set.
      readouts: {cell name: {key: `readouts.Units`}}.
      key: (head, metric, group); a baseline has one head, ``.
      repeats: those that count; what has no seed is the same in all of them.
    """
    by_fold: dict[int, dict[int, Units | None]] = {}
    for cell in cells:
        by_key = readouts[cell.name]
        units = by_key.get(key, by_key.get(("", *key[1:])))
        by_fold.setdefault(cell.fold, {})[cell.repeat] = units
    parts = []
    for fold in sorted(by_fold):
        by_repeat = by_fold[fold]
        for repeat in repeats:
            no_seed = by_repeat[0] if set(by_repeat) == {0} else None
            units = by_repeat.get(repeat, no_seed)
            if units is None:
                return None
            parts.append(_part(units, repeat))
    if not parts:
        return None
    value, weight, condition, capture, of_repeat, judged = (
        np.concatenate(column) for column in zip(*parts)
    )
    weight = weight / weight.sum()
    total = float(judged.sum())
    return Scores(value, weight, condition, capture, of_repeat, total)


def level(scores: Scores) -> statistics.Clustered:
    """The mean of a method's readout, with its interval."""
    return statistics.clustered_mean(scores.value, scores.weight, _clusters(scores))


def pairs(by_method: Mapping[str, Scores]) -> list[Pair]:
    """A `Pair` for any two methods, with Holm's correction."""
    compared = [
        (a, b, difference(by_method[a], by_method[b]))
        for a, b in itertools.combinations(by_method, 2)
    ]
    if not compared:
        return []
    p_values = statistics.holm([apart.p_value for *_, apart in compared])
    return [Pair(a, b, apart, float(p)) for (a, b, apart), p in zip(compared, p_values)]


def difference(first: Scores, second: Scores) -> statistics.Clustered:
    """The mean of the first less the second, on the same cells."""
    value = first.value - second.value
    return statistics.clustered_mean(value, first.weight, _clusters(first))


def tally(pairs: Iterable[Pair]) -> dict[str, tuple[int, int, int]]:
    """{method: (wins, ties, losses)}."""
    counts: dict[str, list[int]] = {}
    for pair in pairs:
        for name, sign in ((pair.first, 1), (pair.second, -1)):
            counts.setdefault(name, [0, 0, 0])[1 - sign * pair.verdict] += 1
    return {name: (wins, ties, lost) for name, (wins, ties, lost) in counts.items()}


def naive(scores: Scores) -> float:
    """Half the interval of the usual formula, which takes all draws as independent."""
    value = float(scores.weight @ scores.value)
    variance = max(value * (1 - value), 0.0)
    return 1.96 * float(np.sqrt(variance / max(scores.judged, 1.0)))


def power(pairs: Sequence[Pair]) -> tuple[float, float]:
    """(alone, among all): the least true difference that is found with 80 % chance, of
    the pair in the middle, alone and where Holm's correction is hardest."""
    if not pairs:
        return float("nan"), float("nan")
    in_order = sorted((pair.difference for pair in pairs), key=lambda d: d.deviation)
    middle = in_order[len(pairs) // 2]

    def least(alpha):
        return statistics.least_difference(
            middle.deviation, middle.freedom, level=1 - alpha
        )

    return least(LEVEL), least(LEVEL / len(pairs))


def ranks(by_method: Mapping[str, Scores]) -> dict[str, float]:
    """{method: mean rank}, 1 the best, over the conditions of a readout; ties share."""
    from scipy import stats

    means = {}
    for name, scores in by_method.items():
        rows_of = [scores.condition == c for c in np.unique(scores.condition)]
        means[name] = [
            float(np.average(scores.value[rows], weights=scores.weight[rows]))
            for rows in rows_of
        ]
    table = -np.array(list(means.values()))  # [methods, conditions]
    return dict(zip(means, stats.rankdata(table, axis=0).mean(1).tolist()))


def _part(units, repeat):
    """Columns of `Scores` of one cell, each condition with the same weight."""
    kept = units.weight > 0
    condition, weight = units.condition[kept], units.weight[kept]
    _, place = np.unique(condition, return_inverse=True)
    conditions = place.max(initial=0) + 1
    return (
        units.score[kept] / weight,
        weight / np.bincount(place, weight)[place] / conditions,
        condition,
        units.capture[kept],
        np.full(len(condition), repeat),
        weight,
    )


def _clusters(scores):
    return [scores.condition, scores.capture, scores.repeat]
