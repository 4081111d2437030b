"""Judges the timelines of tables with short faults row by row.

    siamjax train --config=configs/kddi.py --workdir=runs/kddi_first
    python -m scripts.experiments.by_row --workdir=runs/kddi_first

The columns, in percent, with intervals of 95 % over the days, which are drawn again:

  normal    rows labelled normal that are in alarm in the timeline of identify
  live      the same, as the row comes: an alarm is there while the cheapest path so far
            ends in one
  1 to 3    faults that are in alarm by their first, second, third labelled row, live
  found     faults with a labelled row in alarm, in the timeline
  named     known faults of which the middle labelled row has their name
  unknown   the same, of faults that training did not see, called unknown

The rows: siamjax; the same compared by WCCN; windows that decide as a whole; and the
deviation of each row alone, with a limit of the same quantile of the normal rows of the
validation days. Settings are chosen with --role=valid.
"""

import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from absl import flags

from siamjax import cli
from siamjax.data import features
from siamjax.data.splits import Splits
from siamjax.data.windows import normal_bins as find_normal
from siamjax.evaluation.normal_bins import QUANTILE
from siamjax.evaluation.spaces import Space
from siamjax.identification import decide, enrol, rules, weighing
from siamjax.identification.examples import Examples
from siamjax.identification.timeline import UNKNOWN, Decoder
from siamjax.inference import runs
from siamjax.types import NORMAL, TEST, VALID, Baseline, Label

_WORKDIR = flags.DEFINE_string("workdir", "runs/kddi_first", "An evaluated run.")
_ROLE = flags.DEFINE_enum("role", TEST, [VALID, TEST], "Of the days that are judged.")
REPLICATES = 2000
# An alarm is asked for by these labelled rows of a fault.
BY_ROWS = (1, 2, 3)
# The columns for which a method must give names.
OF_NAMES = ("named", "unknown")
COLUMNS = ("normal", "live", *map(str, BY_ROWS), "found", *OF_NAMES)


class Rows(NamedTuple):
    """What is said of each row of a day."""

    timeline: np.ndarray  # [N] names, with hindsight
    live: np.ndarray  # [N] names, as the row comes


def main(argv: Sequence[str]) -> None:
    cli.no_arguments(argv)
    run = runs.open_run(_WORKDIR.value)
    splits = runs.read_data(run)
    whole = run._replace(deciding=run.deciding._replace(normal_bins=None))
    space = run.deciding._replace(space=Space("", "whitened", 1.0))
    methods = dict(
        siamjax=(run, *enrol.read_enrolment(run)),
        WCCN=learn_rule(run._replace(deciding=space), splits),
        whole=learn_rule(whole, splits),
    )
    days = np.flatnonzero(splits.sessions.role == _ROLE.value).tolist()
    bin_s = run.config.data.bin_s
    print(f"{'':10}" + "".join(f"{name:>19}" for name in COLUMNS))
    for name, method in methods.items():
        report(name, {i: name_rows(*method, splits, i) for i in days}, splits, bin_s)
    limit = limit_deviation(run, splits)
    alone = {i: judge_rows(run, splits, i, limit) for i in days}
    report("row alone", alone, splits, bin_s, gives_names=False)


