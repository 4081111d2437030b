"""Recall against training conditions, severity, rate of calls and time since the onset.

    python -m scripts.experiments.quality_curves runs/final data/testbed/labels.csv \
      docs/quality.png

Reads the cells of the setting `default` that quality.py --novalid wrote into the
folder, and what onset.py wrote. Prints the curves and draws them.
"""

import argparse
import csv
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np

from scripts.experiments import quality_cells
from siamjax.evaluation import cross_fit, statistics
from siamjax.evaluation.statistics import Interval, Table

matplotlib.use("Agg")
import matplotlib.pyplot as plt

METHODS = {
    "match": "#1f5fa8",
    "view": "#c77d1e",
    "mean and deviation, cosine": "#777777",
}
ROLES = {"novel": "-", "known": "--"}
THIRDS = ("low", "middle", "high")
WIDTH_PX, DPI = 1100, 100

# {(method, role): {place on the axis: recall}}
Curves = dict[tuple[str, str], dict[Any, Interval]]


def main(folder: str, labels: str, path: str) -> None:
    cells = quality_cells.read_final(folder)
    with open(labels) as file:
        captures = {row["file"].split(".")[0]: row for row in csv.DictReader(file)}
    curves = {
        "conditions trained on": by_number(cells),
        "severity of the fault": by_third(cells, captures, "severity"),
        "rate of calls": by_third(cells, captures, "rate_cps"),
    }
    for name, curve in curves.items():
        print(name)
        for (method, role), points in curve.items():
            recalls = "  ".join(
                f"{x}: {i.value:.3f} [{i.low:.3f}, {i.high:.3f}]"
                for x, i in points.items()
            )
            print(f"  {role} {method:26s} {recalls}")
    onset = json.loads((pathlib.Path(folder) / "onset.json").read_text())
    _draw(curves, onset, path)


def by_number(cells: Sequence[Mapping[str, Any]]) -> Curves:
    """Recall with one example, by the number of conditions that were trained on.

    Only those choices, folds and seeds count that were run with every number.
    """
    numbers = sorted({c["conditions"] for c in cells})
    where = {n: {_place(c): c for c in cells if c["conditions"] == n} for n in numbers}
    shared = set.intersection(*map(set, where.values()))
    curves: Curves = {}
    for n in numbers:
        for key, table in _tables(_rows(where[n][p] for p in sorted(shared))).items():
            curves.setdefault(key, {})[n] = statistics.recall_interval(table)
    return curves


def by_third(
    cells: Sequence[Mapping[str, Any]],
    labels: Mapping[str, Mapping[str, str]],
    field: str,
) -> Curves:
    """Recall with one example, by third of a field of the labels.

    Each fault's captures are divided into thirds by themselves, because the severity
    has another unit for each fault.

    Args:
      cells: of `quality.py`.
      labels: `{capture: its row of labels.csv}`.
      field: the column that orders the captures.
    """
    rows = _rows(c for c in cells if c["conditions"] == _most(cells))
    third: dict[str, str] = {}
    for fault in {row["condition"] for row in labels.values()} - {"normal"}:
        names = [name for name, row in labels.items() if row["condition"] == fault]
        names = sorted(names, key=lambda name: float(labels[name][field] or 0))
        third |= {name: THIRDS[3 * i // len(names)] for i, name in enumerate(names)}
    curves: Curves = {}
    for name in THIRDS:
        in_third = [
            row
            for row in rows
            if row.condition != "normal" and third.get(row.capture) == name
        ]
        for key, table in _tables(in_third).items():
            curves.setdefault(key, {})[name] = statistics.recall_interval(table)
    return curves


def _most(cells):
    return max(c["conditions"] for c in cells)


def _place(cell):
    return cell["choice"], cell["fold"], cell["seed"]


def _rows(cells: Iterable[Mapping[str, Any]]) -> list[cross_fit.Row]:
    return [cross_fit.Row(*row) for cell in cells for row in cell["rows"]]


def _tables(rows: Sequence[cross_fit.Row]) -> dict[tuple[str, str], Table]:
    """`{(method, role): Table}` with one example, after the last step."""
    last = max(row.step for row in rows)
    judged = [row for row in rows if row.shots == 1 and row.step == last]
    return {
        (method, role): table
        for role, by_method in cross_fit.tabulate(judged).items()
        for method, table in by_method.items()
        if method in METHODS
    }


def _draw(curves, onset, path):
    figure, axes = plt.subplots(
        1, 4, figsize=(WIDTH_PX / DPI, 3.4), dpi=DPI, sharey=True, layout="constrained"
    )
    for ax, (name, curve) in zip(axes, curves.items()):
        for (method, role), points in curve.items():
            x = np.array([p if isinstance(p, int) else THIRDS.index(p) for p in points])
            value = np.array([i.value for i in points.values()])
            below = [i.value - i.low for i in points.values()]
            above = [i.high - i.value for i in points.values()]
            # Points of methods are shifted, or their intervals hide each other.
            side = (x.max() - x.min()) * 0.02 * (list(METHODS).index(method) - 1)
            ax.errorbar(
                x + side,
                value,
                yerr=[below, above],
                color=METHODS[method],
                linestyle=ROLES[role],
                marker="o",
                markersize=4,
                elinewidth=0.8,
            )
        if set(points) <= set(THIRDS):
            ax.set_xticks(range(len(points)), list(points))
        else:
            ax.set_xticks(list(points))
        ax.set_xlabel(name)
    for method, role, share in onset["curves"]:
        axes[3].plot(
            onset["ends_s"], share, color=METHODS[method], linestyle=ROLES[role]
        )
    axes[3].set_xlabel("end of the window, s after the onset")
    axes[0].set_ylabel("one-shot recall among 12")
    axes[0].set_ylim(0, 1.02)
    for ax in axes:
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
    handles = [plt.Line2D([], [], color=c, label=m) for m, c in METHODS.items()] + [
        plt.Line2D([], [], color="black", linestyle=s, label=r)
        for r, s in ROLES.items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=5, frameon=False)
    figure.savefig(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="the folder that quality.py wrote")
    parser.add_argument("labels", help="labels.csv of the test bed")
    parser.add_argument("path", help="the picture that is written")
    main(**vars(parser.parse_args()))
