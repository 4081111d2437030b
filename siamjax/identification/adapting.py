"""A run adapted to a network by its normal traffic, without a label."""

import os
from collections.abc import Sequence

import numpy as np

from siamjax.data import features, prepared
from siamjax.evaluation import normal_bins, wccn
from siamjax.identification import library, library_files, normality, sessions
from siamjax.identification.timeline import stretches as equal_stretches
from siamjax.inference.runs import Run
from siamjax.types import Baseline, SiamjaxError, UsageError

# Less normal traffic than this is said to be little.
_ENOUGH_S = 600.0
# A longer capture is held out in stretches, each with a baseline of its own.
_STRETCH_S = 120.0


def learn_network(
    run: Run,
    name: str,
    paths: Sequence[str | os.PathLike],
    *,
    folder: str | os.PathLike | None = None,
    note: str = "",
) -> tuple[float, list[str]]:
    """Keeps the normal traffic of a network in a library.

    Args:
      run: that was evaluated; it reads the captures.
      name: of the network.
      paths: of its normal captures.
      folder: of the library; by default that of the run.
      note: is kept with it.
    Returns:
      How many seconds of traffic there are, and sentences about what may be wrong with
      them; they are kept all the same.
    Raises:
      SiamjaxError: a capture cannot be used; nothing was kept.
    """
    network = read_network(run, name, paths, note)
    doubts = find_odd(run, network)
    seconds = sum(map(len, network.counts)) * run.config.data.bin_s
    if seconds < _ENOUGH_S:
        doubts.append(
            f"{seconds:.0f} s of normal traffic are little: {_ENOUGH_S:.0f} s or more "
            "are better"
        )
    where = library.locate(run.workdir, folder)
    library.put_network(where, network, library.layout_of(run))
    return seconds, doubts