def learn_rule(run: runs.Run, splits: Splits) -> tuple[runs.Run, Examples, rules.Rule]:
    """The run with examples and rule of what it decides by; nothing is kept."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = run.checkpoint._replace(workdir=pathlib.Path(folder))
        return run, *enrol.enrol(run._replace(checkpoint=checkpoint), splits)


def name_rows(
    run: runs.Run, examples: Examples, rule: rules.Rule, splits: Splits, day: int
) -> Rows:
    """What a rule says of the rows of a day."""
    evidence = enrol.session_evidence(run, splits, day, examples)
    bins = int(splits.sessions.bins[day])
    times_s = (np.arange(bins) + 0.5) * run.config.data.bin_s
    spans = decide.find_spans(evidence, rule)
    ends_s = [span.end_s for span in spans]
    place = np.minimum(np.searchsorted(ends_s, times_s, "right"), len(spans) - 1)
    timeline = np.array([span.condition for span in spans], object)[place]
    weighed, costs = weighing.weigh_windows(evidence, rule)
    decoder = Decoder(weighing.start_costs(weighed, rule), rule.penalty)
    names = *weighed.names, UNKNOWN
    live = [NORMAL] * (bins - len(costs))  # until a window is full
    for row in costs:
        decoder.add(row)
        live.append(names[decoder.total.argmin()])
    return Rows(timeline, np.array(live, object))


def limit_deviation(run: runs.Run, splits: Splits) -> float:
    """The limit of the deviation of a row, from the normal rows of validation days."""
    normal = [
        measure_deviation(run, splits, i)[
            find_normal(
                splits.sessions.labels[i],
                int(splits.sessions.bins[i]),
                run.config.data.bin_s,
            )
        ]
        for i in np.flatnonzero(splits.sessions.role == VALID).tolist()
    ]
    return float(np.quantile(np.concatenate(normal), QUANTILE))


def measure_deviation(run: runs.Run, splits: Splits, day: int) -> np.ndarray:
    """`[N]` mean absolute feature of each row of a day."""
    traffic = enrol.session_traffic(splits, day)
    baseline = Baseline(*(x[None] for x in traffic.baseline))
    counts = np.asarray(traffic.counts)[None]
    x = np.asarray(features.to_features(counts, baseline, run.scaler))[0]
    return np.abs(x).mean(1)


def judge_rows(run: runs.Run, splits: Splits, day: int, limit: float) -> Rows:
    """Each row by its own deviation; a row that is not normal has no name."""
    odd = measure_deviation(run, splits, day) > limit
    names = np.where(odd, UNKNOWN, NORMAL).astype(object)
    return Rows(names, names)


def report(
    method: str,
    days: Mapping[int, Rows],
    splits: Splits,
    bin_s: float,
    *,
    gives_names: bool = True,
) -> None:
    """Prints a row of the table.

    Args:
      method: its name.
      days: what it says of the rows of each day.
      splits: of the days.
      bin_s: seconds of a row.
      gives_names: whether it says which fault a row is of.
    """
    counts = np.stack(
        [
            count_day(rows, splits.sessions.labels[i], bin_s, splits.conditions.known)
            for i, rows in days.items()
        ]
    )  # [days, columns, (so, judged)]
    times_drawn = np.random.default_rng(0).multinomial(
        len(days), np.full(len(days), 1 / len(days)), REPLICATES
    )
    totals = np.einsum("rd,dcx->rcx", times_drawn, counts)
    shares = totals[..., 0] / np.maximum(totals[..., 1], 1)
    low, high = 100 * np.quantile(shares, [0.025, 0.975], axis=0)
    cells = []
    for i, (so, judged) in enumerate(counts.sum(0)):
        if judged and (gives_names or COLUMNS[i] not in OF_NAMES):
            cells.append(f"{100 * so / judged:.1f} [{low[i]:.1f}, {high[i]:.1f}]")
        else:
            cells.append("-")
    print(f"{method:10}" + "".join(f"{cell:>19}" for cell in cells), flush=True)


def count_day(
    rows: Rows, labels: Sequence[Label], bin_s: float, known: Sequence[str]
) -> np.ndarray:
    """`[columns, 2]` of how many the column is true, and how many are judged."""
    counts = {column: np.zeros(2) for column in COLUMNS}
    for label in labels:
        first, end = round(label.onset_s / bin_s), round(label.clear_s / bin_s)
        inside = slice(first, end)
        timeline, live = rows.timeline[inside], rows.live[inside] != NORMAL
        if label.condition == NORMAL:
            counts["normal"] += (timeline != NORMAL).sum(), len(timeline)
            counts["live"] += live.sum(), len(live)
            continue
        for n in BY_ROWS:
            counts[str(n)] += live[:n].any(), 1
        counts["found"] += (timeline != NORMAL).any(), 1
        is_known = label.condition in known
        wanted = label.condition if is_known else UNKNOWN
        middle = timeline[len(timeline) // 2]
        counts["named" if is_known else "unknown"] += middle == wanted, 1
    return np.stack([counts[column] for column in COLUMNS])


if __name__ == "__main__":
    cli.run(main)
