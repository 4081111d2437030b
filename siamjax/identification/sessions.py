"""A bare capture or table -> the counts and baseline that identification reads."""

from typing import NamedTuple

import numpy as np

from siamjax.data import columns, counts, features, prepared
from siamjax.identification import decide
from siamjax.types import Baseline, SiamjaxError, UsageError

# A baseline is far from those of training beyond this factor of the farthest among
# them.
FAR = 1.5


class Traffic(NamedTuple):
    """One session, ready for windows."""

    name: str
    counts: np.ndarray  # [bins, F]
    baseline: Baseline  # [F]
    warning: str  # what is odd about it; empty: nothing


def read(path, run, *, baseline_s=None, baseline_capture=None):
    """Reads a capture, or a table of counters where the run is of such, as `Traffic`.

    Args:
      path: a capture file, or a CSV or Parquet file of counters.
      run: `training.restored.Run`.
      baseline_s: seconds of its beginning that are normal; by default those of
        training, or the one baseline of all where training had but one.
      baseline_capture: a normal capture to take the baseline from instead.
    Raises:
      SiamjaxError: the capture is too short, or the table has another step.
    """
    config = run.config.data
    table = bins_of(path, run)
    first, normal, shared = 0, None, None
    if baseline_capture:
        normal = bins_of(baseline_capture, run)
    elif baseline_s is None and not config.baseline_s:
        shared = Baseline(*(x[0] for x in run.normal))
    else:
        seconds = config.baseline_s if baseline_s is None else baseline_s
        if not seconds >= config.bin_s:
            raise UsageError(f"--baseline is {seconds:g} s, less than a bin")
        first = round(seconds / config.bin_s)
        normal = table[:first]
    if len(table) < first + config.bins:
        raise SiamjaxError(
            f"{path}: {len(table) * config.bin_s:g} s are too short for a baseline of "
            f"{first * config.bin_s:g} s and one window of "
            f"{config.bins * config.bin_s:g} s"
        )
    if shared:
        return Traffic(prepared.session_name(path), table, shared, "")
    baseline = Baseline(*map(np.asarray, features.baseline(normal, run.scaler)))
    warning = ""
    if is_far(baseline.mean, run.normal.mean):
        warning = (
            "its baseline is far from those of training: it seems to start in a fault"
        )
    return Traffic(prepared.session_name(path), table, baseline, warning)


def bins_of(path, run):
    """Counts `[bins, F]` of a file of the run's kind."""
    bin_s = run.config.data.bin_s
    if run.columns[0].role != columns.COUNTER:
        session, kinds, _ = prepared.session_from_capture(path)
        return counts.of_session(session, kinds, bin_s)
    session, _ = prepared.session_from_table(path, run.columns)
    if problem := counts.too_coarse(session.series, bin_s):
        raise SiamjaxError(f"{path}: {problem}")
    return counts.of_session(session, (), bin_s)


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
      run: `training.restored.Run`.
      traffic: `Traffic`.
      chosen: `examples.Examples`.
    """
    data = run.config.data
    hop = max(round(decide.HOP_S / data.bin_s), 1)
    start, counts_of, baseline = windows(traffic, data.bins, hop)
    points = run.embed(counts_of, baseline)[run.config.decide_with]
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
