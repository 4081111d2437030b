"""The results of a run: one dict that becomes results.json, a text and CSVs.

The schema of results.json. INTERVAL is {"value", "low", "high", "widened"}: a mean and
its 95 % interval over captures. The value is null if nothing was judged. `widened` is
true if too few captures failed (or differed) to estimate how often others will: the
interval is then the one for no failure in so many captures. UNITS is {"window": X,
"capture": X}: X of single windows, and of the majority of a capture's windows. GROUP is
`known`, `novel_valid` or `novel`; the conditions of all groups are told apart together.

  {
    "schema": 2,
    "main": the method that decides,              these three are absent
    "draws": how often examples are drawn,        if nothing is judged
    "seed": of the draws,
    "captures": how many are judged,
    "windows": how many are judged,
    "conditions": {                               in the order of `confusion`
      CONDITION: {"group": GROUP, "windows": how many, "captures": how many}
    },
    "methods": {METHOD: whether it is a baseline},
    "shots": {                                    empty if nothing is judged
      "1" and "5", the number of examples of each condition: {
        "chance": the chance that a guess is right,
        "recall": {METHOD: {GROUP: UNITS of INTERVAL}},    mean over conditions
        "captures": {GROUP: how many the intervals rest on},
        "conditions": {METHOD: {CONDITION: UNITS of recall or null}},
        "confusion": [[share or null]],           of the row's windows, the share that
                                                  `main` names as the column
        "difference": {GROUP: {BASELINE: UNITS of INTERVAL}},
                                                  recall of `main` minus BASELINE's
        "notes": [what was not judged or had fewer examples, a line each]
      }
    },

    and from `assessment.evaluate`:
    "step": of the checkpoint,
    "version": of siamjax that wrote the checkpoint,
    "scalars_sha256": the hash of scalars.csv, which says of which training it is,
    "data": {
      "dir": the folder of the prepared data set,
      "sha256": the hash of its content,
      "new": [names of captures that were added since training]
    },
    "rule": the numbers of `identification.rules.Rule`,
    "calibration": the fields of `identification.confidence.Calibration`,
    "space": the fields of `evaluation.spaces.Space`, in which windows are compared,
    "spaces": [[{
      the fields of a Space,
      "known", "novel": its recalls on validation, as far as they were judged,
      "less": {"known" and "novel": [value, low, high] of the recall minus that of the
        first space, the default, in pairs}
    }]], a curve for the run, or for each of its fold runs; absent in results on another
      data set,
    "identification": see `assessment.tally`,
    "rejection": how well unknown windows are told apart, see `assessment.rejection`;
                 absent where no window of the test is unknown,
    "losses": {HEAD: {setting of its loss: value, also of defaults}},
    "out_of_fold": {                              only of a run on all captures
      "unknown": [for each fold run the distance threshold that it alone would set,
                  null if it saw all windows of known conditions],
      "identification": as above, of captures that the fold runs did not see
      "rejection": as above, of windows that the fold runs did not see
    }
  }
"""

import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from siamjax.checks import require
from siamjax.evaluation import one_shot, statistics
from siamjax.evaluation.statistics import Table
from siamjax.text import printable

FILE = "results.json"
SCHEMA, SHOTS, UNITS = 2, (1, 5), ("window", "capture")
# Marks behind an interval in the text.
BETTER, WIDENED = "*", "~"
# The first column is not wrapped into fewer characters.
_NARROWEST_NAME = 12

_NUMBERS = ("value", "low", "high")


class _Summary(NamedTuple):
    """What the results need of a `one_shot.OneShot`, which holds every hit."""

    classes: np.ndarray
    recall: np.ndarray
    capture_recall: np.ndarray
    confusion: np.ndarray
    examples: np.ndarray
    tables: dict[str, dict[str, Table]]  # by group and unit


def _in_turn(function: Callable, items: Sequence) -> list:
    """The results of a function of each item, by this process alone."""
    return [function(item) for item in items]


