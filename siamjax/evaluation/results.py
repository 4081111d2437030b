"""The results of a run: one dict that becomes results.json, a table and CSVs.

results.json:
  schema            2
  main              the method that decides
  draws, seed       of the examples
  captures, windows numbers judged
  conditions        {name: {group, windows, captures}}, in the order of the confusion
  methods           {name: baseline or not}
  shots             {"1" and "5": {
    chance          of a right guess
    recall          {method: {group: {"window" and "capture": interval}}}
    captures        {group: number of captures behind these intervals}
    conditions      {method: {condition: {"window" and "capture": recall or null}}}
    confusion       [C][C], share of a row's windows named as the column, of `main`
    difference      {group: {baseline: {"window" and "capture": interval}}}, the recall
                    of `main` less that of the baseline, in pairs
    notes           what could not be judged or had fewer examples, a line each}}
An interval is {value, low, high, widened}: 95 % over captures; value is null where
nothing was judged. Where `widened`, too few captures fail (or differ) to tell how often
others will, and the interval is what none in so many captures allows.

A group is `known`, `novel_valid` or `novel`. Recall is the mean over a group's
conditions of the recall of each, told apart among the conditions of all groups.

`assessment.evaluate` adds:
  step, version     of the checkpoint, and of siamjax that wrote it
  losses            {head: the settings of its loss, defaults as well}
  rule              see `identification.decide.Rule`
  identification    see `assessment.tally`
  out_of_fold       of a run on all captures: {identification: what its fold runs say of
                    captures that they did not see, unknown: the threshold of distance
                    that each of them alone would set}
  data              {dir, sha256: of the content, new: names of captures that are new
                    since training}
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from siamjax.checks import require
from siamjax.evaluation import statistics
from siamjax.evaluation.one_shot import one_shot, present
from siamjax.text import printable

FILE = "results.json"
SCHEMA, SHOTS, UNITS = 2, (1, 5), ("window", "capture")
# What the table puts behind an interval.
BETTER, WIDENED = "*", "~"

_NUMBERS = ("value", "low", "high")


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
      library: `[N]` bool, see `one_shot`.
    Returns:
      The dict of this module's docstring.
    """
    require(learnt, "there is no trained method to judge")
    methods = {**learnt, **baselines}
    conditions, captures = np.asarray(conditions), np.asarray(captures)
    queries = np.ones(len(conditions), bool) if library is None else ~library
    there = set(present(conditions).tolist())
    index = {name: i for i, name in enumerate(names)}
    members = {
        group: np.array([index[n] for n in some if index[n] in there], int)
        for group, some in groups.items()
    }
    members = {group: some for group, some in members.items() if len(some)}
    require(members, "no test capture shows a condition that has an example")
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
                conditions, captures, names, members, set(baselines), shots, library,
            )
            for shots in SHOTS
        },
    )  # fmt: skip


def nothing() -> dict[str, Any]:
    """Results of a run without a test capture, in the form of `build`."""
    empty: dict[str, Any] = dict(conditions={}, methods={}, shots={})
    return dict(schema=SCHEMA, captures=0, windows=0, **empty)


def table(results: dict[str, Any]) -> str:
    """The results as aligned text, at most 100 columns wide.

    A baseline is marked where it is better than `main` beyond chance, see `is_better`.
    """
    if not results["shots"]:
        return "no capture is set aside for the test: nothing is judged\n"
    lines: list[str] = []
    main, count = printable(results["main"]), len(results["conditions"])
    for shots, part in results["shots"].items():
        examples = "1 example" if shots == "1" else f"{shots} examples"
        lines.append(
            f"{examples} of each of {count} conditions: mean recall per condition "
            f"[95 % over captures]; chance {part['chance']:.2f}"
        )
        rows = []
        for group, captures in part["captures"].items():
            heads = (f"{group}: {captures} captures", "per window", "per capture")
            rows.append([*heads, f"{main} less it, per window"])
            for method in results["methods"]:
                rows.append([printable(method), *_cells(part, method, group)])
        if any(part["captures"].values()):
            lines += _aligned(rows)
        else:
            lines.append("nothing is judged")
        lines += [*_legend(part, main), ""]
    return "\n".join(lines).rstrip() + "\n"


def is_better(difference: dict[str, Any]) -> bool:
    """Whether a baseline is better than `main`: the interval of the difference is
    below 0."""
    return difference["high"] < 0


def _cells(part, method, group):
    """Texts of a method's recalls in a group, and of what `main` has over it."""
    difference = part["difference"].get(group, {}).get(method)
    cells = []
    for unit in UNITS:
        better = difference is not None and is_better(difference[unit])
        text = _cell(part["recall"][method][group][unit])
        cells.append(text + (BETTER if better else ""))
    return [*cells, "" if difference is None else _cell(difference["window"], "+")]


