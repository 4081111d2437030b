"""Which unknown stretches of captures are the same fault."""

import os
import shlex
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.cluster import hierarchy

from siamjax.identification import identify, sessions
from siamjax.identification.references import Reference
from siamjax.identification.timeline import UNKNOWN, Span
from siamjax.text import printable
from siamjax.types import Baseline


class Stretch(NamedTuple):
    """An unknown stretch of a capture, and its most typical window."""

    capture: str
    span: Span
    start_s: float  # of the window
    point: np.ndarray  # [E] of the window


def find_unknown(capture: str | os.PathLike, reference: Reference) -> list[Stretch]:
    """The unknown stretches of a capture that are as long as a window.

    Raises:
      SiamjaxError: the capture cannot be read.
    """
    spans, traffic = identify.compare_capture(capture, reference)
    run, data = reference.run, reference.run.config.data
    if reference.network is not None:
        run = reference.network.adapt(run, across=traffic.across)
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
        points = run.compared(counts[rows], baselines)
        typical = _nearest_to_mean(points)
        stretches.append(
            Stretch(str(capture), span, float(start_s[rows[typical]]), points[typical])
        )
    return stretches


def group_stretches(
    stretches: Sequence[Stretch], threshold: float
) -> list[list[Stretch]]:
    """Groups of stretches that may be one fault, the largest first; of each group the
    most typical stretch is the first.

    Two groups are joined while the mean distance between their windows is at most the
    threshold (average linkage: Sokal, Michener, 1958).

    Args:
      stretches: of one run.
      threshold: of unknown.
    """
    if not stretches:
        return []
    points = np.stack([stretch.point for stretch in stretches])
    numbers = np.ones(1, int)
    if len(points) > 1:
        tree = hierarchy.linkage(points, "average")
        numbers = hierarchy.fcluster(tree, threshold, "distance")
    groups = []
    for number in dict.fromkeys(numbers.tolist()):
        rows = np.flatnonzero(numbers == number)
        typical = int(rows[_nearest_to_mean(points[rows])])
        others = [stretches[i] for i in rows.tolist() if i != typical]
        groups.append([stretches[typical], *others])
    return sorted(groups, key=len, reverse=True)


def describe_groups(
    groups: Sequence[Sequence[Stretch]], options: Sequence[str]
) -> list[str]:
    """Lines about groups, each with the command that would name it.

    Args:
      groups: of `group_stretches`.
      options: of `siamjax learn`.
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
            lines.append(f"  {stretch.capture} from {start_s:.1f} to {end_s:.1f} s")
        place = f"NAME={group[0].capture}@{group[0].start_s:g}"
        lines.append(f"  siamjax learn {shlex.join([*options, place])}")
    return [printable(line) for line in lines]


def _nearest_to_mean(points):
    return int(np.linalg.norm(points - points.mean(0), axis=1).argmin())