def build_results(
    learnt: Mapping[str, Callable[[], np.ndarray]],
    baselines: Mapping[str, Callable[[], np.ndarray]],
    conditions: np.ndarray,
    captures: np.ndarray,
    *,
    names: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    draws: int = 100,
    seed: int = 0,
    library: np.ndarray | None = None,
    compute: Callable[[Callable, Sequence], list] = _in_turn,
) -> dict[str, Any]:
    """Judges all methods on the same windows and draws of examples.

    The points of one method are in memory at a time.

    Args:
      learnt: {method: gives its points `[N, E]`} of trained methods; the first one is
        `main`.
      baselines: the same of what `main` is compared with.
      conditions: `[N]` int, index into names.
      captures: `[N]` int.
      names: `[C]` names of conditions.
      groups: {group: names of its conditions}; conditions without a window are ignored.
      draws: how often the examples are drawn.
      seed: of the draws.
      library: `[N]` bool, see `one_shot.recognise`.
      compute: gives the results of a function of each method, in the order of the
        methods; `training.hosts.divided` divides them over processes.
    Returns:
      The dict of this module's docstring, as far as `build_results` fills it.
    Raises:
      UsageError: there is no trained method, or no condition has a window.
    """
    require(learnt, "there is no trained method to judge")
    methods, main = {**learnt, **baselines}, next(iter(learnt))
    conditions, captures = np.asarray(conditions), np.asarray(captures)
    queries = np.ones(len(conditions), bool) if library is None else ~library
    shown = set(one_shot.shown_conditions(conditions).tolist())
    index = {name: i for i, name in enumerate(names)}
    members = {
        group: np.array([index[n] for n in group_names if index[n] in shown], int)
        for group, group_names in groups.items()
    }
    members = {group: codes for group, codes in members.items() if len(codes)}
    require(members, "no test capture shows a condition that has an example")
    classes = np.sort(np.concatenate(list(members.values())))
    judged = queries & np.isin(conditions, classes)
    group_of = {names[c]: group for group, codes in members.items() for c in codes}
    rows = {names[c]: queries & (conditions == c) for c in classes}

    def judge(name):
        points = methods[name]()
        by_shots = {}
        for count in SHOTS:
            result = one_shot.recognise(
                points,
                conditions,
                captures,
                shots=count,
                draws=draws,
                seed=seed,
                classes=classes,
                library=library,
            )
            by_shots[count] = _summarise(result, conditions, captures, members)
        return by_shots

    by_method = dict(zip(methods, compute(judge, list(methods))))
    shots = {}
    for count in SHOTS:
        summaries = {name: by_shots[count] for name, by_shots in by_method.items()}
        part = _shots(summaries, names, set(baselines))
        part["notes"] = _notes(summaries[main], names, count)
        part["notes"] += _library_notes(conditions, library, classes, names)
        shots[str(count)] = part
    return dict(
        schema=SCHEMA,
        main=main,
        draws=draws,
        seed=seed,
        captures=len(np.unique(captures[judged])),
        windows=int(judged.sum()),
        conditions={
            name: dict(
                group=group_of[name],
                windows=int(judged_rows.sum()),
                captures=len(np.unique(captures[judged_rows])),
            )
            for name, judged_rows in rows.items()
        },
        methods={name: name in baselines for name in methods},
        shots=shots,
    )


def empty_results() -> dict[str, Any]:
    """Results of a run without a test capture, in the form of `build_results`."""
    empty: dict[str, Any] = dict(conditions={}, methods={}, shots={})
    return dict(schema=SCHEMA, captures=0, windows=0, **empty)


