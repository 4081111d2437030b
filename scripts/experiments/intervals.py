"""Coverage of the intervals and honesty of the tests, where the truth is known.

    python -m scripts.experiments.intervals

Scores of conditions x captures x repeats are simulated with a share of the variance in
each; the interval of 95 % should hold the truth in 92.5-97.5 % of 2000 simulations, a
test between methods that do not differ should find a difference in at most 6.5 %.
"""

import numpy as np
from absl import flags

from siamjax import cli
from siamjax.evaluation import statistics

_SIMULATIONS = flags.DEFINE_integer("simulations", 2000, "Of each case.")

# Deviations of what is drawn: condition, capture, repeat, repeat x condition, the rest.
SPREADS = {
    "conditions differ most": (1.0, 0.5, 0.5, 0.5, 0.5),
    "repeats differ most": (0.3, 0.3, 1.0, 0.3, 0.3),
    "all alike": (0.5, 0.5, 0.5, 0.5, 0.5),
}
CONDITIONS, CAPTURES, REPEATS = (12, 40), 3, 5


def scores(rng, conditions, captures, repeats, spread):
    """Scores `[N]` around 0, their weights, and their clusters in three ways."""
    r, c, k = np.indices((repeats, conditions, captures)).reshape(3, -1)
    capture = c * captures + k
    of_condition, of_capture, of_repeat, both, rest = spread
    x = of_condition * rng.normal(size=conditions)[c]
    x += of_capture * rng.normal(size=conditions * captures)[capture]
    x += of_repeat * rng.normal(size=repeats)[r]
    x += both * rng.normal(size=(repeats, conditions))[r, c]
    x += rest * rng.normal(size=len(r))
    return x, np.full(len(r), 1 / len(r)), [c, capture, r]


def naive(x):
    """The usual formula: every score a witness of its own."""
    half = 1.96 * x.std(ddof=1) / np.sqrt(len(x))
    return x.mean() - half, x.mean() + half


def coverage(conditions, spread, simulations, effect=0.0):
    """Shares in which ours and the naive interval hold the truth, and in which ours
    excludes 0."""
    inside = usual = found = 0
    for seed in range(simulations):
        rng = np.random.default_rng(seed)
        x, weights, ways = scores(rng, conditions, CAPTURES, REPEATS, spread)
        x = x + effect
        got = statistics.clustered_mean(x, weights, ways)
        low, high = naive(x)
        inside += got.low <= effect <= got.high
        usual += low <= effect <= high
        found += got.p_value < 0.05
    return inside / simulations, usual / simulations, found / simulations


def widths(repeats, spread, simulations):
    """The share of intervals that hold the truth, and the half widths that a tenth of
    them are below and above, of 12 conditions."""
    found = []
    for seed in range(simulations):
        rng = np.random.default_rng(seed)
        x, weights, ways = scores(rng, 12, CAPTURES, repeats, spread)
        found.append(statistics.clustered_mean(x, weights, ways))
    inside = np.mean([each.low <= 0 <= each.high for each in found])
    half = [each.high - each.value for each in found]
    return inside, *np.quantile(half, [0.1, 0.9])


def family(methods, simulations, effect=0.0):
    """The share of comparisons of all pairs in which Holm's correction finds any
    difference; the first method is better by `effect`."""
    spread, any_found = SPREADS["all alike"], 0
    for seed in range(simulations):
        rng = np.random.default_rng(seed)
        drawn = [scores(rng, 12, CAPTURES, REPEATS, spread) for _ in range(methods)]
        x = np.stack([one[0] for one in drawn])
        x[0] += effect
        p = [
            statistics.clustered_mean(x[i] - x[j], drawn[0][1], drawn[0][2]).p_value
            for i in range(methods)
            for j in range(i)
        ]
        any_found += statistics.holm(p).min() < 0.05
    return any_found / simulations


def main(argv):
    cli.no_arguments(argv)
    many = _SIMULATIONS.value
    print(f"{many} simulations a line, {CAPTURES} captures, {REPEATS} repeats")
    print("conditions  variance                 covers  naive covers  null rejected")
    for conditions in CONDITIONS:
        for name, spread in SPREADS.items():
            ours, usual, found = coverage(conditions, spread, many)
            print(
                f"{conditions:10}  {name:23}  {ours:6.3f}  {usual:12.3f}  {found:13.3f}"
            )
    print("repeats  variance                 covers  half width 10 % .. 90 %")
    least, statistics.LEAST_CLUSTERS = statistics.LEAST_CLUSTERS, 2
    for name in ("repeats differ most", "all alike"):
        for repeats in (2, 3, 5):
            inside, low, high = widths(repeats, SPREADS[name], many)
            print(f"{repeats:7}  {name:23}  {inside:6.3f}  {low:6.2f} .. {high:.2f}")
    statistics.LEAST_CLUSTERS = least
    power = coverage(12, SPREADS["all alike"], many, effect=1.5)[2]
    print(f"a planted difference of 3 deviations, 12 conditions: found in {power:.3f}")
    print(f"any difference among 4 equal methods, Holm: {family(4, many // 4):.3f}")
    print(f"the same with one better by 5 deviations: {family(4, many // 4, 2.5):.3f}")


if __name__ == "__main__":
    cli.run(main)
