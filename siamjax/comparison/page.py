"""A comparison as one page: sortable tables, who beats whom, films side by side."""

import json

from siamjax.comparison import tables
from siamjax.reports import page

SCRIPTS = ("scene.js", "cube.js", "tables.js", "compare.js")


def write(path, report, traces, about):
    """Writes compare.html.

    Args:
      path: of the file.
      report: see `report`.
      traces: {(data set, loss): `reports.trace.Trace`}.
      about: settings and versions, plain values.
    """
    shown = [name for trace in traces.values() for name in trace.about["conditions"]]
    novel = {name for trace in traces.values() for name in trace.about["novel"]}
    data = dict(
        title="Losses compared",
        subtitle=f"the test was read on {report['when']}",
        tables=[
            dict(
                title=f"{data_set}, {head} head",
                notes=[*tables.tuning_notes(report), *tables.notes(of)],
                head=list(tables.HEADINGS),
                rows=[_row(report, of, method) for method in tables.order(of)],
            )
            for data_set, heads in report["data_sets"].items()
            for head, of in heads.items()
        ],
        matrices=[
            _matrix(data_set, head, of)
            for data_set, heads in report["data_sets"].items()
            for head, of in heads.items()
            if of["pairs"]["one_shot"]
        ],
        films=_films(report, traces),
        missing=report["missing"],
        about=json.dumps(about, indent=1, default=list),
    )
    page.build(path, data, SCRIPTS, conditions=shown, novel=novel)


def _row(report, of, method):
    level, training = of["levels"][method], of["training"].get(method)
    first, *others = (level.get((metric, group)) for _, metric, group in tables.COLUMNS)
    bar = None
    if first and tables.has_interval(first):
        bar = first.value, max(first.low, 0.0), min(first.high, 1.0)
    ranks = [
        None,
        first and first.value,
        of["tally"]["one_shot"].get(method, (-1,))[0],
        *(found and found.value for found in others),
        training and training.best_s,
        training and training.collapsed,
    ]
    name, *cells = (
        dict(text=text, rank=rank)
        for text, rank in zip(tables.cells(report, of, method), ranks)
    )
    return [dict(text=name["text"]), cells[0] | dict(bar=bar), *cells[1:]]


def _matrix(data_set, head, of):
    """Of each loss against each other, by one-shot accuracy, the best first."""
    by = {}
    for pair in of["pairs"]["one_shot"]:
        d = pair.found
        for a, b, sign in ((pair.first, pair.second, 1), (pair.second, pair.first, -1)):
            low, high = sorted((sign * d.low, sign * d.high))
            tested = "no interval and no test"
            if tables.has_interval(d):
                tested = (
                    f"[{low:+.4f}, {high:+.4f}], p {d.p_value:.3g}, "
                    f"Holm {pair.p_holm:.3g}"
                )
            by[a, b] = dict(
                verdict=sign * pair.verdict,
                tip=f"{a} less {b}: {sign * d.value:+.4f} {tested}",
            )
    names = [m for m in tables.order(of) if any(m == a for a, _ in by)]
    return dict(
        title=f"Who beats whom: {data_set}, {head} head",
        text="One-shot accuracy on unseen conditions. ▲: the row is better than the "
        "column, ▼: worse, ·: no difference that these captures can show; each pair on "
        "the same conditions, captures, examples and seeds, Holm-corrected.",
        names=names,
        cells=[[by.get((a, b)) for b in names] for a in names],
    )


def _films(report, traces):
    """One film a data set, its losses side by side in the order of the table."""
    out = []
    for data_set, heads in report["data_sets"].items():
        first = next(iter(heads.values()))
        runs = [
            dict(name=m, trace=page.trace_data(traces[data_set, m]))
            for m in tables.order(first)
            if (data_set, m) in traces
        ]
        if runs:
            head = traces[data_set, runs[0]["name"]].about["head"]
            out.append(
                dict(
                    title=f"How each loss parts the windows: {data_set}",
                    text=f"The {head} head in the first repeat on the first fold; one "
                    "slider, one camera for all.",
                    runs=runs,
                )
            )
    return out
