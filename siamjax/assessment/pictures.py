"""Pictures of windows of traffic: one of each condition, and the worst mistakes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from siamjax.data import features
from siamjax.data.splits import Splits
from siamjax.evaluation import pairwise, wccn
from siamjax.identification import comparing, weighing
from siamjax.identification.examples import Examples
from siamjax.identification.rules import Rule
from siamjax.identification.timeline import UNKNOWN
from siamjax.inference.runs import Run
from siamjax.reports import heatmaps
from siamjax.types import TEST

# How many mistakes are shown, and how many of one condition under one wrong name.
MISTAKES, ALIKE = 12, 2


def gather_pictures(
    run: Run, splits: Splits, library: Examples, rule: Rule
) -> dict[str, Any]:
    """Traffic of each condition, and of the worst mistakes with their examples.

    Returns:
      The page's `pictures` and `mistakes` and what they share: see `reports.page`.
    """
    windows = splits.windows_of(TEST)
    inputs = splits.inputs(windows)
    points = run.compared(*inputs)
    z = np.asarray(features.to_features(inputs.counts, inputs.baseline, run.scaler))
    example_points = run.compared(*library.inputs)
    z_examples = np.asarray(
        features.to_features(library.counts, library.baseline, run.scaler)
    )
    distances = pairwise.distances(points, example_points)  # [N, X]
    names = [splits.conditions.names[c] for c in windows.condition]

    def window(i):
        return dict(
            condition=names[i],
            capture=splits.sessions.names[windows.session[i]],
            start_s=float(windows.start[i] * run.config.data.bin_s),
            traffic=heatmaps.pack_features(z[i]),
            rows=heatmaps.deviating_columns(z[i][None]),
        )

    examples = [
        dict(
            place._asdict(),
            traffic=heatmaps.pack_features(x),
            rows=heatmaps.deviating_columns(x[None]),
        )
        for place, x in zip(library.places, z_examples)
    ]

    def mistake(i, named, alike):
        same = [j for j, name in enumerate(library.names) if name == names[i]]
        nearest = int(distances[i].argmin())
        best = min(same, key=distances[i].item, default=None)
        compared = [nearest, nearest if best is None else best]
        return dict(
            window=window(i),
            named=named,
            distance=float(distances[i, nearest]),
            example=examples[nearest],
            own=None if best is None or best == nearest else examples[best],
            own_distance=None if best is None else float(distances[i, best]),
            rows=heatmaps.deviating_columns(np.stack([z[i], *z_examples[compared]])),
            windows=len(alike),
            captures=len(set(windows.session[alike].tolist())),
        )

    shown = list(examples)
    for name in dict.fromkeys(names):
        if name not in library.names:  # novel: its most typical window
            rows = np.flatnonzero(np.array(names) == name)
            sums = pairwise.distances(points[rows], points[rows]).sum(1)
            shown.append(window(rows[sums.argmin()]))
    to_names = comparing.relative_to_names(run, library)
    relative = None
    if to_names is not None:
        relative = to_names(wccn.signed_log_moments(z), library.names)
    weighed = weighing.weigh_distances(distances, relative, rule)
    mistakes = find_mistakes(weighed, names, library.names, rule.unknown)
    return dict(
        columns=[column.name for column in splits.columns],
        clip=heatmaps.FULL_COLOUR,
        bin_s=float(run.config.data.bin_s),
        unknown=float(rule.unknown),
        pictures=shown,
        mistakes=[
            mistake(i, named, alike)
            for i, named, alike in choose_mistakes(mistakes, names, windows.session)
        ],
    )


def find_mistakes(
    distances: np.ndarray,
    names: Sequence[str],
    example_names: Sequence[str],
    unknown: float,
) -> list[tuple[int, str]]:
    """`[(window, what it was named)]` of wrong decisions, the most confident first.

    A window of a condition with an example is wrong if it gets another name. A
    window of another condition is wrong if it is not named unknown.

    Args:
      distances: `[N, X]` of windows to examples, of `weighing.weigh_distances`.
      names: N true conditions.
      example_names: X conditions.
      unknown: the distance beyond which a window is named unknown.
    """
    mistakes = []
    for i, row in enumerate(distances):
        nearest = row.min()
        named = example_names[int(row.argmin())] if nearest <= unknown else UNKNOWN
        true = names[i] if names[i] in example_names else UNKNOWN
        if named != true:
            right = [d for d, name in zip(row, example_names) if name == true]
            margin = min(right, default=unknown) - min(nearest, unknown)
            mistakes.append((-float(margin), i, named))
    return [(i, named) for _, i, named in sorted(mistakes)]


def choose_mistakes(
    mistakes: Sequence[tuple[int, str]], names: Sequence[str], sessions: np.ndarray
) -> list[tuple[int, str, list[int]]]:
    """`[(window, what it was named, all windows of its kind)]`, the worst first.

    Mistakes are of one kind if windows of the same condition got the same name. The
    worst few of each kind are returned, from different sessions.

    Args:
      mistakes: what `find_mistakes` gives.
      names: N true conditions.
      sessions: `[N]` int.
    """
    kinds: dict[tuple[str, str], list[int]] = {}
    for i, named in mistakes:
        kinds.setdefault((names[i], named), []).append(i)
    chosen = []
    shown: dict[tuple[str, str], list[int]] = {kind: [] for kind in kinds}
    for i, named in mistakes:
        kind = names[i], named
        if len(shown[kind]) < ALIKE and sessions[i] not in shown[kind]:
            shown[kind].append(sessions[i])
            chosen.append((i, named, kinds[kind]))
    return chosen[:MISTAKES]
