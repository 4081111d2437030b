"""Pictures of an audit: the gap with each statistics, the drift of each column."""

import numpy as np

from siamjax.auditing import text, verdict
from siamjax.reports import drawing
from siamjax.reports.drawing import CURVE, INK, LINE, PALE
from siamjax.text import short

BAD = "#d62728"
# Columns shown, the farthest first.
SHOWN = 20


def gaps(path, report):
    """Draws the gap of each kind of statistics with its interval."""
    names = list(report.gaps)
    of = [report.gaps[name] for name in names]
    drawn = drawing.make_figure(8.0, 1.2 + 0.38 * len(names))
    axes = drawn.add_subplot()
    for y, gap in enumerate(of):
        colour = BAD if gap.low > verdict.TOLERATED else CURVE
        axes.barh(y, gap.share, height=0.6, color=colour)
        axes.plot([gap.low, gap.high], [y, y], color=INK, linewidth=1.2)
        axes.annotate(
            f"{gap.share:z.2f}", (max(gap.high, 0), y), (6, 0), fontsize=8,
            textcoords="offset points", va="center", color=INK,
        )  # fmt: skip
    axes.axvline(verdict.TOLERATED, color=PALE, linewidth=0.8, linestyle=":")
    axes.annotate(
        "tolerated", (verdict.TOLERATED, -0.6), (0, 3), ha="center", color=PALE,
        textcoords="offset points", fontsize=7,
    )  # fmt: skip
    axes.set_yticks(range(len(names)), [text.NAMES[name] for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    low, high = min(g.low for g in of), max(g.high for g in of)
    axes.set_xlim(min(-0.02, 1.1 * low), max(0.2, 1.15 * high))
    _finish(
        drawn, axes, path, "gap between training and prediction; 0: none, 1: chance"
    )


def drift(path, report):
    """Draws how far the kept mean of each column lies from the training data's."""
    lag = report.probes["lag"]
    z = np.array(lag["z"])
    worst = np.argsort(-z)[:SHOWN]
    drawn = drawing.make_figure(8.0, 1.2 + 0.24 * len(worst))
    axes = drawn.add_subplot()
    axes.barh(range(len(worst)), z[worst], height=0.6, color=CURVE)
    axes.set_yticks(
        range(len(worst)), [short(report.columns[i], drawing.NAME) for i in worst]
    )
    axes.set_ylim(len(worst) - 0.4, -0.6)
    axes.set_xlim(0, max(1.0, 1.05 * z.max()))
    _finish(
        drawn, axes, path,
        "distance of the kept mean from the training data's, in deviations",
    )  # fmt: skip


def _finish(drawn, axes, path, label):
    axes.set_xlabel(label, fontsize=9, color=INK)
    axes.tick_params(labelsize=8, labelcolor=INK, color=LINE, length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.grid(axis="x", color=LINE, linewidth=0.5)
    axes.set_axisbelow(True)
    drawing.save_figure(drawn, path, bbox_inches="tight")
