"""A bare capture or table -> the counts and baseline that identification reads."""

import math
from typing import Any, NamedTuple

import numpy as np

from siamjax.data import features, prepared
from siamjax.identification import decide, readings
from siamjax.types import Baseline, SiamjaxError, UsageError

# A baseline is far from those of training beyond this factor of the farthest among
# them.
FAR = 1.5


class Traffic(NamedTuple):
    """One session, ready for windows."""

    name: str
    counts: np.ndarray  # [bins, F]
    baseline: Baseline  # [F]
    warnings: tuple[str, ...] = ()  # what was not read of it, or is odd about it
    report: Any = None  # of `capture.cleaning` or `capture.counters`, of a file


def read(
    path, run, *, baseline_s: float | None = None, baseline: Baseline | None = None
) -> Traffic:
    """Reads a capture, or a table of counters where the run is of such, as `Traffic`.

    Args:
      path: a capture file, or a CSV or Parquet file of counters.
      run: `inference.runs.Run`.
      baseline_s: seconds of its beginning that are normal; by default those of
        training, or the one baseline of all where training had but one.
      baseline: `[F]`, to be used instead; see `baseline_of`.
    Raises:
      readings.NoEvidence: nothing was read of it, or of its baseline.
      SiamjaxError: the capture is too short, or the table has another step.
    """
    config = run.config.data
    reading, first = readings.read(path, run), 0
    odd = readings.warnings(reading)
    shared = baseline is None and baseline_s is None and not config.baseline_s
    if shared:
        baseline = Baseline(*(x[0] for x in run.normal))
    elif baseline is None:
        seconds = config.baseline_s if baseline_s is None else baseline_s
        if not config.bin_s <= seconds < math.inf:
            raise UsageError(
                f"--baseline is {seconds:g} s, less than a bin of {config.bin_s:g} s, "
                "or no number"
            )
        first = round(seconds / config.bin_s)
    if len(reading.counts) < first + config.bins:
        raise SiamjaxError(
            f"{path}: {len(reading.counts) * config.bin_s:g} s are too short for a "
            f"baseline of {first * config.bin_s:g} s and one window of "
            f"{config.bins * config.bin_s:g} s"
        )
    if first:
        if not (reading.read_s < first * config.bin_s).any():
            raise readings.NoEvidence(
                path,
                f"nothing read in its first {first * config.bin_s:g} s, the baseline",
                reading.report,
            )
        baseline = baseline_of(reading.counts[:first], run)
    if not shared and is_far(baseline.mean, run.normal.mean):
        odd.append(
            "its baseline is far from those of training: it seems to start in a fault"
        )
    return Traffic(
        prepared.session_name(path),
        reading.counts,
        baseline,
        tuple(odd),
        reading.report,
    )


def baseline_of(counts, run) -> Baseline:
    """The baseline `[F]` of normal bins `[bins, F]`."""
    return Baseline(*map(np.asarray, features.baseline(counts, run.scaler)))


def is_far(mean, of_training):
    """Whether a baseline's mean `[F]` lies far from all of training's `[S, F]`.

    Far is beyond `FAR` times the largest distance of one of them to its nearest other;
    the distance is the mean over columns.
    """
    if len(of_training) < 2:
        return False
    among = np.abs(of_training[:, None] - of_training[None]).mean(-1)
    np.fill_diagonal(among, np.inf)
    return bool(
        np.abs(of_training - mean[None]).mean(-1).min() > FAR * among.min(1).max()
    )


def windows(traffic, bins, hop):
    """Windows of a session: first bins `[N]`, counts `[N, T, F]`, baselines `[N, F]`.

    Those of the baseline are among them: they say what the session was before a fault.
    """
    start = np.arange(0, len(traffic.counts) - bins + 1, hop)
    views = np.lib.stride_tricks.sliding_window_view(traffic.counts, bins, axis=0)
    return start, np.moveaxis(views[start], -1, 1), repeat(traffic.baseline, len(start))


def evidence(run, traffic, chosen):
    """`decide.Evidence` of a session against examples, and the names in order.

    Args:
      run: `inference.runs.Run`.
      traffic: `Traffic`.
      chosen: `examples.Examples`.
    """
    data = run.config.data
    hop = max(round(decide.HOP_S / data.bin_s), 1)
    start, counts_of, baseline = windows(traffic, data.bins, hop)
    points = np.array(run.embed(counts_of, baseline)[run.config.decide_with])
    # Of a window in which nothing was measured nobody knows what it is like.
    points[~np.isfinite(counts_of).any((1, 2))] = np.nan
    of_examples = run.embed(chosen.counts, chosen.baseline)[run.config.decide_with]
    newest = counts_of[:, -(data.bins // 4) :]
    z = np.asarray(features.features(newest, baseline, run.scaler))
    return decide.evidence(
        points, of_examples, chosen.names,
        start * data.bin_s, len(traffic.counts) * data.bin_s, np.abs(z).mean((1, 2)),
    )  # fmt: skip


def repeat(baseline, n):
    """A baseline `[F]`, n times: `[n, F]`."""
    return Baseline(*(np.repeat(np.asarray(x)[None], n, 0) for x in baseline))
