"""Pictures of a comparison: scores with intervals, and critical differences."""

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from siamjax.comparison import tables
from siamjax.comparison.analysis import Pair
from siamjax.comparison.readouts import NOVEL
from siamjax.reports import drawing
from siamjax.reports.drawing import INK, LINE, PALE
from siamjax.text import short

_HEADS = (drawing.CURVE, "#e69f00", "#009e73", "#cc79a7")


def draw_levels(
    paths: Sequence[os.PathLike],
    heads: Mapping[str, dict[str, Any]],
    title: str,
    baselines: Collection[str] = (),
) -> None:
    """Draws the one-shot accuracy of each method, the best on top, a colour per head.

    Args:
      paths: of the files; their suffixes choose PNG, SVG or PDF.
      heads: {head: its part of the report}.
      title: a line above.
      baselines: methods that are not losses; they are drawn hollow.
    """
    first = next(iter(heads.values()))
    key = ("one_shot", NOVEL)
    rows = [m for m in first["levels"] if key in first["levels"][m]]
    rows = sorted(rows, key=lambda m: first["levels"][m][key].value)
    drawn = drawing.make_figure(7.6, 1.1 + 0.27 * len(rows))
    axes = drawn.add_subplot()
    for (head, judged), colour in zip(heads.items(), _HEADS):
        shift = 0.0 if judged is first else -0.18
        for y, method in enumerate(rows):
            level = judged["levels"].get(method, {}).get(key)
            is_baseline = method in baselines
            if level is None or (is_baseline and judged is not first):
                continue
            edge = PALE if is_baseline else colour
            if tables.has_interval(level):
                ends = max(level.low, 0.0), min(level.high, 1.0)
                axes.plot(ends, [y + shift] * 2, color=edge, linewidth=1.6)
            fill = "white" if is_baseline else edge
            mark: dict[str, Any] = dict(color=edge, markersize=5, markerfacecolor=fill)
            axes.plot(level.value, y + shift, "o", **mark)
        if len(heads) > 1:
            axes.plot([], [], "o-", color=colour, label=f"{head} head")
    if baselines:
        axes.plot([], [], "o-", color=PALE, markerfacecolor="white", label="baseline")
    names = [short(method) for method in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=9, color=INK)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel(
        "one-shot accuracy on unseen conditions, 95 %", fontsize=9, color=INK
    )
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    axes.tick_params(labelsize=8, labelcolor=INK, color=LINE)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.grid(color=LINE, linewidth=0.5, axis="x")
    if axes.get_legend_handles_labels()[0]:
        place: dict[str, Any] = dict(
            loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.1
        )
        axes.legend(fontsize=8, frameon=False, ncols=3, labelcolor=INK, **place)
    _save(drawn, paths)


def draw_critical_differences(
    paths: Sequence[os.PathLike],
    ranks: Mapping[str, float],
    pairs: Sequence[Pair],
    title: str,
) -> None:
    """Draws mean ranks; a bar joins losses among which no test shows a difference.

    This is the critical-difference diagram of Demšar (JMLR 2006) with the paired tests
    of this comparison instead of Nemenyi's, as Benavoli et al. (JMLR 2016) advise.

    Args:
      paths: of the files.
      ranks: {loss: mean rank}, 1 the best.
      pairs: tests of the same losses.
      title: a line above.
    """
    names = sorted(ranks, key=lambda name: ranks[name])
    bars = cliques(names, pairs)
    half = (len(names) + 1) // 2
    drawn = drawing.make_figure(8.6, 1.0 + 0.22 * (half + len(bars)))
    axes = drawn.add_axes((0.0, 0.0, 1.0, 0.9))
    low, high = min(ranks.values()), max(ranks.values())
    room = max(high - low, 1.0)
    depth = len(bars) * 0.6 + 1.0
    axes.plot([low, high], [0, 0], color=INK, linewidth=1)
    for tick in range(int(low), int(high) + 2):
        if low - 0.5 <= tick <= high + 0.5:
            axes.plot([tick, tick], [0, 0.25], color=INK, linewidth=0.8)
            axes.text(tick, 0.4, str(tick), ha="center", fontsize=8, color=INK)
    for i, name in enumerate(names):
        left = i < half
        y = -depth - (i if left else len(names) - 1 - i)
        x = low - 0.06 * room if left else high + 0.06 * room
        axes.plot([ranks[name], ranks[name], x], [0, y, y], color=PALE, linewidth=0.8)
        rank, label = f"{ranks[name]:.1f}", short(name)
        text = f"{label}  {rank}" if left else f"{rank}  {label}"
        x += (-0.01 if left else 0.01) * room
        aligned: dict[str, Any] = dict(ha="right" if left else "left", va="center")
        axes.text(x, y, text, fontsize=8.5, color=INK, **aligned)
    for i, joined in enumerate(bars):
        y = -0.45 - 0.6 * i
        ends = ranks[joined[0]] - 0.02 * room, ranks[joined[-1]] + 0.02 * room
        axes.plot(ends, [y, y], color=drawing.CURVE, linewidth=3.2)
    axes.set_xlim(low - 0.75 * room, high + 0.75 * room)
    axes.set_ylim(-depth - half + 0.2, 1.2)
    axes.set_axis_off()
    drawn.text(0.02, 0.93, title, fontsize=10, color=INK)
    _save(drawn, paths)


def cliques(names: Sequence[str], pairs: Sequence[Pair]) -> list[Sequence[str]]:
    """The longest runs of neighbouring names among which no test shows a difference."""
    apart = {frozenset((p.first, p.second)) for p in pairs if p.verdict}
    runs: list[Sequence[str]] = []
    until = 0
    for i in range(len(names)):
        j = i + 1
        while j < len(names) and not any(
            frozenset((names[k], names[j])) in apart for k in range(i, j)
        ):
            j += 1
        if j - i > 1 and j > until:
            runs.append(names[i:j])
            until = j
    return runs


def _save(drawn, paths):
    for path in paths:
        drawing.save_figure(drawn, path, bbox_inches="tight")
