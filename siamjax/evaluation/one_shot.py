"""One-shot recognition: each window gets the condition of its nearest example.

The draws of examples depend only on conditions, captures and seed. So all methods and
representations are judged on the same examples and can be compared in pairs.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from siamjax.checks import require
from siamjax.evaluation import pairwise

# Squared distances that differ by less than this share of the largest squared norm
# count as equal: more than the rounding of float64 sums, far less than what float32
# points can tell apart.
_TIE = 1e-12
# The same for sums of votes of windows, of which each is at most 1.
_VOTE_TIE = 1e-9

# How many distances are in memory at once, and how many numbers of points are copied.
_BLOCK, _COPIED = 2**23, 2**23


class OneShot(NamedTuple):
    """D draws, N windows, C classes, P pairs of (condition, capture) that have windows.

    A hit is 1 if the right condition alone is nearest, 1/k if it ties with k - 1
    others, else 0; NaN if the window was not judged.
    """

    classes: np.ndarray  # [C] int, the conditions that are told apart, ascending
    hits: np.ndarray  # [D, N]
    recall: np.ndarray  # [C], of judged windows over all draws; NaN: never judged
    mean: float  # of recall, over the conditions that were judged
    confusion: np.ndarray  # [C, C], share of row's windows named as column
    capture_hits: np.ndarray  # [D, P], of the majority of the windows of a pair
    capture_recall: np.ndarray  # [C], of capture_hits
    pair_condition: np.ndarray  # [P] int
    pair_capture: np.ndarray  # [P] int
    examples: np.ndarray  # [C] int, the fewest examples in a draw; at most `shots`


def recognise(
    points: np.ndarray,
    conditions: np.ndarray,
    captures: np.ndarray,
    *,
    shots: int = 1,
    draws: int = 100,
    seed: int = 0,
    classes: np.ndarray | Sequence[int] | None = None,
    library: np.ndarray | None = None,
) -> OneShot:
    """Recall per condition with `shots` examples each, over many draws of the examples.

    For each condition first captures are drawn, at most one for each shot, and then
    windows from these captures in turn. A condition with windows in the library
    draws only from those. In any other condition one capture gives no example, so that
    it can be judged. A draw judges the windows that are not in the library and whose
    capture gave no example of any condition. A window gets the condition of the nearest
    example, as in `identification`.

    Args:
      points: `[N, E]` finite floats.
      conditions: `[N]` int; windows outside `classes` take no part.
      captures: `[N]` int.
      shots: examples of each condition; fewer where a condition's captures have fewer.
      draws: how often examples are drawn.
      seed: of the draws.
      classes: conditions that are told apart; by default all that have windows.
      library: `[N]` bool, windows that may be examples and are never judged; none by
        default. They serve conditions with a single capture: it is judged and cannot
        give examples. See `data.splits.Splits.windows_to_judge`.
    Returns:
      `OneShot`. Points that are all equal score 1/C.
    Raises:
      UsageError: shapes or types do not fit, a point is not finite, there is no
        condition, or one without a window to draw an example from.
    """
    points, conditions, captures = _checked(points, conditions, captures)
    if classes is None:
        classes = shown_conditions(conditions)
    classes = np.unique(classes)
    require(
        len(classes) and draws > 0, "no condition has a window, or draws is below 1"
    )
    sets = draw_examples(
        conditions,
        captures,
        classes,
        shots=shots,
        draws=draws,
        seed=seed,
        library=library,
    )
    label = np.searchsorted(classes, conditions).clip(max=len(classes) - 1)
    takes_part = np.isin(conditions, classes)
    pairs, pair_of = np.unique(
        np.stack([conditions, captures], 1)[takes_part], axis=0, return_inverse=True
    )
    pair_label = np.searchsorted(classes, pairs[:, 0])
    hits = np.full((draws, len(points)), np.nan)
    capture_hits = np.full((draws, len(pairs)), np.nan)
    confusion = np.zeros((len(classes), len(classes)))
    member = np.zeros((len(pairs), len(points)))
    member[pair_of.reshape(-1), np.flatnonzero(takes_part)] = 1.0
    for draw, votes in enumerate(_votes(points, sets)):
        used = np.isin(captures, captures[np.concatenate(sets[draw])])
        judged = takes_part & ~used
        if library is not None:
            judged &= ~library
        votes = votes * judged[:, None]  # [N, C]
        hits[draw, judged] = votes[judged, label[judged]]
        np.add.at(confusion, label[judged], votes[judged])
        pair_votes = member @ votes  # [P, C]
        seen = member @ judged > 0
        majority = _shared(
            pair_votes >= pair_votes.max(-1, keepdims=True, initial=0.0) - _VOTE_TIE
        )
        capture_hits[draw, seen] = majority[seen, pair_label[seen]]
    recall = _recall(hits[:, takes_part], label[takes_part], len(classes))
    return OneShot(
        classes=classes,
        hits=hits,
        recall=recall,
        mean=float(np.nanmean(recall)) if np.isfinite(recall).any() else float("nan"),
        confusion=_share(confusion, confusion.sum(1, keepdims=True)),
        capture_hits=capture_hits,
        capture_recall=_recall(capture_hits, pair_label, len(classes)),
        pair_condition=pairs[:, 0],
        pair_capture=pairs[:, 1],
        examples=np.array([[len(rows) for rows in chosen] for chosen in sets]).min(0),
    )


def shown_conditions(conditions: np.ndarray) -> np.ndarray:
    """The conditions that have windows, ascending."""
    return np.unique(conditions[conditions >= 0])


def share_right(result: OneShot) -> np.ndarray:
    """`[N]` share of the draws in which each window was right; NaN: never judged."""
    judged = np.isfinite(result.hits)
    return _share(np.where(judged, result.hits, 0.0).sum(0), judged.sum(0))


def draw_examples(
    conditions: np.ndarray,
    captures: np.ndarray,
    classes: np.ndarray,
    *,
    shots: int,
    draws: int,
    seed: int,
    library: np.ndarray | None = None,
) -> list[list[np.ndarray]]:
    """For each draw, for each class, the rows `[<= shots]` of its examples.

    Arguments are those of `recognise`.
    """
    rng, by_class = np.random.default_rng(seed), []
    for c in classes:
        shows = conditions == c
        in_library = shows & library if library is not None else np.zeros_like(shows)
        spared = 0 if in_library.any() else 1  # captures that give no example
        rows = np.flatnonzero(shows if spared else in_library)
        require(len(rows), f"condition {c} has no window to draw an example from")
        groups = [rows[captures[rows] == s] for s in np.unique(captures[rows])]
        by_class.append((groups, spared))
    return [
        [_draw(rng, groups, shots, spared) for groups, spared in by_class]
        for _ in range(draws)
    ]


def _votes(points: np.ndarray, sets: list) -> Iterator[np.ndarray]:
    """Yields `[N, C]` for each draw: 1 at the nearest condition, 1/k if k tie.

    Args:
      points: `[N, E]`.
      sets: for each draw, for each class, the rows of its examples.
    """
    centre = points.mean(0)  # is subtracted: no digits are lost to a common offset
    size = max(1, _COPIED // max(points.shape[1], 1))
    blocks = [slice(first, first + size) for first in range(0, len(points), size)]
    tie = _TIE * max(pairwise.squared_norms(points[rows]).max() for rows in blocks)
    most = max(sum(map(len, chosen)) for chosen in sets)
    draws = max(1, _BLOCK // (len(points) * most))
    for i in range(0, len(sets), draws):
        block = [rows for chosen in sets[i : i + draws] for rows in chosen]
        # Most windows are an example in several draws.
        used, place = np.unique(np.concatenate(block), return_inverse=True)
        examples = points[used] - centre
        norms = pairwise.squared_norms(examples)
        starts = np.cumsum([0, *map(len, block[:-1])])
        nearest = np.empty((len(points), len(block)))  # [N, D * C], squared distances
        for rows in blocks:
            d2 = pairwise.fast_squared(points[rows] - centre, examples, norms)
            np.minimum.reduceat(d2[:, place], starts, axis=1, out=nearest[rows])
        of_draws = nearest.reshape(len(points), -1, len(sets[0]))
        is_nearest = of_draws <= of_draws.min(-1, keepdims=True) + tie
        yield from _shared(is_nearest).swapaxes(0, 1)


def _draw(rng, groups, shots, spared):
    """Draws rows of one condition: `groups` are its rows by capture, and `spared` of
    these captures give none."""
    count = min(shots, max(1, len(groups) - spared))
    order = rng.permutation(len(groups))[:count]
    turns = itertools.zip_longest(*(rng.permutation(groups[i]) for i in order))
    rows = [row for turn in turns for row in turn if row is not None]
    return np.array(rows[:shots], int)


def _checked(points, conditions, captures):
    points = np.asarray(points, np.float64)
    conditions, captures = np.asarray(conditions), np.asarray(captures)
    require(points.ndim == 2, f"points must be [N, E], not {list(points.shape)}")
    for name, values in (("conditions", conditions), ("captures", captures)):
        require(
            values.shape == points.shape[:1] and values.dtype.kind in "iu",
            f"{name} must be [{len(points)}] integers, not {values.dtype} "
            f"{list(values.shape)}",
        )
    bad = int((~np.isfinite(points)).any(-1).sum())
    require(not bad, f"{bad} of {len(points)} points are not finite")
    return points, conditions, captures


def _shared(nearest):
    """`[..., C]` bool -> 1/k at each of the k that are true, 0 elsewhere."""
    return nearest / np.maximum(nearest.sum(-1, keepdims=True), 1)


def _recall(hits, label, classes):
    """`[C]` mean of the judged hits `[D, N]` of each label `[N]`."""
    judged = np.isfinite(hits)
    count = np.bincount(label, judged.sum(0), minlength=classes)
    right = np.bincount(label, np.where(judged, hits, 0.0).sum(0), minlength=classes)
    return _share(right, count)


def _share(right, judged):
    return np.divide(right, judged, out=np.full(right.shape, np.nan), where=judged > 0)
