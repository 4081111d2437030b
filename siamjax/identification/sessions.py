"""A capture or table without labels -> counts and baseline, and its evidence."""

import math
import os
from typing import Any, NamedTuple

import numpy as np

from siamjax.data import features, prepared
from siamjax.identification import decide, examples, readings
from siamjax.inference import runs
from siamjax.types import Baseline, SiamjaxError, UsageError

# A baseline is far from those of training if its distance to the nearest of them is
# more than so many times the largest such distance among them.
FAR = 1.5


class Traffic(NamedTuple):
    """One session, ready for windows."""

    name: str
    counts: np.ndarray  # [bins, F]
    baseline: Baseline  # [F]
    warnings: tuple[str, ...] = ()  # what was not read of it, or is unusual
    report: Any = None  # of `capture.cleaning` or `capture.counters`, of a file


def read_traffic(
    path: str | os.PathLike,
    run: runs.Run,
    *,
    baseline_s: float | None = None,
    baseline: Baseline | None = None,
) -> Traffic:
    """Reads a capture, or a table of counters where the run is of counters.

    Args:
      path: a capture file, or a CSV or Parquet file of counters.
      run: gives bin, columns and scaler.
      baseline_s: how many seconds at its beginning are normal. By default as many as in
        training, or the baseline of training where all sessions had the same.
      baseline: `[F]`, used instead; see `measure_baseline`.
    Raises:
      readings.NoEvidence: nothing was read of it, or of its baseline.
      SiamjaxError: the capture is too short, or the rows of the table are more than a
        bin apart.
      UsageError: `baseline_s` is less than a bin, or not finite.
    """
    config, first = run.config.data, 0
    shared = baseline is None and baseline_s is None and not config.baseline_s
    if shared:
        baseline = Baseline(*(x[0] for x in run.normal))
    elif baseline is None:
        seconds = config.baseline_s if baseline_s is None else baseline_s
        check_baseline_s(seconds, config.bin_s)
        first = round(seconds / config.bin_s)
    reading = readings.read_file(path, run)
    warnings = readings.list_warnings(reading)
    if len(reading.counts) < first + config.bins:
        raise SiamjaxError(
            f"{path}: {len(reading.counts) * config.bin_s:g} s are too short for a "
            f"baseline of {first * config.bin_s:g} s and one window of "
            f"{config.bins * config.bin_s:g} s"
        )
    if baseline is None:
        if not (reading.read_s < first * config.bin_s).any():
            raise readings.NoEvidence(
                path,
                f"nothing read in its first {first * config.bin_s:g} s, the baseline",
                reading.report,
            )
        baseline = measure_baseline(reading.counts[:first], run)
    if not shared and is_far(baseline.mean, run.normal.mean):
        warnings.append(
            "its baseline is far from those of training: it seems to start in a fault"
        )
    return Traffic(
        prepared.session_name(path),
        reading.counts,
        baseline,
        tuple(warnings),
        reading.report,
    )


def check_baseline_s(seconds: float, bin_s: float, name: str = "baseline_s") -> None:
    """Raises UsageError unless a baseline of so many seconds can be measured.

    Args:
      seconds: given by the user.
      bin_s: of the run.
      name: of the argument or flag that gave them.
    """
    if not bin_s <= seconds < math.inf:
        raise UsageError(
            f"{name} is {seconds:g} s: give a finite number, at least a bin of "
            f"{bin_s:g} s"
        )


def measure_baseline(counts: np.ndarray, run: runs.Run) -> Baseline:
    """The baseline `[F]` of normal bins `[bins, F]`."""
    return Baseline(*map(np.asarray, features.session_baseline(counts, run.scaler)))


def is_far(mean: np.ndarray, training_means: np.ndarray) -> bool:
    """Whether a baseline's mean `[F]` lies far from all of training's `[S, F]`.

    Far is more than `FAR` times the largest distance of a training mean to its nearest
    other one. A distance is the mean over columns of the absolute difference.
    """
    if len(training_means) < 2:
        return False
    among = np.abs(training_means[:, None] - training_means[None]).mean(-1)
    np.fill_diagonal(among, np.inf)
    return bool(
        np.abs(training_means - mean[None]).mean(-1).min() > FAR * among.min(1).max()
    )


def slide_windows(
    traffic: Traffic, bins: int, hop: int
) -> tuple[np.ndarray, np.ndarray, Baseline]:
    """Windows of a session: first bins `[N]`, counts `[N, T, F]`, baselines `[N, F]`.

    They start in the baseline: its windows show the session before a fault.

    Args:
      traffic: the session.
      bins: T, of a window.
      hop: bins from one window to the next.
    """
    start = np.arange(0, len(traffic.counts) - bins + 1, hop)
    views = np.lib.stride_tricks.sliding_window_view(traffic.counts, bins, axis=0)
    counts = np.moveaxis(views[start], -1, 1)
    return start, counts, repeat_baseline(traffic.baseline, len(start))


def compare_traffic(
    run: runs.Run, traffic: Traffic, library: examples.Examples
) -> decide.Evidence:
    """The `Evidence` of a session, compared with the examples of a library."""
    data = run.config.data
    hop = max(round(decide.HOP_S / data.bin_s), 1)
    start, counts, baseline = slide_windows(traffic, data.bins, hop)
    points = run.compared(counts, baseline)
    # A window in which nothing was measured has no distance to any example.
    points[~np.isfinite(counts).any((1, 2))] = np.nan
    example_points = run.compared(*library.inputs)
    newest = counts[:, -(data.bins // 4) :]
    z = np.asarray(features.to_features(newest, baseline, run.scaler))
    return decide.compare_windows(
        points,
        example_points,
        library.names,
        start_s=start * data.bin_s,
        end_s=len(traffic.counts) * data.bin_s,
        deviation=np.abs(z).mean((1, 2)),
    )


def repeat_baseline(baseline: Baseline, n: int) -> Baseline:
    """A baseline `[F]`, n times: `[n, F]`."""
    return Baseline(*(np.repeat(np.asarray(x)[None], n, 0) for x in baseline))