def format_results(results: dict[str, Any], width: int = 100) -> str:
    """The results as aligned text, in lines of at most `width` characters.

    A baseline that is significantly better than `main` is marked, see `is_better`.
    """
    if not results["shots"]:
        return "no capture is set aside for the test: no table of recalls\n"
    lines: list[str] = []
    main, count = printable(results["main"]), len(results["conditions"])
    for shots, part in results["shots"].items():
        examples = "1 example" if shots == "1" else f"{shots} examples"
        lines += textwrap.wrap(
            f"{examples} of each of {count} conditions: mean recall per condition "
            f"[95 % over captures]; chance {part['chance']:.2f}",
            width,
        )
        rows = []
        for group, captures in part["captures"].items():
            headings = [f"{group}: {captures} captures", "per window", "per capture"]
            rows.append([*headings, f"{main} less it"])
            for method in results["methods"]:
                rows.append([printable(method), *_cells(part, method, group)])
        if any(part["captures"].values()):
            lines += _align(rows, width)
        else:
            lines.append("nothing is judged")
        for line in _legend(part, main):
            lines += textwrap.wrap(line, width, subsequent_indent="  ")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def is_better(difference: dict[str, Any]) -> bool:
    """Whether a baseline is better than `main`: the INTERVAL of the difference, `main`
    minus the baseline, is below 0."""
    return difference["high"] < 0


def _cells(part, method, group):
    """Texts of a method's recalls in a group, and of the difference to `main`."""
    difference = part["difference"].get(group, {}).get(method)
    cells = []
    for unit in UNITS:
        better = difference is not None and is_better(difference[unit])
        text = _cell(part["recall"][method][group][unit])
        cells.append(text + (BETTER if better else ""))
    return [*cells, "" if difference is None else _cell(difference["window"], "+")]


def _legend(part, main):
    """Lines that explain the marks used in a table, and its notes."""
    differences = [
        units for group in part["difference"].values() for units in group.values()
    ]
    recalls = [units for method in part["recall"].values() for units in method.values()]
    shown = [units[unit] for units in recalls for unit in UNITS]
    shown += [units["window"] for units in differences]
    if differences:
        yield f"{main} less it: the difference per window, in pairs"
    if any(is_better(units[unit]) for units in differences for unit in UNITS):
        yield f"{BETTER} better than {main}, in pairs: the interval excludes 0"
    if any(interval["widened"] for interval in shown):
        yield (
            f"{WIDENED} too few captures fail (or differ) to tell how often others "
            "will: the interval is what none in so many captures allows (Clopper and "
            "Pearson)"
        )
    yield from (f"note: {printable(line)}" for line in part["notes"])


def csv_tables(results: dict[str, Any]) -> dict[str, Iterable[list[Any]]]:
    """{file name: rows}; the first row is the heading. None is an empty cell."""
    groups = {name: about["group"] for name, about in results["conditions"].items()}
    interval = ["low", "high", "widened"]
    method_columns = ["shots", "method", "baseline", "group"]
    recalls: list[list[Any]] = [[*method_columns, "condition", "unit", "recall"]]
    means: list[list[Any]] = [[*method_columns, "unit", "recall", *interval]]
    differences: list[list[Any]] = [
        ["shots", "baseline", "group", "unit", "less", *interval]
    ]
    confusion: list[list[Any]] = [["shots", "condition", "named", "share"]]
    for shots, part in results["shots"].items():
        for method, baseline in results["methods"].items():
            first_cells = [shots, method, int(baseline)]
            recalls += [
                [*first_cells, groups[condition], condition, unit, recall[unit]]
                for condition, recall in part["conditions"][method].items()
                for unit in UNITS
            ]
            means += [
                [*first_cells, group, unit, *recall[unit].values()]
                for group, recall in part["recall"][method].items()
                for unit in UNITS
            ]
        differences += [
            [shots, baseline, group, unit, *difference[unit].values()]
            for group, by_baseline in part["difference"].items()
            for baseline, difference in by_baseline.items()
            for unit in UNITS
        ]
        confusion += [
            [shots, condition, other, share]
            for condition, row in zip(groups, part["confusion"])
            for other, share in zip(groups, row)
        ]
    return {
        "results.csv": recalls,
        "intervals.csv": means,
        "differences.csv": differences,
        "confusion.csv": confusion,
    }


