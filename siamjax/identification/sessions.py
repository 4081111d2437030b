"""A capture or table without labels -> counts and baseline, and its windows."""

import hashlib
import math
import os
from typing import Any, NamedTuple

import jax
import numpy as np

from siamjax.data import features, prepared
from siamjax.evaluation import wccn
from siamjax.evaluation.normal_bins import NormalBins
from siamjax.evaluation.wccn import Whitening
from siamjax.identification import decide, normality, readings
from siamjax.identification.normality import Beginnings, Normality
from siamjax.inference import runs
from siamjax.types import Baseline, SiamjaxError, UsageError

# A beginning is unlike training if its baseline is farther from the nearest one of the
# training captures, relative to the largest such distance among them.
FAR = 1.0
# It is unlike a network that the run was adapted to if the median of its windows is as
# odd as this, against the baseline of the network.
BEGINNING = 1.25


class Adapted(NamedTuple):
    """What a run knows of a network from its normal traffic."""

    name: str
    baseline: Baseline  # [F] of all its normal traffic
    own: Normality  # of windows compared with the baseline of their own session
    across: Normality  # of windows compared with the baseline of the network
    learnt: Whitening | None  # of the learnt points of normal windows; None: unused
    # Oddness of blocks of its normal traffic, each beside the others; none: too little
    typical: tuple[float, ...] = ()
    # Its normal bins, where the newest bin decides; None: windows decide as a whole
    normal_bins: NormalBins | None = None

    def adapt(self, run: runs.Run, *, across: bool) -> runs.Run:
        """The run, where windows are compared in a space adapted to the network.

        Args:
          run: that the network was adapted to.
          across: the windows are compared with the baseline of the network.
        """
        normal = self.across if across else self.own
        deciding = run.deciding._replace(
            whitening=normal.whitening,
            learnt=self.learnt,
            normal_bins=self.normal_bins,
        )
        return run._replace(deciding=deciding)


def fingerprint(network: Adapted) -> str:
    """A hash of what a run knows of a network."""
    digest = hashlib.sha256(network.name.encode())
    for array in jax.tree.leaves(network[1:]):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class Traffic(NamedTuple):
    """One session, ready for windows."""

    name: str
    counts: Any  # [bins, F], an array or `counts_on_disk.SessionCounts`
    baseline: Baseline  # [F]
    warnings: tuple[str, ...] = ()  # what was not read of it, or is unusual
    report: Any = None  # of `capture.cleaning` or `capture.counters`, of a file
    across: bool = False  # the baseline is that of the network, not its own
    calibrated: bool = True  # what is normal in its network is known
    network: Adapted | None = None  # to which the run is adapted for it


def read_traffic(
    path: str | os.PathLike,
    run: runs.Run,
    *,
    baseline_s: float | None = None,
    network: Adapted | None = None,
    beginnings: Beginnings | None = None,
) -> Traffic:
    """Reads a capture, or a table of counters where the run is of counters.

    Args:
      path: a capture file, or a CSV or Parquet file of counters.
      run: gives bin, columns and scaler.
      baseline_s: how many seconds at its beginning are normal. By default as many as in
        training, or the baseline of training where all sessions had the same.
      network: whose baseline is used if the beginning is odd; not with `baseline_s`.
      beginnings: of `fit_beginnings` of the run; by default it is computed here.
    Raises:
      readings.NoEvidence: nothing was read of it, or of its baseline.
      SiamjaxError: the capture is too short, or the rows of the table are more than a
        bin apart.
      UsageError: `baseline_s` is less than a bin, or not finite.
    """
    if baseline_s is not None:
        check_baseline_s(baseline_s, run.config.data.bin_s)
    reading = reader_of(run).read(path)
    return from_reading(
        path,
        reading,
        run,
        baseline_s=baseline_s,
        network=network,
        beginnings=beginnings or fit_beginnings(run),
    )


def reader_of(run: runs.Run) -> readings.Reader:
    """What reads files as the run does."""
    return readings.Reader(run.columns, run.ports, run.config.data.bin_s)


def from_reading(
    path: str | os.PathLike,
    reading: readings.Reading,
    run: runs.Run,
    *,
    baseline_s: float | None = None,
    network: Adapted | None = None,
    beginnings: Beginnings | None = None,
) -> Traffic:
    """`read_traffic` of a file that was read; raises the same errors."""
    bin_s, first = run.config.data.bin_s, baseline_bins(run)
    if baseline_s is not None:
        first = round(baseline_s / bin_s)
    was_read = not first or bool((reading.read_s < first * bin_s).any())
    if network is None and not was_read:
        check_length(path, reading.counts, first, run)
        raise readings.NoEvidence(
            path,
            f"nothing read in its first {first * bin_s:g} s, the baseline",
            reading.report,
        )
    traffic = from_counts(
        path,
        reading.counts,
        run,
        first=first,
        network=network,
        was_read=was_read,
        beginnings=beginnings,
    )
    return traffic._replace(
        name=prepared.session_name(path),
        warnings=(*readings.list_warnings(reading), *traffic.warnings),
        report=reading.report,
    )


