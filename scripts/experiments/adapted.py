"""Judges a run on networks that it was not trained on, before and after `adapt`.

    siamjax ingest --captures data/access/captures --labels data/access/labels.csv \
        --out runs/access    (and so on)
    python -m scripts.experiments.adapted --workdir=runs/first \
        --networks=access,trunk,core

Each network is a prepared data set, runs/NAME. Its first two captures without a fault
adapt the run in turn, then both together, and are not judged then. A capture of more
than 20 minutes adapts it by its first ten minutes, and the rest is judged. Examples of
its faults are taken from the captures of each number in turn (auth_failure_001,
blocked_001, ...): one window in the middle of each fault. The other captures of one
fault or none are judged:

  alarm     share of the time of normal captures that is not called normal
  normals   normal captures with an alarm
  right     faults with their name, the onset within 8 s, and no alarm before that
  named     faults with their name
  early     faults with an alarm more than 8 s before the onset
  unseen    faults without an example (all others have one) that are called unknown
  cut       captures cut to the inside of their fault: with their name
  calm      such captures that begin as normal
  two       captures with two faults in turn: both with their names
  delay     seconds from the onset to the first alarm: median, and 90 %

An uncalibrated verdict, which a run gives without `adapt`, is counted as an alarm here.
"""

import functools
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from scripts.experiments import changes
from siamjax import cli
from siamjax.data import counts, prepared
from siamjax.data.columns import protocols_of
from siamjax.identification import (
    adapting,
    comparing,
    decide,
    enrol,
    examples,
    library,
    library_files,
    sessions,
)
from siamjax.identification.timeline import IN_DOUBT, RECOVERING, UNKNOWN, Span
from siamjax.inference import runs
from siamjax.types import NORMAL, Label

_WORKDIR = flags.DEFINE_string("workdir", "runs/first", "An evaluated run.")
_NETWORKS = flags.DEFINE_list(
    "networks", ["testbed", "access", "trunk", "core"], "Folders below --data."
)
_DATA = flags.DEFINE_string("data", "runs", "Where the prepared data sets are.")
NEAR_S, MARGIN_S, SHORTEST_S = 8.0, 4.0, 28.0
HEADS = ("right", "named", "early", "unseen", "cut", "calm", "two")
ADAPTED_BY, LEARNT_S = 2, 600.0


class Capture(NamedTuple):
    """A capture of a network, with two faults at most."""

    name: str
    number: int  # of its condition
    counts: np.ndarray  # [bins, F]
    label: Label | None
    second: Label | None = None


class Score(NamedTuple):
    """Sums over judged captures; see the docstring of this module."""

    alarm_s: float = 0.0
    normal_s: float = 0.0
    normals: int = 0
    alarms: int = 0
    faults: int = 0
    right: int = 0
    named: int = 0
    early: int = 0
    unseen: int = 0
    unknown: int = 0
    cut: int = 0
    cut_named: int = 0
    calm: int = 0
    turns: int = 0
    both: int = 0
    delays_s: tuple[float, ...] = ()

    def plus(self, **more: Any) -> "Score":
        return self._replace(
            **{name: getattr(self, name) + value for name, value in more.items()}
        )


def main(argv: Sequence[str]) -> None:
    cli.no_arguments(argv)
    run = runs.open_run(_WORKDIR.value)
    heads = "".join(f"{head:>10}" for head in HEADS)
    print(f"{'network':17}{'alarm':>6}{'normals':>8}{heads}{'delay':>12}")
    for name in _NETWORKS.value:
        captures = read_captures(run, pathlib.Path(_DATA.value) / name)
        print(describe(name, judge_network(run, captures)), flush=True)
        usual = [c for c in captures if c.label is None and not is_long(run, c)]
        by_capture = [
            judge_network(run, captures, capture) for capture in usual[:ADAPTED_BY]
        ]
        total = functools.reduce(lambda a, b: a.plus(**b._asdict()), by_capture)
        print(describe(f"{name}, adapted", total), flush=True)
        both = judge_network(run, captures, *usual[:ADAPTED_BY])
        print(describe(f"{name}, by both", both), flush=True)
        for capture in filter(lambda capture: is_long(run, capture), captures):
            bins = round(LEARNT_S / run.config.data.bin_s)
            first = capture._replace(counts=capture.counts[:bins])
            rest = capture._replace(counts=capture.counts[bins:])
            others = [rest if c is capture else c for c in captures]
            score = judge_network(run, [first, *others], first)
            print(describe(f"{name}, 600 s", score), flush=True)


