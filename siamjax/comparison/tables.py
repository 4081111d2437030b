"""A comparison as text: CSV, Markdown and LaTeX."""

import csv
import math
from typing import Any

import numpy as np

from siamjax import files, text
from siamjax.comparison.readouts import KNOWN, NOVEL
from siamjax.evaluation.statistics import LEAST_CLUSTERS, Clustered

# After the first comes win/tie/loss: what is wider than a page hides at its right.
COLUMNS = (
    ("one-shot", "one_shot", NOVEL),
    ("one-shot, known", "one_shot", KNOWN),
    ("AUROC unknown", "auroc", NOVEL),
    ("MAP@R", "map_at_r", NOVEL),
    ("R-precision", "r_precision", NOVEL),
    ("P@1", "precision_at_1", NOVEL),
)


def write_csv(path, rows):
    """Rows, dicts with the same keys, as CSV; numbers so that they read back the
    same."""
    head = list(rows[0]) if rows else []
    files.write_csv(path, [head, *([row[key] for key in head] for row in rows)])


def read_csv(path):
    """The rows that `write_csv` wrote, all of them texts."""
    with (
        files.parsing(path, "the command that wrote it writes it anew"),
        open(path, newline="", encoding="utf-8") as file,
    ):
        rows = list(csv.DictReader(file, strict=True))
        return [{k: files.unescape_cell(v) for k, v in row.items()} for row in rows]


def pair_rows(report):
    """pairs.csv: a dict for each two losses, readout, head and data set."""
    return [
        dict(
            data_set=data_set, head=head, metric=metric, group=NOVEL,
            first=p.first, second=p.second, difference=p.found.value,
            **_tested(p), verdict={1: "first", 0: "tie", -1: "second"}[p.verdict],
        )
        for data_set, heads in report["data_sets"].items()
        for head, of in heads.items()
        for metric, found in of["pairs"].items()
        for p in found
    ]  # fmt: skip


def _tested(pair):
    """Interval and p of a pair; empty where there is no interval."""
    columns = dict(low=pair.found.low, high=pair.found.high, p=pair.found.p_value)
    columns["p_holm"] = pair.p_holm
    return columns if has_interval(pair.found) else dict.fromkeys(columns, "")


def has_interval(level: Clustered) -> bool:
    """Whether there are clusters enough for an interval."""
    return math.isfinite(level.high - level.low)


def order(of):
    """Methods of one head on one data set, the best first."""
    first = ("one_shot", NOVEL)
    return sorted(
        of["levels"],
        key=lambda m: -np.nan_to_num(of["levels"][m].get(first, [np.nan])[0], nan=-1),
    )


def cells(report, of, method):
    """One line of a table, as texts."""
    level, training = of["levels"][method], of["training"].get(method)
    values = [_cell(level.get((metric, group))) for _, metric, group in COLUMNS]
    tally = of["tally"]["one_shot"].get(method)
    return [
        shown(report, method),
        values[0],
        "/".join(map(str, tally)) if tally else "",
        *values[1:],
        f"{training.best_s:.1f}" if training else "",
        f"{100 * training.collapsed:.0f} %" if training else "",
    ]


def shown(report: dict[str, Any], method: str) -> str:
    """A method as tables show it."""
    if method not in report["losses"]:
        return f"{method} (baseline)"
    if method in report["tuning"]:
        return f"{method} ({report['tuning'][method].mark})"
    return method


HEADINGS = (
    "method", COLUMNS[0][0], "win/tie/loss", *(name for name, *_ in COLUMNS[1:]),
    "best after s", "collapsed",
)  # fmt: skip


def markdown(report):
    """All tables, with what one must know to read them."""
    lines = [f"Read on {report['when']}{_again(report)}.", "", *summary(report), ""]
    for note in tuning_notes(report):
        lines += [text.printable(note), ""]
    for data_set, heads in report["data_sets"].items():
        for head, of in heads.items():
            lines += [f"### {data_set}, {head} head", "", *notes(of), ""]
            lines += _table(HEADINGS, [cells(report, of, m) for m in order(of)])
            lines += ["", *_settings(of), ""]
    lines += [f"- {text.printable(line)}" for line in report["missing"]]
    return "\n".join(lines).rstrip() + "\n"


