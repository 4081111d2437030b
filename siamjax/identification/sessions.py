"""A capture or table without labels -> counts and baseline, and its evidence."""

import math
import os
from typing import Any, NamedTuple

import numpy as np

from siamjax.data import features, prepared
from siamjax.evaluation import wccn
from siamjax.identification import decide, examples, normality, readings
from siamjax.identification.normality import Normality
from siamjax.inference import runs
from siamjax.types import Baseline, SiamjaxError, UsageError

# A baseline is far from those of training if its distance to the nearest of them is
# more than so many times the largest such distance among them.
FAR = 1.5
# A capture of a network that the run was adapted to begins in a fault if the windows of
# its beginning are so odd against the network's baseline.
BEGINNING = 2.5


class Adapted(NamedTuple):
    """A run adapted to a network by its normal traffic."""

    name: str  # of the network
    run: runs.Run  # compares windows in a space that was adapted to the network
    normality: Normality
    baseline: Baseline  # [F] of all its normal traffic


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
    network: Adapted | None = None,
) -> Traffic:
    """Reads a capture, or a table of counters where the run is of counters.

    Args:
      path: a capture file, or a CSV or Parquet file of counters.
      run: gives bin, columns and scaler.
      baseline_s: how many seconds at its beginning are normal. By default as many as in
        training, or the baseline of training where all sessions had the same.
      network: whose baseline is used if the beginning is odd; not with `baseline_s`.
    Raises:
      readings.NoEvidence: nothing was read of it, or of its baseline.
      SiamjaxError: the capture is too short, or the rows of the table are more than a
        bin apart.
      UsageError: `baseline_s` is less than a bin, or not finite.
    """
    bin_s, first = run.config.data.bin_s, baseline_bins(run)
    if baseline_s is not None:
        check_baseline_s(baseline_s, bin_s)
        first = round(baseline_s / bin_s)
    reading = readings.read_file(path, run)
    warnings = readings.list_warnings(reading)
    was_read = not first or bool((reading.read_s < first * bin_s).any())
    if network is not None:
        if not was_read or _begins_odd(reading.counts[:first], network):
            warnings.append(
                f"its beginning is unlike normal traffic of {network.name}: it is "
                "judged from its first window, with the baseline of this network"
            )
            baseline, first = network.baseline, 0
        else:
            baseline = own_baseline(reading.counts, run)
        check_length(path, reading.counts, first, run)
        return _traffic(path, reading, baseline, warnings)
    check_length(path, reading.counts, first, run)
    if not was_read:
        raise readings.NoEvidence(
            path,
            f"nothing read in its first {first * bin_s:g} s, the baseline",
            reading.report,
        )
    baseline = own_baseline(reading.counts, run)
    if baseline_s is not None:
        baseline = measure_baseline(reading.counts[:first], run)
    if first and is_far(baseline.mean, run.normal.mean):
        warnings.append(
            "its baseline is far from those of training: it seems to start in a fault"
        )
    return _traffic(path, reading, baseline, warnings)


def _traffic(path, reading, baseline, warnings):
    return Traffic(
        prepared.session_name(path),
        reading.counts,
        baseline,
        tuple(warnings),
        reading.report,
    )


def _begins_odd(counts, network):
    """Whether most windows of a beginning `[bins, F]` are odd for a network."""
    data = network.run.config.data
    if len(counts) < data.bins:  # shorter than a window: it cannot be judged
        return False
    traffic = Traffic("", counts, network.baseline)
    _, windows, baseline = slide_windows(traffic, data.bins, hop_bins(network.run))
    return bool(np.median(window_oddness(network, windows, baseline)) > BEGINNING)


def check_length(
    path: str | os.PathLike, counts: np.ndarray, first: int, run: runs.Run
) -> None:
    """Raises SiamjaxError if a session is too short.

    Args:
      path: of the capture, for the message.
      counts: `[bins, F]`.
      first: bins of its baseline.
      run: has the length of a window.
    """
    data = run.config.data
    if len(counts) < first + data.bins:
        raise SiamjaxError(
            f"{path}: {len(counts) * data.bin_s:g} s are too short for a baseline of "
            f"{first * data.bin_s:g} s and one window of {data.bins * data.bin_s:g} s"
        )


def baseline_bins(run: runs.Run) -> int:
    """Bins at the beginning of a capture that are its baseline; 0: training's is."""
    return round(run.config.data.baseline_s / run.config.data.bin_s)


def hop_bins(run: runs.Run) -> int:
    """Bins from one window of a timeline to the next."""
    return max(round(decide.HOP_S / run.config.data.bin_s), 1)


def own_baseline(counts: np.ndarray, run: runs.Run) -> Baseline:
    """The baseline `[F]` of a session `[bins, F]` whose beginning is normal."""
    first = baseline_bins(run)
    if not first:
        return Baseline(*(x[0] for x in run.normal))
    return measure_baseline(counts[:first], run)


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
    run: runs.Run,
    traffic: Traffic,
    library: examples.Examples,
    normal: Normality | None = None,
) -> decide.Evidence:
    """The `Evidence` of a session.

    Args:
      run: embeds the windows.
      traffic: the session.
      library: the examples to compare with.
      normal: of the network that the run was adapted to, if it was.
    """
    data = run.config.data
    start, counts, baseline = slide_windows(traffic, data.bins, hop_bins(run))
    points = run.compared(counts, baseline)
    # A window in which nothing was measured has no distance to any example.
    unmeasured = ~np.isfinite(counts).any((1, 2))
    points[unmeasured] = np.nan
    z = np.asarray(features.to_features(counts, baseline, run.scaler))
    evidence = decide.compare_windows(
        points,
        run.compared(*library.inputs),
        library.names,
        start_s=start * data.bin_s,
        end_s=len(traffic.counts) * data.bin_s,
        deviation=np.abs(z[:, -(data.bins // 4) :]).mean((1, 2)),
    )
    if normal is None:
        return evidence
    odd = _oddness(run, normal, counts, baseline, z)
    return evidence._replace(oddness=np.where(unmeasured, np.nan, odd))


def window_oddness(
    network: Adapted, counts: np.ndarray, baseline: Baseline
) -> np.ndarray:
    """`[N]` oddness of windows `[N, T, F]` with baselines `[N, F]`."""
    z = features.to_features(counts, baseline, network.run.scaler)
    return _oddness(network.run, network.normality, counts, baseline, np.asarray(z))


def _oddness(run, normal, counts, baseline, z):
    loads = normality.load_ratios(counts, baseline, run.columns)
    return normality.oddness(wccn.signed_log_moments(z), loads, normal)


def repeat_baseline(baseline: Baseline, n: int) -> Baseline:
    """A baseline `[F]`, n times: `[n, F]`."""
    return Baseline(*(np.repeat(np.asarray(x)[None], n, 0) for x in baseline))
