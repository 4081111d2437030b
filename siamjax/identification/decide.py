"""The rule that turns the distances of a session's windows into a timeline.

All numbers of the rule are learnt from validation captures: the distance beyond which a
window is unknown, the cost of a change of condition, and how much later than the start
of its first window a condition begins.
"""

import heapq
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from siamjax.evaluation import unknowns
from siamjax.identification import confidence, weighing
from siamjax.identification.confidence import Calibration, Onset
from siamjax.identification.rules import Rule
from siamjax.identification.timeline import (
    RECOVERING,
    UNKNOWN,
    Span,
    decode,
    stretches,
)
from siamjax.identification.weighing import Evidence
from siamjax.types import NORMAL, Label

# From one window of a timeline to the next: finer than in training, for the onset.
HOP_S = 1.0
# A stretch after a fault is `recovering` if its deviation is below this share of the
# deviation of the fault.
FADING = 0.6
# A weak stretch is another fault if its first windows start over at least this time, in
# lengths of a window, and its p-value leaves no doubt. Chosen out of fold on four
# networks.
LASTING = 0.5
# The cost of a change of condition, in thresholds of unknown. Chosen out of fold on
# five networks: from 0.25 to 1 the names are alike, and the first alarm comes after 4.1
# to 6.1 s (docs/identification.md).
CHANGE = 0.5
# The threshold of a fault that was taught, in thresholds of unknown. Chosen with
# `weighing.CONTRAST`.
TAUGHT = 0.9
# In an adapted network a fault begins where the oddness rises above this share of the
# way from that of the normal traffic before it to the limit.
RISE = 0.5
# A fault has ended where the deviation of its windows falls below this share of that of
# the fault (a high quantile of its stretch, which may hold 16 s behind the end), and
# stays there for so long, in windows: 6 s of 16 s. Chosen out of fold on four networks
# (docs/identification.md).
FADED, FADES, LEVEL = 0.65, 0.375, 0.75
# The key of the onset of all conditions together.
ANY = ""


class _Part(NamedTuple):
    """Windows in a row that are in one condition."""

    first: int  # index of its first window
    end: int  # of the first one behind it
    decoded: str  # its condition on the path
    name: str  # and after all
    fades: bool = False  # it begins where the deviation of a fault fell


class Scores(NamedTuple):
    """How far N windows are from what is known."""

    distance: np.ndarray  # [N] to the nearest of one example of each known condition
    # [N] relative distance to the nearest training window or example, see
    # `evaluation.novelty`
    novelty: np.ndarray


def find_spans(
    evidence: Evidence,
    rule: Rule,
    origins: Sequence[str] | None = None,
    taught: Collection[str] = (),
) -> list[Span]:
    """The timeline of a session; a window without a finite distance gets no name.

    Args:
      evidence: of the session.
      rule: the numbers that decide.
      origins: a text for each example, where it comes from.
      taught: names of conditions that were learnt from an example after the training.
    """
    evidence, costs = weighing.weigh_windows(evidence, rule)
    path = decode(costs, rule.penalty)
    return spans_of_path(evidence, costs, path, rule, origins, taught)


def spans_of_path(
    evidence: Evidence,
    costs: np.ndarray,
    path: np.ndarray,
    rule: Rule,
    origins: Sequence[str] | None = None,
    taught: Collection[str] = (),
) -> list[Span]:
    """The timeline of the cheapest path `[N]`.

    Args:
      evidence, costs: of `weighing.weigh_windows`.
      path: of `timeline.decode`.
      rule, origins, taught: see `find_spans`.
    """
    parts = _find_parts(evidence, path, rule, taught)
    return _joined(
        [
            _with_confidence(
                _span(evidence, parts, i, rule, origins, taught),
                evidence,
                part,
                rule,
                taught,
            )
            for i, part in enumerate(parts)
        ]
    )


