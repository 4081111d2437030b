"""Scores of rankings in which rows that are equally near share their places.

Every score is its expected value over all orders of the rows that tie. So the order of
storage has no effect, and points that are all equal score as a guess does.
"""

import functools
from typing import NamedTuple

import numpy as np

from siamjax.checks import require

# Names of the scores; each is followed by `@` and a cut, or by nothing where it allows.
SCORES = ("hit_rate", "precision", "relevant_share", "map", "mrr", "ndcg")
_WITHOUT_CUT = ("map", "mrr", "ndcg")
_WITH_R = ("precision", "map", "ndcg")
# More places than any ranking has.
_EVERY = 2**62
Tie = float | np.ndarray


class Score(NamedTuple):
    """A score of the first rows of a ranking."""

    name: str  # one of `SCORES`
    cut: int | str | None  # the first k rows, `r` for as many as are relevant, or all


class Ranking(NamedTuple):
    """Rankings of Q queries: the G groups of rows that tie and hold a relevant row.

    A row that ties with none is a group of one. The groups are ordered by query, and
    the nearest is first.
    """

    query: np.ndarray  # [G] int, whose group it is
    before: np.ndarray  # [G] int, rows that are nearer
    hits_before: np.ndarray  # [G] int, the relevant ones among them
    size: np.ndarray  # [G] int, rows of the group
    hits: np.ndarray  # [G] int, the relevant ones among them, at least one
    relevant: np.ndarray  # [Q] int, all relevant rows, also those not in a group


def parse(text: str) -> Score:
    """The `Score` of a text such as `map@r`, `hit_rate@10` or `mrr`.

    Raises:
      UsageError: there is no such score, or it has no such cut.
    """
    name, mark, cut = text.partition("@")
    require(
        name != "recall",
        f"{text!r} means two things: hit_rate@k is 1 where a relevant row is among the "
        "first k (Recall@K of metric learning), relevant_share@k is the share of the "
        "relevant rows that is among them (recall of information retrieval)",
    )
    require(name in SCORES, f"no score {name!r}: use one of {', '.join(SCORES)}")
    allowed = ["@k with a whole number k of at least 1"]
    allowed += ["@r"] if name in _WITH_R else []
    allowed += ["nothing after it"] if name in _WITHOUT_CUT else []
    words = f"{text!r}: {name} allows {' or '.join(allowed)}"
    if not mark:
        require(name in _WITHOUT_CUT, words)
        return Score(name, None)
    if cut == "r":
        require(name in _WITH_R, words)
        return Score(name, "r")
    require(cut.isascii() and cut.isdigit() and int(cut) > 0, words)
    return Score(name, min(int(cut), _EVERY))


def rank(
    distances: np.ndarray,
    relevant: np.ndarray,
    *,
    depth: int | None = None,
    tie: Tie,
    tie_share: float = 0.0,
) -> Ranking:
    """Ranks the rows of each query by their distance.

    Args:
      distances: `[Q, N]` float; a row at infinity is not in the ranking.
      relevant: `[Q, N]` bool.
      depth: how many places a score asks for, if not for all.
      tie: distances that differ by at most this count as equal; a number, or `[Q, 1]`.
      tie_share: so do those that differ by at most this share of the nearer one's size.
    """
    relevant = relevant & np.isfinite(distances)
    number = relevant.sum(1)
    nothing = np.zeros(0, np.int64)
    if not number.any():
        return Ranking(nothing, nothing, nothing, nothing, nothing, number)
    # No score depends on what is beyond the farthest relevant row.
    bound = np.where(relevant, distances, -np.inf).max(1)
    columns = distances.shape[1]
    if depth is not None and depth < columns:
        last_place = np.partition(distances, depth - 1, axis=1)[:, depth - 1]
        bound = np.minimum(bound, last_place)
    bound = bound[:, None]
    # Without a relevant row the bound is minus infinity.
    size = np.where(np.isfinite(bound), np.abs(bound), 0)
    bound = bound + np.maximum(tie, tie_share * size)
    inside = distances <= bound
    width = int(inside.sum(1).max())
    query_of_hit, column = np.nonzero(relevant & inside)
    hit = distances[query_of_hit, column]
    if width < columns:
        distances = np.partition(distances, width - 1, axis=1)[:, :width]
    # Values alone: to sort indices, too, would take several times as long.
    distances = np.sort(distances, axis=1)
    starts_group = np.ones(distances.shape, bool)
    with np.errstate(invalid="ignore"):  # infinity less infinity
        equal = tie
        if tie_share:
            equal = np.abs(distances[:, :-1])
            equal *= tie_share
            np.maximum(equal, tie, out=equal)
        starts_group[:, 1:] = np.diff(distances, axis=1) > equal
    first = np.flatnonzero(starts_group)
    place = [
        np.searchsorted(row, values)
        for row, values in zip(distances, _split(hit, query_of_hit, len(number)))
    ]
    position = query_of_hit * width + np.concatenate(place)
    group, hits = np.unique(
        np.searchsorted(first, position, "right") - 1, return_counts=True
    )
    query, before = np.divmod(first[group], width)
    # The last group of a row ends where its bound is, or the row.
    last = (query * width) + (distances <= bound).sum(1)[query]
    end = np.minimum(np.append(first, distances.size)[group + 1], last)
    all_before = np.cumsum(hits) - hits
    hits_before = all_before - all_before[np.searchsorted(query, query)]
    return Ranking(query, before, hits_before, end - first[group], hits, number)


