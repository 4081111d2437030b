"""What a comparison found, as one dict that all tables, figures and pages are made of.

when, times       of the final readout, and how often it was done
rows              one a cell, see `cell_rows`
data_sets         {name: {head: {
  conditions, captures, repeats   numbers behind the novel readouts
  levels          {method: {(metric, group): `statistics.Clustered`}}
  pairs           {metric: [`analysis.Pair`]}, of losses, on novel conditions
  tally           {metric: {loss: (wins, ties, losses)}}
  ranks           {metric: {loss: mean rank}}
  power           {metric: (alone, among all)}
  naive           {loss: half the interval of the usual formula for one-shot}
  training        {loss: `Training`}}}}
tuning            {loss: `protocol.Tuning`}, of those without ranges of their own
missing           a line for what could not be compared, and why
"""

from typing import NamedTuple

import numpy as np

from siamjax.comparison import analysis, protocol, studies, workers
from siamjax.comparison.config import CompareConfig
from siamjax.comparison.protocol import REPEAT, TUNE
from siamjax.comparison.readouts import KNOWN, METRICS, NOVEL, value
from siamjax.losses import search

# What losses are compared by in pairs; the first orders the tables.
COMPARED = ("one_shot", "map_at_r")


class Training(NamedTuple):
    """Means over the cells of a loss."""

    setting: str
    best_step: float
    best_s: float
    collapsed: float  # share of its runs, of the search too
    broken: float


def build(config, opened, cells, read, mark):
    """The dict of this module's docstring.

    Args:
      config: of the comparison.
      opened: {Study: `studies.Opened`}.
      cells: `final.Cell`s that were read.
      read: {cell name: readouts}.
      mark: dict(when, times) of the final readout.
    """
    missing, data_sets, heads = _failed(config, opened), {}, {}
    for data_set in config.data_sets:
        own = [c for c in cells if c.data_set == data_set]
        methods = [*config.losses, *dict.fromkeys(c.method for c in own)]
        methods = list(dict.fromkeys(methods))
        repeats = _repeats(config, own)
        data_sets[data_set] = {
            head: _of_head(config, opened, data_set, head, own, read, methods, repeats)
            for head in config.train.active_heads
        }
        heads[data_set] = _between_heads(config, own, read, repeats)
        there = data_sets[data_set][config.train.decide_with]["levels"]
        missing += [
            f"{data_set}: {loss} has no complete repeat, and is not compared"
            for loss in config.losses
            if loss not in there
        ]
    return dict(
        when=mark["when"],
        times=mark["times"],
        losses=list(config.losses),
        rows=cell_rows(config, cells, read),
        data_sets=data_sets,
        heads=heads,
        missing=missing,
        tuning=tuning(config),
    )


def tuning(config: CompareConfig) -> dict[str, protocol.Tuning]:
    """{loss: `protocol.Tuning`} of those without ranges of their own."""
    each = {loss: protocol.tuning(loss) for loss in config.losses}
    return {loss: how for loss, how in each.items() if how}


def cell_rows(config, cells, read):
    """results.csv: a dict a cell; scores are the mean over conditions of the mean over
    their windows, times in seconds."""
    rows = []
    for i, cell in enumerate(cells):
        about = cell.about
        row = dict(
            row=i, data_set=cell.data_set, method=cell.method,
            loss=bool(about), repeat=cell.repeat, fold=cell.fold,
            seed=about.get("seed", ""), train_s=about.get("train_s", ""),
        )  # fmt: skip
        for head in config.train.active_heads:
            best = about.get("best", {}).get(head, {})
            if about:
                row[f"{head}.setting"] = search.fill(*about["setting"][head])
            else:
                row[f"{head}.setting"] = ""
            row[f"{head}.valid_map_at_r"] = best.get("score", "")
            row[f"{head}.best_step"] = best.get("step", "")
            row[f"{head}.best_s"] = best.get("time_s", "")
            row[f"{head}.collapsed"] = best.get("collapsed", "")
            found = read[cell.name]
            for metric in METRICS:
                for group in (NOVEL, KNOWN):
                    units = found.get(
                        (head, metric, group), found.get(("", metric, group))
                    )
                    if (metric, group) != ("auroc", KNOWN):
                        score = "" if units is None else value_of(units)
                        row[f"{head}.{metric}.{group}"] = score
        rows.append(row)
    return rows


