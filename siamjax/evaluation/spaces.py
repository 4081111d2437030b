"""The space in which a run compares windows: learnt points, statistics, or both.

Training drops information that it does not need for its own conditions. Statistics of
the window, which no loss changes, still have it, so they can tell a novel condition
apart. On some networks they help and on others they do harm (docs/networks.md). So each
run chooses after training, on its validation captures.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from siamjax.evaluation import baselines, statistics
from siamjax.evaluation.statistics import Table
from siamjax.evaluation.wccn import Whitening
from siamjax.types import SiamjaxError

WCCN = "WCCN"  # a baseline, and the space that is the same
Statistics = Literal["none", "raw", "whitened"]


class Space(NamedTuple):
    """What the compared points consist of: a learnt point, statistics, or both.

    The learnt point of the match head has length 1, so `weight` is the length of the
    statistics relative to it.
    """

    head: str  # whose learnt point it has; empty: statistics alone
    statistics: Statistics
    weight: float  # length of the statistics


def list_spaces(heads: Sequence[str]) -> tuple[Space, ...]:
    """The spaces to choose from, the default first.

    Args:
      heads: names of heads, the one that decides by default first.
    """
    first = heads[0]
    beside: tuple[tuple[Statistics, float], ...] = (
        ("whitened", 2.0),
        ("whitened", 1.0),
        ("whitened", 0.5),
        ("raw", 1.0),
        ("raw", 0.5),
    )
    return (
        *(Space(first, kind, weight) for kind, weight in beside),
        *(Space(head, "none", 0.0) for head in heads),
        Space("", "whitened", 1.0),
    )


def to_space(
    space: Space,
    learnt: Mapping[str, np.ndarray],
    windows: np.ndarray,
    whitening: Whitening | None,
) -> np.ndarray:
    """Points `[N, E]` of windows in a space.

    Args:
      space: one of `list_spaces`.
      learnt: {head: `[N, E]`}, learnt points without statistics beside them.
      windows: `[N, T, F]`, features.
      whitening: of the run, see `evaluation.wccn`; None: none was learnt.
    Raises:
      SiamjaxError: the space needs a whitening, and there is none.
    """
    parts = []
    if space.head:
        parts.append(np.asarray(learnt[space.head], np.float64))
    if space.statistics == "raw":
        parts.append(space.weight * baselines.directions(windows))
    elif space.statistics == "whitened":
        if whitening is None:
            raise SiamjaxError(
                "the run has no whitened statistics, because it was not evaluated: run "
                "siamjax evaluate first"
            )
        parts.append(space.weight * baselines.wccn_points(windows, whitening))
    return np.concatenate(parts, -1)


def describe_space(space: Space) -> str:
    """A short name, such as `match + whitened 1`; WCCN is whitened statistics alone."""
    if not space.head:
        return WCCN
    if space.statistics == "none":
        return f"{space.head} alone"
    return f"{space.head} + {space.statistics} {space.weight:g}"


def choose(curves: Sequence[Sequence[Mapping[str, Any]]]) -> Space:
    """The space for a run: the default, unless another one is clearly better.

    Recall on a few validation captures varies more than most spaces differ. So another
    space is taken only if its recall is higher than that of the default by more than
    the paired interval; of those the one with the highest recall. Where nothing was
    judged, it is the first one without whitened statistics.

    Args:
      curves: of one run or of several, with a row for each space, the default first.
        A row has the fields of a `Space` and `less`: {group: interval `[value, low,
        high]` of its recall minus that of the default}. Groups and curves count alike.
    """
    if not any(row["less"] for rows in curves for row in rows):
        return _without_validation(curves[0])
    best, gain = 0, 0.0
    for i, rows in enumerate(zip(*curves)):
        differences = [less for row in rows for less in row["less"].values()]
        value, low = _combine(differences)
        if low > 0 and value > gain:
            best, gain = i, value
    row = curves[0][best]
    return Space(row["head"], row["statistics"], row["weight"])


def _without_validation(rows):
    """The first space without whitening; the first one if all have it.

    The whitening is fitted on training windows. Without validation captures the
    distance beyond which a window is unknown is learnt on the same windows, and would
    be too short for new captures.
    """
    listed = [Space(row["head"], row["statistics"], row["weight"]) for row in rows]
    return next((s for s in listed if s.statistics != "whitened"), listed[0])


def make_curve(
    spaces: Sequence[Space], tables: Sequence[Mapping[str, Table]]
) -> list[dict[str, Any]]:
    """The rows that `choose` takes, with the recall of each group beside them.

    Args:
      spaces: the default first.
      tables: for each space {group: hits per capture and condition}, on the same
        windows and draws; empty where nothing was judged.
    """
    curve = []
    for space, by_group in zip(spaces, tables):
        recalls = {g: statistics.mean_recall(table) for g, table in by_group.items()}
        differences = {
            group: [
                round(number, 6)
                for number in statistics.recall_difference(table, tables[0][group])[:3]
            ]
            for group, table in by_group.items()
        }
        curve.append(dict(space._asdict(), **recalls, less=differences))
    return curve


def _combine(differences):
    """Value and lower end of the mean of independent intervals; 0, 0 of none."""
    if not differences:
        return 0.0, 0.0
    values, lows, _ = np.transpose(differences)
    half = np.sqrt(((values - lows) ** 2).sum()) / len(values)
    return float(values.mean()), float(values.mean() - half)