def read_network(
    run: Run, name: str, paths: Sequence[str | os.PathLike], note: str = ""
) -> library_files.Network:
    """Reads the normal captures of a network.

    Raises:
      readings.NoEvidence: nothing was read of a capture.
      SiamjaxError: a capture is too short for a baseline and a window.
      UsageError: a network cannot have this name, or all captures have one window.
    """
    library.check_network_name(name)
    captures, counts = [], []
    for path in paths:
        reading = sessions.reader_of(run).read(path)
        sessions.check_length(path, reading.counts, sessions.baseline_bins(run), run)
        captures.append(prepared.session_name(path))
        counts.append(reading.counts)
    data, hop = run.config.data, sessions.hop_bins(run)
    if sum((len(x) - data.bins) // hop + 1 for x in counts) < 2:
        raise UsageError(
            f"{paths[0]} has one window of normal traffic: give "
            f"{(data.bins + hop) * data.bin_s:g} s or more, or another capture"
        )
    return library_files.Network(
        name, tuple(captures), tuple(counts), library.origin_of(run, note)
    )


def adapt(
    run: Run, network: library_files.Network, false_alarms: float | None = None
) -> sessions.Adapted:
    """What a run knows of a network, from its normal traffic in a library.

    Args:
      run: that was evaluated.
      network: of a library.
      false_alarms: in an hour of normal traffic; how far normal windows may lie follows
        from it. By default that is the same for all networks.
    Raises:
      SiamjaxError: the run was evaluated by an older version, without a whitening.
      UsageError: the rate is not above 0, or one stretch of normal traffic does not
        show how far others lie from it.
    """
    whitening = run.deciding.whitening
    if whitening is None:
        raise SiamjaxError(
            f"{run.workdir} was evaluated by an older version: run siamjax evaluate "
            f"--workdir {run.workdir} again"
        )
    moments = [capture_moments(run, counts) for counts in network.counts]
    by_session = [sessions.own_baseline(counts, run) for counts in network.counts]
    baselines = Baseline(*(np.stack(x) for x in zip(*by_session)))
    between = normality.between_sessions(run.normal, run.scaler)
    between += normality.between_sessions(baselines, run.scaler)
    joined = np.concatenate(network.counts)
    held_out = _hold_out(run, network.counts, moments)
    limit = normality.LIMIT
    if false_alarms is not None:
        if held_out is None:
            raise UsageError(
                f"network {network.name} was learnt from one capture: --false_alarms "
                "needs two or more, or one of several minutes, see siamjax adapt"
            )
        limit = normality.limit_at(held_out, false_alarms)
    return sessions.Adapted(
        network.name,
        sessions.measure_baseline(joined, run),
        own=normality.fit_normality(moments, whitening, limit=limit),
        across=normality.fit_normality(moments, whitening, between, limit),
        learnt=_fit_learnt(run, network.counts),
        typical=tuple(x / limit for x in held_out.typical) if held_out else (),
        normal_bins=_adapt_normal_bins(run, network.counts),
    )


def _adapt_normal_bins(run, counts):
    """The `NormalBins` of normal captures; None where windows decide as a whole."""
    if run.deciding.normal_bins is None:
        return None
    captures = []
    for capture in counts:
        baseline = sessions.repeat_baseline(sessions.own_baseline(capture, run), 1)
        x = features.to_features(np.asarray(capture)[None], baseline, run.scaler)
        captures.append(np.asarray(x)[0][np.isfinite(capture).any(1)])
    return normal_bins.adapt_normal_bins(run.deciding.normal_bins, captures)


def _hold_out(run, counts, moments):
    """The `normality.HeldOut` of normal captures with their moments."""
    data = run.config.data
    parts = [np.array_split(x, _count_stretches(run, len(x))) for x in counts]
    stretches = [
        capture_moments(run, part) if len(split) > 1 else whole
        for split, whole in zip(parts, moments)
        for part in split
    ]
    return normality.hold_out(
        stretches,
        run.deciding.whitening,
        windows=max(data.bins // sessions.hop_bins(run), 1),
        block_s=data.bins * data.bin_s,
    )


def _count_stretches(run, bins):
    data = run.config.data
    shortest = sessions.baseline_bins(run) + 2 * data.bins
    return max(bins // max(round(_STRETCH_S / data.bin_s), shortest), 1)


def _fit_learnt(run, counts):
    """The whitening of the learnt points of normal captures; None if the space of the
    run has none."""
    head = run.deciding.space.head
    if not head or run.config.active_heads[head].norm != "unit":
        return None
    parts = []
    for capture in counts:
        traffic = sessions.Traffic("", capture, sessions.own_baseline(capture, run))
        start, windows, baseline = sessions.slide_windows(
            traffic, run.config.data.bins, sessions.hop_bins(run)
        )
        rows = np.arange(len(start))[:: -(-len(start) // normality.MOST_WINDOWS)]
        baselines = Baseline(*(x[rows] for x in baseline))
        parts.append(run.embed(windows[rows], baselines)[head])
    points = np.concatenate(parts)[:, : run.config.active_heads[head].dim]
    return wccn.fit_on_normal(points)


def capture_moments(run: Run, counts: np.ndarray) -> np.ndarray:
    """The moments of a normal capture `[bins, F]`, see `normality.normal_moments`."""
    data = run.config.data
    return normality.normal_moments(
        counts,
        sessions.own_baseline(counts, run),
        table=run.columns,
        scaler=run.scaler,
        bins=data.bins,
        hop=sessions.hop_bins(run),
    )


def find_odd(run: Run, network: library_files.Network) -> list[str]:
    """Lines about stretches of normal captures that are odd beside all the others."""
    adapted, lines = adapt(run, network), []
    for name, counts in zip(network.captures, network.counts):
        traffic = sessions.Traffic(name, counts, sessions.own_baseline(counts, run))
        start, windows, baseline = sessions.slide_windows(
            traffic, run.config.data.bins, sessions.hop_bins(run)
        )
        odd = sessions.window_oddness(run, adapted.own, windows, baseline) > 1
        start_s = start * run.config.data.bin_s
        length_s = run.config.data.bins * run.config.data.bin_s
        for first, end in equal_stretches(odd):
            if odd[first]:
                lines.append(
                    f"{name} is odd from {start_s[first]:.0f} to "
                    f"{start_s[end - 1] + length_s:.0f} s: if that is a fault, adapt "
                    "without it"
                )
    return lines
