"""Pictures of windows of traffic: one of each condition, and the worst mistakes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

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
from siamjax.types import TEST, Windows

# How many mistakes are shown, and how many of one condition under one wrong name.
MISTAKES, ALIKE = 12, 2


class _Judged(NamedTuple):
    """The N test windows of a run, and how far they are from its X examples."""

    run: Run
    splits: Splits
    library: Examples
    windows: Windows
    names: list[str]  # N conditions
    features: np.ndarray  # [N, T, F]
    example_features: np.ndarray  # [X, T, F]
    points: np.ndarray  # [N, E]
    distances: np.ndarray  # [N, X]


def gather_pictures(
    run: Run, splits: Splits, library: Examples, rule: Rule
) -> dict[str, Any]:
    """Traffic of each condition, and of the worst mistakes with their examples.

    Returns:
      The page's `pictures` and `mistakes` and what they share: see `reports.page`.
    """
    judged = _judge(run, splits, library)
    examples = [
        dict(
            place._asdict(),
            traffic=heatmaps.pack_features(x),
            rows=heatmaps.deviating_columns(x[None]),
        )
        for place, x in zip(library.places, judged.example_features)
    ]
    to_names = comparing.relative_to_names(run, library)
    relative = None
    if to_names is not None:
        moments = wccn.signed_log_moments(judged.features)
        relative = to_names(moments, library.names)
    weighed = weighing.weigh_distances(judged.distances, relative, rule)
    mistakes = find_mistakes(weighed, judged.names, library.names, rule.unknown)
    return dict(
        columns=[column.name for column in splits.columns],
        clip=heatmaps.FULL_COLOUR,
        bin_s=float(run.config.data.bin_s),
        unknown=float(rule.unknown),
        pictures=[*examples, *_typical_novel(judged)],
        mistakes=[
            _mistake(judged, examples, i, named, alike)
            for i, named, alike in choose_mistakes(
                mistakes, judged.names, judged.windows.session
            )
        ],
    )


def _judge(run, splits, library):
    windows = splits.windows_of(TEST)
    inputs = splits.inputs(windows)
    points, examples = run.compared(*inputs), run.compared(*library.inputs)
    x, x_examples = (
        np.asarray(features.to_features(counts, baseline, run.scaler))
        for counts, baseline in (
            (inputs.counts, inputs.baseline),
            (library.counts, library.baseline),
        )
    )
    return _Judged(
        run=run,
        splits=splits,
        library=library,
        windows=windows,
        names=[splits.conditions.names[c] for c in windows.condition],
        features=x,
        example_features=x_examples,
        points=points,
        distances=pairwise.distances(points, examples),
    )


def _window(judged, i):
    """The picture of window i."""
    windows, x = judged.windows, judged.features[i]
    return dict(
        condition=judged.names[i],
        capture=judged.splits.sessions.names[windows.session[i]],
        start_s=float(windows.start[i] * judged.run.config.data.bin_s),
        traffic=heatmaps.pack_features(x),
        rows=heatmaps.deviating_columns(x[None]),
    )


def _typical_novel(judged):
    """Yields the most typical window of each condition without an example."""
    names = np.array(judged.names)
    for name in dict.fromkeys(judged.names):
        if name not in judged.library.names:
            rows = np.flatnonzero(names == name)
            points = judged.points[rows]
            yield _window(
                judged, rows[pairwise.distances(points, points).sum(1).argmin()]
            )


def _mistake(judged, examples, i, named, alike):
    """Window i beside the example that it was named after and that of its own name.

    Args:
      judged: the windows.
      examples: pictures of the examples.
      i: of the window.
      named: what it was named.
      alike: all windows of its condition with this name.
    """
    distances = judged.distances[i]
    same = [j for j, x in enumerate(judged.library.names) if x == judged.names[i]]
    nearest = int(distances.argmin())
    best = min(same, key=distances.item, default=None)
    beside = judged.example_features[[nearest, nearest if best is None else best]]
    return dict(
        window=_window(judged, i),
        named=named,
        distance=float(distances[nearest]),
        example=examples[nearest],
        own=None if best is None or best == nearest else examples[best],
        own_distance=None if best is None else float(distances[best]),
        rows=heatmaps.deviating_columns(np.stack([judged.features[i], *beside])),
        windows=len(alike),
        captures=len(set(judged.windows.session[alike].tolist())),
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
