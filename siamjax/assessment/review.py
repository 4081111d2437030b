"""Normal stretches that look like a fault: for a person to review."""

import os
from typing import NamedTuple

import numpy as np

from siamjax.capture.cleaning import align_cells
from siamjax.data import windows as windows_module
from siamjax.data.splits import Splits
from siamjax.evaluation import pairwise
from siamjax.inference import runs
from siamjax.inference.runs import Run
from siamjax.types import NORMAL, SiamjaxError


class Doubt(NamedTuple):
    """A stretch that is labelled normal, and the fault that it is nearest to."""

    capture: str
    start_s: float
    end_s: float
    condition: str  # of the nearest window of a fault
    fault_capture: str  # that has it
    fault_s: float  # where it begins
    ratio: float  # its distance over that of the nearest normal window; below 1


def review_run(workdir: str | os.PathLike) -> list[str]:
    """Lines on the normal stretches of a run's data that are nearest to a fault.

    Raises:
      SiamjaxError: the run or its data cannot be read.
    """
    run = runs.open_run(os.fspath(workdir))
    doubts = find_doubts(run, runs.read_data(run))
    if not doubts:
        return ["every normal window is nearer to a normal one than to a fault"]
    lines = [["capture", "from_s", "to_s", "nearest fault", "in", "at_s", "ratio"]]
    for x in doubts:
        near = [x.condition, x.fault_capture, f"{x.fault_s:.1f}", f"{x.ratio:.2f}"]
        lines.append([x.capture, f"{x.start_s:.1f}", f"{x.end_s:.1f}", *near])
    return [
        *align_cells(lines),
        "ratio: distance to the nearest window of a fault over that to the nearest "
        "normal one, both of other captures",
        "no label is changed: look at each with siamjax label CAPTURE",
    ]


def find_doubts(run: Run, splits: Splits) -> list[Doubt]:
    """Normal stretches nearer to a fault than to normal, the nearest first.

    Windows are compared in the run's space with windows of other captures, since
    windows of one capture are alike.

    Raises:
      SiamjaxError: there are not two captures with normal windows, or no fault.
    """
    names, windows = splits.conditions.names, splits.windows
    windows = windows_module.take(windows, (windows.condition >= 0) & splits.judged)
    is_normal = windows.condition == names.index(NORMAL)
    if is_normal.all() or len(np.unique(windows.session[is_normal])) < 2:
        raise SiamjaxError("a review needs two captures with normal times, and a fault")
    points = run.compared(*splits.inputs(windows))
    normal, faults = np.flatnonzero(is_normal), np.flatnonzero(~is_normal)
    fault, fault_distance = _nearest(points, windows.session, normal, faults)
    _, normal_distance = _nearest(points, windows.session, normal, normal)
    ratio = fault_distance / np.maximum(normal_distance, np.finfo(np.float32).tiny)
    bin_s = run.config.data.bin_s
    doubts: list[Doubt] = []
    for i in np.flatnonzero(ratio < 1):
        window = windows_module.take(windows, normal[i])
        start_s = float(window.start * bin_s)
        doubt = Doubt(
            splits.sessions.names[window.session],
            start_s,
            start_s + splits.length * bin_s,
            names[windows.condition[fault[i]]],
            splits.sessions.names[windows.session[fault[i]]],
            float(windows.start[fault[i]] * bin_s),
            float(ratio[i]),
        )
        if doubts and _continues(doubts[-1], doubt):
            first = doubts.pop()
            nearest = min(first, doubt, key=lambda x: x.ratio)
            doubt = nearest._replace(start_s=first.start_s, end_s=doubt.end_s)
        doubts.append(doubt)
    return sorted(doubts, key=lambda x: x.ratio)


def _nearest(points, session, rows, others):
    """For each of `rows`, the nearest of `others` in another session, and how far."""
    distance = pairwise.distances(points[rows], points[others])
    distance[session[rows][:, None] == session[others]] = np.inf
    nearest = distance.argmin(1)
    return others[nearest], distance[np.arange(len(rows)), nearest]


def _continues(earlier, later):
    return (
        earlier.capture == later.capture
        and earlier.condition == later.condition
        and later.start_s <= earlier.end_s
    )
