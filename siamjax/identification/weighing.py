"""How far the windows of a session are from what is known, and what that costs."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from siamjax.evaluation import novelty, pairwise
from siamjax.identification.rules import Rule
from siamjax.types import NORMAL

# A fault that was taught: this share of its lead over the nearest other fault is taken
# from the distance to its example. Chosen with `fitting.TAUGHT` on runs moved to other
# networks (docs/identification.md).
CONTRAST = 0.5
# So many windows are weighed at once: a session of months has millions.
_BLOCK = 1 << 16


class Evidence(NamedTuple):
    """The distances of a session's N windows to the examples of K names."""

    names: tuple[str, ...]  # K
    start_s: np.ndarray  # [N] of windows, seconds after the first packet
    end_s: float  # of the session
    window_s: float  # length of a window
    distances: np.ndarray  # [N, K] to the nearest example of each name; inf: none
    nearest: np.ndarray  # [N, K] index of that example; -1: of none
    deviation: np.ndarray  # [N] mean absolute feature of the newest quarter of a window
    # [N] how odd a window is for the network, see `normality`, or its newest bin, see
    # `normal_bins`; None: neither is judged
    oddness: np.ndarray | None = None
    # [N, K] how far the nearest training window or example of each name is, see
    # `novelty.nearest_of_names`; None: the distances are taken for it
    relative: np.ndarray | None = None
    hop_s: float = 1.0  # from the start of a window to that of the next
    # From the start of a window to the bin that its verdict is of: 0, or its newest bin
    lead_s: float = 0.0

    @property
    def by_newest_bin(self) -> bool:
        """Whether the newest bin of a window decides whether it is normal."""
        return self.lead_s > 0


def take_windows(evidence: Evidence, rows: np.ndarray | slice) -> Evidence:
    """The evidence of some windows, by their indices."""
    columns: dict[str, Any] = {n: x[rows] for n, x in columns_of(evidence).items()}
    return evidence._replace(**columns)


def columns_of(evidence: Evidence) -> dict[str, Any]:
    """The fields of evidence with a row for each window, by name."""
    fields = evidence._asdict()
    return {name: x for name, x in fields.items() if isinstance(x, np.ndarray)}


def compare_windows(
    points: np.ndarray,
    examples: np.ndarray,
    names: Sequence[str],
    start_s: np.ndarray,
    end_s: float,
    window_s: float,
    deviation: np.ndarray,
) -> Evidence:
    """Distances of windows to the nearest example of each name.

    Args:
      points: `[N, E]` of the session's windows.
      examples: `[X, E]`.
      names: condition of each example, X of them.
      start_s, end_s, window_s, deviation: see `Evidence`.
    """
    order = tuple(dict.fromkeys(names))
    distances = pairwise.distances(points, examples)  # [N, X]
    distances = np.where(np.isfinite(distances), distances, np.inf)
    members = [np.flatnonzero(np.array(names) == name) for name in order]
    best = [rows[distances[:, rows].argmin(1)].astype(np.int32) for rows in members]
    windows = np.arange(len(distances))
    return Evidence(
        names=order,
        start_s=start_s,
        end_s=end_s,
        window_s=window_s,
        distances=np.stack([distances[windows, rows] for rows in best], 1),
        nearest=np.stack(best, 1),
        deviation=deviation,
    )


def weigh_windows(evidence: Evidence, rule: Rule) -> tuple[Evidence, np.ndarray]:
    """What each window costs in each condition; windows do not depend on each other.

    Returns:
      The evidence with what is normal in it, K names; costs `[N, K + 1]`, the last of
      `unknown`.
    """
    evidence = _with_normality(evidence, rule)
    distances = evidence.distances
    if not (np.isfinite(distances) | (distances == np.inf)).all():
        distances = np.where(np.isfinite(distances), distances, np.inf)
    evidence = evidence._replace(distances=distances)
    costs = np.empty((len(distances), len(evidence.names) + 1))
    for rows in _cut_blocks(len(distances)):
        costs[rows] = _cost_of(take_windows(evidence, rows), rule)
    return evidence, costs


def start_costs(evidence: Evidence, rule: Rule) -> np.ndarray:
    """`[K + 1]` what it costs a session to begin in each condition.

    Another one than normal costs as much as a change to it, so that one odd window at
    the beginning is no more an alarm than later.

    Args:
      evidence: of `weigh_windows`.
      rule: the numbers that decide.
    """
    if NORMAL not in evidence.names:
        return np.zeros(len(evidence.names) + 1)
    is_normal = np.array([*(name == NORMAL for name in evidence.names), False])
    return np.where(is_normal, 0.0, rule.penalty)


def _cost_of(evidence, rule):
    """Costs `[N, K + 1]`, see `weigh_windows`."""
    costs = _weighed(evidence, rule)
    too_far = np.full((len(costs), 1), rule.unknown)
    costs = np.concatenate([costs, too_far], 1)
    if evidence.oddness is not None:
        # No example makes an alarm of a window that is normal for the network. Where
        # the newest bin decides, none keeps one up: the window still holds the fault.
        calm, column = evidence.oddness < 1, evidence.names.index(NORMAL)
        normal = costs[:, [column]]
        least = np.full_like(normal, rule.unknown) if evidence.by_newest_bin else normal
        raised = np.maximum(costs, least)
        raised[:, [column]] = normal
        costs[calm] = raised[calm]
    # A window without a finite distance costs the same in every state, so that the
    # windows around it decide.
    costs[find_blind(evidence)] = 0.0
    return costs