def _summarise(result, conditions, captures, members):
    """`_Summary` of a `OneShot`."""
    tables = {
        group: _tables(result, conditions, captures, codes)
        for group, codes in members.items()
    }
    fields = set(_Summary._fields) - {"tables"}
    kept = {name: getattr(result, name) for name in fields}
    return _Summary(**kept, tables=tables)


def _shots(by_method, names, baselines):
    """An entry of `shots`, without its notes, of {method: `_Summary`}."""
    main = next(iter(by_method))
    tables = {method: result.tables for method, result in by_method.items()}
    recall = {
        method: {
            group: {
                unit: _plain(statistics.recall_interval(table))
                for unit, table in units.items()
            }
            for group, units in by_group.items()
        }
        for method, by_group in tables.items()
    }
    return dict(
        chance=1 / len(by_method[main].classes),
        recall=recall,
        captures={
            group: len(units["window"].right) for group, units in tables[main].items()
        },
        conditions={
            method: {
                names[c]: dict(
                    window=_number(result.recall[i]),
                    capture=_number(result.capture_recall[i]),
                )
                for i, c in enumerate(result.classes)
            }
            for method, result in by_method.items()
        },
        confusion=[[_number(x) for x in row] for row in by_method[main].confusion],
        difference=_differences(tables, main, [m for m in by_method if m in baselines]),
    )


def _tables(result, conditions, captures, codes):
    """{unit: statistics.Table} of a group's conditions."""
    return dict(
        window=statistics.sum_hits(result.hits, conditions, captures, codes),
        capture=statistics.sum_hits(
            result.capture_hits, result.pair_condition, result.pair_capture, codes
        ),
    )


def _differences(tables, main, baselines):
    """{group: {baseline: {unit: INTERVAL of `main` minus the baseline}}}."""
    return {
        group: {
            baseline: {
                unit: _plain(
                    statistics.recall_difference(table, tables[baseline][group][unit])
                )
                for unit, table in units.items()
            }
            for baseline in baselines
        }
        for group, units in tables[main].items()
    }


def _notes(result, names, shots):
    """Lines on conditions that were not judged, or that had fewer examples."""
    lines = []
    if len(result.classes) == 1:
        lines.append("there is one condition, so every answer is right")
    for c, recall, fewest in zip(result.classes, result.recall, result.examples):
        if math.isnan(recall):
            lines.append(f"{names[c]} is not judged: each capture gives examples")
        if fewest < shots:
            lines.append(
                f"{names[c]} has {fewest} examples, not {shots}: too few windows"
            )
    return lines


def _plain(interval):
    """The INTERVAL of this module's docstring, of a `statistics.Interval`."""
    numbers = {name: _number(getattr(interval, name)) for name in _NUMBERS}
    return dict(numbers, widened=interval.widened)


def _library_notes(conditions, library, classes, names):
    """A line on the conditions whose examples come from training captures."""
    if library is None:
        return []
    listed = [names[c] for c in classes if library[conditions == c].any()]
    which = "all conditions" if len(listed) == len(classes) else ", ".join(listed)
    return [f"examples of {which} come from training captures"]


def _number(x):
    """A JSON number, or None for NaN."""
    return None if math.isnan(x) else float(x)


def _cell(interval, sign=""):
    if interval["value"] is None:
        return "-"
    value, low, high = (format(interval[name], f"{sign}.2f") for name in _NUMBERS)
    return f"{value} [{low}, {high}]" + (WIDENED if interval["widened"] else "")


def _align(rows, width):
    """Lines of a table; if they would be too wide, the first column is wrapped."""
    first, *widths = [max(map(len, column)) for column in zip(*rows)]
    gap = "  " if first + sum(w + 2 for w in widths) <= width else " "
    room = width - sum(w + len(gap) for w in widths)
    first = max(_NARROWEST_NAME, min(first, room))
    lines = []
    for name, *cells in rows:
        begin, *rest = textwrap.wrap(name, first, subsequent_indent=" ")
        texts = [text.ljust(w) for text, w in zip([begin, *cells], [first, *widths])]
        lines += [gap.join(texts).rstrip(), *rest]
    return lines
