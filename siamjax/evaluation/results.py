"""The results of a run: one dict that becomes results.json, a table and CSVs.

results.json:
  schema            1
  main              the method that decides
  draws, seed       of the examples
  captures, windows numbers judged
  conditions        {name: {group, windows, captures}}, in the order of the confusion
  matrix methods           {name: baseline or not} shots             {"1" and "5": {
    chance            of a right guess
    recall            {method: {group: {"window" and "capture": [value, low, high]}}}
    captures          {group: number of captures behind these intervals}
    conditions        {method: {condition: {"window" and "capture": recall or null}}}
    confusion         [C][C], share of a row's windows named as the column, of `main`
    difference        {group: {baseline, value, low, high}}, main less its best baseline
    notes             what could not be judged or had fewer examples, a line each}}

A group is `known`, `novel_valid` or `novel`. Recall is the mean over a group's
conditions of the recall of each, told apart among the conditions of all groups;
intervals are 95 % over captures.
"""

import csv
import math
import pathlib

import numpy as np

from siamjax.checks import require
from siamjax.evaluation import statistics
from siamjax.evaluation.one_shot import one_shot, present

SCHEMA, SHOTS, UNITS = 1, (1, 5), ("window", "capture")


def build(
    learnt, baselines, conditions, captures, names, groups, *, draws=100, seed=0,
    library=None,
):  # fmt: skip
    """Judges all methods on the same windows and draws of examples.

    Args:
      learnt: {name: points `[N, E]`} of what was trained; the first one is `main`.
      baselines: {name: points `[N, E]`} to be better than.
      conditions: `[N]` int, index into names.
      captures: `[N]` int.
      names: `[C]` names of conditions.
      groups: {group: names of its conditions}; conditions without a window drop out.
      draws: how often the examples are drawn.
      seed: of the draws.
      library: `[N]` bool, see `one_shot`; conditions that are not both in it and
        beside it drop out.
    Returns:
      The dict of this module's docstring.
    """
    require(learnt, "there is no trained method to judge")
    methods = {**learnt, **baselines}
    conditions, captures = np.asarray(conditions), np.asarray(captures)
    queries = np.ones(len(conditions), bool) if library is None else ~library
    there = set(present(conditions, library).tolist())
    index = {name: i for i, name in enumerate(names)}
    members = {
        group: np.array([index[n] for n in some if index[n] in there], int)
        for group, some in groups.items()
    }
    members = {group: some for group, some in members.items() if len(some)}
    classes = np.sort(np.concatenate(list(members.values())))
    judged = queries & np.isin(conditions, classes)
    group_of = {names[c]: group for group, some in members.items() for c in some}
    rows = {names[c]: queries & (conditions == c) for c in classes}
    return dict(
        schema=SCHEMA,
        main=next(iter(learnt)),
        draws=draws,
        seed=seed,
        captures=len(np.unique(captures[judged])),
        windows=int(judged.sum()),
        conditions={
            name: dict(
                group=group_of[name],
                windows=int(some.sum()),
                captures=len(np.unique(captures[some])),
            )
            for name, some in rows.items()
        },
        methods={name: name in baselines for name in methods},
        shots={
            str(shots): _shots(
                {
                    name: one_shot(
                        points, conditions, captures,
                        shots=shots, draws=draws, seed=seed, classes=classes,
                        library=library,
                    )
                    for name, points in methods.items()
                },
                conditions, captures, names, members, set(baselines), shots,
            )
            for shots in SHOTS
        },
    )  # fmt: skip


