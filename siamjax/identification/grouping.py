"""Which unknown stretches of captures are the same fault."""

import os
import shlex
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.cluster import hierarchy
from scipy.spatial import distance

from siamjax.identification import identify, sessions
from siamjax.identification.timeline import UNKNOWN, Span
from siamjax.inference import runs
from siamjax.text import printable
from siamjax.types import Baseline


class Stretch(NamedTuple):
    """An unknown stretch of a capture, and its most typical window."""

    capture: str
    span: Span
    start_s: float  # of the window
    counts: np.ndarray  # [T, F] of the window
    baseline: Baseline  # [F]
    network: sessions.Adapted | None  # of the capture
    across: bool  # the baseline is that of the network

    @property
    def network_name(self) -> str:
        """The name of the network; empty: none."""
        return self.network.name if self.network else ""


def find_unknown(
    run: runs.Run, capture: str | os.PathLike, identified: identify.Identification
) -> list[Stretch]:
    """The unknown stretches of a capture that are as long as a window.

    Args:
      run: that the capture was compared by.
      capture: its path.
      identified: what the run says of it.
    """
    (spans, traffic), data = identified, run.config.data
    space = _adapt(run, traffic.network, traffic.across)
    start, counts, baseline = sessions.slide_windows(
        traffic, data.bins, sessions.hop_bins(run)
    )
    start_s, length_s = start * data.bin_s, data.bins * data.bin_s
    measured = np.isfinite(counts).any((1, 2))
    stretches = []
    for span in spans:
        inside = measured & (start_s >= span.start_s)
        inside &= start_s + length_s <= span.end_s
        rows = np.flatnonzero(inside)
        if span.condition != UNKNOWN or not len(rows):
            continue
        baselines = Baseline(*(x[rows] for x in baseline))
        points = space.compared(counts[rows], baselines)
        typical = rows[np.linalg.norm(points - points.mean(0), axis=1).argmin()]
        stretches.append(
            Stretch(
                str(capture),
                span,
                float(start_s[typical]),
                np.array(counts[typical]),  # without the other windows
                traffic.baseline,
                traffic.network,
                traffic.across,
            )
        )
    return stretches


def measure_distances(run: runs.Run, stretches: Sequence[Stretch]) -> np.ndarray:
    """Distances `[N, N]` between the windows of N stretches.

    Windows of one network are compared in its space. Of two networks it is the mean of
    the distances in both spaces.
    """
    spaces: dict[tuple[str, bool], list[int]] = {}
    for i, stretch in enumerate(stretches):
        spaces.setdefault((stretch.network_name, stretch.across), []).append(i)
    counts = np.stack([stretch.counts for stretch in stretches])
    baselines = Baseline(*map(np.stack, zip(*(x.baseline for x in stretches))))
    distances = np.zeros((len(stretches), len(stretches)))
    for rows in spaces.values():
        first = stretches[rows[0]]
        space = _adapt(run, first.network, first.across)
        points = space.compared(counts, baselines)
        distances[rows] = distance.cdist(points[rows], points)
    return (distances + distances.T) / 2


def group_stretches(
    stretches: Sequence[Stretch], distances: np.ndarray, threshold: float
) -> list[list[Stretch]]:
    """Groups of stretches that may be one fault, the largest first; of each group the
    most typical stretch is the first, which is the nearest to the others.

    Two groups are joined while the mean distance between their windows is at most the
    threshold (average linkage: Sokal, Michener, 1958).

    Args:
      stretches: N of one run.
      distances: `[N, N]`, of `measure_distances`.
      threshold: of unknown.
    """
    numbers = np.ones(len(stretches), int)
    if len(stretches) > 1:
        pairs = distance.squareform(distances, checks=False)
        tree = hierarchy.linkage(pairs, "average")
        numbers = hierarchy.fcluster(tree, threshold, "distance")
    groups = []
    for number in dict.fromkeys(numbers.tolist()):
        rows = np.flatnonzero(numbers == number)
        typical = int(rows[distances[np.ix_(rows, rows)].sum(1).argmin()])
        others = [stretches[i] for i in rows.tolist() if i != typical]
        groups.append([stretches[typical], *others])
    return sorted(groups, key=len, reverse=True)


def describe_groups(
    groups: Sequence[Sequence[Stretch]], options: Sequence[str]
) -> list[str]:
    """Lines about groups, each with the command that would name it.

    Args:
      groups: of `group_stretches`.
      options: of `siamjax learn`, but for the network of a capture.
    """
    lines = []
    for number, group in enumerate(groups, 1):
        captures = len({stretch.capture for stretch in group})
        stretches = f"{len(group)} unknown stretch{'es' * (len(group) > 1)}"
        places = f"{captures} capture{'s' * (captures > 1)}"
        lines.append(f"group {number}: {stretches} in {places}")
        for stretch in sorted(group, key=lambda s: (s.capture, s.span.start_s)):
            # The whole path: captures of two folders may have one name.
            start_s, end_s = stretch.span.start_s, stretch.span.end_s
            name = f" ({stretch.network_name})" if stretch.network else ""
            lines.append(
                f"  {stretch.capture}{name} from {start_s:.1f} to {end_s:.1f} s"
            )
        typical = group[0]
        network = [f"--network={typical.network_name}"] if typical.network else []
        place = f"NAME={typical.capture}@{typical.start_s:g}"
        lines.append(f"  siamjax learn {shlex.join([*options, *network, place])}")
    return [printable(line) for line in lines]


def _adapt(run, network, across):
    """The run, in the space in which a capture is compared."""
    return run if network is None else network.adapt(run, across=across)