def _find_parts(evidence, path, rule, taught):
    """The `_Part`s of a path `[N]`."""
    blind = weighing.find_blind(evidence)
    names = *evidence.names, UNKNOWN
    path = _with_taught(path, evidence, rule, taught)
    path = np.where(blind, len(evidence.names), path)
    parts = [(first, end, names[path[first]]) for first, end in stretches(path)]
    parts = _with_beginnings(parts, evidence, blind)
    parts = _with_fading([_Part(*part, part[-1]) for part in parts], evidence)
    return _with_recovering(parts, evidence, rule, taught)


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


def fit_thresholds(known: Scores, novel: Scores) -> Rule:
    """The `Rule` without what `calibrate` adds; arguments are those of `fit_rule`."""
    unknown = unknowns.fit_threshold(known.distance, novel.distance)
    novelty = unknowns.fit_limit(known.novelty, novel.novelty)
    return Rule(unknown, CHANGE * unknown, 0.0, 0.0, novelty, TAUGHT * unknown)


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
    path = decode(costs, rule.penalty)
    spans = spans_of_path(evidence, costs, path, rule)
    parts = _find_parts(evidence, path, rule, ())
    for label in labels:
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
            shift_s = label.onset_s - matching[0].start_s
            onsets.setdefault(name, []).append(shift_s)
        if end := _find_end(parts, evidence, name, label):
            shift_s = label.clear_s - evidence.start_s[end.first]
            ends[RECOVERING if end.fades else NORMAL].append(float(shift_s))
    against = _against_normal(evidence, costs, labels)
    peaks = heapq.nlargest(confidence.PEAKS, confidence.find_peaks(against))
    return Changes(onsets, ends, peaks, len(against) * HOP_S)


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
        onsets=confidence.fit_onsets(onsets | ends | {ANY: shifts_s}),
    )
    return rule._replace(
        onset_s=_median(shifts_s),
        clear_s=_median(ends[NORMAL]),
        calibration=calibration,
    )


def _find_end(parts, evidence, name, label):
    """The stretch after the last one of a label under its name; None: there is none."""
    last = [
        i
        for i, part in enumerate(parts[:-1])
        if part.name == name
        and evidence.start_s[part.first] < label.clear_s
        and label.onset_s < evidence.start_s[part.end]
    ]
    return parts[last[-1] + 1] if last and np.isfinite(label.clear_s) else None


def _against_normal(evidence, costs, labels):
    """`[N]` of the windows before the first fault: by how much another condition is
    cheaper than normal."""
    if NORMAL not in evidence.names:
        return np.zeros(0)
    onsets_s = [x.onset_s for x in labels if x.condition != NORMAL]
    calm = evidence.start_s + evidence.window_s <= min(onsets_s, default=np.inf)
    column = evidence.names.index(NORMAL)
    costs = costs[calm & ~weighing.find_blind(evidence)]
    return costs[:, column] - np.delete(costs, column, 1).min(1)


def _with_taught(path, evidence, rule, taught):
    """The path, where a fault that was taught may be farther than others.

    Its one example shows less of it than many windows of training show of other faults.
    Whether a window is normal stays as it was: an example more gives no alarm more.
    """
    names = evidence.names
    is_taught = np.array([name in taught for name in names], bool)
    is_fault = np.array([name != NORMAL for name in names])
    if not is_taught.any():
        return path
    faults = evidence.distances[:, is_fault]
    relative = None if evidence.relative is None else evidence.relative[:, is_fault]
    weighed = weighing.weigh_distances(faults, relative, rule)
    nearest = weighing.contrast_distances(faults)[:, is_taught[is_fault]].min(1)
    level = rule.unknown * np.maximum(nearest, 0.0) / rule.taught
    level = np.minimum(weighed.min(1), level)
    costs = np.full((len(faults), len(names) + 1), np.inf)
    costs[:, np.flatnonzero(is_fault)] = weighing.shift_to(faults, level)
    costs[:, -1] = rule.unknown
    costs[weighing.find_blind(evidence)] = 0.0
    is_normal = np.array([*~is_fault, False])[path]
    path = path.copy()
    for first, end in stretches(is_normal):
        if not is_normal[first]:
            path[first:end] = decode(costs[first:end], rule.penalty)
    return path