def table(results):
    """The results as aligned text; a baseline that is better than `main` is marked."""
    lines = []
    groups = list(dict.fromkeys(c["group"] for c in results["conditions"].values()))
    for shots, part in results["shots"].items():
        rows = [["", *(f"{group}, {unit}" for group in groups for unit in UNITS), ""]]
        better = set()
        for method, baseline in results["methods"].items():
            cells = [method + (" (baseline)" if baseline else "")]
            for group in groups:
                for unit in UNITS:
                    value, low, high = part["recall"][method][group][unit]
                    first = part["recall"][results["main"]][group][unit][0]
                    ahead = (
                        baseline
                        and value is not None
                        and (first is None or value > first)
                    )
                    better |= {method} if ahead else set()
                    cells.append(_cell(value, low, high) + ("*" if ahead else ""))
            rows.append(cells)
        count = ", ".join(f"{n} {group}" for group, n in part["captures"].items())
        lines += [
            f"{shots} example{'s' if shots != '1' else ''} of each of "
            f"{len(results['conditions'])} conditions: mean recall per condition "
            f"[95 % over captures: {count}]; chance {part['chance']:.2f}",
            *_aligned(rows),
        ]
        for group, d in part["difference"].items():
            lines.append(
                f"{results['main']} less its best baseline ({d['baseline']}), {group}: "
                + _cell(d["value"], d["low"], d["high"], sign="+")
            )
        if better:
            lines.append(
                f"* better than {results['main']}: {', '.join(sorted(better))}"
            )
        lines += [f"note: {line}" for line in part["notes"]]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def write_csv(results, folder):
    """Writes `csv_tables` into a folder, for a spreadsheet; empty: not judged."""
    for name, rows in csv_tables(results).items():
        path = pathlib.Path(folder) / name
        with open(path, "w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


def csv_tables(results):
    """{file: rows, the first of them headings} of recall, intervals and confusion."""
    groups = {name: about["group"] for name, about in results["conditions"].items()}
    each = [["shots", "method", "baseline", "group", "condition", "unit", "recall"]]
    means = [["shots", "method", "baseline", "group", "unit", "recall", "low", "high"]]
    named = [["shots", "condition", "named", "share"]]
    for shots, part in results["shots"].items():
        for method, baseline in results["methods"].items():
            about = [shots, method, int(baseline)]
            each += [
                [*about, groups[condition], condition, unit, recall[unit]]
                for condition, recall in part["conditions"][method].items()
                for unit in UNITS
            ]
            means += [
                [*about, group, unit, *recall[unit]]
                for group, recall in part["recall"][method].items()
                for unit in UNITS
            ]
        named += [
            [shots, condition, other, share]
            for condition, row in zip(groups, part["confusion"])
            for other, share in zip(groups, row)
        ]
    return {"results.csv": each, "intervals.csv": means, "confusion.csv": named}


def _shots(judged, conditions, captures, names, members, baselines, shots):
    """The part of the results for one number of examples, of {method: OneShot}."""
    main = next(iter(judged))
    classes = judged[main].classes
    tables = {
        method: {
            group: _tables(r, conditions, captures, some)
            for group, some in members.items()
        }
        for method, r in judged.items()
    }
    recall = {
        method: {
            group: {unit: _numbers(statistics.interval(by[unit])) for unit in UNITS}
            for group, by in of.items()
        }
        for method, of in tables.items()
    }
    return dict(
        chance=1 / len(classes),
        recall=recall,
        captures={group: len(by["window"].right) for group, by in tables[main].items()},
        conditions={
            method: {
                names[c]: dict(
                    window=_number(r.recall[i]), capture=_number(r.capture_recall[i])
                )
                for i, c in enumerate(r.classes)
            }
            for method, r in judged.items()
        },
        confusion=[[_number(x) for x in row] for row in judged[main].confusion],
        difference=_differences(tables, recall, main, baselines),
        notes=_notes(judged[main], names, shots),
    )


def _tables(result, conditions, captures, some):
    """{unit: statistics.Table} of a group's conditions."""
    return dict(
        window=statistics.table(result.hits, conditions, captures, some),
        capture=statistics.table(
            result.capture_hits, result.pair_condition, result.pair_capture, some
        ),
    )


def _differences(tables, recall, main, baselines):
    """{group: main less its best baseline}, windows."""
    out = {}
    for group, by in tables[main].items():
        value = {
            name: recall[name][group]["window"][0]
            for name in tables
            if name in baselines
        }
        value = {name: v for name, v in value.items() if v is not None}
        if value:
            best = max(value, key=value.get)
            d = statistics.difference(by["window"], tables[best][group]["window"])
            out[group] = dict(
                baseline=best, **dict(zip(("value", "low", "high"), _numbers(d)))
            )
    return out


def _notes(result, names, shots):
    """What could not be judged, or not with so many examples."""
    lines = []
    for c, recall, fewest in zip(result.classes, result.recall, result.examples):
        if math.isnan(recall):
            lines.append(
                f"{names[c]} is not judged: no capture is left beside its examples'"
            )
        if fewest < shots:
            lines.append(
                f"{names[c]} has {fewest} examples, not {shots}: too few windows"
            )
    return lines


def _numbers(interval):
    return [_number(x) for x in (interval.value, interval.low, interval.high)]


def _number(x):
    """A JSON number, or None for NaN."""
    return None if math.isnan(x) else float(x)


def _cell(value, low, high, sign=""):
    if value is None:
        return "-"
    return f"{value:{sign}.2f} [{low:{sign}.2f}, {high:{sign}.2f}]"


def _aligned(rows):
    widths = [
        max(len(row[i]) for row in rows if i < len(row)) for i in range(len(rows[0]))
    ]
    return ["  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in rows]