def read_captures(run: runs.Run, folder: pathlib.Path) -> list[Capture]:
    """The captures of a prepared data set with two faults at most."""
    read = prepared.read_data_set(folder)
    captures = []
    for session in read.sessions:
        binned = counts.bin_session(
            session, read.kinds, run.config.data.bin_s, protocols_of(run.columns)
        )
        labels = [label for label in session.labels if label.condition != NORMAL]
        number = int(re.findall(r"\d+", session.name)[-1])
        if len(labels) <= 2 and all(label.onset_s > 0 for label in labels):
            captures.append(Capture(session.name, number, binned, *labels or [None]))
    return captures


def is_long(run: runs.Run, capture: Capture) -> bool:
    """Whether a capture has ten minutes to learn from, and as many more to judge."""
    return len(capture.counts) * run.config.data.bin_s > 2 * LEARNT_S


def judge_network(
    run: runs.Run, captures: Sequence[Capture], *normal: Capture
) -> Score:
    """The `Score` of a run on a network, adapted by normal captures if given."""
    stored, rule = enrol.read_enrolment(run)
    network = None
    if normal:
        origin, learnt = library.origin_of(run), [c.counts for c in normal]
        kept = library_files.Network(
            "it", tuple(c.name for c in normal), learnt, origin
        )
        network = adapting.adapt(run, kept)
    judged = [c for c in captures if not any(c is other for other in normal)]
    faults = [capture for capture in judged if capture.label and not capture.second]
    every = examples.join_examples(
        stored, *(example_of(run, capture, network) for capture in faults)
    )
    number_of = [0] * len(stored.names) + [capture.number for capture in faults]
    names = every.names
    alone = name_apart(every, len(stored.names))
    beginnings = sessions.fit_beginnings(run)

    def compare(capture):
        traffic = sessions.from_counts(
            capture.name, capture.counts, run, network=network, beginnings=beginnings
        )
        evidence = comparing.compare_traffic(run, traffic, alone)
        return evidence, traffic.calibrated

    def part_of(evidence, number, without=""):
        rows = [
            i
            for i, name in enumerate(names)
            if number_of[i] in (0, number) and name != without
        ]
        chosen = [names[i] for i in rows]
        unique = tuple(dict.fromkeys(chosen))
        columns = [
            [i for i, other in zip(rows, chosen) if other == name] for name in unique
        ]
        assert evidence.relative is not None
        part = evidence._replace(
            names=unique,
            distances=_nearest(evidence.distances, columns),
            relative=_nearest(evidence.relative, columns),
            nearest=np.zeros((len(evidence.start_s), len(unique)), int),
        )
        return part, {name for i, name in zip(rows, chosen) if number_of[i]}

    def spans_of(evidence, number, without=""):
        part, taught = part_of(evidence, number, without)
        return decide.find_spans(part, rule, taught=taught)

    score, numbers = Score(), sorted({capture.number for capture in faults})
    for capture in judged:
        evidence, _ = compare(capture)
        for number in numbers:
            spans = spans_of(evidence, number)
            if capture.label is None:
                score = judge_calm(score, spans)
            elif capture.second is not None:
                shown = all(map(is_named, [spans] * 2, capture[-2:]))
                score = score.plus(turns=1, both=shown)
            elif capture.number != number:
                score = judge_fault(score, spans, capture.label)
                alarm = changes.find_alarms(part_of(evidence, number)[0], rule)
                delay_s = changes.measure_delay(evidence, alarm, capture.label)
                score = score.plus(delays_s=() if delay_s is None else (delay_s,))
                others = spans_of(evidence, number, capture.label.condition)
                score = score.plus(unseen=1, unknown=longest(others) == UNKNOWN)
    for capture in cut_captures(run, judged):
        evidence, is_calibrated = compare(capture)
        for number in numbers:
            if capture.number != number:
                spans = spans_of(evidence, number)
                score = score.plus(
                    cut=1,
                    cut_named=longest(spans) == capture.label.condition,
                    calm=is_calibrated and spans[0].condition == NORMAL,
                )
    return score


def name_apart(every: examples.Examples, count: int) -> examples.Examples:
    """Examples, those behind the first `count` each under a name of its own.

    So a capture is compared with all of them once. Those of the run, which are first,
    keep their names: its training windows belong to these.
    """
    places = tuple(
        place._replace(condition=f"{i}: {place.condition}") if i >= count else place
        for i, place in enumerate(every.places)
    )
    return every._replace(places=places)