def summary(report):
    """One table of everything: one-shot accuracy on unseen conditions by data set and
    head, win/tie/loss against the other losses, and the one head less the other."""
    parts = [
        (data_set, head, of)
        for data_set, heads in report["data_sets"].items()
        for head, of in heads.items()
    ]
    methods = list(dict.fromkeys(m for *_, of in parts for m in order(of)))
    head = ["one-shot accuracy"]
    for data_set, name, of in parts:
        head.append(f"{data_set}, {name}")
        if of is list(report["data_sets"][data_set].values())[-1]:
            head.append(f"{data_set}, heads' difference")
    rows = []
    for method in methods:
        row = [shown(report, method)]
        for data_set, _, of in parts:
            level = of["levels"].get(method, {}).get(("one_shot", NOVEL))
            tally = of["tally"]["one_shot"].get(method)
            row.append(
                _cell(level) + (f" ({'/'.join(map(str, tally))})" if tally else "")
            )
            if of is list(report["data_sets"][data_set].values())[-1]:
                row.append(_cell(report["heads"][data_set].get(method)))
        rows.append(row)
    return _table(head, rows)


def notes(of):
    """How many witnesses there are, what they can show, and the warning."""
    alone, among = of["power"]["one_shot"]
    best = next((m for m in order(of) if m in of["training"]), None)
    counts = dict(
        conditions=of["conditions"], captures=of["captures"], repeats=of["repeats"]
    )
    few = [f"{n} {what}" for what, n in counts.items() if n < LEAST_CLUSTERS]
    lines = [
        f"On {of['conditions']} conditions that no training saw, {of['captures']} "
        f"captures, {of['repeats']} repeats: mean over conditions, ± half the interval "
        "of 95 % over conditions, captures and repeats; win/tie/loss by one-shot "
        "accuracy, in pairs, Holm-corrected.",
        f"With so many captures a difference in one-shot accuracy below {alone:.3f} "
        f"(alone) or {among:.3f} (among all pairs) cannot be seen (80 % power)."
        if np.isfinite(alone)
        else "So few conditions, captures or repeats can show no difference.",
    ]
    if few:
        lines.append(
            f"No interval and no test: {' and '.join(few)} cannot carry one. Intervals "
            f"are given from {LEAST_CLUSTERS} conditions, captures and repeats on: two "
            "have one degree of freedom, and the width of an interval is chance."
        )
    if best and has_interval(level := of["levels"][best]["one_shot", NOVEL]):
        lines.append(
            f"Warning: for {best} the usual formula, which takes every draw for a "
            f"witness, gives ± {of['naive'][best]:.4f} in place of ± "
            f"{level.high - level.value:.4f}."
        )
    return lines


def latex(report):
    """The same tables for a paper, with booktabs."""
    lines = []
    for data_set, heads in report["data_sets"].items():
        for head, of in heads.items():
            lines += [
                rf"% {data_set}, {head} head",
                rf"\begin{{tabular}}{{l{'r' * (len(HEADINGS) - 1)}}}",
                r"\toprule",
                " & ".join(map(_tex, HEADINGS)) + r" \\",
                r"\midrule",
                *(
                    " & ".join(map(_tex, cells(report, of, m))) + r" \\"
                    for m in order(of)
                ),
                r"\bottomrule",
                r"\end{tabular}",
                *(
                    rf"\par {_tex(note)}"
                    for note in (*tuning_notes(report), *notes(of))
                ),
                "",
            ]
    return "\n".join(lines)


def tuning_notes(report: dict[str, Any]) -> list[str]:
    """A line for each loss without ranges of its own."""
    return [f"Tuning: {how.line}." for how in report["tuning"].values()]


def _settings(of):
    rows = [(loss, f"`{t.setting}`") for loss, t in of["training"].items()]
    return ["Settings found:", "", *_table(("loss", "setting"), rows)] if rows else []


def _again(report):
    times = report["times"]
    return (
        "" if times == 1 else f" for the {times}th time: the test was looked at again"
    )


def _cell(found):
    if found is None or not np.isfinite(found.value):
        return "–"
    if not has_interval(found):
        return f"{found.value:.3f} (no interval)"
    return f"{found.value:.3f} ± {found.high - found.value:.3f}"


def _table(head, rows):
    return [_line(head), "|" + " --- |" * len(head), *map(_line, rows)]


def _line(cells):
    """A row of a Markdown table; no name of a stranger ends a cell or the row."""
    safe = (text.printable(cell).replace("|", r"\|") for cell in cells)
    return "| " + " | ".join(safe) + " |"


# What LaTeX would take for a command, and Unicode that its default fonts lack.
_TEX = str.maketrans({
    "\\": r"\textbackslash{}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#",
    "$": r"\$", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--",
})  # fmt: skip


def _tex(cell):
    return text.printable(cell).translate(_TEX)
