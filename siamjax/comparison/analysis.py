"""Which differences between methods are real: paired tests, with intervals.

All methods are judged on the same conditions, captures, examples and seeds, so two
methods are compared cell by cell. Scores of one condition vary together, and so do
those of one capture and of one repeat: the intervals treat them as clusters. Folds are
fixed: the intervals do not cover what other folds would give.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from siamjax.comparison.readouts import Units
from siamjax.evaluation import statistics

SIGNIFICANCE = 0.05


class Scores(NamedTuple):
    """One readout of one method: N values, one for each unit of each cell."""

    value: np.ndarray  # [N]
    weight: np.ndarray  # [N], sum 1; repeats, folds and conditions weigh the same
    condition: np.ndarray  # [N] names
    capture: np.ndarray  # [N] names
    repeat: np.ndarray  # [N] int
    judged: float  # how many windows times draws were judged


class Pair(NamedTuple):
    """The difference of two methods: the first minus the second."""

    first: str
    second: str
    difference: statistics.Clustered
    p_holm: float  # p-value corrected for testing all pairs

    @property
    def verdict(self) -> int:
        """1: the first is better, -1: the second is, 0: no difference is shown."""
        real = self.p_holm < SIGNIFICANCE
        return int(np.sign(self.difference.value)) if real else 0


def gather_scores(
    cells: Sequence[Any],
    readouts: Mapping[str, Mapping[tuple[str, str, str], Units]],
    key: tuple[str, str, str],
    repeats: Sequence[int],
) -> Scores | None:
    """`Scores` of one method; None if a cell of it is missing.

    Args:
      cells: its `final_readout.Cell`s on one data set.
      readouts: {cell name: {key: `readouts.Units`}}.
      key: (head, metric, group); the head of a baseline is the empty string.
      repeats: those that count; a method without a seed is the same in all of them.
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
            without_seed = by_repeat[0] if set(by_repeat) == {0} else None
            units = by_repeat.get(repeat, without_seed)
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


def mean_score(scores: Scores) -> statistics.Clustered:
    """The mean of a readout of one method, with its interval."""
    return statistics.clustered_mean(scores.value, scores.weight, _clusters(scores))


def compare_pairs(by_method: Mapping[str, Scores]) -> list[Pair]:
    """A `Pair` for each two methods, with Holm's correction."""
    compared = [
        (a, b, mean_difference(by_method[a], by_method[b]))
        for a, b in itertools.combinations(by_method, 2)
    ]
    if not compared:
        return []
    p_values = statistics.holm([apart.p_value for *_, apart in compared])
    return [Pair(a, b, apart, float(p)) for (a, b, apart), p in zip(compared, p_values)]


def mean_difference(first: Scores, second: Scores) -> statistics.Clustered:
    """The mean of the first minus the second, on the same cells."""
    value = first.value - second.value
    return statistics.clustered_mean(value, first.weight, _clusters(first))


def count_verdicts(pairs: Iterable[Pair]) -> dict[str, tuple[int, int, int]]:
    """{method: (wins, ties, losses)} in pairs with the other methods."""
    counts: dict[str, list[int]] = {}
    for pair in pairs:
        for name, sign in ((pair.first, 1), (pair.second, -1)):
            counts.setdefault(name, [0, 0, 0])[1 - sign * pair.verdict] += 1
    return {name: (wins, ties, lost) for name, (wins, ties, lost) in counts.items()}


def naive_half_width(scores: Scores) -> float:
    """Half the interval of the usual formula, which treats all draws as independent."""
    value = float(scores.weight @ scores.value)
    variance = max(value * (1 - value), 0.0)
    return 1.96 * float(np.sqrt(variance / max(scores.judged, 1.0)))


def least_differences(pairs: Sequence[Pair]) -> tuple[float, float]:
    """The least true differences that a test of a typical pair finds with 80 % chance.

    The typical pair has the median deviation.

    Returns:
      That of a single test, and that where Holm's correction is hardest.
    """
    if not pairs:
        return float("nan"), float("nan")
    differences = sorted((pair.difference for pair in pairs), key=lambda d: d.deviation)
    typical = differences[len(pairs) // 2]

    def least(alpha):
        return statistics.least_difference(
            typical.deviation, typical.freedom, level=1 - alpha
        )

    return least(SIGNIFICANCE), least(SIGNIFICANCE / len(pairs))


def mean_ranks(by_method: Mapping[str, Scores]) -> dict[str, float]:
    """{method: mean rank over conditions}; 1 is the best, equal methods share one."""
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
    """The columns of `Scores` of one cell; each condition has the same weight."""
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
