"""Coverage of the intervals and error rate of the tests, on data of known truth.

    python -m scripts.experiments.intervals

Scores of conditions x captures x repeats are simulated; conditions, captures and
repeats each add variance. The interval of 95 % should contain the truth in 92.5-97.5 %
of 2000 simulations. A test between methods that do not differ should find a difference
in at most 6.5 %.
"""

from collections.abc import Sequence

import numpy as np
from absl import flags

from siamjax import cli
from siamjax.evaluation import statistics

_SIMULATIONS = flags.DEFINE_integer("simulations", 2000, "Of each case.")

# Standard deviations: condition, capture, repeat, repeat x condition, the rest.
Spread = tuple[float, float, float, float, float]
SPREADS: dict[str, Spread] = {
    "conditions differ most": (1.0, 0.5, 0.5, 0.5, 0.5),
    "repeats differ most": (0.3, 0.3, 1.0, 0.3, 0.3),
    "all alike": (0.5, 0.5, 0.5, 0.5, 0.5),
}
CONDITIONS, CAPTURES, REPEATS = (12, 40), 3, 5


def scores(
    rng: np.random.Generator,
    conditions: int,
    captures: int,
    repeats: int,
    spread: Spread,
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Simulated scores whose true mean is 0.

    Returns:
      Scores `[N]`; their weights `[N]`; and three arrays `[N]` with the condition, the
      capture and the repeat of each score.
    """
    r, c, k = np.indices((repeats, conditions, captures)).reshape(3, -1)
    capture = c * captures + k
    of_condition, of_capture, of_repeat, both, rest = spread
    x = of_condition * rng.normal(size=conditions)[c]
    x += of_capture * rng.normal(size=conditions * captures)[capture]
    x += of_repeat * rng.normal(size=repeats)[r]
    x += both * rng.normal(size=(repeats, conditions))[r, c]
    x += rest * rng.normal(size=len(r))
    return x, np.full(len(r), 1 / len(r)), [c, capture, r]


def naive(x: np.ndarray) -> tuple[float, float]:
    """The usual interval of 95 %, which takes all scores `[N]` as independent."""
    half = 1.96 * x.std(ddof=1) / np.sqrt(len(x))
    return x.mean() - half, x.mean() + half


def coverage(
    conditions: int, spread: Spread, simulations: int, effect: float = 0.0
) -> tuple[float, float, float]:
    """Three shares of simulations.

    Returns:
      Where our interval contains the true mean, where the naive interval contains it,
      and where our test finds a difference from 0.
    """
    inside = usual = rejected = 0
    for seed in range(simulations):
        rng = np.random.default_rng(seed)
        x, weights, ways = scores(rng, conditions, CAPTURES, REPEATS, spread)
        x = x + effect
        interval = statistics.clustered_mean(x, weights, ways)
        low, high = naive(x)
        inside += interval.low <= effect <= interval.high
        usual += low <= effect <= high
        rejected += interval.p_value < 0.05
    return inside / simulations, usual / simulations, rejected / simulations


def widths(
    repeats: int, spread: Spread, simulations: int
) -> tuple[float, float, float]:
    """The share of intervals that contain the truth, with 12 conditions.

    Returns:
      This share, and the quantiles 0.1 and 0.9 of the half widths.
    """
    intervals = []
    for seed in range(simulations):
        rng = np.random.default_rng(seed)
        x, weights, ways = scores(rng, 12, CAPTURES, repeats, spread)
        intervals.append(statistics.clustered_mean(x, weights, ways))
    inside = np.mean([interval.low <= 0 <= interval.high for interval in intervals])
    half = [interval.high - interval.value for interval in intervals]
    low, high = np.quantile(half, [0.1, 0.9])
    return float(inside), float(low), float(high)


def family(methods: int, simulations: int, effect: float = 0.0) -> float:
    """The share of simulations in which a comparison of all pairs finds a difference.

    Args:
      methods: how many are compared, with Holm's correction.
      simulations: how many.
      effect: by how much the first method is better than the others.
    """
    spread, rejected = SPREADS["all alike"], 0
    for seed in range(simulations):
        rng = np.random.default_rng(seed)
        drawn = [scores(rng, 12, CAPTURES, REPEATS, spread) for _ in range(methods)]
        x = np.stack([simulated[0] for simulated in drawn])
        x[0] += effect
        p = [
            statistics.clustered_mean(x[i] - x[j], drawn[0][1], drawn[0][2]).p_value
            for i in range(methods)
            for j in range(i)
        ]
        rejected += statistics.holm(p).min() < 0.05
    return rejected / simulations


def main(argv: Sequence[str]) -> None:
    cli.no_arguments(argv)
    simulations = _SIMULATIONS.value
    print(f"{simulations} simulations a line, {CAPTURES} captures, {REPEATS} repeats")
    print("conditions  variance                 covers  naive covers  null rejected")
    for conditions in CONDITIONS:
        for name, spread in SPREADS.items():
            ours, usual, rejected = coverage(conditions, spread, simulations)
            shares = f"{ours:6.3f}  {usual:12.3f}  {rejected:13.3f}"
            print(f"{conditions:10}  {name:23}  {shares}")
    print("repeats  variance                 covers  half width 10 % .. 90 %")
    least, statistics.LEAST_CLUSTERS = statistics.LEAST_CLUSTERS, 2
    for name in ("repeats differ most", "all alike"):
        for repeats in (2, 3, 5):
            inside, low, high = widths(repeats, SPREADS[name], simulations)
            print(f"{repeats:7}  {name:23}  {inside:6.3f}  {low:6.2f} .. {high:.2f}")
    statistics.LEAST_CLUSTERS = least
    power = coverage(12, SPREADS["all alike"], simulations, effect=1.5)[2]
    print(f"a planted difference of 3 deviations, 12 conditions: found in {power:.3f}")
    equal = family(4, simulations // 4)
    print(f"any difference among 4 equal methods, Holm: {equal:.3f}")
    unequal = family(4, simulations // 4, 2.5)
    print(f"the same with one better by 5 deviations: {unequal:.3f}")


if __name__ == "__main__":
    cli.run(main)
