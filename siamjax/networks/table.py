"""The table of a board: recall of each method on each network, over all cells.

The schema of board.json. INTERVAL is [value, low, high]: a mean recall over conditions
and its 95 % interval over captures.

  {
    "columns": [{
      "network": the one that was judged,
      "source": the network of the training, the same unless the question is `moved`,
      "question": known, novel or moved,
      "shots": examples of each condition,
      "captures": how many were judged, "conditions": how many,
      "best_simple": the simple method with the highest recall,
      "cells": how many trainings of each setting,
      "methods": [{
        "setting": of the training; empty for a method without one,
        "method": its name,
        "simple": whether it has no trained encoder,
        "recall": INTERVAL,
        "less_best_simple": INTERVAL of its recall less that of the best simple method,
          in pairs
      }],
      "spaces": {setting: {space: how often validation chose it}}
    }],
    "summary": [{"setting", "method", "question", "shots", "networks": how many,
                 "mean": over networks, "worst": the lowest recall,
                 "worst_network": where it is}]
  }
"""

import collections
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from siamjax.evaluation import cross_fit, statistics
from siamjax.evaluation.cross_fit import Row
from siamjax.experiments import settings
from siamjax.networks import cells


def build_table(
    rows: Sequence[Mapping[str, Any]], results: Sequence[Sequence[Mapping[str, Any]]]
) -> dict[str, Any]:
    """The dict of this module's docstring.

    Args:
      rows: the cells.
      results: of `cells.run_cell`, one for each cell.
    """
    judged: dict[tuple, list[Row]] = collections.defaultdict(list)
    chosen: dict[tuple, collections.Counter] = collections.defaultdict(
        collections.Counter
    )
    counted: collections.Counter = collections.Counter()
    for cell, result in zip(rows, results):
        setting = settings.setting_name(cell["setting"])
        for part in result:
            place = part["network"], part["source"]
            counted[(*place, setting)] += 1
            chosen[(*place, setting)][part["space"]] += 1
            for fields in part["rows"]:
                row = Row(*fields)
                judged[(*place, row.role, row.shots)].append(
                    row._replace(method=_join(setting, row.method))
                )
    columns = [
        _column(key, members, counted, chosen)
        for key, members in sorted(judged.items())
    ]
    return dict(columns=columns, summary=list(_summary(columns)))


def _column(key, rows, counted, chosen):
    """A column of the table."""
    network, source, question, shots = key
    (tables,) = cross_fit.tabulate(rows).values()
    simple = {name: table for name, table in tables.items() if not _split(name)[0]}
    best = max(simple, key=lambda name: statistics.mean_recall(simple[name]))
    counts = {
        setting: dict(counter)
        for (*place, setting), counter in chosen.items()
        if place == [network, source]
    }
    first = tables[best]
    return dict(
        network=network,
        source=source,
        question=question,
        shots=shots,
        captures=len(first.right),
        conditions=first.right.shape[1],
        best_simple=best,
        cells=max(n for (*p, _), n in counted.items() if p == [network, source]),
        methods=[
            dict(
                setting=_split(name)[0],
                method=_split(name)[1],
                simple=not _split(name)[0],
                recall=_plain(statistics.recall_interval(table)),
                less_best_simple=_plain(statistics.recall_difference(table, first)),
            )
            for name, table in tables.items()
        ],
        spaces=counts,
    )


def _summary(columns):
    """Mean and worst over networks of each method and question."""
    recalls = collections.defaultdict(dict)
    for column in columns:
        place = _place(column)
        for row in column["methods"]:
            key = row["setting"], row["method"], column["question"], column["shots"]
            recalls[key][place] = row["recall"][0]
    for (setting, method, question, shots), by_place in recalls.items():
        worst = min(by_place, key=lambda place: by_place[place])
        yield dict(
            setting=setting,
            method=method,
            question=question,
            shots=shots,
            networks=len(by_place),
            mean=round(sum(by_place.values()) / len(by_place), 5),
            worst=by_place[worst],
            worst_network=worst,
        )


def format_markdown(table: Mapping[str, Any], shots: int = 1) -> str:
    """The table as Markdown: rows are methods, columns networks; one table a question.

    Args:
      table: of `build_table`.
      shots: examples of each condition.
    """
    parts = []
    for question in (cells.KNOWN, cells.NOVEL, cells.MOVED):
        columns = [
            column
            for column in table["columns"]
            if (column["question"], column["shots"]) == (question, shots)
        ]
        if columns:
            parts += _markdown_table(question, columns, table["summary"])
    return "\n".join(parts)


def _markdown_table(question, columns, summary):
    """Lines of the table of one question."""
    shots = columns[0]["shots"]
    means = {
        (row["setting"], row["method"]): row
        for row in summary
        if (row["question"], row["shots"]) == (question, shots)
    }
    heads = [
        f"{_place(c)}: {c['conditions']} conditions, {c['captures']} captures"
        for c in columns
    ]
    yield f"**{question}**, {shots} example{'s' * (shots > 1)} of each condition"
    yield ""
    yield _line(["setting", "method", *heads, "mean", "worst"])
    yield _line(["---"] * (len(heads) + 4))
    names = sorted(means, key=lambda key: -means[key]["mean"])
    for setting, method in names:
        cells_of_row = []
        for column in columns:
            rows = [
                row
                for row in column["methods"]
                if (row["setting"], row["method"]) == (setting, method)
            ]
            cells_of_row.append(_cell(rows[0], column["best_simple"]) if rows else "")
        about = means[setting, method]
        complete = about["networks"] == len(columns)
        yield _line(
            [
                setting or "simple",
                method,
                *cells_of_row,
                f"{about['mean']:.3f}" if complete else "",
                f"{about['worst']:.3f} ({about['worst_network']})" if complete else "",
            ]
        )
    yield ""


def csv_rows(table: Mapping[str, Any]) -> Iterable[list[Any]]:
    """The table as rows of a CSV, the first one the heading."""
    place = ["network", "source", "question", "shots"]
    interval = ["recall", "low", "high", "less", "less_low", "less_high"]
    yield [*place, "setting", "method", "best_simple", *interval]
    for column in table["columns"]:
        for row in column["methods"]:
            numbers = [*row["recall"], *row["less_best_simple"]]
            yield [
                *(column[name] for name in place),
                row["setting"],
                row["method"],
                column["best_simple"],
                *numbers,
            ]


def _cell(row, best_simple):
    """`0.949 [0.936, 0.961], +0.013 [+0.004, +0.021]`."""
    value, low, high = row["recall"]
    less, less_low, less_high = row["less_best_simple"]
    text = f"{value:.3f} [{low:.3f}, {high:.3f}]"
    if row["simple"] and row["method"] == best_simple:
        return f"{text}, the best simple"
    return f"{text}, {less:+.3f} [{less_low:+.3f}, {less_high:+.3f}]"


def _line(texts):
    return f"| {' | '.join(texts)} |"


def _place(column):
    if column["source"] == column["network"]:
        return column["network"]
    return f"{column['network']} from {column['source']}"


def _join(setting, method):
    """A key for a method; the simple ones are the same in every setting."""
    return method if method in cells.SIMPLE else f"{setting}\0{method}"


def _split(name):
    setting, separator, method = name.partition("\0")
    return (setting, method) if separator else ("", setting)


def _plain(interval):
    return [round(x, 5) for x in (interval.value, interval.low, interval.high)]
