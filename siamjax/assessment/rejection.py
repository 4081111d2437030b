"""How well unknown windows are told from known ones, by their distances alone.

The schema of `rejection` in results.json: {"known", "unknown": how many windows,
"training", "examples": {"auroc", "fpr95"}}. `training` is the novelty, see
`evaluation.novelty`, by which siamjax decides, and `examples` the distance to the
nearest example. Each known condition has the same weight. `fpr95` is the share of known
windows that would be called unknown, where 95 % of the unknown ones are.
"""

from typing import Any

import numpy as np

from siamjax.data.splits import Splits
from siamjax.data.windows import take
from siamjax.evaluation import novelty, pairwise, unknowns, wccn
from siamjax.identification import comparing
from siamjax.identification.examples import Examples
from siamjax.identification.fitting import Scores
from siamjax.inference.runs import Run
from siamjax.types import TEST


def judge_windows(run: Run, splits: Splits, library: Examples) -> dict[str, Any] | None:
    """The `rejection` of the test windows of a run; None where a side has no window.

    Args:
      run: that decides.
      splits: of the data.
      library: the examples; windows of their conditions are known.
    """
    shown = splits.window_mask(TEST) & (splits.windows.condition >= 0)
    windows = take(splits.windows, np.flatnonzero(shown))
    if not len(windows.start):
        return None
    points = run.compared(*splits.inputs(windows))
    examples = run.compared(*library.inputs)
    to_names = comparing.relative_to_names(run, library)
    assert to_names is not None  # the run was evaluated by this version
    moments = wccn.signed_log_moments(splits.features(windows))
    relative = to_names(moments, library.names)
    distance = pairwise.distances(points, examples).min(1)
    scores = novelty.score_novelty(relative)
    codes = [splits.conditions.names.index(name) for name in set(library.names)]
    known = np.isin(windows.condition, codes)
    if known.all() or not known.any():
        return None
    _, inverse, count = np.unique(
        windows.condition[known], return_inverse=True, return_counts=True
    )
    return compare_scores(
        Scores(distance[known], scores[known]),
        Scores(distance[~known], scores[~known]),
        1 / count[inverse],
    )


def compare_scores(
    known: Scores, unknown: Scores, weights: np.ndarray | None = None
) -> dict[str, Any] | None:
    """The `rejection` of windows; None where a side has no window.

    Args:
      known, unknown: of the windows.
      weights: of the known ones; by default all are equal.
    """
    if not len(known.distance) or not len(unknown.distance):
        return None
    sizes = dict(known=len(known.distance), unknown=len(unknown.distance))
    return sizes | dict(
        training=_rates(known.novelty, unknown.novelty, weights),
        examples=_rates(known.distance, unknown.distance, weights),
    )


def describe_rejection(judged: dict[str, Any]) -> str:
    """A line about `compare_scores`."""
    training, examples = judged["training"], judged["examples"]
    return (
        f"unknown windows by their distance to training windows: "
        f"AUROC {training['auroc']:.3f}, FPR at 95 % {training['fpr95']:.2f} "
        f"(to the examples alone: {examples['auroc']:.3f}, {examples['fpr95']:.2f})"
    )


def _rates(known, unknown, weights):
    return dict(
        auroc=float(unknowns.chance_farther(known, unknown, weights).mean()),
        fpr95=unknowns.false_positives(known, unknown, weights),
    )