def _cut_blocks(count: int) -> Iterator[slice]:
    """Slices of `_BLOCK` of so many windows; an empty one where there is none."""
    for first in range(0, max(count, 1), _BLOCK):
        yield slice(first, first + _BLOCK)


def weigh_distances(
    distances: np.ndarray, relative: np.ndarray | None, rule: Rule
) -> np.ndarray:
    """`[N, K]` distances as the rule compares them with the threshold of unknown.

    Their differences stay. How large the smallest one is says the novelty: at the limit
    of what is known it is the threshold of unknown.

    Args:
      distances: `[N, K]` to examples.
      relative: `[N, K]`, see `Evidence`; None: the distances stay.
      rule: the numbers that decide.
    """
    if relative is None:
        return distances
    level = rule.unknown * novelty.score_novelty(relative) / rule.novel
    return shift_to(distances, level)


def contrast_distances(distances: np.ndarray) -> np.ndarray:
    """`[N, K]` distances to examples of K faults, less for one that leads the others.

      d + c * (d - o)

    where o is the distance to the nearest other fault, and c is `CONTRAST`. One example
    shows little of how a fault varies: a window far from it has its name all the same
    where all other faults are much farther, as by the ratio of the two nearest
    distances (Mendes Junior et al., Machine Learning 2017). Without another fault the
    distance stays.
    """
    others = _nearest_others(distances)
    with np.errstate(invalid="ignore"):  # inf - inf
        contrasted = distances + CONTRAST * (distances - others)
    return np.where(np.isfinite(contrasted), contrasted, distances)


def limit_distances(
    evidence: Evidence, rule: Rule, taught: Collection[str], column: int
) -> np.ndarray:
    """`[N]` the distance to one name beyond which a window would be unknown.

    Args:
      evidence: of windows of a session.
      rule: the numbers that decide.
      taught: names of conditions that were learnt from an example after the training.
      column: of the name.
    """
    blocks = _cut_blocks(len(evidence.start_s))
    parts = (take_windows(evidence, rows) for rows in blocks)
    return np.concatenate([_limits(part, rule, taught)[:, column] for part in parts])


def _limits(evidence, rule, taught):
    """`[N, K]` of `limit_distances`."""
    distances = evidence.distances
    with np.errstate(invalid="ignore"):  # inf - inf, where nothing was measured
        limits = rule.unknown + distances - _weighed(evidence, rule)
    is_taught = np.array([name in taught for name in evidence.names], bool)
    is_fault = np.array([name != NORMAL for name in evidence.names], bool)
    others = np.full(distances.shape, np.inf)
    others[:, is_fault] = _nearest_others(distances[:, is_fault])
    accepted = (rule.taught + CONTRAST * others) / (1 + CONTRAST)
    accepted = np.where(np.isfinite(others), accepted, rule.taught)
    return np.where(is_taught, np.fmax(limits, accepted), limits)


def find_blind(evidence: Evidence) -> np.ndarray:
    """`[N]` bool: windows in which nothing was measured."""
    return ~np.isfinite(evidence.distances).any(1)


def _with_normality(evidence, rule):
    """The evidence, where the oddness of a window is its distance to normal.

    At the limit of what is normal it is as far as an unknown window.
    """
    if evidence.oddness is None:
        return evidence
    distance = (rule.unknown * evidence.oddness)[:, None]
    if NORMAL not in evidence.names:
        none, relative = np.full((len(distance), 1), -1, np.int32), evidence.relative
        if relative is not None:
            relative = np.concatenate([relative, np.full(none.shape, np.inf)], 1)
        return evidence._replace(
            names=(*evidence.names, NORMAL),
            distances=np.concatenate([evidence.distances, distance], 1),
            nearest=np.concatenate([evidence.nearest, none], 1),
            relative=relative,
        )
    column = evidence.names.index(NORMAL)
    distances, nearest = evidence.distances.copy(), evidence.nearest.copy()
    distances[:, [column]], nearest[:, column] = distance, -1
    return evidence._replace(distances=distances, nearest=nearest)


def _weighed(evidence, rule):
    """`[N, K]` of `weigh_distances`; a distance that is an oddness stays."""
    weighed, is_oddness = evidence.distances.copy(), np.array(evidence.names) == NORMAL
    among = ~is_oddness | (evidence.oddness is None)
    if evidence.relative is not None and among.any():
        relative = evidence.relative[:, among]
        weighed[:, among] = weigh_distances(weighed[:, among], relative, rule)
    return weighed


def _nearest_others(distances):
    """`[N, K]` the smallest distance to another fault; inf: there is none."""
    if distances.shape[1] < 2:
        return np.full(distances.shape, np.inf)
    nearest, second = np.sort(distances, 1)[:, :2].T[:, :, None]
    is_nearest = np.arange(distances.shape[1]) == distances.argmin(1)[:, None]
    return np.where(is_nearest, second, nearest)


def shift_to(distances: np.ndarray, level: np.ndarray) -> np.ndarray:
    """`[N, K]` distances, of which the smallest becomes the level `[N]`."""
    with np.errstate(invalid="ignore"):  # inf - inf, where nothing was measured
        shifted = distances + (level - distances.min(1))[:, None]
    return np.where(np.isfinite(shifted), shifted, np.inf)