def _with_beginnings(parts, evidence, blind):
    """The stretches; a shorter one before a fault, less than a window, is part of it.

    A window that holds the last normal seconds and the first ones of a fault is far
    from the examples of both, or near that of another fault. Windows in which nothing
    was measured stay apart.
    """
    joined = []
    for first, end, name in parts:
        begins = first
        while len(joined) > 1 and name != NORMAL and not blind[first:end].any():
            before, after, other = joined[-1]
            length_s = evidence.start_s[begins] - evidence.start_s[before]
            is_short = length_s < evidence.window_s
            weaker = end - begins > after - before or name != UNKNOWN == other
            if other == NORMAL or not is_short or not weaker:
                break
            if blind[before:after].any():
                break
            joined.pop()
            begins = before
        joined.append((begins, end, name))
    return joined


def _with_fading(parts, evidence):
    """The stretches; where the deviation of a fault fell for good, another one begins.

    A window has the name of a fault, or is unknown, until the fault has left it: up to
    16 s after its end. The newest quarter of a window shows the end sooner.
    """
    split = []
    for part in parts:
        deviation = evidence.deviation[part.first : part.end]
        level = FADED * np.quantile(deviation, LEVEL)
        high = np.flatnonzero(~(deviation < level))
        begins = part.first + int(high[-1]) + 1 if len(high) else part.first
        faded = part._replace(first=begins, name=RECOVERING, fades=True)
        if (
            part.name == NORMAL
            or _length_s(faded, evidence) < FADES * evidence.window_s
        ):
            split.append(part)
            continue
        split += [part._replace(end=begins), faded]
    return split


def _length_s(part, evidence):
    if part.first == part.end:
        return 0.0
    return evidence.start_s[part.end - 1] - evidence.start_s[part.first] + HOP_S


def _with_recovering(parts, evidence, rule, taught):
    """The stretches; a weak one after a fault is `recovering`.

    But one that is certainly a known fault, and lasts, is another fault.
    """
    named, fault = [], None
    for part in parts:
        first, end, name = part[:3]
        level = np.median(evidence.deviation[first:end])
        is_weak = fault is not None and name not in (NORMAL, fault[0])
        if is_weak and level < FADING * fault[1] and not part.fades:
            values = _p_values(evidence, first, end, rule, taught)
            certain = name in values and not values[name][1]
            is_short = _length_s(part, evidence) < LASTING * evidence.window_s
            if not certain or is_short:
                part = part._replace(name=RECOVERING)
        named.append(part)
        if part.name != RECOVERING:
            fault = None if name == NORMAL else (name, level)
    return named


def _span(evidence, parts, i, rule, origins, taught):
    """The `Span` of the i-th stretch."""
    first, end, decoded, name, _ = parts[i]
    start_s, end_s = evidence.start_s[_rise(evidence, parts, i)], evidence.end_s
    onset = _onset(parts[i], evidence, rule)
    start_s = start_s + onset.shift_s if first else 0.0
    if i + 1 < len(parts):
        end_s = evidence.start_s[end]
    distances = evidence.distances[first:end]
    if decoded in evidence.names:
        column = evidence.names.index(decoded)
    else:
        column = int(np.median(distances, 0).argmin())
    distance = float(np.median(distances[:, column]))
    if not np.isfinite(distance):
        return Span(float(start_s), float(end_s), UNKNOWN, np.nan, np.nan, "")
    others = np.median(distances, 0)  # [K]
    others[column] = np.inf
    runner_up = int(others.argmin())
    margin = float(others[runner_up] - distance)
    margin = margin if np.isfinite(margin) else np.nan
    other = evidence.names[runner_up] if np.isfinite(margin) else ""
    if decoded not in evidence.names:
        other = evidence.names[column]
    part = weighing.take_windows(evidence, slice(first, end))
    limits = weighing.limit_distances(part, rule, taught, column)
    window = first + int(distances[:, column].argmin())
    nearest = int(evidence.nearest[window, column])
    origin = origins[nearest] if origins and nearest >= 0 else ""
    return Span(
        float(start_s),
        float(end_s),
        name,
        distance,
        margin,
        origin,
        other,
        float(np.median(limits)),
        nearest=nearest,
        window_s=float(evidence.start_s[window]),
    )


