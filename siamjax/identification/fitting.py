"""The numbers of the rule, learnt from labelled captures of the validation.

They are the distance beyond which a window is unknown, the cost of a change of
condition, how much later than the start of its first window a condition begins or ends,
and what normal traffic and known faults look like, for the p-values.
"""

import heapq
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from siamjax.data.windows import normal_bins
from siamjax.evaluation import unknowns
from siamjax.identification import confidence, decide, weighing
from siamjax.identification.confidence import Calibration
from siamjax.identification.rules import Rule
from siamjax.identification.timeline import RECOVERING, UNKNOWN, decode
from siamjax.identification.weighing import Evidence
from siamjax.types import NORMAL, Label

# The cost of a change of condition, in thresholds of unknown. Chosen out of fold on
# five networks: from 0.25 to 1 the names are alike, and the first alarm comes after 4.1
# to 6.1 s (docs/identification.md).
CHANGE = 0.5
# The threshold of a fault that was taught, in thresholds of unknown. Chosen with
# `weighing.CONTRAST`.
TAUGHT = 0.9
# The smallest limit, where all windows are equal: smaller distances are rounding
# errors.
LEAST = 1e-6


class Scores(NamedTuple):
    """How far N windows are from what is known."""

    distance: np.ndarray  # [N] to the nearest of one example of each known condition
    novelty: np.ndarray  # [N] see `evaluation.novelty`


class Changes(NamedTuple):
    """What a labelled session shows of changes of condition, and of normal traffic."""

    onsets: dict[str, list[float]]  # {name: seconds from a window's start to the label}
    ends: dict[str, list[float]]  # the same, of ends; by NORMAL and RECOVERING
    peaks: list[float]  # the highest of `confidence.find_peaks`
    normal_s: float  # how much normal traffic they are from


def fit_rule(
    sessions: Iterable[tuple[Evidence, Sequence[Label]]],
    known: Scores,
    novel: Scores,
    stretches_of: Scores | None = None,
) -> Rule:
    """The `Rule` from validation captures.

    Args:
      sessions: the `Evidence` and the true labels of each.
      known: of windows of known conditions.
      novel: of windows of novel conditions.
      stretches_of: of stretches of known conditions, see `Calibration`.
    """
    rule = fit_thresholds(known, novel)
    changes = [measure_changes(*session, rule) for session in sessions]
    return calibrate(rule, changes, stretches_of)


def fit_thresholds(known: Scores, novel: Scores, change: float = CHANGE) -> Rule:
    """The `Rule` without what `calibrate` adds.

    Args:
      known, novel: see `fit_rule`.
      change: the cost of a change of condition, in thresholds of unknown.
    """
    unknown = max(unknowns.fit_threshold(known.distance, novel.distance), LEAST)
    limit = max(unknowns.fit_limit(known.novelty, novel.novelty), LEAST)
    return Rule(unknown, change * unknown, 0.0, 0.0, limit, TAUGHT * unknown)


def measure_changes(evidence: Evidence, labels: Sequence[Label], rule: Rule) -> Changes:
    """What one session shows, so that its evidence need not be kept.

    Args:
      evidence: of a session.
      labels: the true ones.
      rule: of `fit_thresholds`.
    """
    onsets: dict[str, list[float]] = {}
    ends: dict[str, list[float]] = {NORMAL: [], RECOVERING: []}
    evidence, costs = weighing.weigh_windows(evidence, rule)
    path = decode(costs, rule.penalty, weighing.start_costs(evidence, rule))
    spans = decide.spans_of_path(evidence, costs, path, rule)
    parts = decide.find_parts(evidence, path, rule, ())
    for label, earliest_s, latest_s in _with_limits(labels):
        if label.condition == NORMAL:
            continue
        name = label.condition if label.condition in evidence.names else UNKNOWN
        matching = [
            span
            for span in spans
            if span.condition == name
            and span.start_s < label.clear_s
            and label.onset_s < span.end_s
        ]
        if matching and matching[0].start_s > spans[0].start_s:
            start_s = matching[0].start_s
            shift_s = float(np.clip(start_s, earliest_s, label.onset_s)) - start_s
            onsets.setdefault(name, []).append(shift_s)
        if end := _find_end(parts, evidence, name, label):
            start_s = evidence.start_s[end.first] + evidence.lead_s
            shift_s = np.clip(start_s, label.clear_s, latest_s) - start_s
            ends[RECOVERING if end.fades else NORMAL].append(float(shift_s))
    against = _against_normal(evidence, costs, labels)
    peaks = heapq.nlargest(confidence.PEAKS, confidence.find_peaks(against))
    return Changes(onsets, ends, peaks, len(against) * evidence.hop_s)


