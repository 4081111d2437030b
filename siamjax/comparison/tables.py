"""A comparison as text: CSV, Markdown and LaTeX."""

import csv

import numpy as np

from siamjax.comparison.readouts import KNOWN, NOVEL

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
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, head, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path):
    """The rows that `write_csv` wrote, all of them texts."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def pair_rows(report):
    """pairs.csv: a dict for each two losses, readout, head and data set."""
    return [
        dict(
            data_set=data_set, head=head, metric=metric, group=NOVEL,
            first=p.first, second=p.second, difference=p.found.value,
            low=p.found.low, high=p.found.high, p=p.found.p_value, p_holm=p.p_holm,
            verdict={1: "first", 0: "tie", -1: "second"}[p.verdict],
        )
        for data_set, heads in report["data_sets"].items()
        for head, of in heads.items()
        for metric, found in of["pairs"].items()
        for p in found
    ]  # fmt: skip


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
        method if method in report["losses"] else f"{method} (baseline)",
        values[0],
        "/".join(map(str, tally)) if tally else "",
        *values[1:],
        f"{training.best_s:.1f}" if training else "",
        f"{100 * training.collapsed:.0f} %" if training else "",
    ]


HEADINGS = (
    "method", COLUMNS[0][0], "win/tie/loss", *(name for name, *_ in COLUMNS[1:]),
    "best after s", "collapsed",
)  # fmt: skip


def markdown(report):
    """All tables, with what one must know to read them."""
    lines = [f"Read on {report['when']}{_again(report)}.", "", *summary(report), ""]
    for data_set, heads in report["data_sets"].items():
        for head, of in heads.items():
            lines += [f"### {data_set}, {head} head", "", *notes(of), ""]
            lines += _table(HEADINGS, [cells(report, of, m) for m in order(of)])
            lines += ["", *_settings(of), ""]
    lines += [f"- {line}" for line in report["missing"]]
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
        row = [method if method in report["losses"] else f"{method} (baseline)"]
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
    if best:
        level = of["levels"][best]["one_shot", NOVEL]
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
                "",
            ]
    return "\n".join(lines)


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
    half = found.high - found.value
    return (
        f"{found.value:.3f} ± {half:.3f}" if np.isfinite(half) else f"{found.value:.3f}"
    )


def _table(head, rows):
    return [
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * len(head),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def _tex(text):
    for plain, tex in (
        ("\\", r"\textbackslash{}"), ("_", r"\_"), ("%", r"\%"), ("&", r"\&"),
        ("#", r"\#"), ("±", r"$\pm$"), ("–", "--"),
    ):  # fmt: skip
        text = text.replace(plain, tex)
    return text
