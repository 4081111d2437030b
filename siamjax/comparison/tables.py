"""A comparison as text: CSV, Markdown and LaTeX."""

import csv
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from siamjax import files, text
from siamjax.comparison.readouts import KNOWN, NOVEL
from siamjax.evaluation.statistics import LEAST_CLUSTERS, Clustered

# Win/tie/loss comes after the first: on a narrow page the right end is hidden.
COLUMNS = (
    ("one-shot", "one_shot", NOVEL),
    ("one-shot, known", "one_shot", KNOWN),
    ("AUROC unknown", "auroc", NOVEL),
    ("MAP@R", "map_at_r", NOVEL),
    ("R-precision", "r_precision", NOVEL),
    ("P@1", "precision_at_1", NOVEL),
)


def write_csv(path: str | os.PathLike, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes dicts with the same keys as CSV; numbers read back as they were."""
    head = list(rows[0]) if rows else []
    files.write_csv(path, [head, *([row[key] for key in head] for row in rows)])


def read_csv(path: str | os.PathLike) -> list[dict[str, str]]:
    """The rows that `write_csv` wrote, all values as texts.

    Raises:
      files.Damaged: the file cannot be read as CSV.
    """
    with (
        files.parsing(path, "the command that wrote it writes it anew"),
        open(path, newline="", encoding="utf-8") as file,
    ):
        rows = list(csv.DictReader(file, strict=True))
        return [{k: files.unescape_cell(v) for k, v in row.items()} for row in rows]


def pair_rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of pairs.csv: a dict for each two losses, readout, head and data set."""
    return [
        dict(
            data_set=data_set,
            head=head,
            metric=metric,
            group=NOVEL,
            first=pair.first,
            second=pair.second,
            difference=pair.difference.value,
            **_test_columns(pair),
            verdict={1: "first", 0: "tie", -1: "second"}[pair.verdict],
        )
        for data_set, heads in report["data_sets"].items()
        for head, judged in heads.items()
        for metric, pairs in judged["pairs"].items()
        for pair in pairs
    ]


def _test_columns(pair):
    """Interval and p-values of a pair; empty texts if there is no interval."""
    columns = dict(
        low=pair.difference.low, high=pair.difference.high, p=pair.difference.p_value
    )
    columns["p_holm"] = pair.p_holm
    return columns if has_interval(pair.difference) else dict.fromkeys(columns, "")


def has_interval(level: Clustered) -> bool:
    """Whether there were enough clusters for an interval."""
    return math.isfinite(level.high - level.low)


def ordered_methods(judged: dict[str, Any]) -> list[str]:
    """Methods of one head on one data set, the best first."""

    def accuracy(method):
        level = judged["levels"][method].get(("one_shot", NOVEL))
        return -1.0 if level is None else np.nan_to_num(level.value, nan=-1)

    return sorted(judged["levels"], key=lambda method: -accuracy(method))


def row_texts(report: dict[str, Any], judged: dict[str, Any], method: str) -> list[str]:
    """The cells of a row of a table, as texts, in the order of `HEADINGS`."""
    levels, training = judged["levels"][method], judged["training"].get(method)
    first, *others = (
        _level_text(levels.get((metric, group))) for _, metric, group in COLUMNS
    )
    tally = judged["tally"]["one_shot"].get(method)
    return [
        display_name(report, method),
        first,
        "/".join(map(str, tally)) if tally else "",
        *others,
        f"{training.best_s:.1f}" if training else "",
        f"{100 * training.collapsed:.0f} %" if training else "",
    ]


def display_name(report: dict[str, Any], method: str) -> str:
    """A method as tables show it."""
    if method not in report["losses"]:
        return f"{method} (baseline)"
    if method in report["tuning"]:
        return f"{method} ({report['tuning'][method].mark})"
    return method


_FIRST, *_OTHERS = (name for name, *_ in COLUMNS)
HEADINGS = ("method", _FIRST, "win/tie/loss", *_OTHERS, "best after s", "collapsed")


def format_markdown(report: dict[str, Any]) -> str:
    """All tables as Markdown, with notes on how to read them."""
    lines = [f"Read on {report['when']}{_again(report)}.", "", *summarise(report), ""]
    for note in tuning_notes(report):
        lines += [text.printable(note), ""]
    for data_set, heads in report["data_sets"].items():
        for head, judged in heads.items():
            methods = ordered_methods(judged)
            rows = [row_texts(report, judged, method) for method in methods]
            lines += [f"### {data_set}, {head} head", "", *reading_notes(judged), ""]
            lines += [*_table(HEADINGS, rows), "", *_settings(judged), ""]
    lines += [f"- {text.printable(line)}" for line in report["missing"]]
    return "\n".join(lines).rstrip() + "\n"


def summarise(report: dict[str, Any]) -> list[str]:
    """Lines of a table of all data sets.

    For each data set and head: one-shot accuracy on unseen conditions, and win/tie/loss
    against the other losses. For each data set: the deciding head minus the other.
    """
    columns = [
        (data_set, head, judged, head == list(heads)[-1])
        for data_set, heads in report["data_sets"].items()
        for head, judged in heads.items()
    ]
    headings = ["one-shot accuracy"]
    methods: dict[str, None] = {}
    for data_set, head, judged, is_last in columns:
        methods |= dict.fromkeys(ordered_methods(judged))
        headings.append(f"{data_set}, {head}")
        if is_last:
            headings.append(f"{data_set}, heads' difference")
    rows = []
    for method in methods:
        row = [display_name(report, method)]
        for data_set, _, judged, is_last in columns:
            level = judged["levels"].get(method, {}).get(("one_shot", NOVEL))
            tally = judged["tally"]["one_shot"].get(method)
            counts = f" ({'/'.join(map(str, tally))})" if tally else ""
            row.append(_level_text(level) + counts)
            if is_last:
                row.append(_level_text(report["heads"][data_set].get(method)))
        rows.append(row)
    return _table(headings, rows)


def reading_notes(judged: dict[str, Any]) -> list[str]:
    """Notes: how many conditions and captures, what they can show, and warnings."""
    alone, among = judged["power"]["one_shot"]
    counts = {name: judged[name] for name in ("conditions", "captures", "repeats")}
    few = [f"{n} {what}" for what, n in counts.items() if n < LEAST_CLUSTERS]
    lines = [
        f"On {judged['conditions']} conditions that no training saw, "
        f"{judged['captures']} captures, {judged['repeats']} repeats: mean over "
        "conditions, ± half the interval of 95 % over conditions, captures and "
        "repeats; win/tie/loss by one-shot accuracy, in pairs, Holm-corrected.",
        f"With so many captures a difference in one-shot accuracy below {alone:.3f} "
        f"(alone) or {among:.3f} (among all pairs) is found with less than 80 % chance."
        if np.isfinite(alone)
        else "So few conditions, captures or repeats cannot show a difference.",
    ]
    if few:
        lines.append(
            f"No interval and no test: {' and '.join(few)} are too few. They need at "
            f"least {LEAST_CLUSTERS} conditions, captures and repeats: two leave one "
            "degree of freedom, and the width of an interval is then chance."
        )
    trained = (m for m in ordered_methods(judged) if m in judged["training"])
    if best := next(trained, None):
        level = judged["levels"][best]["one_shot", NOVEL]
        if has_interval(level):
            lines.append(
                f"Warning: for {best} the usual formula, which treats all draws as "
                f"independent, gives ± {judged['naive'][best]:.4f} in place of ± "
                f"{level.high - level.value:.4f}."
            )
    return lines


def format_latex(report: dict[str, Any]) -> str:
    """The tables as LaTeX; the first line says which packages they need."""
    lines = [r"% Needs \usepackage{booktabs} and \usepackage{graphicx}.", ""]
    for data_set, heads in report["data_sets"].items():
        for head, judged in heads.items():
            methods = ordered_methods(judged)
            rows = [row_texts(report, judged, method) for method in methods]
            notes = [*tuning_notes(report), *reading_notes(judged)]
            name = _tex(f"{data_set}, {head} head")
            lines += [
                r"\begin{table*}",
                rf"\caption{{Losses compared on {name}. {' '.join(map(_tex, notes))}}}",
                r"\centering",
                r"\resizebox{\textwidth}{!}{%",
                rf"\begin{{tabular}}{{l{'r' * (len(HEADINGS) - 1)}}}",
                r"\toprule",
                _tex_row(HEADINGS),
                r"\midrule",
                *map(_tex_row, rows),
                r"\bottomrule",
                r"\end{tabular}}",
                r"\end{table*}",
                "",
            ]
    return "\n".join(lines)


def tuning_notes(report: dict[str, Any]) -> list[str]:
    """A line for each loss without search ranges of its own."""
    return [f"Tuning: {how.line}." for how in report["tuning"].values()]


def _settings(judged):
    rows = [
        (loss, f"`{training.setting}`") for loss, training in judged["training"].items()
    ]
    return ["Settings found:", "", *_table(("loss", "setting"), rows)] if rows else []


def _again(report):
    times = report["times"]
    return (
        "" if times == 1 else f" for the {times}th time: the test was looked at again"
    )


def _level_text(level):
    if level is None or not np.isfinite(level.value):
        return "–"
    if not has_interval(level):
        return f"{level.value:.3f} (no interval)"
    return f"{level.value:.3f} ± {level.high - level.value:.3f}"


def _table(head, rows):
    return [_line(head), "|" + " --- |" * len(head), *map(_line, rows)]


def _line(cells):
    """A row of a Markdown table; no character of a name ends a cell or the row."""
    safe = (text.printable(cell).replace("|", r"\|") for cell in cells)
    return "| " + " | ".join(safe) + " |"


# Characters that are commands in LaTeX, and those that its default fonts lack.
_TEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "–": "--",
    }
    | {char: "\\" + char for char in "_%&#${}"}
)


def _tex(cell):
    return text.printable(cell).translate(_TEX)


def _tex_row(cells):
    return " & ".join(map(_tex, cells)) + r" \\"
