"""Judges how changes are found, and whether asked rates hold, on captures out of fold.

    siamjax train --config=configs/all.py --workdir=runs/all    (and so on)
    python -m scripts.experiments.changes --workdirs=runs/all

Each run is one on all captures, with its fold runs. The captures of each fold are
judged by its run, which did not see them, and by a rule from the other folds. Faults
that the fold holds out should be unknown. The first table has a row a method:

  right     known faults with their name and the onset within 8 s
  unknown   unseen faults called unknown
  missed    faults without any alarm
  delay     seconds from the onset to the first alarm: median, and 90 %; the alarm comes
            when the window ends that makes it the cheapest explanation
  ends      ends of faults within 8 s
  alarms    false alarms in a day of normal traffic

  path        the cheapest path, as siamjax decides
  windows     each window alone
  WCCN        the cheapest path, where windows are compared by WCCN
  CUSUM       the cumulative deviation from the baseline; no names. Its limit is the
              highest sum in the normal traffic of the other folds

The second table: the share of stretches of known conditions whose p-value is at most a
level. Rates of false alarms, asked and realised: `scripts.experiments.rates`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from absl import flags

from siamjax import cli
from siamjax.assessment import out_of_fold
from siamjax.evaluation.spaces import Space
from siamjax.identification import confidence, decide, enrol, fitting, rules, weighing
from siamjax.identification.timeline import RECOVERING, UNKNOWN, Decoder, Span
from siamjax.inference import runs
from siamjax.types import NORMAL, VALID, Label

_WORKDIRS = flags.DEFINE_list("workdirs", ["runs/all"], "Runs on all captures.")
NEAR_S, RATES, LEVELS = 8.0, (1, 3, 10, 30, 100), (0.02, 0.05, 0.1, 0.2, 0.5)
# CUSUM: the deviation that is still normal, in deviations above the mean.
SLACK = 1.0


class Capture(NamedTuple):
    """A capture out of fold, with one fault or none."""

    evidence: weighing.Evidence
    label: Label | None

    @property
    def normal_until_s(self) -> float:
        return self.label.onset_s if self.label else self.evidence.end_s


class Judged(NamedTuple):
    """A fold with its captures, and the rule that the other folds gave."""

    rule: rules.Rule
    captures: list[Capture]
    others: list[Capture]  # of the other folds
    fold: out_of_fold.Fold | None = None  # whose captures they are


class Verdict(NamedTuple):
    """What a method says of a capture."""

    capture: Capture
    spans: list[Span]  # empty: it gives no names
    alarm: np.ndarray  # [N] bool, whether there is an alarm when each window ends


def main(argv: Sequence[str]) -> None:
    cli.no_arguments(argv)
    print(f"{'':24}  right  unknown  missed  delay s      ends  alarms a day")
    judged: dict[str, list[Judged]] = {}
    for workdir in _WORKDIRS.value:
        judged[workdir] = judge_folds(workdir)
        wccn = judge_folds(workdir, Space("", "whitened", 1.0))
        for name, folds, method in (
            ("path", judged[workdir], follow_path),
            ("windows", judged[workdir], judge_windows),
            ("WCCN", wccn, follow_path),
            ("CUSUM", judged[workdir], sum_deviations),
        ):
            verdicts = [verdict for fold in folds for verdict in method(fold)]
            print(f"{workdir + ' ' + name:24}{describe(verdicts)}", flush=True)
    print(f"\n{'':16}" + "".join(f"{level:>8g}" for level in LEVELS))
    for workdir, folds in judged.items():
        values = np.array([value for fold in folds for value in known_values(fold)])
        cells = (f"{np.mean(values <= level):8.3f}" for level in LEVELS)
        print(f"{workdir:16}" + "".join(cells) + f"  of {len(values)}", flush=True)


def judge_folds(workdir: str, space: Space | None = None) -> list[Judged]:
    """The folds of a run on all captures, perhaps compared in another space."""
    opened, _, _ = out_of_fold.open_runs(runs.open_run(workdir))
    if space is not None:
        opened = [
            fold._replace(
                run=fold.run._replace(deciding=fold.run.deciding._replace(space=space))
            )
            for fold in opened
        ]
    folds = out_of_fold.measure_folds(opened)
    captures = [list(read_captures(fold)) for fold in folds]
    judged = []
    for i, _ in enumerate(folds):
        rest = [j for j in range(len(folds)) if j != i]
        known, novel, stretches = out_of_fold.join_scores([folds[j] for j in rest])
        others = [capture for j in rest for capture in captures[j]]
        labelled = [(c.evidence, (c.label,) if c.label else ()) for c in others]
        rule = fitting.fit_rule(labelled, known, novel, stretches)
        judged.append(Judged(rule, captures[i], others, folds[i]))
    return judged


def read_captures(fold: out_of_fold.Fold) -> Iterator[Capture]:
    """The captures that a fold run did not see, with one fault or none."""
    splits = fold.splits
    for i in np.flatnonzero(splits.sessions.role == VALID).tolist():
        faults = [x for x in splits.sessions.labels[i] if x.condition != NORMAL]
        if len(faults) < 2:
            evidence = enrol.session_evidence(fold.run, splits, i, fold.examples)
            yield Capture(evidence, faults[0] if faults else None)


def follow_path(fold: Judged) -> Iterator[Verdict]:
    """As siamjax decides: an alarm is there while the cheapest path ends in one."""
    for capture in fold.captures:
        spans = decide.find_spans(capture.evidence, fold.rule)
        yield Verdict(capture, spans, find_alarms(capture.evidence, fold.rule))


def find_alarms(evidence: weighing.Evidence, rule: rules.Rule) -> np.ndarray:
    """`[N]` bool: whether there is an alarm when each window ends."""
    evidence, costs = weighing.weigh_windows(evidence, rule)
    decoder = Decoder(weighing.start_costs(evidence, rule), rule.penalty)
    normal = evidence.names.index(NORMAL)
    alarm = []
    for row in costs:
        decoder.add(row)
        alarm.append(decoder.total.argmin() != normal)
    return np.array(alarm, bool)


def measure_delay(
    evidence: weighing.Evidence, alarm: np.ndarray, label: Label
) -> float | None:
    """Seconds from the onset of a fault to the first alarm; None: there is none."""
    seen_s = evidence.start_s + evidence.window_s
    until_s = min(label.clear_s, evidence.end_s)
    late = alarm & (seen_s > label.onset_s) & (evidence.start_s < until_s)
    return float(seen_s[late.argmax()] - label.onset_s) if late.any() else None


def judge_windows(fold: Judged) -> Iterator[Verdict]:
    """Each window for itself."""
    return follow_path(fold._replace(rule=fold.rule._replace(penalty=0.0)))


def sum_deviations(fold: Judged) -> Iterator[Verdict]:
    """CUSUM of the mean deviation from the baseline (Page, Biometrika 1954)."""
    calm = [x.evidence.deviation[is_normal(x)] for x in fold.others]
    joined = np.concatenate(calm)
    mean, scale = joined.mean(), joined.std()

    def sums(deviation):
        total, values = 0.0, []
        for step in (deviation - mean) / scale - SLACK:
            total = max(total + step, 0.0)
            values.append(total)
        return np.array(values)

    limit = max(sums(x).max(initial=0.0) for x in calm)
    for capture in fold.captures:
        yield Verdict(capture, [], sums(capture.evidence.deviation) > limit)


def is_normal(capture: Capture) -> np.ndarray:
    """`[N]` bool: windows of normal traffic without a fault or before it."""
    evidence = capture.evidence
    return evidence.start_s + evidence.window_s <= capture.normal_until_s


def count_alarms(verdict: Verdict) -> int:
    """Alarms that begin in normal traffic."""
    alarm = verdict.alarm[is_normal(verdict.capture)]
    return int((alarm & ~np.append(False, alarm[:-1])).sum())


def describe(verdicts: Sequence[Verdict]) -> str:
    """A row of the first table."""
    right, unknown, ends, delays_s, missed = [], [], [], [], 0
    normal_s = sum(is_normal(x.capture).sum() for x in verdicts) * decide.HOP_S
    for verdict in verdicts:
        evidence, label = verdict.capture
        if label is None:
            continue
        delay_s = measure_delay(evidence, verdict.alarm, label)
        missed += delay_s is None
        if delay_s is not None:
            delays_s.append(delay_s)
        if not verdict.spans:
            continue
        span = _longest(verdict.spans)
        near = span is not None and abs(span.start_s - label.onset_s) <= NEAR_S
        named = span.condition if span else NORMAL
        if label.condition in evidence.names:
            right.append(near and named == label.condition)
        else:
            unknown.append(named == UNKNOWN)
        if label.clear_s < evidence.end_s - NEAR_S and span is not None:
            clears = [
                s.start_s
                for s in verdict.spans
                if s.start_s > span.start_s and s.condition in (NORMAL, RECOVERING)
            ]
            ends.append(any(abs(x - label.clear_s) <= NEAR_S for x in clears))
    median, most = np.quantile(delays_s, [0.5, 0.9])
    alarms = sum(map(count_alarms, verdicts)) * 86400 / normal_s
    cells = [f"{sum(x)}/{len(x)}" if x else "-" for x in (right, unknown)]
    return (
        f"{cells[0]:>7}{cells[1]:>9}{missed:>8}{median:>7.1f}{most:>6.1f}"
        f"{f'{sum(ends)}/{len(ends)}' if ends else '-':>9}{alarms:>12.0f}"
    )


def _longest(spans):
    faults = [span for span in spans if span.condition not in (NORMAL, RECOVERING)]
    return max(faults, key=lambda span: span.end_s - span.start_s, default=None)


def measure_rate(folds: Sequence[Judged], per_hour: float | None) -> tuple[float, int]:
    """Realised false alarms an hour, and the most in one capture.

    Args:
      folds: to judge.
      per_hour: the rate that is asked of the rule; None: the rule stays.
    """
    counts, normal_s = [0], 0.0
    for fold in folds:
        if per_hour is not None:
            fold = fold._replace(rule=rules.ask_rate(fold.rule, per_hour))
        for verdict in follow_path(fold):
            counts.append(count_alarms(verdict))
            normal_s += is_normal(verdict.capture).sum() * decide.HOP_S
    return sum(counts) * 3600 / normal_s, max(counts)


def known_values(fold: Judged) -> Iterator[float]:
    """p-values of the true stretches of known conditions, under their true names."""
    for evidence, label in fold.captures:
        names = evidence.names
        stretches: list[tuple[str, Callable[[np.ndarray], np.ndarray]]] = [
            (NORMAL, lambda start_s, c=(evidence, label): is_normal(Capture(*c)))
        ]
        if label is not None and label.condition in names:
            end_s = min(label.clear_s, evidence.end_s) - evidence.window_s
            onset_s = label.onset_s
            stretches.append(
                (
                    label.condition,
                    lambda start_s, a=onset_s, b=end_s: (start_s >= a) & (start_s <= b),
                )
            )
        for name, inside in stretches:
            rows = inside(evidence.start_s)
            if rows.any() and evidence.relative is not None:
                score = np.median(evidence.relative[rows, names.index(name)])
                yield confidence.p_value(float(score), fold.rule.calibration.known)


if __name__ == "__main__":
    cli.run(main)
