"""A comparison as one page: sortable tables, which loss is better, and films."""

import json
import os
from collections.abc import Mapping
from typing import Any

from siamjax.comparison import shares, tables
from siamjax.reports import page
from siamjax.reports.trace import Trace

SCRIPTS = ("scene.js", "cube.js", "tables.js", "compare.js")


def write_comparison(
    path: str | os.PathLike,
    report: dict[str, Any],
    traces: Mapping[tuple[str, str], Trace],
    about: dict[str, Any],
) -> None:
    """Writes compare.html.

    Args:
      path: of the file.
      report: see `comparison.report`.
      traces: {(data set, loss): trace}.
      about: settings and versions, plain values.
    """
    conditions = [
        name for trace in traces.values() for name in trace.about["conditions"]
    ]
    novel = {name for trace in traces.values() for name in trace.about["novel"]}
    heads = [
        (data_set, head, judged)
        for data_set, heads in report["data_sets"].items()
        for head, judged in heads.items()
    ]
    data = dict(
        title=f"Losses compared on {', '.join(report['data_sets'])}",
        subtitle=f"the test was read on {report['when']}",
        tables=[*(_table(report, *head) for head in heads), _shares(report)],
        matrices=[_matrix(*head) for head in heads if head[-1]["pairs"]["one_shot"]],
        films=_films(report, traces),
        missing=report["missing"],
        about=json.dumps(about, indent=1, default=list),
    )
    page.build_page(path, data, SCRIPTS, conditions=conditions, novel=novel)


def _table(report, data_set, head, judged):
    return dict(
        title=f"{data_set}, {head} head",
        notes=[*tables.tuning_notes(report), *tables.reading_notes(judged)],
        head=list(tables.HEADINGS),
        rows=[_row(report, judged, m) for m in tables.ordered_methods(judged)],
    )


def _shares(report):
    return dict(
        title="Who did what",
        notes=[
            "Each line is a worker process: the cells that it finished, the seconds "
            "in which it was at work, and the cells that it took over from a worker "
            "that was lost."
        ],
        head=list(shares.HEADINGS),
        rows=[
            [dict(text=str(row[name])) for name in shares.HEADINGS]
            for row in report["shares"]
        ],
    )


def _row(report, judged, method):
    """Cells of a method: a text, the number it is sorted by, and its interval."""
    levels, training = judged["levels"][method], judged["training"].get(method)
    first, *others = (
        levels.get((metric, group)) for _, metric, group in tables.COLUMNS
    )
    bar = None
    if first and tables.has_interval(first):
        bar = first.value, max(first.low, 0.0), min(first.high, 1.0)
    ranks = [
        first and first.value,
        judged["tally"]["one_shot"].get(method, (-1,))[0],
        *(level and level.value for level in others),
        training and training.best_s,
        training and training.collapsed,
    ]
    name, *texts = tables.row_texts(report, judged, method)
    cells = [dict(text=text, rank=rank) for text, rank in zip(texts, ranks)]
    return [dict(text=name), cells[0] | dict(bar=bar), *cells[1:]]


def _matrix(data_set, head, judged):
    """Each loss against each other one, by one-shot accuracy, the best first."""
    verdicts = {}
    for pair in judged["pairs"]["one_shot"]:
        verdicts[pair.first, pair.second] = _verdict(pair, pair.first, pair.second, 1)
        verdicts[pair.second, pair.first] = _verdict(pair, pair.second, pair.first, -1)
    compared = {first for first, _ in verdicts}
    names = [m for m in tables.ordered_methods(judged) if m in compared]
    return dict(
        title=f"Who beats whom: {data_set}, {head} head",
        text="One-shot accuracy on unseen conditions. ▲: the row is better than the "
        "column, ▼: worse, ·: no difference that these captures can show; each pair on "
        "the same conditions, captures, examples and seeds, Holm-corrected.",
        names=names,
        cells=[[verdicts.get((row, column)) for column in names] for row in names],
    )


def _verdict(pair, row, column, sign):
    """The cell of two losses; a sign of -1 swaps the two of the pair."""
    difference = pair.difference
    tested = "no interval and no test"
    if tables.has_interval(difference):
        low, high = sorted((sign * difference.low, sign * difference.high))
        tested = (
            f"[{low:+.4f}, {high:+.4f}], p {difference.p_value:.3g}, "
            f"Holm {pair.p_holm:.3g}"
        )
    return dict(
        verdict=sign * pair.verdict,
        tip=f"{row} minus {column}: {sign * difference.value:+.4f} {tested}",
    )


def _films(report, traces):
    """One film for each data set; its losses stand in the order of the table."""
    films = []
    for data_set, heads in report["data_sets"].items():
        first = next(iter(heads.values()))
        losses = [m for m in tables.ordered_methods(first) if (data_set, m) in traces]
        if not losses:
            continue
        shown = {loss: traces[data_set, loss] for loss in losses}
        head = shown[losses[0]].about["head"]
        films.append(
            dict(
                title=f"How each loss parts the windows: {data_set}",
                text=f"The {head} head in the first repeat on the first fold; one "
                "slider, one camera for all.",
                runs=[
                    dict(name=loss, trace=page.trace_data(trace))
                    for loss, trace in shown.items()
                ],
            )
        )
    return films