def value_of(units):
    """`readouts.value` of units whose conditions are names."""
    _, condition = np.unique(units.condition, return_inverse=True)
    return value(units._replace(condition=condition.reshape(-1)))


def _of_head(config, opened, data_set, head, cells, read, methods, repeats):
    by, levels = {}, {}
    for method in methods:
        own = [c for c in cells if c.method == method]
        for metric in METRICS:
            for group in (NOVEL, KNOWN):
                found = analysis.scores(own, read, (head, metric, group), repeats)
                if found is not None:
                    by.setdefault((metric, group), {})[method] = found
                    own_levels = levels.setdefault(method, {})
                    own_levels[metric, group] = analysis.level(found)
    out = dict(
        levels=levels, repeats=len(repeats), pairs={}, tally={}, ranks={}, power={}
    )
    for metric in COMPARED:
        of = by.get((metric, NOVEL), {})
        losses = {m: of[m] for m in config.losses if m in of}
        out["pairs"][metric] = analysis.pairs(losses)
        out["tally"][metric] = analysis.tally(out["pairs"][metric])
        out["ranks"][metric] = analysis.ranks(losses) if losses else {}
        out["power"][metric] = analysis.power(out["pairs"][metric])
    some = by.get(("one_shot", NOVEL), {})
    out["naive"] = {method: analysis.naive(of) for method, of in some.items()}
    any_of = next(iter(some.values()), None)
    out["conditions"] = 0 if any_of is None else len(np.unique(any_of.condition))
    out["captures"] = 0 if any_of is None else len(np.unique(any_of.capture))
    out["training"] = {
        loss: found
        for loss in config.losses
        if (found := _training(config, opened, data_set, loss, head))
    }
    return out


def _between_heads(config, cells, read, repeats):
    """{loss: `statistics.Clustered`} of the deciding head less the other, if any."""
    first = config.train.decide_with
    others = [head for head in config.train.active_heads if head != first]
    out = {}
    for loss in config.losses if others else ():
        own = [c for c in cells if c.method == loss]
        both = [
            analysis.scores(own, read, (head, "one_shot", NOVEL), repeats)
            for head in (first, others[0])
        ]
        if None not in both:
            out[loss] = analysis.difference(*both)
    return out


def _training(config, opened, data_set, loss, head):
    """`Training` of a loss, None where it has no finished repeat."""
    runs, repeats = [], []
    for stage in (TUNE, REPEAT):
        found = opened.get(protocol.Study(data_set, stage, loss))
        done = studies.done(found) if found else {}
        some = [c for t in done.values() if studies.CELLS in t.user_attrs
                for c in workers.cells(t)]  # fmt: skip
        runs += some
        repeats = some
    if not repeats:
        return None
    best = [cell["best"][head] for cell in repeats]
    every = [cell["best"][head] for cell in runs]
    return Training(
        setting=search.fill(*repeats[0]["setting"][head]),
        best_step=float(np.mean([b["step"] for b in best])),
        best_s=float(np.mean([b["time_s"] for b in best])),
        collapsed=float(np.mean([b["collapsed"] for b in every])),
        broken=float(np.mean([not np.isfinite(b["score"]) for b in every])),
    )


def _repeats(config, cells):
    """The repeats that every loss with any repeat has in all folds."""
    by = {}
    for cell in cells:
        if cell.about:
            by.setdefault(cell.method, set()).add((cell.repeat, cell.fold))
    whole = [
        {r for r, _ in have if all((r, f) in have for f in range(config.folds))}
        for have in by.values()
    ]
    return sorted(set.intersection(*whole)) if whole else []


def _failed(config, opened):
    lines = []
    for study, found in opened.items():
        for slot, trial in sorted(studies.done(found).items()):
            if studies.ERROR in trial.user_attrs:
                lines.append(
                    f"{study.name}, slot {slot}: {trial.user_attrs[studies.ERROR]}"
                )
    return lines
