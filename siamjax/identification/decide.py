"""The rule that turns the distances of a session's windows into a timeline."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from siamjax.identification import confidence, weighing
from siamjax.identification.confidence import Onset
from siamjax.identification.rules import Rule
from siamjax.identification.timeline import (
    RECOVERING,
    UNKNOWN,
    Span,
    decode,
    stretches,
)
from siamjax.identification.weighing import Evidence
from siamjax.types import NORMAL

# From one window of a timeline to the next: finer than in training, for the onset.
HOP_S = 1.0
# A stretch after a fault is `recovering` if its deviation is below this share of the
# deviation of the fault.
FADING = 0.6
# A weak stretch is another fault if its first windows start over at least this time, in
# lengths of a window, and its p-value leaves no doubt. Chosen out of fold on four
# networks.
LASTING = 0.5
# One that lasts for this time, in windows, is another fault as well if the deviation of
# its second half is at least this share of that of the first: what recovers falls.
# Values from 1 to 2 and from 0.8 to 1 decide alike.
STEADY_FOR, STEADY = 1.5, 0.9
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


class Part(NamedTuple):
    """Windows in a row that are in one condition."""

    first: int  # index of its first window
    end: int  # of the first one behind it
    decoded: str  # its condition on the path
    name: str  # and after all
    fades: bool = False  # it begins where the deviation of a fault fell


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
    path = decode(costs, rule.penalty, weighing.start_costs(evidence, rule))
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
    parts = find_parts(evidence, path, rule, taught)
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


def find_parts(
    evidence: Evidence, path: np.ndarray, rule: Rule, taught: Collection[str]
) -> list[Part]:
    """The stretches of the cheapest path `[N]`, under their names after all.

    Args:
      evidence: of `weighing.weigh_windows`.
      path: of `timeline.decode`.
      rule, taught: see `find_spans`.
    """
    blind = weighing.find_blind(evidence)
    names = *evidence.names, UNKNOWN
    path = _with_taught(path, evidence, rule, taught)
    path = np.where(blind, len(evidence.names), path)
    named = [(first, end, names[path[first]]) for first, end in stretches(path)]
    parts = [
        Part(first, end, decoded=name, name=name)
        for first, end, name in _with_beginnings(named, evidence, blind)
    ]
    parts = _with_fading(parts, evidence)
    return _with_recovering(parts, evidence, rule, taught)


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
    start_s = evidence.start_s
    return start_s[part.end - 1] - start_s[part.first] + evidence.hop_s


def _with_recovering(parts, evidence, rule, taught):
    """The stretches; a weak one after a fault is `recovering`.

    But one that is certainly a known fault, and lasts, is another fault; so is one that
    lasts longer and does not fall.
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
            if (not certain or is_short) and not _is_steady(part, evidence):
                part = part._replace(name=RECOVERING)
        named.append(part)
        if part.name != RECOVERING:
            fault = None if name == NORMAL else (name, level)
    return named


def _is_steady(part, evidence):
    """Whether a stretch lasts, and its deviation does not fall."""
    if _length_s(part, evidence) < STEADY_FOR * evidence.window_s:
        return False
    first, second = np.array_split(evidence.deviation[part.first : part.end], 2)
    return np.median(second) >= STEADY * np.median(first)


def _span(evidence, parts, i, rule, origins, taught):
    """The `Span` of the i-th stretch."""
    first, end, decoded, name, _ = parts[i]
    times_s = evidence.start_s + evidence.lead_s
    start_s, end_s = times_s[_rise(evidence, parts, i)], evidence.end_s
    onset = _onset(parts[i], evidence, rule)
    start_s = start_s + onset.shift_s if first else 0.0
    if i + 1 < len(parts):
        end_s = times_s[end]
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
    if name == UNKNOWN:
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
    rises = evidence.oddness is not None and not evidence.by_newest_bin
    if not i or not rises or parts[i - 1].name != NORMAL:
        return first
    window = max(round(evidence.window_s / evidence.hop_s), 1)
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
        behind_s = 7 / 8 * evidence.window_s - evidence.lead_s
        return onsets.get(RECOVERING, Onset(behind_s, np.nan))
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