def calibrate(
    rule: Rule, changes: Iterable[Changes], stretches_of: Scores | None = None
) -> Rule:
    """The rule with onsets, ends and `Calibration`.

    Args:
      rule: of `fit_thresholds`.
      changes: of each session, see `measure_changes`.
      stretches_of: see `fit_rule`.
    """
    onsets: dict[str, list[float]] = {}
    ends: dict[str, list[float]] = {NORMAL: [], RECOVERING: []}
    peaks: list[float] = []
    normal_s = 0.0
    for session in changes:
        for name, values in session.onsets.items():
            onsets.setdefault(name, []).extend(values)
        for name, values in session.ends.items():
            ends[name] += values
        peaks = heapq.nlargest(confidence.PEAKS, [*peaks, *session.peaks])
        normal_s += session.normal_s
    shifts_s = [shift_s for values in onsets.values() for shift_s in values]
    calibration = Calibration(
        known=tuple(stretches_of.novelty.tolist()) if stretches_of else (),
        alone=tuple(stretches_of.distance.tolist()) if stretches_of else (),
        peaks=tuple(peaks),
        normal_s=normal_s,
        onsets=confidence.fit_onsets(onsets | ends | {decide.ANY: shifts_s}),
    )
    return rule._replace(
        onset_s=_median(shifts_s),
        clear_s=_median(ends[NORMAL]),
        calibration=calibration,
    )


def _with_limits(labels):
    """Yields each label, from when it may begin, and until when it may end.

    Where labels say what is normal, the time between two of them has no condition: the
    change may be at any time in it.
    """
    has_gaps = any(label.condition == NORMAL for label in labels)
    for i, label in enumerate(labels):
        earliest_s, latest_s = label.onset_s, label.clear_s
        if has_gaps:
            earliest_s = labels[i - 1].clear_s if i else 0.0
            latest_s = labels[i + 1].onset_s if i + 1 < len(labels) else np.inf
        yield label, earliest_s, latest_s


def _find_end(parts, evidence, name, label):
    """The stretch after the last one of a label under its name; None: there is none."""
    times_s = evidence.start_s + evidence.lead_s
    last = [
        i
        for i, part in enumerate(parts[:-1])
        if part.name == name
        and times_s[part.first] < label.clear_s
        and label.onset_s < times_s[part.end]
    ]
    return parts[last[-1] + 1] if last and np.isfinite(label.clear_s) else None


def _against_normal(evidence, costs, labels):
    """`[N]` of normal windows: by how much another condition is cheaper than normal.

    They are those before the first fault; where their newest bin decides, those in
    which it is normal.
    """
    if NORMAL not in evidence.names:
        return np.zeros(0)
    onsets_s = [x.onset_s for x in labels if x.condition != NORMAL]
    calm = evidence.start_s + evidence.window_s <= min(onsets_s, default=np.inf)
    if evidence.by_newest_bin:
        bins = round(evidence.end_s / evidence.hop_s)
        calm = normal_bins(labels, bins, evidence.hop_s)[-len(evidence.start_s) :]
    column = evidence.names.index(NORMAL)
    costs = costs[calm & ~weighing.find_blind(evidence)]
    return costs[:, column] - np.delete(costs, column, 1).min(1)


def _median(values):
    return float(np.median(values)) if values else 0.0
