"""What is normal in a network: learnt from its normal traffic, without a label.

A window of normal traffic is a small deviation from the baseline, in any direction. Its
direction, by which points of length 1 are compared, is chance; its size is not. So here
a window is as odd as its deviation is large, in units of the network's own variation
(the distance of Mahalanobis, 1936).

Load that doubles or falls to a quarter is normal. Few captures show that, so the load
of the normal traffic is varied: at half the load a message is there with a chance of
one half, and at twice the load two moments of the traffic are added.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from siamjax.checks import require
from siamjax.data import columns, features
from siamjax.evaluation import wccn
from siamjax.evaluation.wccn import Whitening
from siamjax.identification import confidence
from siamjax.types import Baseline, Column, Scaler

# The loads that count as normal, relative to that of the normal traffic. Like the two
# numbers below, chosen on the test bed and on the network `access`
# (docs/identification.md).
LOADS = (0.25, 0.5, 1.0, 2.0)
# The share of the network's own variation; the rest is that of the training.
SHARE = 0.5
# A window is odd where its size is at least this many times the median of the normal
# windows.
LIMIT = 2.75
# The smallest median, for traffic that does not vary: below it are rounding errors.
LEAST_SIZE = 1e-3
# The most parts into which normal traffic is divided, to hold out each in turn.
PARTS = 10
# The shrinkage of the covariance between sessions.
BETWEEN_SHRINKAGE = 0.1
# A load below this share of the baseline's is odd as well: a server that says nothing
# any more is one whose load fell to nothing.
LEAST_LOAD = 0.125
# The most windows of each load that are used.
MOST_WINDOWS = 600


class Normality(NamedTuple):
    """How far normal windows of a network are from its baseline, and how many ways."""

    mean: np.ndarray  # [2 * F] of the signed-log moments of normal windows
    whitening: Whitening  # of the training, adapted to the network
    limit: float  # a window whose size is above this is odd


class HeldOut(NamedTuple):
    """n blocks of normal traffic, beside the `Normality` of the other normal traffic.

    A block is as long as a window. Sizes are in medians of that other traffic.
    """

    highest: tuple[float, ...]  # [n] the size of the largest window
    typical: tuple[float, ...]  # [n] the median
    block_s: float


def vary_load(
    counts: np.ndarray,
    table: Sequence[Column],
    load: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Counts `[bins, F]` of the same traffic at another load.

    Latencies are not changed below load 1; above it they are those of both moments.
    Counters have any unit, so they stay as they are.

    Args:
      counts: of a session, NaN where nothing was measured.
      table: its F columns.
      load: a factor, above 0 and at most 2.
      rng: draws which messages are there.
    """
    require(0 < load <= 2, f"load is {load:g}: give a factor above 0 and at most 2")
    is_count = _is_count(table)
    whole = np.where(is_count, np.nan_to_num(counts), 0.0).round().astype(np.int64)
    if load <= 1:
        return np.where(is_count, rng.binomial(whole, load), counts)
    other = np.roll(np.arange(len(counts)), len(counts) // 2)
    added = counts + rng.binomial(whole[other], load - 1)
    pair = np.stack([counts, counts[other]])
    measured = np.isfinite(pair)
    total = np.where(measured, pair, 0.0).sum(0)
    with np.errstate(invalid="ignore"):  # 0/0 is NaN where nothing was measured
        mean = total / measured.sum(0)
    is_wait = np.array([not np.isfinite(column.empty) for column in table])
    is_wait &= np.array([column.role != columns.COUNTER for column in table])
    return np.where(is_count, added, np.where(is_wait, mean, counts))


def normal_moments(
    counts: np.ndarray,
    baseline: Baseline,
    *,
    table: Sequence[Column],
    scaler: Scaler,
    bins: int,
    hop: int,
) -> np.ndarray:
    """Signed-log moments `[N, 2 * F]` of the windows of normal traffic, at all `LOADS`.

    Args:
      counts: `[bins of the session, F]`.
      baseline: `[F]` of the session.
      table: its columns.
      scaler: of the run.
      bins: T, of a window.
      hop: bins from one window to the next, or more if there are very many.
    """
    rng = np.random.default_rng(0)
    start = np.arange(0, len(counts) - bins + 1, hop)
    start = start[:: -(-len(start) // MOST_WINDOWS) or 1]
    rows = start[:, None] + np.arange(bins)  # [N, T]
    repeated = Baseline(
        *(np.repeat(np.asarray(x)[None], len(rows), 0) for x in baseline)
    )
    parts = []
    for load in LOADS:
        varied = vary_load(counts, table, load, rng).astype(np.float32)
        z = features.to_features(varied[rows], repeated, scaler)
        parts.append(wccn.signed_log_moments(np.asarray(z)))
    return np.concatenate(parts)


def fit_normality(
    moments: Iterable[np.ndarray],
    training: Whitening,
    between: np.ndarray | float = 0.0,
    limit: float = LIMIT,
) -> Normality:
    """The `Normality` of a network.

    Args:
      moments: `[N, 2 * F]` of each normal capture, see `normal_moments`.
      training: the whitening of the run, adapted here.
      between: `[2 * F, 2 * F]` of `between_sessions`, where windows are compared with
        the baseline of another session.
      limit: a window is odd where its size is so many times the median.
    Raises:
      UsageError: there are fewer than two windows.
    """
    joined = np.concatenate(list(moments))
    whitening = wccn.adapt_whitening(training, joined, SHARE, between)
    fitted = Normality(joined.mean(0), whitening, np.nan)
    typical = max(float(np.median(sizes(joined, fitted))), LEAST_SIZE)
    return fitted._replace(limit=limit * typical)


def hold_out(
    stretches: Sequence[np.ndarray], training: Whitening, windows: int, block_s: float
) -> HeldOut | None:
    """How large normal windows are that the normality was not learnt from.

    Each stretch is compared with the normality of the others.

    Args:
      stretches: `[N, 2 * F]` of each stretch of normal traffic, see `normal_moments`.
      training: the whitening of the run.
      windows: in a block.
      block_s: its length.
    Returns:
      None: there are fewer than two stretches.
    """
    if len(stretches) < 2:
        return None
    blocks = []
    part = np.arange(len(stretches)) % PARTS
    for held in range(part.max() + 1):
        others = [x for x, i in zip(stretches, part) if i != held]
        normal = fit_normality(others, training, limit=1.0)
        for moments, i in zip(stretches, part):
            if i == held:
                usual = np.split(moments, len(LOADS))[LOADS.index(1.0)]
                relative = sizes(usual, normal) / normal.limit
                blocks += np.split(relative, range(windows, len(relative), windows))
    return HeldOut(
        tuple(float(block.max()) for block in blocks),
        tuple(float(np.median(block)) for block in blocks),
        block_s,
    )


def limit_at(held_out: HeldOut, per_hour: float) -> float:
    """The limit, in medians, that so many blocks of an hour of normal traffic exceed.

    The higher half of the blocks shows how sizes fall, by an exponential tail: few
    hours of normal traffic are given (Siegmund, Sequential Analysis, 1985).

    Raises:
      UsageError: the rate is not a finite number above 0.
    """
    confidence.check_rate(per_hour)
    highest = np.sort(held_out.highest)[::-1]
    allowed = per_hour * len(highest) * held_out.block_s / 3600
    tail = highest[: max(math.ceil(len(highest) / 2), 2)]
    if allowed >= len(tail):
        # One block more than was seen is expected, as in a conformal p-value.
        return max(float(highest[min(int(allowed), len(highest)) - 1]), 1.0)
    scale = float((tail - tail[-1]).mean())
    return max(float(tail[-1]) + scale * math.log(len(tail) / allowed), 1.0)


def between_sessions(baselines: Baseline, scaler: Scaler) -> np.ndarray:
    """Covariance `[2 * F, 2 * F]` of the mean features of a session, where its baseline
    is that of another session.

    Args:
      baselines: `[S, F]` of captures of one network; the covariance of one is 0.
      scaler: of the run.
    """
    mean = np.asarray(baselines.mean)
    apart = [
        np.delete(_apart(mean, _row(baselines, i), scaler), i, 0)
        for i in range(len(mean))
    ]
    joined = np.concatenate(apart)
    covariance = np.zeros((2 * mean.shape[1],) * 2)
    half = slice(mean.shape[1])
    covariance[half, half] = joined.T @ joined / max(len(joined), 1)
    return covariance


class Beginnings(NamedTuple):
    """The baselines of S training captures, and how far they are from each other."""

    baselines: Baseline  # [S, F]
    scaler: Scaler  # of the run
    matrix: np.ndarray  # [F, F], in whose metric baselines are compared
    largest: float  # distance of a baseline to the nearest other one; 0: fewer than two


def fit_beginnings(
    baselines: Baseline, training: Whitening, scaler: Scaler
) -> Beginnings:
    """The `Beginnings` of a run.

    Args:
      baselines: `[S, F]` of the training captures.
      training: the whitening of the run.
      scaler: of the run.
    """
    baselines = Baseline(*map(np.asarray, baselines))
    count, width = baselines.mean.shape
    covariance = between_sessions(baselines, scaler) + training.covariance
    matrix = wccn.inverse_root(covariance[:width, :width], BETWEEN_SHRINKAGE)
    fitted = Beginnings(baselines, scaler, matrix, 0.0)
    distances = np.stack([_from_training(mean, fitted) for mean in baselines.mean])
    np.fill_diagonal(distances, np.inf)
    largest = float(distances.min(1).max()) if count > 1 else 0.0
    return fitted._replace(largest=largest)


def distance_to_training(mean: np.ndarray, beginnings: Beginnings) -> float:
    """How far a baseline is from the nearest one of training, relative to the largest
    such distance among these; 0 where there are fewer than two.

    Args:
      mean: `[F]` of the baseline.
      beginnings: of the training captures.
    """
    if len(beginnings.baselines.mean) < 2:
        return 0.0
    nearest = _from_training(np.asarray(mean), beginnings).min()
    return float(nearest / max(beginnings.largest, 1e-12))


def _from_training(mean, beginnings):
    """`[S]` distances of a baseline `[F]` to those of training."""
    apart = _apart(mean, beginnings.baselines, beginnings.scaler)
    return np.linalg.norm(apart @ beginnings.matrix, axis=1)


def _row(baselines, i):
    return Baseline(*(np.asarray(x)[i] for x in baselines))


def _apart(mean, baseline, scaler):
    """Signed logs `[..., F]` of the features of a session's mean `[..., F]`."""
    unit = np.asarray(baseline.deviation) + np.asarray(scaler.floor)
    z = np.clip((mean - baseline.mean) / unit, -scaler.clip, scaler.clip)
    return np.sign(z) * np.log1p(np.abs(z))


def sizes(moments: np.ndarray, normality: Normality) -> np.ndarray:
    """`[N]` how large the deviations of windows are, in units of normal variation."""
    centred = np.asarray(moments, np.float64) - normality.mean
    return np.linalg.norm(centred @ normality.whitening.matrix, axis=1)


def oddness(moments: np.ndarray, loads: np.ndarray, normality: Normality) -> np.ndarray:
    """`[N]` how odd windows are: above 1 a window is not normal.

    Args:
      moments: `[N, 2 * F]` signed-log moments.
      loads: `[N]` of `load_ratios`.
      normality: of the network.
    """
    return np.maximum(
        sizes(moments, normality) / normality.limit,
        np.log(np.minimum(loads, 1.0)) / np.log(LEAST_LOAD),
    )


def load_ratios(
    counts: np.ndarray, baseline: Baseline, table: Sequence[Column]
) -> np.ndarray:
    """`[N]` messages in the newer half of windows, relative to the baseline; 1 for
    counters.

    One message is added to both sides: where few are expected, none is no surprise.

    Args:
      counts: `[N, T, F]`.
      baseline: `[N, F]`.
      table: the columns.
    """
    is_count = _is_count(table)
    newer = np.nan_to_num(counts[:, counts.shape[1] // 2 :, is_count])
    expected = np.expm1(np.asarray(baseline.mean)[:, is_count]).sum(-1)
    return (newer.sum((1, 2)) + 1) / (newer.shape[1] * expected + 1)


def _is_count(table):
    """`[F]` bool: which columns count messages."""
    return np.array(
        [column.role != columns.COUNTER and column.empty == 0 for column in table]
    )
