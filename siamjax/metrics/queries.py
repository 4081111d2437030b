"""Retrieval: how many of a query's nearest rows are of its own class.

scores = score_queries(embeddings, labels, ("hit_rate@1", "map@r"))
average(scores["map@r"])
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from siamjax.checks import require
from siamjax.evaluation import pairwise
from siamjax.metrics import arrays, rankings
from siamjax.metrics.arrays import Array

Distance = Literal["euclidean", "cosine", "dot"]
# Numbers in memory at once: 64 MB of float64.
_BLOCK = 2**23
# Distances that differ by less than this share of their size, or of the size of the
# numbers that they are sums of, count as equal: more than the rounding of float64 sums,
# far less than what float32 points can tell apart.
_TIE = 1e-12


class Gallery(NamedTuple):
    """Rows that queries are compared with, in place of the queries themselves.

    `query_rows` is required. A query that is in the gallery, but whose row there is not
    given, would find itself at distance 0.
    """

    embeddings: Array  # [R, E]
    labels: Array  # [R] int
    query_rows: Array | int  # [Q] int, each query's own row here; -1: none
    groups: Array | None = None  # [R] int


def score_queries(
    embeddings: Array,
    labels: Array,
    names: Sequence[str],
    *,
    gallery: Gallery | None = None,
    groups: Array | None = None,
    distance: Distance = "euclidean",
) -> dict[str, np.ndarray]:
    """Scores of each query's ranking of the gallery, with ties shared.

    A query never meets its own row. Distances are computed in float64, for as many
    queries at once as 64 MB allow.

    Args:
      embeddings: `[Q, E]` finite floats, the queries.
      labels: `[Q]` int.
      names: of the scores, where R is the number of relevant rows in the gallery, those
        of the query's class that may be compared with it:

        - `hit_rate@k`: 1 if one of the first k rows is relevant (Recall@K of papers on
          metric learning; CMC);
        - `precision@k`: the share of relevant rows among the first k; `precision@r`:
          among the first R (R-precision);
        - `relevant_share@k`: the share of the relevant rows that is among the first k
          (recall of information retrieval);
        - `map`: the mean over the relevant rows of the precision at their place; in
          `map@r` and `map@k` a row beyond the first R or k counts 0, and the sum is
          divided by R, or by the lesser of k and R;
        - `mrr`, `mrr@k`: 1 / place of the first relevant row, 0 beyond k;
        - `ndcg`, `ndcg@r`, `ndcg@k`: the sum of 1 / log2(1 + place) over relevant rows,
          divided by the largest possible one.
      gallery: `Gallery` of R rows; the queries themselves by default.
      groups: `[Q]` int, such as captures: rows of the query's own group are not
        compared with it. A gallery then needs `Gallery.groups`, too.
      distance: `euclidean`; `cosine`, between rows of unit length, where a row of zeros
        is equally far from all; or `dot`, where a larger product is nearer.
    Returns:
      {name: `[Q]` float}; NaN for a query without a relevant row.
    Raises:
      UsageError: shapes or types do not fit, a number is not finite, or there is no
        score of that name.
    References: Musgrave, Belongie, Lim, ECCV 2020 (R-precision, MAP@R); Manning,
      Raghavan, Schütze, "Introduction to information retrieval", 2008, chapter 8;
      McSherry, Najork, ECIR 2008 (expected values over ties); Jégou et al., PAMI 2011
      (Recall@K).
    """
    scores = _parse(names)
    require(
        distance in get_args(Distance),
        f"distance is {distance!r}: use one of {', '.join(get_args(Distance))}",
    )
    x, own_labels = arrays.as_rows("", embeddings, labels)
    own_groups = (
        None if groups is None else arrays.as_integers("groups", groups, len(x))
    )
    if gallery is None:
        y, other_labels, query_rows = x, own_labels, np.arange(len(x))
        other_groups = own_groups
    else:
        require(
            isinstance(gallery, Gallery),
            f"gallery must be a Gallery, got {type(gallery).__name__}: give "
            "metrics.Gallery(embeddings, labels, query_rows=...)",
        )
        y, other_labels = arrays.as_rows("gallery.", gallery.embeddings, gallery.labels)
        require(
            y.shape[1] == x.shape[1],
            f"gallery.embeddings have {y.shape[1]} coordinates, embeddings "
            f"{x.shape[1]}: both must have the same number",
        )
        query_rows = _check_query_rows(gallery.query_rows, len(x), len(y))
        require(
            (groups is None) == (gallery.groups is None),
            "give both groups and gallery.groups, or none of them",
        )
        other_groups = None
        if gallery.groups is not None:
            other_groups = arrays.as_integers("gallery.groups", gallery.groups, len(y))
    x, y, tie = _prepare(x, y, distance)
    block = max(1, _BLOCK // max(1, len(y)))
    cuts = [score.cut for score in scores.values()]
    chunks: dict[str, list] = {name: [] for name in names}
    for start in range(0, len(x), block):
        rows = slice(start, start + block)
        cost = _costs(x[rows], y, distance)
        inside = query_rows[rows] >= 0
        cost[np.flatnonzero(inside), query_rows[rows][inside]] = np.inf
        if own_groups is not None:
            cost[own_groups[rows][:, None] == other_groups] = np.inf
        relevant = own_labels[rows][:, None] == other_labels
        ranking = rankings.rank(
            cost,
            relevant,
            depth=_depth(cuts, relevant),
            tie=tie[rows],
            tie_share=_TIE,
        )
        for name, score in scores.items():
            chunks[name].append(rankings.expected_score(ranking, score))
    return {name: np.concatenate([[], *parts]) for name, parts in chunks.items()}


def score_distances(
    distances: Array, relevant: Array, names: Sequence[str], *, tie: float = 0.0
) -> dict[str, np.ndarray]:
    """Scores of rankings by distances of your own; see `score_queries`.

    Args:
      distances: `[Q, N]` float; infinity: not in the ranking. Give minus a similarity.
      relevant: `[Q, N]` bool.
      names: of the scores.
      tie: distances that differ by at most this count as equal.
    Returns:
      {name: `[Q]` float}; NaN for a query without a relevant row.
    Raises:
      UsageError: shapes or types do not fit, a distance is NaN or minus infinity, or
        there is no score of that name.
    """
    scores = _parse(names)
    cost, relevant = np.asarray(distances), np.asarray(relevant)
    require(
        cost.ndim == 2 and cost.shape == relevant.shape,
        f"distances have the shape {list(cost.shape)}, relevant "
        f"{list(relevant.shape)}: both must be [Q, N]",
    )
    require(
        cost.dtype.kind in "fiu", f"distances must be real numbers, got {cost.dtype}"
    )
    cost = cost.astype(np.float64)
    require(tie >= 0, f"tie is {tie}: give a difference of at least 0")
    require(relevant.dtype == bool, f"relevant must be bools, got {relevant.dtype}")
    require(
        (cost > -np.inf).all(),
        "distances hold a NaN or minus infinity: give infinity to leave a row out",
    )
    ranking = rankings.rank(cost, relevant, tie=tie)
    return {
        name: rankings.expected_score(ranking, score) for name, score in scores.items()
    }


def average(scores: np.ndarray, by: Array | None = None) -> float:
    """The mean over the queries that have a score; NaN if none has.

    Args:
      scores: `[Q]` float.
      by: `[Q]` int, such as labels: the mean over these of their means, so that a rare
        class counts as much as a common one.
    """
    scores = np.asarray(scores, np.float64)
    kept = np.isfinite(scores)
    if by is None:
        return float(scores[kept].mean()) if kept.any() else np.nan
    by = np.asarray(by)
    require(
        by.shape == scores.shape,
        f"by has the shape {list(by.shape)}, scores {list(scores.shape)}: give one "
        "integer for each score",
    )
    _, group = np.unique(by[kept], return_inverse=True)
    means = np.bincount(group, scores[kept]) / np.maximum(np.bincount(group), 1)
    return float(means.mean()) if len(means) else np.nan


def _parse(names):
    require(
        not isinstance(names, str),
        f"names is the text {names!r}: give a list of names, [{names!r}]",
    )
    return {name: rankings.parse(name) for name in names}


def _check_query_rows(query_rows, queries, number):
    rows = np.asarray(query_rows)
    require(
        rows.dtype.kind in "iu" and rows.shape in ((), (queries,)),
        f"gallery.query_rows is {rows.dtype} {list(rows.shape)}: give -1 if no query "
        f"is in the gallery, or [{queries}] integers, each query's row there or -1",
    )
    rows = np.broadcast_to(rows, (queries,))
    outside = (rows < -1) | (rows >= number)
    require(
        not outside.any(),
        f"gallery.query_rows has {rows[outside][:1].tolist()}, but the gallery has "
        f"{number} rows: use 0 to {number - 1}, or -1 for none",
    )
    return rows


def _prepare(x, y, distance):
    """Rows that are ready for `_costs`, and for each query `[Q, 1]` the difference that
    counts as a tie. A few rows that are far from all others change neither much."""
    if distance == "cosine":
        x, y = _unit(x), _unit(y)
    # Squares neither overflow nor vanish: both are divided by one power of two.
    largest = max(np.abs(x).max(initial=0.0), np.abs(y).max(initial=0.0))
    exponent = -np.frexp(largest)[1]
    x, y = np.ldexp(x, exponent), np.ldexp(y, exponent)
    if distance == "euclidean" and len(y):
        # A common offset would cost digits.
        centre = np.median(y, 0)
        x, y = x - centre, y - centre
    size = (x**2).sum(1, keepdims=True)
    if distance != "euclidean" and len(y):
        size = np.sqrt(size * np.median((y**2).sum(1)))
    return x, y, _TIE * size


def _unit(x):
    largest = np.abs(x).max(1, keepdims=True, initial=0.0)
    x = x / np.where(largest > 0, largest, 1)
    norm = np.sqrt((x**2).sum(1, keepdims=True))
    return x / np.where(norm > 0, norm, 1)


def _costs(x, y, distance):
    return pairwise.fast_squared(x, y) if distance == "euclidean" else -(x @ y.T)


def _depth(cuts, relevant):
    """How many places the scores ask for; None for all."""
    if None in cuts:
        return None
    most_relevant = int(relevant.sum(1).max(initial=1))
    return max([1, *(most_relevant if cut == "r" else cut for cut in cuts)])