def _rise(evidence, parts, i):
    """The first window of the i-th stretch; of a fault that shows slowly, an earlier
    one.

    The limit of what is normal lies far above usual traffic. So the oddness may have
    risen for seconds before a window is odd.
    """
    first = parts[i].first
    if not i or evidence.oddness is None or parts[i - 1].name != NORMAL:
        return first
    window = round(evidence.window_s / HOP_S)
    begins = parts[i - 1].first
    usual = evidence.oddness[max(first - 2 * window, begins) : first]
    usual = usual[: max(len(usual) - window, 1)]
    least = RISE + (1 - RISE) * np.median(usual)
    while first > begins + 1 and evidence.oddness[first - 1] >= least:
        first -= 1
    return max(first, parts[i].first - window)


def _onset(part, evidence, rule):
    """The `Onset` of a stretch; the end of a fault is the onset of what follows."""
    onsets = rule.calibration.onsets
    if part.fades:
        # The newest quarter of a window is half behind the end when it is calm.
        return onsets.get(RECOVERING, Onset(7 / 8 * evidence.window_s, np.nan))
    if part.name in (NORMAL, RECOVERING):
        return onsets.get(NORMAL, Onset(rule.clear_s, np.nan))
    return onsets.get(part.name, onsets.get(ANY, Onset(rule.onset_s, np.nan)))


def _with_confidence(span, evidence, part, rule, taught):
    """The span with the error of its onset, its p-value and its candidates."""
    first, end, decoded = part[:3]
    if first:
        error_s = _onset(part, evidence, rule).error_s
        span = span._replace(onset_error_s=error_s)
    values = _p_values(evidence, first, end, rule, taught)
    is_calibrated = decoded in values or (values and decoded == UNKNOWN)
    if not is_calibrated or not np.isfinite(span.distance):
        return span
    probable = sorted(
        (name for name, (_, doubtful) in values.items() if not doubtful),
        key=lambda name: -values[name][0],
    )
    name = decoded if decoded in values else max(values, key=lambda n: values[n][0])
    certain = decoded in probable
    others = [other for other in probable if other != decoded]
    unsure = [] if certain or decoded == UNKNOWN else [UNKNOWN]
    return span._replace(
        p_value=values[name][0], candidates=(decoded, *unsure, *others)
    )


def _p_values(evidence, first, end, rule, taught):
    """{name: (p-value of a stretch, whether it is doubtful)}; normal traffic of a
    network has one where enough of it was given."""
    values: dict[str, tuple[float, bool]] = {}
    if evidence.relative is None:
        return values
    for column, name in enumerate(evidence.names):
        scores, calibration = evidence.relative[:, column], rule.calibration.known
        if name == NORMAL and evidence.oddness is not None:
            scores, calibration = evidence.oddness, rule.calibration.normal
        elif name in taught:
            scores, calibration = evidence.distances[:, column], rule.calibration.alone
        score = float(np.median(scores[first:end]))
        value = confidence.p_value(score, calibration)
        if np.isfinite(value):
            values[name] = value, confidence.is_doubtful(value, calibration)
    return values


def _joined(spans):
    """Joins neighbours of the same name; each span ends where the next begins."""
    joined = []
    for span in spans:
        if joined and joined[-1].condition == span.condition:
            joined[-1] = joined[-1]._replace(end_s=span.end_s)
            continue
        if joined:
            span = span._replace(start_s=max(joined[-1].start_s, span.start_s))
            joined[-1] = joined[-1]._replace(end_s=span.start_s)
        joined.append(span)
    return joined


def _median(values):
    return float(np.median(values)) if values else 0.0
