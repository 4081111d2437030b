"""The space in which a run compares windows: learnt points, statistics, or both.

Training drops information that it does not need for its own conditions. Statistics of
the window, which no loss changes, still have it, so they can tell a novel condition
apart. On some networks they help and on others they do harm (docs/networks.md). So each
run chooses after training, on its validation captures.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from siamjax.evaluation import baselines
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
        ("raw", 0.5),
        ("raw", 1.0),
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
    """The space with the highest recall on validation, the first of equally good ones.

    Recall is the mean of `known` and `novel`, and over the curves.

    Args:
      curves: one for each run; each has a `dict(head, statistics, weight, known,
        novel)` for each space. `known` and `novel` are recalls; one that was not judged
        is absent.
    """
    scores = [np.mean([_score(row) for row in rows]) for rows in zip(*curves)]
    best = curves[0][int(np.argmax(scores))]
    return Space(best["head"], best["statistics"], best["weight"])


def _score(row):
    recalls = [row[name] for name in ("known", "novel") if name in row]
    return float(np.mean(recalls)) if recalls else 0.0
