"""Compares realised rates of false alarms with asked ones, with and without --network.

    siamjax train --config=configs/all.py --workdir=runs/all    (and so on)
    python -m scripts.experiments.rates --workdirs=runs/all,runs/all_access \\
        --moved=runs/first --networks=access,trunk,core --plot=docs/rates.png

The flags of `changes` and `adapted` say which runs and networks. Each of --workdirs is
a run on all captures, with its fold runs. The captures of each fold are judged by its
run, which did not see them: without a network by a rule from the other folds, and
adapted by the normal captures of the other folds. --moved is a run on other captures
than those of --networks, prepared data sets below --data. It is adapted by two normal
captures after two, and judged by the other captures.

A row a run: false alarms an hour of normal traffic, realised, for each asked rate, and
the most in one capture. Normal traffic is that of captures without a fault, and that
before the first fault. The second table: the share of captures without a fault whose
p-value of being normal is at most a level, where the run is adapted.
"""

import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from absl import flags

from scripts.experiments import adapted, changes
from siamjax import cli
from siamjax.data.splits import Splits
from siamjax.identification import (
    adapting,
    comparing,
    confidence,
    decide,
    enrol,
    library,
    library_files,
    rules,
    sessions,
)
from siamjax.identification.examples import Examples
from siamjax.inference import runs
from siamjax.types import NORMAL, TRAIN, VALID, Label

_MOVED = flags.DEFINE_string("moved", None, "A run that is moved to --networks.")
_PLOT = flags.DEFINE_string("plot", None, "Where to draw asked and realised rates.")
ADAPTED_BY = 2


class Session(NamedTuple):
    """A capture that is judged."""

    name: str
    counts: np.ndarray  # [bins, F]
    label: Label | None  # of its first fault


class Case(NamedTuple):
    """A run that is adapted to a network, and captures that neither of them saw."""

    run: runs.Run
    rule: rules.Rule
    examples: Examples
    normal: Sequence[np.ndarray]  # [bins, F] of each capture that it is adapted by
    judged: Sequence[Session]


def main(argv: Sequence[str]) -> None:
    cli.no_arguments(argv)
    rates = changes.RATES
    print(f"{'':28}" + "".join(f"{rate:>15g}" for rate in rates) + "   hours")
    alone, with_network, values = {}, {}, {}
    for workdir in flags.FLAGS.workdirs:
        folds = changes.judge_folds(workdir)
        rows = [changes.measure_rate(folds, rate) for rate in rates]
        alone[workdir] = describe(workdir, rows, count_hours(folds))
        cases = list(fold_cases(folds))
        with_network[workdir], values[workdir] = measure_cases(workdir, cases)
    for name in flags.FLAGS.networks if _MOVED.value else ():
        cases = list(moved_cases(runs.open_run(_MOVED.value), name))
        with_network[name], values[name] = measure_cases(name, cases)
    print(f"\n{'':28}" + "".join(f"{level:>8g}" for level in changes.LEVELS))
    for name, seen in values.items():
        cells = (f"{np.mean(np.array(seen) <= x):8.3f}" for x in changes.LEVELS)
        print(f"{name:28}" + "".join(cells) + f"  of {len(seen)}", flush=True)
    if _PLOT.value:
        draw_rates(_PLOT.value, alone, with_network)


def describe(name, rows, hours):
    """Prints a row of the first table; returns its rates."""
    cells = (f"{rate:.2f} (most {most})" for rate, most in rows)
    print(
        f"{name:28}" + "".join(f"{x:>15}" for x in cells) + f"{hours:8.2f}", flush=True
    )
    return [rate for rate, _ in rows]


def count_hours(folds: Sequence[changes.Judged]) -> float:
    """Hours of normal traffic that is judged."""
    captures = [capture for fold in folds for capture in fold.captures]
    normal_s = sum(changes.is_normal(x).sum() for x in captures) * decide.HOP_S
    return normal_s / 3600


def measure_cases(name: str, cases: Sequence[Case]) -> tuple[list[float], list[float]]:
    """The realised rates of adapted runs, and p-values of captures without a fault."""
    rows, hours, values = [], 0.0, []
    compared = [list(compare_sessions(case)) for case in cases]
    for rate in changes.RATES:
        folds = [judge_case(*pair, rate) for pair in zip(cases, compared)]
        hours = count_hours(folds)
        rows.append(changes.measure_rate(folds, None))
    for fold in folds:
        for evidence, label in fold.captures:
            if label is None:
                score = float(np.median(evidence.oddness))
                calibration = fold.rule.calibration.normal
                values.append(confidence.p_value(score, calibration))
    return describe(f"{name}, --network", rows, hours), values


