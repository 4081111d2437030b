"""A comparison as pictures: levels with intervals, and who cannot be told from whom."""

from siamjax.comparison import tables
from siamjax.comparison.readouts import NOVEL
from siamjax.reports import drawing
from siamjax.reports.drawing import INK, LINE, PALE
from siamjax.text import short

_HEADS = (drawing.CURVE, "#e69f00", "#009e73", "#cc79a7")


def levels(paths, heads, title, baselines=()):
    """Draws one-shot accuracy of every method, a colour a head, the best on top.

    Args:
      paths: of the files; their suffixes choose PNG, SVG or PDF.
      heads: {head: its part of the report}.
      title: a line above.
      baselines: methods that are no losses, drawn hollow.
    """
    first = next(iter(heads.values()))
    key = ("one_shot", NOVEL)
    rows = [m for m in first["levels"] if key in first["levels"][m]]
    rows = sorted(rows, key=lambda m: first["levels"][m][key].value)
    drawn = drawing.make_figure(7.6, 1.1 + 0.27 * len(rows))
    axes = drawn.add_subplot()
    for (head, of), colour in zip(heads.items(), _HEADS):
        shift = 0.0 if of is first else -0.18
        for y, method in enumerate(rows):
            found = of["levels"].get(method, {}).get(key)
            if found is None or (method in baselines and of is not first):
                continue
            look = PALE if method in baselines else colour
            if tables.has_interval(found):
                low, high = max(found.low, 0.0), min(found.high, 1.0)
                axes.plot([low, high], [y + shift] * 2, color=look, linewidth=1.6)
            axes.plot(
                found.value, y + shift, "o", color=look, markersize=5,
                markerfacecolor="white" if method in baselines else look,
            )  # fmt: skip
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
        axes.legend(
            fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0),
            ncols=3, labelcolor=INK, borderaxespad=0.1,
        )  # fmt: skip
    _save(drawn, paths)


def critical(paths, ranks, pairs, title):
    """Draws mean ranks; a bar joins losses no two of which the tests tell apart.

    As the critical-difference diagram of Demšar (JMLR 2006), with the paired tests of
    this comparison in place of Nemenyi's, as Benavoli et al. (JMLR 2016) advise.

    Args:
      paths: of the files.
      ranks: {loss: mean rank}, 1 the best.
      pairs: `analysis.Pair`s of the same losses.
      title: a line above.
    """
    names = sorted(ranks, key=ranks.get)
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
        axes.text(
            x + (-0.01 if left else 0.01) * room, y, text, fontsize=8.5, color=INK,
            ha="right" if left else "left", va="center",
        )  # fmt: skip
    for i, some in enumerate(bars):
        y = -0.45 - 0.6 * i
        ends = ranks[some[0]] - 0.02 * room, ranks[some[-1]] + 0.02 * room
        axes.plot(ends, [y, y], color=drawing.CURVE, linewidth=3.2)
    axes.set_xlim(low - 0.75 * room, high + 0.75 * room)
    axes.set_ylim(-depth - half + 0.2, 1.2)
    axes.set_axis_off()
    drawn.text(0.02, 0.93, title, fontsize=10, color=INK)
    _save(drawn, paths)


def cliques(names, pairs):
    """Runs of names, in order, no two of which differ; of each only the longest."""
    apart = {frozenset((p.first, p.second)) for p in pairs if p.verdict}
    runs, until = [], 0
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
