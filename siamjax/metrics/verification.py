"""Verification: do two rows show the same thing? Rates over pairs, by a threshold.

A pair is accepted where its distance is at or below a threshold. Genuine pairs are of
one class, impostors of two. Where distances tie, a rate is the mean over both orders:
all curves are made of straight lines between the points that thresholds give.
"""

from typing import NamedTuple

import numpy as np

from siamjax.checks import check_sizes, require
from siamjax.evaluation import unknowns
from siamjax.metrics.arrays import Array, as_integers, as_numbers, as_rows

# Pairs whose distances are in memory at once.
_BLOCK = 2**17
# How often `most` pairs are drawn anew where pairs within a group are left out.
_ROUNDS = 20


class PairDistances(NamedTuple):
    """Distances of pairs."""

    genuine: np.ndarray  # [G], of one class
    impostor: np.ndarray  # [I], of two classes


def draw_pair_distances(
    embeddings: Array,
    labels: Array,
    *,
    groups: Array | None = None,
    most: int = 1_000_000,
    seed: int = 0,
) -> PairDistances:
    """Euclidean distances of genuine and of impostor pairs.

    Args:
      embeddings: `[N, E]` finite floats. Give rows of unit length for angles.
      labels: `[N]` int.
      groups: `[N]` int, such as captures: pairs within a group are left out.
      most: of each kind. Of at most twice as many pairs all are taken; else pairs are
        drawn evenly, with replacement.
      seed: of the draw.
    Raises:
      UsageError: shapes or types do not fit, a number is not finite, or `most` is
        below 1.
    """
    x, labels = as_rows("", embeddings, labels)
    check_sizes(most=most)
    number = len(x)
    group = (
        np.arange(number) if groups is None else as_integers("groups", groups, number)
    )
    if number * (number - 1) <= 4 * most:
        a, b = np.triu_indices(number, 1)
        kept = group[a] != group[b]
        a, b = a[kept], b[kept]
        same = labels[a] == labels[b]
        pairs = [(a[same], b[same]), (a[~same], b[~same])]
    else:
        rng = np.random.default_rng(seed)
        pairs = [_draw(rng, labels, group, most, kind) for kind in (True, False)]
    return PairDistances(*(_distances(x, *rows) for rows in pairs))


def fnmr_at_fmr(genuine: Array, impostor: Array, fmr: float) -> float:
    """FNMR in [0, 1]: the share of genuine pairs that is refused where the share `fmr`
    of the impostors is accepted.

    Args:
      genuine: `[G]` distances.
      impostor: `[I]` distances.
      fmr: false match rate, at least 1 / I: a smaller one is not measured by I pairs.
    Raises:
      UsageError: there is no pair of a kind, a distance is not finite, or `fmr` is
        beyond [1 / I, 1].
    Reference: ISO/IEC 19795-1.
    """
    genuine, impostor = _checked(genuine, impostor)
    require(
        1 / len(impostor) <= fmr <= 1,
        f"fmr is {fmr}, and there are {len(impostor)} impostor pairs: give "
        f"{1 / len(impostor):g} to 1",
    )
    accepted, matched = _curve(genuine, impostor)
    # Of several points with this rate, the last one accepts the most.
    i = np.searchsorted(accepted, fmr, "right")
    if i == len(accepted):
        return float(1 - matched[-1])
    left, right = accepted[i - 1], accepted[i]
    share = (fmr - left) / (right - left)
    return float(1 - (matched[i - 1] + share * (matched[i] - matched[i - 1])))


