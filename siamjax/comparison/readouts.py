"""Scores of an embedding: one-shot accuracy, retrieval, detection of unknown windows.

Each readout is a score per window, summed by (condition, capture): intervals are
computed over these independent samples.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.spatial import distance

from siamjax import metrics
from siamjax.evaluation import one_shot, pairwise, unknowns
from siamjax.losses.diagnostics import COLLAPSED

KNOWN, NOVEL = "known", "novel"
# Name -> title, in the order of the tables.
METRICS = {
    "one_shot": "one-shot accuracy",
    "map_at_r": "MAP@R",
    "r_precision": "R-precision",
    "precision_at_1": "P@1",
    "auroc": "AUROC of unknown",
}
# Of these the score in `metrics.score_queries`.
RETRIEVAL = {
    "map_at_r": "map@r",
    "r_precision": "precision@r",
    "precision_at_1": "precision@1",
}


class Units(NamedTuple):
    """Sums of scores by unit; U units, each a (condition, capture) of the test."""

    condition: np.ndarray  # [U] int
    capture: np.ndarray  # [U] int
    score: np.ndarray  # [U], summed over judged windows and draws
    weight: np.ndarray  # [U], how many scores were summed; 0: not judged


def read_points(
    points: np.ndarray,
    conditions: np.ndarray,
    captures: np.ndarray,
    novel: Sequence[int],
    *,
    ways: int,
    draws: int,
    seed: int,
) -> dict[tuple[str, str], Units]:
    """{(metric, group): `Units`} of points, group `known` or `novel`.

    Args:
      points: `[N, E]` finite floats.
      conditions: `[N]` int, none below 0.
      captures: `[N]` int.
      novel: conditions that training never saw.
      ways: how many conditions a draw of one-shot tells apart; 0: all.
      draws: how often examples are drawn.
      seed: of the draws. They depend on the seed, conditions and captures alone.
    """
    by_query = metrics.score_queries(
        points, conditions, list(RETRIEVAL.values()), groups=captures
    )
    scores = {metric: by_query[name] for metric, name in RETRIEVAL.items()}
    hits = n_way_hits(points, conditions, captures, ways=ways, draws=draws, seed=seed)
    scores["one_shot"] = hits
    is_novel = np.isin(conditions, novel)
    sums = {}
    for metric, score in scores.items():
        for group, rows in ((KNOWN, ~is_novel), (NOVEL, is_novel)):
            sums[metric, group] = _units(score, rows, conditions, captures)
    farther = unknown_chances(
        points, conditions, captures, is_novel, draws=draws, seed=seed
    )
    sums["auroc", NOVEL] = _units(farther, is_novel, conditions, captures)
    return sums


def n_way_hits(
    points: np.ndarray,
    conditions: np.ndarray,
    captures: np.ndarray,
    *,
    ways: int,
    draws: int,
    seed: int,
) -> np.ndarray:
    """Hits `[draws, N]` of one-shot recognition, NaN where not judged.

    Each draw tells `ways` other conditions apart, with other examples.
    """
    all_classes = np.unique(conditions)
    if not 0 < ways < len(all_classes):
        return one_shot.recognise(
            points, conditions, captures, draws=draws, seed=seed
        ).hits
    rng, hits = np.random.default_rng(seed), np.full((draws, len(points)), np.nan)
    for draw in range(draws):
        classes = np.sort(rng.choice(all_classes, ways, replace=False))
        rows = np.isin(conditions, classes)
        judged = one_shot.recognise(
            points[rows],
            conditions[rows],
            captures[rows],
            draws=1,
            seed=int(rng.integers(2**31)),
            classes=classes,
        )
        hits[draw, rows] = judged.hits[0]
    return hits


def unknown_chances(
    points: np.ndarray,
    conditions: np.ndarray,
    captures: np.ndarray,
    is_novel: np.ndarray,
    *,
    draws: int,
    seed: int,
) -> np.ndarray:
    """`[draws, N]` chance that a novel window is farther from its nearest example
    than a known window is; NaN for known windows.

    Each known condition has one example and the same weight. Windows of captures that
    gave an example are not judged.
    """
    points = np.asarray(points, np.float64)
    known = np.unique(conditions[~is_novel])
    chances = np.full((draws, len(points)), np.nan)
    for draw, chosen in enumerate(
        one_shot.draw_examples(
            conditions, captures, known, shots=1, draws=draws, seed=seed
        )
    ):
        rows = np.concatenate(chosen)
        others = ~np.isin(captures, captures[rows])
        near = pairwise.distances(points, points[rows]).min(1)  # [N]
        judged = others & ~is_novel
        if not judged.any():
            continue
        count = np.bincount(conditions[judged], minlength=conditions.max() + 1)
        weights = 1.0 / count[conditions[judged]]
        asked = others & is_novel
        chances[draw, asked] = unknowns.chance_farther(
            near[judged], near[asked], weights
        )
    return chances


def embed_distances(distances: np.ndarray) -> np.ndarray:
    """Points `[N, N]` whose distances are ordered like the given distances `[N, N]`.

    For methods that give distances and no points: the readouts use only the order. The
    squared distance of two points is the given one plus a constant, the smallest one
    for which such points exist.

    Args:
      distances: symmetric, 0 on the diagonal; they need not be a metric.
    Reference: Roth, Laub, Kawanabe, Buhmann, "Optimal cluster preserving embedding of
      nonmetric proximity data", PAMI 2003.
    """
    d = (distances + distances.T) / 2
    d = d - d.mean(0)
    values, vectors = np.linalg.eigh(-(d - d.mean(1, keepdims=True)) / 2)
    return vectors * np.sqrt(values - min(values[0], 0.0))


def map_at_r(
    points: np.ndarray,
    conditions: np.ndarray,
    captures: np.ndarray,
    judged: Sequence[int],
) -> float:
    """Mean over the judged conditions of the mean AP@R of their windows."""
    rows = np.isin(conditions, judged)
    gallery = metrics.Gallery(points, conditions, np.flatnonzero(rows), captures)
    judged_rows = points[rows], conditions[rows]
    scores = metrics.score_queries(
        *judged_rows, ["map@r"], gallery=gallery, groups=captures[rows]
    )
    precision = np.full(len(points), np.nan)
    precision[rows] = scores["map@r"]
    return condition_mean(_units(precision, rows, conditions, captures))


def condition_mean(units: Units) -> float:
    """The mean over conditions of each one's mean score; NaN if none was judged."""
    total = np.bincount(units.condition, units.score)
    count = np.bincount(units.condition, units.weight)
    judged = count > 0
    return float((total[judged] / count[judged]).mean()) if judged.any() else np.nan


def is_collapsed(points: np.ndarray) -> bool:
    """Whether finite points are nearly equal, by the limit of `losses.diagnostics`."""
    points = np.asarray(points, np.float64)  # squares of float32 would overflow
    size = np.sqrt((points**2).sum() / max(len(points), 1))
    return bool(distance.pdist(points).mean() <= COLLAPSED * size)


def _units(score, rows, conditions, captures):
    """`Units` of scores `[N]` or `[D, N]`, over the chosen rows."""
    score = np.atleast_2d(score)
    judged = np.isfinite(score)
    pairs, place = np.unique(
        np.stack([conditions, captures], 1)[rows], axis=0, return_inverse=True
    )
    place = place.reshape(-1)
    total = np.where(judged, score, 0.0).sum(0)[rows]
    return Units(
        pairs[:, 0],
        pairs[:, 1],
        np.bincount(place, total, len(pairs)),
        np.bincount(place, judged.sum(0)[rows], len(pairs)),
    )