def _legend(part, main):
    """Lines that explain the marks of a table, where it has some, and its notes."""
    pairs = [by for of in part["difference"].values() for by in of.values()]
    recalls = [units for of in part["recall"].values() for units in of.values()]
    shown = [units[unit] for units in recalls for unit in UNITS]
    shown += [by["window"] for by in pairs]
    if any(is_better(by[unit]) for by in pairs for unit in UNITS):
        yield f"{BETTER} better than {main}, in pairs: the interval excludes 0"
    if any(interval["widened"] for interval in shown):
        yield (
            f"{WIDENED} too few captures fail (or differ) to tell how often others "
            "will: the interval is what none\n"
            "  in so many captures allows (Clopper and Pearson)"
        )
    yield from (f"note: {printable(line)}" for line in part["notes"])


def csv_tables(results: dict[str, Any]) -> dict[str, Iterable[list[Any]]]:
    """{file: rows, the first of them headings}; None: nothing was judged."""
    groups = {name: about["group"] for name, about in results["conditions"].items()}
    each = [["shots", "method", "baseline", "group", "condition", "unit", "recall"]]
    about = ["shots", "method", "baseline", "group", "unit"]
    means = [[*about, "recall", "low", "high", "widened"]]
    pairs = [["shots", "baseline", "group", "unit", "less", "low", "high", "widened"]]
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
                [*about, group, unit, *recall[unit].values()]
                for group, recall in part["recall"][method].items()
                for unit in UNITS
            ]
        pairs += [
            [shots, baseline, group, unit, *difference[unit].values()]
            for group, differences in part["difference"].items()
            for baseline, difference in differences.items()
            for unit in UNITS
        ]
        named += [
            [shots, condition, other, share]
            for condition, row in zip(groups, part["confusion"])
            for other, share in zip(groups, row)
        ]
    return {
        "results.csv": each,
        "intervals.csv": means,
        "differences.csv": pairs,
        "confusion.csv": named,
    }


def _shots(judged, conditions, captures, names, members, baselines, shots, library):
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
            group: {unit: _plain(statistics.interval(by[unit])) for unit in UNITS}
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
        difference=_differences(tables, main, [m for m in judged if m in baselines]),
        notes=_notes(judged[main], names, shots)
        + _borrowed(conditions, library, classes, names),
    )


def _tables(result, conditions, captures, some):
    """{unit: statistics.Table} of a group's conditions."""
    return dict(
        window=statistics.table(result.hits, conditions, captures, some),
        capture=statistics.table(
            result.capture_hits, result.pair_condition, result.pair_capture, some
        ),
    )


def _differences(tables, main, baselines):
    """{group: {baseline: {unit: main less the baseline}}}."""
    return {
        group: {
            baseline: {
                unit: _plain(
                    statistics.difference(by[unit], tables[baseline][group][unit])
                )
                for unit in UNITS
            }
            for baseline in baselines
        }
        for group, by in tables[main].items()
    }


def _notes(result, names, shots):
    """What could not be judged, or not with so many examples."""
    lines = []
    if len(result.classes) == 1:
        lines.append("there is one condition, so every answer is right")
    for c, recall, fewest in zip(result.classes, result.recall, result.examples):
        if math.isnan(recall):
            lines.append(
                f"{names[c]} is not judged: no capture of it is left beside those that "
                "give examples"
            )
        if fewest < shots:
            lines.append(
                f"{names[c]} has {fewest} examples, not {shots}: too few windows"
            )
    return lines


def _plain(interval):
    """An interval of this module's docstring, of a `statistics.Interval`."""
    numbers = {name: _number(getattr(interval, name)) for name in _NUMBERS}
    return dict(numbers, widened=interval.widened)


def _borrowed(conditions, library, classes, names):
    """Whose examples come from captures beside those that are judged, in a line."""
    if library is None:
        return []
    of = [names[c] for c in classes if library[conditions == c].any()]
    which = "all conditions" if len(of) == len(classes) else ", ".join(of)
    return [f"examples of {which} come from training captures"]


def _number(x):
    """A JSON number, or None for NaN."""
    return None if math.isnan(x) else float(x)


def _cell(interval, sign=""):
    if interval["value"] is None:
        return "-"
    value, low, high = (format(interval[name], f"{sign}.2f") for name in _NUMBERS)
    return f"{value} [{low}, {high}]" + (WIDENED if interval["widened"] else "")


def _aligned(rows):
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in rows]
