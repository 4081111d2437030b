"""How sure a verdict is: p-values, and changes at an asked rate of false alarms.

Both are calibrated on validation captures. A p-value is conformal (Vovk, Gammerman,
Shafer, Algorithmic Learning in a Random World, 2005): the share of stretches of known
conditions, each of its own capture, that are at least as far from the training windows
of their condition. It is at least 1 / (n + 1) for n such stretches.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from siamjax import forms
from siamjax.types import UsageError

# A condition that is less probable than this is no candidate.
LEVEL = 0.05
# The most peaks that are stored, the highest ones, and the share of the highest of them
# to which the tail of their distribution is fitted.
PEAKS, TAIL = 200, 0.1
# An onset is corrected by condition if at least this many validation captures show it.
LEAST_ONSETS = 3
# The share of onsets that are nearer to the label than the error that is reported.
ONSETS_WITHIN = 0.9


class Onset(NamedTuple):
    """How a condition begins, beside the start of its first window."""

    shift_s: float  # added to that start
    error_s: float  # so near is the label in most captures


class Calibration(NamedTuple):
    """What validation captures show of distances, alarms and onsets."""

    # [n] of each stretch of a known condition: the median relative distance of its
    # windows to the nearest training window of its condition, of another capture
    known: tuple[float, ...] = ()
    # [n] the same, of the distance to one example of its condition of another capture
    alone: tuple[float, ...] = ()
    # Peaks of the cumulative evidence against normal traffic, the highest first
    peaks: tuple[float, ...] = ()
    normal_s: float = 0.0  # how much normal traffic they are from
    onsets: Mapping[str, Onset] = {}  # {condition: its onset}
    # [n] the oddness of blocks of normal traffic of the network, each beside the others
    normal: tuple[float, ...] = ()


def p_value(score: float, calibration: tuple[float, ...]) -> float:
    """The conformal p-value of a score; NaN if it is not finite, or without
    calibration.

      (1 + number of calibration scores >= score) / (n + 1)
    """
    if not calibration or not math.isfinite(score):
        return math.nan
    least = np.count_nonzero(np.asarray(calibration) >= score)
    return (1 + least) / (len(calibration) + 1)


def is_doubtful(value: float, calibration: tuple[float, ...]) -> bool:
    """Whether a p-value is below `LEVEL`, or as small as the calibration allows."""
    return value <= max(LEVEL, 1 / (len(calibration) + 1) + 1e-12)


def check_rate(per_hour: float) -> None:
    """Raises UsageError unless so many false alarms an hour can be asked for."""
    if not 0 < per_hour < math.inf:
        raise UsageError(
            f"{per_hour:g} false alarms an hour: give a finite number above 0"
        )


def find_peaks(against: np.ndarray) -> list[float]:
    """The peak of each rise of the cumulative sum (CUSUM: Page, Biometrika 1954).

    Args:
      against: `[N]` of normal windows: by how much another condition than normal is
        cheaper; negative: dearer.
    """
    total, highest, peaks = 0.0, 0.0, []
    for step in np.asarray(against, np.float64).tolist():
        total = max(total + step, 0.0)
        highest = max(highest, total)
        if not total and highest:
            peaks.append(highest)
            highest = 0.0
    if highest:
        peaks.append(highest)
    return peaks


def penalty_at(
    calibration: Calibration, per_hour: float, least: float, scale: float
) -> float:
    """The cost of a change at which normal traffic has so many false alarms an hour.

    Peaks above it are false alarms. Where the traffic of the calibration is too short
    to show so few, the highest peaks are extended by an exponential tail (Siegmund,
    Sequential Analysis, 1985).

    Args:
      calibration: of the run.
      per_hour: false alarms in an hour of normal traffic, above 0.
      least: the smallest cost.
      scale: of the tail, where fewer than two peaks show it.
    Raises:
      UsageError: the rate is not a finite number above 0.
    """
    check_rate(per_hour)
    peaks = np.array(calibration.peaks)
    allowed = per_hour * calibration.normal_s / 3600
    # One peak more than was seen is expected, as in a conformal p-value.
    if allowed >= 1:
        beyond = np.append(peaks, 0.0)[min(int(allowed) - 1, len(peaks))]
        return max(least, float(beyond))
    highest = float(peaks.max(initial=0.0))
    tail = peaks[: max(math.ceil(TAIL * len(peaks)), 2)]
    shown = float((tail - tail[-1]).mean()) if len(tail) > 1 else 0.0
    return max(least, highest) + (shown or scale) * math.log(1 / max(allowed, 1e-9))


def fit_onsets(shifts_s: Mapping[str, list[float]]) -> dict[str, Onset]:
    """The `Onset` of each condition that enough captures show.

    The error is that of captures that the shift does not rest on: each is compared with
    the median of the others.

    Args:
      shifts_s: {condition: label minus start of the first window, of each capture}.
    """
    onsets = {}
    for name, values in shifts_s.items():
        if len(values) >= LEAST_ONSETS:
            x = np.array(values)
            others = [np.median(np.delete(x, i)) for i in range(len(x))]
            error_s = np.quantile(np.abs(x - others), ONSETS_WITHIN, method="higher")
            onsets[name] = Onset(float(np.median(x)), float(error_s))
    return onsets


def as_json(calibration: Calibration) -> dict[str, Any]:
    """A calibration as plain values; `normal` is of a network, not of a run."""
    onsets = {name: onset._asdict() for name, onset in calibration.onsets.items()}
    lists = ("known", "alone", "peaks")
    plain = {name: list(getattr(calibration, name)) for name in lists}
    return dict(plain, normal_s=calibration.normal_s, onsets=onsets)


def from_json(value: Any) -> Calibration:
    """The `Calibration` of `as_json`; raises ValueError if it is none."""
    numbers = dict(known=[float], alone=[float], peaks=[float])
    onsets = {str: {name: float for name in Onset._fields}}
    forms.check_form(value, dict(numbers, normal_s=float, onsets=onsets))
    return Calibration(
        **{name: tuple(map(float, value[name])) for name in numbers},
        normal_s=float(value["normal_s"]),
        onsets={name: Onset(**onset) for name, onset in value["onsets"].items()},
    )