def equal_error_rate(genuine: Array, impostor: Array) -> float:
    """EER in [0, 1]: the rate at which as many genuine pairs are refused as impostors
    are accepted; 1/2 by chance and where all distances are equal.

    Args:
      genuine: `[G]` distances.
      impostor: `[I]` distances.
    Raises:
      UsageError: there is no pair of a kind, or a distance is not finite.
    Reference: ISO/IEC 19795-1.
    """
    accepted, matched = _curve(*_checked(genuine, impostor))
    gap = accepted - (1 - matched)  # rises from -1 to 1
    i = int(np.argmax(gap >= 0))
    share = -gap[i - 1] / (gap[i] - gap[i - 1])
    return float(accepted[i - 1] + share * (accepted[i] - accepted[i - 1]))


def auroc(genuine: Array, impostor: Array) -> float:
    """The chance in [0, 1] that an impostor pair is farther than a genuine one; a tie
    counts half. It is the area under the ROC curve.

    Args:
      genuine: `[G]` distances.
      impostor: `[I]` distances.
    Raises:
      UsageError: there is no pair of a kind, or a distance is not finite.
    Reference: Hanley, McNeil, Radiology 1982.
    """
    return float(unknowns.chance_farther(*_checked(genuine, impostor)).mean())


def decidability(genuine: Array, impostor: Array) -> float:
    """d': the difference of the two means over the root of the mean of the two
    variances; 0 where all distances are equal, infinite without any variance.

    Args:
      genuine: `[G]` distances.
      impostor: `[I]` distances.
    Raises:
      UsageError: there is no pair of a kind, or a distance is not finite.
    Reference: Daugman, Pattern Recognition 2003.
    """
    genuine, impostor = _checked(genuine, impostor)
    gap = float(impostor.mean() - genuine.mean())
    spread = float(np.sqrt((genuine.var() + impostor.var()) / 2))
    if not spread:
        return gap and float(np.copysign(np.inf, gap))
    return gap / spread


def _checked(genuine, impostor):
    return as_numbers("genuine", genuine), as_numbers("impostor", impostor)


def _curve(genuine, impostor):
    """Shares of impostors and of genuine pairs that are accepted, from none to all."""
    levels = np.unique(np.concatenate([genuine, impostor]))
    return tuple(
        np.r_[0.0, np.searchsorted(np.sort(values), levels, "right") / len(values)]
        for values in (impostor, genuine)
    )


def _draw(rng, labels, group, most, genuine):
    """Rows `[n], [n]` of pairs, evenly drawn of those of two groups; n is `most`, or
    less where nearly all pairs are within a group."""
    order = np.argsort(labels, kind="stable")  # the rows of a class stand together
    _, start, size = np.unique(labels[order], return_index=True, return_counts=True)
    block = np.repeat(np.arange(len(size)), size)  # of each place
    partners = (size - 1 if genuine else len(labels) - size)[block]
    if not partners.any():
        return np.zeros((2, 0), np.int64)
    cumulative, pairs, count = np.cumsum(partners), [], 0
    for _ in range(_ROUNDS):
        draws = rng.integers(cumulative[-1], size=most)
        a = np.searchsorted(cumulative, draws, "right")
        b = draws - (cumulative[a] - partners[a])  # the number of the partner
        first, end = start[block[a]], (start + size)[block[a]]
        if genuine:  # the anchor is skipped
            b = b + first
            b = b + (b >= a)
        else:  # its class is skipped
            b = np.where(b >= first, b + end - first, b)
        a, b = order[a], order[b]
        kept = group[a] != group[b]
        pairs.append(np.stack([a[kept], b[kept]]))
        count += int(kept.sum())
        if count >= most:
            break
    return np.concatenate(pairs, 1)[:, :most]


def _distances(x, a, b):
    # Squares neither overflow nor vanish: the largest number becomes about 1.
    exponent = int(np.frexp(np.abs(x).max(initial=0.0))[1])
    x = np.ldexp(x, -exponent)
    blocks = [
        np.sqrt(((x[a[i : i + _BLOCK]] - x[b[i : i + _BLOCK]]) ** 2).sum(1))
        for i in range(0, len(a), _BLOCK)
    ]
    return np.ldexp(np.concatenate([[], *blocks]), exponent)