def _split(values, group, number):
    """The values of each of `number` groups; `group` ascends."""
    return np.split(values, np.searchsorted(group, np.arange(1, number)))


def expected_score(ranking: Ranking, score: Score) -> np.ndarray:
    """`[Q]` expected value of a score; NaN for a query without a relevant row."""
    query, before, _, size, hits, relevant = ranking
    if score.cut == "r":
        cut = relevant
    else:
        cut = np.full(len(relevant), _EVERY if score.cut is None else score.cut)
    # How many places of the group are among the first `cut`.
    places = np.clip(cut[query] - before, 0, size)
    chance = hits / size  # that a relevant row stands at a place of the group
    if score.name == "hit_rate":
        terms = _chance_of_hit(ranking, places)
    elif score.name == "mrr":
        terms = _reciprocal_ranks(ranking, places)
    elif score.name == "map":
        terms = _precision_sums(ranking, places, chance)
    elif score.name == "ndcg":
        terms = chance * _discounts(before, places)
    else:
        terms = chance * places
    total = np.bincount(query, terms, minlength=len(relevant))
    best = {
        "hit_rate": np.ones(len(relevant)),
        "mrr": np.ones(len(relevant)),
        "precision": cut,
        "relevant_share": relevant,
        "map": np.minimum(cut, relevant),
        "ndcg": _discounts(np.zeros_like(relevant), np.minimum(cut, relevant)),
    }[score.name]
    return np.where(relevant > 0, total / np.where(relevant > 0, best, 1), np.nan)


def _precision_sums(ranking, places, chance):
    """Sums over the places of each group of chance times expected precision.

    Where the j-th place of a group of n with g relevant rows has one, the expected
    number of relevant rows before it in the group is (j - 1)(g - 1) / (n - 1).
    """
    _, before, hits_before, size, hits, _ = ranking
    slope = (hits - 1) / np.maximum(size - 1, 1)
    inverse = _sum_between(lambda place: 1 / place, before, places)
    return chance * (
        (hits_before + 1) * inverse + slope * (places - (before + 1) * inverse)
    )


def _discounts(before, places):
    """`[G]` sums of 1 / log2(1 + place) over `places` places after `before`."""
    return _sum_between(lambda place: 1 / np.log2(1 + place), before, places)


def _sum_between(function, before, places):
    """`[G]` sums of a function of the places `before` + 1 to `before + places`."""
    last = int((before + places).max(initial=0))
    cumulative = np.concatenate([[0.0], np.cumsum(function(np.arange(1.0, last + 1)))])
    # A single place exactly, without a difference of two sums.
    single = function(before + 1.0)
    several = cumulative[before + places] - cumulative[before]
    return np.where(places > 1, several, np.where(places > 0, single, 0.0))


def _chance_of_hit(ranking, places):
    """`[G]` the chance of a relevant row among the first places: the nearest group
    decides, and the others have none."""
    is_first = ranking.hits_before == 0
    chances = [
        _any_drawn(*triple) if first else 0.0
        for first, *triple in zip(
            is_first.tolist(),
            places.tolist(),
            ranking.size.tolist(),
            ranking.hits.tolist(),
        )
    ]
    return np.array(chances, np.float64)


@functools.lru_cache(4096)
def _any_drawn(places, size, hits):
    """The chance that `places` of `size` rows hold one of the `hits`."""
    if places + hits > size:
        return 1.0
    fewer, more = sorted((places, hits))
    i = np.arange(fewer)
    return 1.0 - float(np.prod((size - more - i) / (size - i)))


def _reciprocal_ranks(ranking, places):
    """`[G]` the expected 1 / rank of the first relevant row, 0 beyond the places."""
    is_first = ranking.hits_before == 0
    ranks = [
        _first_reciprocal(*values) if first else 0.0
        for first, *values in zip(
            is_first.tolist(),
            places.tolist(),
            ranking.before.tolist(),
            ranking.size.tolist(),
            ranking.hits.tolist(),
        )
    ]
    return np.array(ranks, np.float64)


@functools.lru_cache(4096)
def _first_reciprocal(places, before, size, hits):
    if size == 1:
        return places / (before + 1)
    # The first relevant row is at place x of the group with the chance that none is
    # before, times hits / (size - x + 1).
    i = np.arange(min(places, size - hits + 1))
    none_before = np.cumprod(np.r_[1.0, (size - hits - i) / (size - i)])[: len(i)]
    return float(np.sum(none_before * hits / (size - i) / (before + 1 + i)))
