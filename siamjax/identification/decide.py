"""The rule that turns a session's points into a timeline, and how it is learnt.

All numbers of the rule come from validation captures: from what distance on a window is
unknown, what a change of mind costs, and how far behind a window's start a change lies.
"""

from typing import Any, NamedTuple

import numpy as np

from siamjax import forms
from siamjax.evaluation import unknowns
from siamjax.identification.timeline import RECOVERING, UNKNOWN, Span, decode, runs
from siamjax.types import NORMAL

# Between the windows of a timeline: finer than in training, for the onset.
HOP_S = 1.0
# A stretch after a fault is recovering where it deviates less than this share of the
# fault.
FADING = 0.6


class Rule(NamedTuple):
    """What identification knows beside the examples."""

    unknown: float  # distance beyond which the nearest example does not count
    penalty: float  # cost of a change of condition, in the same unit
    onset_s: float  # from the first window of a condition to its onset
    clear_s: float  # from the first window after a condition to its end


def read_rule(value: Any) -> Rule:
    """The `Rule` of a JSON object; raises ValueError where it is none."""
    forms.check(value, {name: float for name in Rule._fields})
    rule = Rule(**{name: float(value[name]) for name in Rule._fields})
    if rule.unknown < 0 or rule.penalty < 0:
        raise ValueError("a distance is less than 0")
    return rule


class Evidence(NamedTuple):
    """A session as identification sees it. N windows, K names."""

    start_s: np.ndarray  # [N] of windows, after the first packet
    end_s: float  # of the session
    distances: np.ndarray  # [N, K] to the nearest example of each name; inf: none
    nearest: np.ndarray  # [N, K] which example that is
    deviation: np.ndarray  # [N] mean absolute feature of the newest quarter of a window


def evidence(points, examples, names, start_s, end_s, deviation):
    """Distances of windows to the nearest example of each name.

    Args:
      points: `[N, E]` of the session's windows.
      examples: `[X, E]`.
      names: condition of each example, X of them.
      start_s, end_s, deviation: see `Evidence`.
    Returns:
      `Evidence`, and the K names in order.
    """
    order = tuple(dict.fromkeys(names))
    gap = np.sqrt(((points[:, None] - examples[None]) ** 2).sum(-1))  # [N, X]
    gap = np.where(np.isfinite(gap), gap, np.inf)
    of = [np.flatnonzero(np.array(names) == name) for name in order]
    best = [rows[gap[:, rows].argmin(1)] for rows in of]
    distances = [gap[np.arange(len(gap)), rows] for rows in best]
    nearest = np.stack(best, 1) if len(gap) else np.zeros((0, len(order)), int)
    return Evidence(start_s, end_s, np.stack(distances, 1), nearest, deviation), order


def timeline(evidence, order, origins, rule):
    """The `Span`s of a session; a window without a finite distance gets no name.

    Args:
      evidence: `Evidence`.
      order: the K names.
      origins: a text for each example, which says where it is from.
      rule: `Rule`.
    """
    gaps = evidence.distances
    gaps = np.where(np.isfinite(gaps), gaps, np.inf)
    evidence = evidence._replace(distances=gaps)
    # A window without any distance speaks for nothing, and says nothing of others.
    blind = ~np.isfinite(gaps).any(1)
    costs = np.concatenate([gaps, np.full((len(gaps), 1), rule.unknown)], 1)
    costs[blind] = 0.0
    names, path = (*order, UNKNOWN), decode(costs, rule.penalty)
    path[blind] = len(order)
    spans = [(first, end, names[path[first]]) for first, end in runs(path)]
    return _joined(
        [
            _span(evidence, spans, i, name, order, origins, rule)
            for i, name in enumerate(_recovering(spans, evidence.deviation))
        ]
    )


def fit(sessions, known_gap, novel_gap):
    """The `Rule` from validation captures.

    Args:
      sessions: for each its `Evidence`, names, and true `types.Label`s.
      known_gap: distances of windows of known conditions to the nearest example of
        them.
      novel_gap: distances of windows of novel conditions to the nearest example of all.
    """
    unknown = float(unknowns.fit(known_gap, novel_gap))
    # A change of mind pays off once two windows speak for it with half the distance
    # each.
    rule = Rule(unknown, unknown, 0.0, 0.0)
    onsets, clears = [], []
    for found, order, labels in sessions:
        spans = timeline(found, order, None, rule)
        for label in labels:
            hit = [
                span
                for span in spans
                if span.condition == label.condition
                and span.start_s < label.clear_s
                and label.onset_s < span.end_s
            ]
            if hit and hit[0].start_s > spans[0].start_s:
                onsets.append(label.onset_s - hit[0].start_s)
            if hit and np.isfinite(label.clear_s) and hit[-1] is not spans[-1]:
                clears.append(label.clear_s - hit[-1].end_s)
    return rule._replace(onset_s=_median(onsets), clear_s=_median(clears))


def _recovering(spans, deviation):
    """Names of stretches; those that are a fault's fading echo are `recovering`."""
    names, fault = [], None
    for first, end, name in spans:
        level = np.median(deviation[first:end])
        echo = fault is not None and name not in (NORMAL, fault[0])
        if echo and level < FADING * fault[1]:
            names.append(RECOVERING)
            continue
        names.append(name)
        fault = None if name == NORMAL else (name, level)
    return names


def _span(evidence, spans, i, name, order, origins, rule):
    first, end, nearest = spans[i]
    start_s, end_s = evidence.start_s[first], evidence.end_s
    shift = rule.clear_s if name in (NORMAL, RECOVERING) else rule.onset_s
    start_s = start_s + shift if first else 0.0
    if i + 1 < len(spans):
        end_s = evidence.start_s[end]
    gaps = evidence.distances[first:end]
    column = (
        order.index(nearest) if nearest in order else int(np.median(gaps, 0).argmin())
    )
    distance = float(np.median(gaps[:, column]))
    others = np.median(np.delete(gaps, column, 1), 0)
    finite = np.isfinite(others)
    margin = float(others[finite].min() - distance) if finite.any() else np.nan
    if not np.isfinite(distance):
        return Span(float(start_s), float(end_s), UNKNOWN, np.nan, np.nan, "")
    which = evidence.nearest[first + gaps[:, column].argmin(), column]
    origin = origins[which] if origins else ""
    return Span(float(start_s), float(end_s), name, distance, margin, origin)


def _joined(spans):
    """Neighbours of one name become one, and each ends where the next begins."""
    out = []
    for span in spans:
        if out and out[-1].condition == span.condition:
            out[-1] = out[-1]._replace(end_s=span.end_s)
            continue
        if out:
            span = span._replace(start_s=max(out[-1].start_s, span.start_s))
            out[-1] = out[-1]._replace(end_s=span.start_s)
        out.append(span)
    return out


def _median(values):
    return float(np.median(values)) if values else 0.0