def from_counts(
    name: str | os.PathLike,
    counts: np.ndarray,
    run: runs.Run,
    *,
    first: int | None = None,
    network: Adapted | None = None,
    was_read: bool = True,
    beginnings: Beginnings | None = None,
) -> Traffic:
    """A session with its baseline, and what is unusual about that.

    Args:
      name: of the session, for messages.
      counts: `[bins, F]`.
      run: gives bin, columns, scaler and the baselines of training.
      first: bins of the baseline at its beginning; by default as many as in training.
      network: whose baseline is used if the beginning is odd.
      was_read: whether anything was read in the beginning.
      beginnings: of `fit_beginnings`, to which that of the session is compared.
    Raises:
      SiamjaxError: it is too short.
    """
    first = baseline_bins(run) if first is None else first
    warnings: tuple[str, ...] = ()
    across, far = False, 0.0
    if network is not None:
        across = not was_read or _begins_odd(counts[:first], run, network)
    check_length(name, counts, 0 if across else first, run)
    if network is not None and across:
        baseline = network.baseline
        warnings = (
            f"its beginning is unlike normal traffic of {network.name}: it is judged "
            "from its first window, with the baseline of this network",
        )
    else:
        baseline = own_baseline(counts, run, first)
    if network is None and first and beginnings is not None:
        far = normality.distance_to_training(baseline.mean, beginnings)
    if far > FAR:
        warnings = (
            f"its beginning is unlike those of training ({far:.1f} times as far from "
            "them as they are from each other): it starts in a fault, or it is of "
            "another network; its verdicts are not calibrated (see --network)",
        )
    return Traffic(
        str(name),
        counts,
        baseline,
        warnings,
        across=across,
        calibrated=far <= FAR,
        network=network,
    )


def _begins_odd(counts, run, network):
    """Whether most windows of a beginning `[bins, F]` are odd for a network."""
    if len(counts) < run.config.data.bins:  # shorter than a window: it cannot be judged
        return False
    traffic = Traffic("", counts, network.baseline)
    _, windows, baseline = slide_windows(traffic, run.config.data.bins, hop_bins(run))
    odd = window_oddness(run, network.across, windows, baseline)
    return bool(np.median(odd) > BEGINNING)


def fit_beginnings(run: runs.Run) -> Beginnings | None:
    """How the captures begin that a run was trained on; None: it has no whitening."""
    if run.deciding.whitening is None:
        return None
    return normality.fit_beginnings(run.normal, run.deciding.whitening, run.scaler)


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


def own_baseline(
    counts: np.ndarray, run: runs.Run, first: int | None = None
) -> Baseline:
    """The baseline `[F]` of a session `[bins, F]` whose beginning is normal.

    Args:
      counts: of the session.
      run: whose one baseline is used if its sessions have none of their own.
      first: bins of the beginning; by default as many as in training.
    """
    first = baseline_bins(run) if first is None else first
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


def count_windows(traffic: Traffic, bins: int, hop: int) -> int:
    """How many windows `slide_windows` gives."""
    return len(range(0, len(traffic.counts) - bins + 1, hop))


def slide_windows(
    traffic: Traffic, bins: int, hop: int
) -> tuple[np.ndarray, np.ndarray, Baseline]:
    """Windows of a session: first bins `[N]`, counts `[N, T, F]`, baselines `[N, F]`.

    They start in the baseline: its windows show the session before a fault. The counts
    are a view of those of the session, so that windows that overlap take no memory.

    Args:
      traffic: the session.
      bins: T, of a window.
      hop: bins from one window to the next.
    """
    start = np.arange(count_windows(traffic, bins, hop)) * hop
    if not len(start):
        counts = np.zeros((0, bins, traffic.counts.shape[1]), traffic.counts.dtype)
        return start, counts, repeat_baseline(traffic.baseline, 0)
    views = np.lib.stride_tricks.sliding_window_view(traffic.counts, bins, axis=0)
    counts = np.moveaxis(views[::hop], -1, 1)
    return start, counts, repeat_baseline(traffic.baseline, len(start))


def window_oddness(
    run: runs.Run, normal: Normality, counts: np.ndarray, baseline: Baseline
) -> np.ndarray:
    """`[N]` oddness of windows `[N, T, F]` with baselines `[N, F]`."""
    z = np.asarray(features.to_features(counts, baseline, run.scaler))
    loads = normality.load_ratios(counts, baseline, run.columns)
    return normality.oddness(wccn.signed_log_moments(z), loads, normal)


def repeat_baseline(baseline: Baseline, n: int) -> Baseline:
    """A baseline `[F]`, n times: `[n, F]`, which cannot be written to."""
    arrays = map(np.asarray, baseline)
    return Baseline(*(np.broadcast_to(x, (n, *x.shape)) for x in arrays))
