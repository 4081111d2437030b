"""Judges one example of each new fault, beside simple methods, on captures out of fold.

    siamjax train --config=configs/all.py --workdir=runs/all
    python -m scripts.experiments.taught --workdir=runs/all

In each fold run some faults were held out. One example of each of them is taken from
another capture, one window in the middle of the fault; a capture of such a fault is
judged by the run of its fold beside all names that this run knows, and by the rule of
the other folds. `MATES` examples of each fault are taken in turn. A trial is right if
the capture has its name with the onset within 8 s.

  right      trials
  unknown    the same trial without the example of its fault: it is called unknown
  less       share of right trials, minus that of the row, with a paired interval

A row a space of points: that of the run, WCCN, and mean and deviation by cosine. The
rest is the same for all.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from absl import flags

from scripts.experiments import adapted, changes
from siamjax import cli
from siamjax.assessment import out_of_fold
from siamjax.evaluation import statistics
from siamjax.evaluation.spaces import Space
from siamjax.identification import decide, enrol, examples, rules, weighing
from siamjax.identification.timeline import UNKNOWN
from siamjax.types import VALID, Label

MATES = 3
SPACES = (
    ("siamjax", None),
    ("WCCN", Space("", "whitened", 1.0)),
    ("cosine", Space("", "raw", 1.0)),
)


class Trial(NamedTuple):
    """A capture of a fault that was taught from another capture."""

    condition: str
    capture: str
    mate: int  # which example it is
    right: bool
    unknown: bool  # without the example


def main(argv: Sequence[str]) -> None:
    cli.no_arguments(argv)
    workdir, first = flags.FLAGS.workdir, None
    for name, space in SPACES:
        trials = list(judge_run(workdir, space))
        right = np.array([trial.right for trial in trials], float)
        unknown = sum(trial.unknown for trial in trials)
        first = right if first is None else first
        print(
            f"{name:9}{right.sum():4.0f} of {len(trials)} {text(right, trials)}  "
            f"less {text(first - right, trials, '+')}  unknown {unknown}",
            flush=True,
        )


def text(values: np.ndarray, trials: Sequence[Trial], sign: str = "") -> str:
    """A mean with its interval: trials of a condition or a capture vary together."""
    ways = [np.array([trial[i] for trial in trials]) for i in range(2)]
    weights = np.full(len(values), 1 / len(values))
    mean = statistics.clustered_mean(values, weights, ways)
    return f"{mean.value:{sign}.3f} [{mean.low:{sign}.3f}, {mean.high:{sign}.3f}]"


def judge_run(workdir: str, space: Space | None) -> Iterator[Trial]:
    """The trials of all folds, where windows are compared in a space."""
    for judged in changes.judge_folds(workdir, space):
        assert judged.fold is not None
        yield from judge_fold(judged.fold, judged.rule)


def judge_fold(fold: out_of_fold.Fold, rule: rules.Rule) -> Iterator[Trial]:
    """The trials of the faults that a fold holds out."""
    run, splits, stored = fold[:3]
    shown: dict[str, list[adapted.Capture]] = {}
    for i in np.flatnonzero(splits.sessions.role == VALID).tolist():
        faults = splits.sessions.labels[i]
        if len(faults) == 1 and faults[0].condition in splits.conditions.novel_valid:
            traffic = enrol.session_traffic(splits, i)
            captures = shown.setdefault(faults[0].condition, [])
            captures.append(adapted.Capture(traffic.name, i, traffic.counts, faults[0]))
    held_out = [capture for captures in shown.values() for capture in captures]
    every = examples.join_examples(
        stored, *(adapted.example_of(run, capture, None) for capture in held_out)
    )
    columns = {c.name: len(stored.names) + i for i, c in enumerate(held_out)}
    alone = adapted.name_apart(every, len(stored.names))
    for capture in held_out:
        evidence = enrol.session_evidence(run, splits, capture.number, alone)
        for mate in range(MATES):
            taught = {
                name: columns[pick(captures, capture, mate)]
                for name, captures in shown.items()
            }
            assert capture.label is not None
            yield judge_capture(evidence, stored.names, taught, capture, mate, rule)


def pick(captures: Sequence[adapted.Capture], judged: adapted.Capture, i: int) -> str:
    """The name of the i-th other capture."""
    others = [capture.name for capture in captures if capture.name != judged.name]
    return others[i % len(others)]


def judge_capture(
    evidence: weighing.Evidence,
    known: Sequence[str],
    taught: dict[str, int],
    capture: adapted.Capture,
    mate: int,
    rule: rules.Rule,
) -> Trial:
    """One trial; `taught` has the column of the example of each taught name."""
    label: Label | None = capture.label
    assert label is not None and evidence.relative is not None

    def spans_of(names):
        rows = [*range(len(known)), *(taught[name] for name in names)]
        part = evidence._replace(
            names=(*known, *names),
            distances=evidence.distances[:, rows],
            relative=evidence.relative[:, rows],
            nearest=np.zeros((len(evidence.start_s), len(rows)), int),
        )
        return decide.find_spans(part, rule, taught=names)

    score = adapted.judge_fault(adapted.Score(), spans_of(list(taught)), label)
    others = [name for name in taught if name != label.condition]
    unknown = adapted.longest(spans_of(others)) == UNKNOWN
    return Trial(label.condition, capture.name, mate, bool(score.right), unknown)


if __name__ == "__main__":
    cli.run(main)