def compare_sessions(
    case: Case,
) -> Iterator[tuple[sessions.Traffic, changes.Capture]]:
    """The judged captures, compared in the adapted run."""
    network = adapting.adapt(case.run, as_network(case))
    for session in case.judged:
        traffic = sessions.from_counts(
            session.name, session.counts, case.run, network=network
        )
        evidence = comparing.compare_traffic(case.run, traffic, case.examples)
        yield traffic, changes.Capture(evidence, session.label)


def judge_case(
    case: Case,
    compared: Sequence[tuple[sessions.Traffic, changes.Capture]],
    per_hour: float,
) -> changes.Judged:
    """The captures at an asked rate, of which only the oddness depends."""
    network = adapting.adapt(case.run, as_network(case), per_hour)
    captures = []
    for traffic, (evidence, label) in compared:
        _, windows, baseline = sessions.slide_windows(
            traffic, case.run.config.data.bins, sessions.hop_bins(case.run)
        )
        normal = network.across if traffic.across else network.own
        odd = sessions.window_oddness(case.run, normal, windows, baseline)
        captures.append(changes.Capture(evidence._replace(oddness=odd), label))
    calibration = case.rule.calibration._replace(normal=network.typical)
    rule = case.rule._replace(calibration=calibration)
    return changes.Judged(rule, captures, [])


def as_network(case: Case) -> library_files.Network:
    """The normal captures that the run is adapted by."""
    names = tuple(map(str, range(len(case.normal))))
    origin = library.origin_of(case.run)
    return library_files.Network("it", names, tuple(case.normal), origin)


def fold_cases(folds: Sequence[changes.Judged]) -> Iterator[Case]:
    """A case a fold, adapted by the normal captures that its run was trained on."""
    for judged in folds:
        fold = judged.fold
        assert fold is not None
        normal = [s.counts for s in read_sessions(fold.splits, TRAIN) if not s.label]
        unseen = list(read_sessions(fold.splits, VALID))
        yield Case(fold.run, judged.rule, fold.examples, normal, unseen)


def read_sessions(splits: Splits, role: str) -> Iterator[Session]:
    """The captures of a role with one fault or none."""
    for i in np.flatnonzero(splits.sessions.role == role).tolist():
        faults = [x for x in splits.sessions.labels[i] if x.condition != NORMAL]
        if len(faults) < 2:
            traffic = enrol.session_traffic(splits, i)
            label = faults[0] if faults else None
            yield Session(traffic.name, traffic.counts, label)


def moved_cases(run: runs.Run, name: str) -> Iterator[Case]:
    """A run moved to a network, adapted by two of its normal captures after two."""
    stored, rule = enrol.read_enrolment(run)
    captures = adapted.read_captures(run, pathlib.Path(flags.FLAGS.data) / name)
    captures = [c for c in captures if not adapted.is_long(run, c)]
    calm = [c for c in captures if c.label is None]
    for first in range(0, len(calm) - ADAPTED_BY + 1, ADAPTED_BY):
        given = calm[first : first + ADAPTED_BY]
        rest = [
            Session(c.name, c.counts, c.label)
            for c in captures
            if not any(c is other for other in given)
        ]
        yield Case(run, rule, stored, [c.counts for c in given], rest)


def draw_rates(
    path: str, alone: dict[str, list[float]], with_network: dict[str, list[float]]
) -> None:
    """Asked and realised rates, a line a run; on the right with --network."""
    import matplotlib.pyplot as plt

    figure, sides = plt.subplots(1, 2, figsize=(9.0, 4.0), sharey=True)
    titles = "of the run alone", "with --network"
    rates = changes.RATES
    for axes, realised, title in zip(sides, (alone, with_network), titles):
        axes.plot(rates, rates, color="0.6", linestyle=":", label="as asked")
        for name, measured in realised.items():
            axes.plot(rates, measured, marker="o", label=name.rpartition("/")[2])
        axes.set_xscale("log")
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(bottom=-0.1)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("false alarms asked for, an hour of normal traffic")
    sides[0].set_ylabel("realised on captures that were not seen")
    # Beside both: the right side has all lines, and no part of either is free of them.
    lines = sides[1].get_legend_handles_labels()
    figure.legend(*lines, loc="center left", bbox_to_anchor=(0.91, 0.5), fontsize=8)
    figure.savefig(path, dpi=120, bbox_inches="tight")


if __name__ == "__main__":
    cli.run(main)
