"""The results of a comparison: one dict from which tables, figures and page are made.

when, times       when the test was last read, and how often
losses            the losses as the user wrote them
rows              one for each cell, see `cell_rows`
data_sets         {name: {head: {
  conditions, captures, repeats   how many the novel readouts rest on
  levels          {method: {(metric, group): `statistics.Clustered`}}
  pairs           {metric: [`analysis.Pair`]}, of losses, on novel conditions
  tally           {metric: {loss: (wins, ties, losses)}}
  ranks           {metric: {loss: mean rank}}
  power           {metric: `analysis.least_differences`}
  naive           {method: half the interval of the usual formula for one-shot}
  training        {loss: `Training`}}}}
heads             {data set: {loss: `statistics.Clustered` of the deciding head minus
                  the other}}
tuning            {loss: `protocol.Tuning`}, of losses without search ranges
shares            who did what, see `shares.list_shares`
missing           lines that say what could not be compared, and why
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from siamjax.comparison import analysis, protocol, shares, studies, workers
from siamjax.comparison.config import CompareConfig
from siamjax.comparison.final_readout import Cell, Readouts
from siamjax.comparison.protocol import REPEAT, TUNE
from siamjax.comparison.readouts import KNOWN, METRICS, NOVEL, condition_mean
from siamjax.losses import search

# What losses are compared by in pairs; the first orders the tables.
COMPARED = ("one_shot", "map_at_r")


class Training(NamedTuple):
    """Means over the cells of a loss."""

    setting: str
    best_step: float
    best_s: float
    collapsed: float  # share of its runs, also of those of the search


def build_report(
    config: CompareConfig,
    opened: Mapping[protocol.Study, studies.Opened],
    cells: Sequence[Cell],
    readouts: Mapping[str, Readouts],
    mark: Mapping[str, Any],
) -> dict[str, Any]:
    """The dict of this module's docstring.

    Args:
      config: of the comparison.
      opened: all studies.
      cells: those that were read.
      readouts: {cell name: readouts}.
      mark: dict(when, times) of the final readout.
    """
    missing, data_sets, heads = _failed(opened), {}, {}
    for data_set in config.data_sets:
        of_set = [cell for cell in cells if cell.data_set == data_set]
        repeats = _repeats(config, of_set)
        data_sets[data_set] = {
            head: _of_head(config, head, of_set, readouts, repeats)
            | dict(training=_trainings(config, opened, data_set, head))
            for head in config.train.active_heads
        }
        heads[data_set] = _between_heads(config, of_set, readouts, repeats)
        levels = data_sets[data_set][config.train.deciding_head]["levels"]
        missing += [
            f"{data_set}: {loss} has no complete repeat, and is not compared"
            for loss in config.losses
            if loss not in levels
        ]
    return dict(
        when=mark["when"],
        times=mark["times"],
        losses=list(config.losses),
        rows=cell_rows(config, cells, readouts),
        data_sets=data_sets,
        heads=heads,
        missing=missing,
        tuning=tuning_by_loss(config),
        shares=shares.list_shares(opened.values()),
    )


def tuning_by_loss(config: CompareConfig) -> dict[str, protocol.Tuning]:
    """{loss: `protocol.Tuning`} of the losses without search ranges of their own."""
    by_loss = {loss: protocol.describe_tuning(loss) for loss in config.losses}
    return {loss: how for loss, how in by_loss.items() if how}


def cell_rows(
    config: CompareConfig, cells: Sequence[Cell], readouts: Mapping[str, Readouts]
) -> list[dict[str, Any]]:
    """The rows of results.csv, a dict for each cell.

    A score is the mean over conditions of the mean over their windows. Times are in
    seconds.
    """
    rows = []
    for i, cell in enumerate(cells):
        about = cell.about
        row = dict(
            row=i,
            data_set=cell.data_set,
            method=cell.method,
            loss=bool(about),
            repeat=cell.repeat,
            fold=cell.fold,
            seed=about.get("seed", ""),
            train_s=about.get("train_s", ""),
        )
        for head in config.train.active_heads:
            best = about.get("best", {}).get(head, {})
            setting = search.fill(*about["setting"][head]) if about else ""
            row[f"{head}.setting"] = setting
            row[f"{head}.valid_map_at_r"] = best.get("score", "")
            row[f"{head}.best_step"] = best.get("step", "")
            row[f"{head}.best_s"] = best.get("time_s", "")
            row[f"{head}.collapsed"] = best.get("collapsed", "")
            by_key = readouts[cell.name]
            for metric, group in itertools.product(METRICS, (NOVEL, KNOWN)):
                if (metric, group) == ("auroc", KNOWN):
                    continue
                units = by_key.get(
                    (head, metric, group), by_key.get(("", metric, group))
                )
                score = "" if units is None else _value(units)
                row[f"{head}.{metric}.{group}"] = score
        rows.append(row)
    return rows


def _value(units):
    """`readouts.condition_mean` of units whose conditions are names."""
    _, condition = np.unique(units.condition, return_inverse=True)
    return condition_mean(units._replace(condition=condition.reshape(-1)))


def _of_head(config, head, cells, readouts, repeats):
    """The part of the report of one head on one data set, without `training`."""
    by_metric, levels = {}, {}
    for method in dict.fromkeys([*config.losses, *(cell.method for cell in cells)]):
        of_method = [cell for cell in cells if cell.method == method]
        for metric, group in itertools.product(METRICS, (NOVEL, KNOWN)):
            key = (head, metric, group)
            scores = analysis.gather_scores(of_method, readouts, key, repeats)
            if scores is not None:
                by_metric.setdefault((metric, group), {})[method] = scores
                levels.setdefault(method, {})[metric, group] = analysis.mean_score(
                    scores
                )
    pairs, ranks = {}, {}
    for metric in COMPARED:
        scores = by_metric.get((metric, NOVEL), {})
        losses = {loss: scores[loss] for loss in config.losses if loss in scores}
        pairs[metric] = analysis.compare_pairs(losses)
        ranks[metric] = analysis.mean_ranks(losses) if losses else {}
    one_shot = by_metric.get(("one_shot", NOVEL), {})
    first = next(iter(one_shot.values()), None)
    return dict(
        levels=levels,
        repeats=len(repeats),
        pairs=pairs,
        tally={metric: analysis.count_verdicts(pairs[metric]) for metric in COMPARED},
        ranks=ranks,
        power={
            metric: analysis.least_differences(pairs[metric]) for metric in COMPARED
        },
        naive={
            method: analysis.naive_half_width(scores)
            for method, scores in one_shot.items()
        },
        conditions=0 if first is None else len(np.unique(first.condition)),
        captures=0 if first is None else len(np.unique(first.capture)),
    )


def _between_heads(config, cells, readouts, repeats):
    """{loss: `statistics.Clustered`} of the deciding head minus the other, if any."""
    decides = config.train.deciding_head
    others = [head for head in config.train.active_heads if head != decides]
    differences = {}
    for loss in config.losses if others else ():
        of_loss = [cell for cell in cells if cell.method == loss]
        first, second = (
            analysis.gather_scores(
                of_loss, readouts, (head, "one_shot", NOVEL), repeats
            )
            for head in (decides, others[0])
        )
        if first is not None and second is not None:
            differences[loss] = analysis.mean_difference(first, second)
    return differences


def _trainings(config, opened, data_set, head):
    """{loss: `Training`} of the losses that have a finished repeat."""
    by_loss = {loss: _training(opened, data_set, loss, head) for loss in config.losses}
    return {loss: training for loss, training in by_loss.items() if training}


def _training(opened, data_set, loss, head):
    """`Training` of a loss; None if it has no finished repeat."""
    tuned, repeats = (
        _cells_of(opened.get(protocol.Study(data_set, stage, loss)))
        for stage in (TUNE, REPEAT)
    )
    if not repeats:
        return None
    best = [cell["best"][head] for cell in repeats]
    all_runs = [cell["best"][head] for cell in tuned + repeats]
    return Training(
        setting=search.fill(*repeats[0]["setting"][head]),
        best_step=float(np.mean([b["step"] for b in best])),
        best_s=float(np.mean([b["time_s"] for b in best])),
        collapsed=float(np.mean([b["collapsed"] for b in all_runs])),
    )


def _cells_of(record):
    """What the finished trials of a study stored about their cells."""
    trials = studies.finished_trials(record).values() if record else ()
    return [
        cell
        for trial in trials
        if studies.CELLS in trial.user_attrs
        for cell in workers.stored_cells(trial)
    ]


def _repeats(config, cells):
    """The repeats that every loss has in all folds; losses without any do not count."""
    by_method = {}
    for cell in cells:
        if cell.about:
            by_method.setdefault(cell.method, set()).add((cell.repeat, cell.fold))
    complete = [
        {r for r, _ in done if all((r, f) in done for f in range(config.folds))}
        for done in by_method.values()
    ]
    return sorted(set.intersection(*complete)) if complete else []


def _failed(opened):
    """A line for each slot that failed."""
    return [
        f"{study.name}, slot {slot}: {trial.user_attrs[studies.ERROR]}"
        for study, record in opened.items()
        for slot, trial in sorted(studies.finished_trials(record).items())
        if studies.ERROR in trial.user_attrs
    ]