def _nearest(distances, columns):
    """`[N, K]` the smallest distance in each of K lists of columns."""
    return np.stack([distances[:, column].min(1) for column in columns], 1)


def example_of(run, capture, network) -> examples.Examples:
    """One window in the middle of the fault of a capture."""
    data, label = run.config.data, capture.label
    bins = len(capture.counts)
    end_s = min(label.clear_s, bins * data.bin_s)
    spare_s = max(end_s - label.onset_s - data.bins * data.bin_s, 0.0)
    first = min(round((label.onset_s + spare_s / 2) / data.bin_s), bins - data.bins)
    traffic = sessions.from_counts(capture.name, capture.counts, run, network=network)
    place = examples.Place(label.condition, capture.name, first * data.bin_s)
    return examples.Examples(
        (place,),
        capture.counts[None, first : first + data.bins],
        sessions.repeat_baseline(traffic.baseline, 1),
    )


def cut_captures(run: runs.Run, captures: Sequence[Capture]) -> Iterator[Capture]:
    """Captures cut to the inside of their fault, where that is long enough."""
    bin_s = run.config.data.bin_s
    for capture in captures:
        if capture.label is None or capture.second is not None:
            continue
        begin_s = capture.label.onset_s + MARGIN_S
        end_s = min(capture.label.clear_s, len(capture.counts) * bin_s)
        needed_s = max(
            SHORTEST_S, run.config.data.baseline_s + run.config.data.bins * bin_s
        )
        if end_s - begin_s >= needed_s:
            inside = capture.counts[round(begin_s / bin_s) : round(end_s / bin_s)]
            yield capture._replace(counts=inside)


def judge_calm(score: Score, spans: Sequence[Span]) -> Score:
    """Adds a capture without a fault."""
    alarm_s = sum(
        s.end_s - s.start_s for s in spans if s.condition not in (NORMAL, IN_DOUBT)
    )
    return score.plus(
        alarm_s=alarm_s, normal_s=spans[-1].end_s, normals=1, alarms=alarm_s > 0
    )


def judge_fault(score: Score, spans: Sequence[Span], label: Label) -> Score:
    """Adds a capture with a fault that has an example."""
    alarms = [s for s in spans if s.condition not in (NORMAL, IN_DOUBT, RECOVERING)]
    early = any(span.start_s < label.onset_s - NEAR_S for span in alarms)
    named = longest(spans) == label.condition
    main = max(alarms, key=lambda s: s.end_s - s.start_s, default=None)
    near = main is not None and abs(main.start_s - label.onset_s) <= NEAR_S
    right = named and near and not early
    return score.plus(faults=1, right=right, named=named, early=early)


def is_named(spans: Sequence[Span], label: Label) -> bool:
    """Whether a fault has its name in some of its time."""
    return any(
        span.condition == label.condition
        and span.start_s < label.clear_s
        and label.onset_s < span.end_s
        for span in spans
    )


def longest(spans: Sequence[Span]) -> str:
    """The condition of the longest stretch that is neither normal nor recovering."""
    alarms = [s for s in spans if s.condition not in (NORMAL, IN_DOUBT, RECOVERING)]
    span = max(alarms, key=lambda s: s.end_s - s.start_s, default=None)
    return span.condition if span else NORMAL


def describe(name: str, score: Score) -> str:
    """A row of the table."""
    share = 100 * score.alarm_s / max(score.normal_s, 1e-9)
    pairs: Mapping[str, tuple[int, int]] = {
        "right": (score.right, score.faults),
        "named": (score.named, score.faults),
        "early": (score.early, score.faults),
        "unseen": (score.unknown, score.unseen),
        "cut": (score.cut_named, score.cut),
        "calm": (score.calm, score.cut),
        "two": (score.both, score.turns),
    }
    cells = "".join(f"{f'{k:.0f}/{n:.0f}':>10}" for k, n in pairs.values())
    normals = f"{score.alarms:.0f}/{score.normals:.0f}"
    delay = "-"
    if score.delays_s:
        delay = "{:.1f} {:.1f}".format(*np.quantile(score.delays_s, [0.5, 0.9]))
    return f"{name:17}{share:5.1f}%{normals:>8}{cells}{delay:>12}"


if __name__ == "__main__":
    cli.run(main)
