"""Still pictures: points, confusion, curves, timelines, recall and traffic.

matplotlib comes with the extra `viz`; it is imported when a picture is drawn.
"""

import base64
import math
import os
import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from siamjax.checks import require
from siamjax.reports import colours, drawing
from siamjax.reports.drawing import INK
from siamjax.text import printable, short

# In a picture of timelines: the most characters of a line of a note below a name,
# and of the reason why a capture has no timeline.
NOTE, REASON = 56, 110
# Its inches for a timeline, for each line of a note, and for a reason.
_BARS, _NOTE_LINE, _REASON_LINE = 0.36, 0.12, 0.2
# The most characters of a column's name in a picture of traffic.
_COLUMN = 24
# The axis of recall starts at this value or below.
_RECALL_START = 0.8
_STYLES: tuple[dict[str, Any], ...] = (
    dict(color=drawing.CURVE),
    dict(color="#b5179e", linestyle="--"),
    dict(color="#8c564b", linestyle=":"),
    dict(color="#332288", linestyle="-."),
)


def draw_cube(
    path: str | os.PathLike,
    points: np.ndarray,
    conditions: Sequence[str],
    *,
    novel: Collection[str] = (),
    title: str = "",
) -> None:
    """Draws points in the unit cube, coloured by condition.

    Args:
      path: of the file; its suffix chooses PNG, SVG or PDF.
      points: `[N, E]`; of more than three dimensions the three main axes are drawn.
      conditions: N names.
      novel: names that training never saw, drawn as diamonds with a dark edge.
      title: a line above.
    """
    xyz = _checked(points, conditions)
    drawn = drawing.make_figure(8.6, 6.4)
    axes = drawing.cube_axes(drawn, (0.0, 0.0, 0.76, 0.97), *drawing.cube_corners(xyz))
    artists = drawing.scatter_points(axes, xyz, conditions, novel)
    drawing.add_legend(drawn, artists, novel, 0.74, 0.93)
    if title:
        drawn.text(0.03, 0.955, title, fontsize=11, color=INK)
    drawing.save_figure(drawn, path)


def draw_heads(
    path: str | os.PathLike,
    view: np.ndarray,
    deciding: np.ndarray,
    conditions: Sequence[str],
    *,
    novel: Collection[str] = (),
    titles: tuple[str, str] = ("", ""),
) -> None:
    """Draws the same windows in two spaces: the view's cube, and the head that decides.

    Args:
      path: of the file; its suffix chooses PNG, SVG or PDF.
      view: `[N, E]`, drawn as `draw_cube` does.
      deciding: `[N, D]`, drawn in the plane of their two main axes (PCA).
      conditions: N names.
      novel: names that training never saw, drawn as diamonds with a dark edge.
      titles: of the cube and of the plane.
    """
    xyz = _checked(view, conditions)
    plane = _checked(deciding, conditions, count=2)
    variance = np.asarray(deciding, np.float64).var(0).sum()
    share = plane.var(0).sum() / max(variance, 1e-12)
    drawn = drawing.make_figure(13.2, 6.4)
    corners = drawing.cube_corners(xyz)
    axes = drawing.cube_axes(drawn, (-0.01, 0.0, 0.47, 0.97), *corners)
    drawing.scatter_points(axes, xyz, conditions, novel)
    flat = drawn.add_axes((0.5, 0.09, 0.32, 0.8))
    artists = drawing.scatter_points(flat, plane, conditions, novel)
    drawing.add_legend(drawn, artists, novel, 0.835, 0.93)
    flat.set_aspect("equal", adjustable="datalim")
    flat.tick_params(labelsize=8, labelcolor=drawing.PALE, length=0)
    flat.spines[:].set_color(drawing.LINE)
    flat.grid(color=drawing.LINE, linewidth=0.5)
    flat.set_axisbelow(True)
    words = f"two main axes, {100 * share:.0f} % of the variance"
    flat.set_xlabel(words, fontsize=9, color=drawing.PALE)
    for title, left in zip(titles, (0.02, 0.5)):
        drawn.text(left, 0.955, title, fontsize=11, color=INK)
    drawing.save_figure(drawn, path)


def _checked(points, conditions, count=3):
    """Points on their main axes; UsageError unless each has a condition."""
    on_axes = drawing.to_main_axes(points, count=count)
    require(
        len(on_axes) == len(conditions),
        f"{len(on_axes)} points do not have {len(conditions)} conditions",
    )
    return on_axes


def draw_confusion(
    path: str | os.PathLike,
    shares: np.ndarray | Sequence[Sequence[float | None]],
    conditions: Sequence[str],
    *,
    novel: Collection[str] = (),
    title: str = "",
) -> None:
    """Draws the shares of a condition's windows that are named as each condition.

    Args:
      path: of the file.
      shares: `[C, C]`, true condition first; NaN or None where nothing was judged.
      conditions: C names.
      novel: names that training never saw, marked with a star.
      title: a line above.
    """
    shares = np.array(shares, float)
    count = len(conditions)
    require(
        shares.shape == (count, count),
        f"shares are {shares.shape}, not [{count}, {count}]",
    )
    side = 2.6 + 0.46 * count
    drawn = drawing.make_figure(side + 0.4, side)
    axes = drawn.add_subplot()
    axes.imshow(np.nan_to_num(shares), cmap=_blues(), vmin=0, vmax=1, aspect="equal")
    for row, column in np.argwhere(np.nan_to_num(shares) >= 0.005):
        value = shares[row, column]
        text = axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center")
        text.set(color="white" if value > 0.55 else INK, fontsize=8)
    names = drawing.shorten_names(conditions)
    texts = [names[name] + " *" * (name in novel) for name in conditions]
    axes.set_xticks(
        range(count), texts, rotation=45, ha="right", rotation_mode="anchor"
    )
    axes.set_yticks(range(count), texts)
    colour_of, margin = colours.assign_colours(conditions), np.full(count, -0.6)
    patch: dict[str, Any] = dict(marker="s", s=28, clip_on=False)
    patch["c"] = [colour_of[name] for name in conditions]
    axes.scatter(margin, range(count), **patch)
    axes.scatter(range(count), count - 1 - margin, **patch)
    axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5))
    axes.set_xticks(np.arange(count + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(count + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.2)
    axes.tick_params(which="both", length=0, pad=9, labelsize=9, labelcolor=INK)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("named as", color=INK)
    axes.set_ylabel("true condition", color=INK)
    below = "% of a row's windows" + (", * never seen in training" if novel else "")
    axes.set_title("\n".join(filter(None, [title, below])), fontsize=9, color=INK)
    drawing.save_figure(drawn, path, bbox_inches="tight")


def draw_curves(
    path: str | os.PathLike, scalars: Mapping[str, tuple[Sequence, Sequence]]
) -> None:
    """Draws the loss, the heads' losses and the validation recall over the steps.

    Args:
      path: of the file.
      scalars: {name: (steps, values)}.
    """
    groups = (
        (
            "loss",
            [name for name in scalars if name == "loss" or name.endswith("/loss")],
        ),
        ("one-shot recall, validation", ["valid/known", "valid/novel"]),
    )
    drawn = drawing.make_figure(8.6, 3.2)
    for i, (title, names) in enumerate(groups):
        axes = drawn.add_subplot(1, 2, i + 1)
        for name, style in zip([n for n in names if n in scalars], _STYLES):
            axes.plot(*scalars[name], **style, linewidth=1.5, label=name)
        axes.set_title(title, fontsize=10, color=INK, loc="left")
        axes.set_xlabel("step", fontsize=9, color=INK)
        axes.tick_params(labelsize=8, labelcolor=drawing.PALE, color=drawing.LINE)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(drawing.LINE)
        axes.grid(color=drawing.LINE, linewidth=0.5)
        axes.set_xlim(left=0)
        if i:
            axes.set_ylim(-0.02, 1.02)
        if axes.lines:
            axes.legend(fontsize=8, frameon=False, labelcolor=INK)
    drawn.tight_layout()
    drawing.save_figure(drawn, path)


def draw_timelines(
    path: str | os.PathLike,
    rows: Sequence[Mapping[str, Any]],
    novel: Collection[str] = (),
) -> None:
    """Draws for each capture the recorded timeline above the identified one.

    A capture without a timeline shows its warning instead.

    Args:
      path: of the file.
      rows: a list of `page.timeline`.
      novel: names that training never saw, drawn with a dark edge.
    """
    from matplotlib.patches import Patch

    names = {s["condition"] for row in rows for s in (*row["truth"], *row["found"])}
    colour_of = colours.assign_colours(names)

    def look(name):
        return dict(
            facecolor=colour_of[name],
            alpha=0.45 if name == "normal" else 1.0,
            linewidth=0.8,
            edgecolor=INK if name in novel else "white",
        )

    texts, heights = _describe_rows(rows)
    bottoms = np.cumsum(heights)
    middles = bottoms - np.array(heights) / 2  # [rows], inches from the top
    height = float(bottoms[-1]) if rows else 0.0
    drawn = drawing.make_figure(9.5, 0.9 + height)
    axes = drawn.add_subplot()
    end_s = max([row["end_s"] for row in rows], default=0) or 1
    for middle, row in zip(middles, rows):
        _draw_row(axes, row, middle, look)
        if not (row["found"] or row["truth"]):
            reason = short(row["warning"], REASON)
            text = axes.text(0.005 * end_s, middle, reason, va="center")
            text.set(fontsize=7, color=drawing.PALE)
    axes.set_yticks(middles, texts, fontsize=8, color=INK)
    axes.set_ylim(height or 1.0, 0.0)
    axes.set_xlim(0, end_s)
    both = any(row["truth"] for row in rows)
    axes.set_xlabel(
        "seconds after the first packet"
        + ("; above recorded, below identified" if both else "")
    )
    axes.xaxis.label.set(fontsize=8, color=INK)
    axes.tick_params(labelsize=8, length=0)
    axes.spines[:].set_visible(False)
    order = drawing.order_names(names, novel)
    texts_of = drawing.shorten_names(order)
    axes.legend(
        [Patch(**look(name)) for name in order],
        [texts_of[name] for name in order],
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        frameon=False,
        fontsize=8,
        labelcolor=INK,
    )
    drawing.save_figure(drawn, path, bbox_inches="tight")


def _describe_rows(rows):
    """The text beside each capture, and its height in inches."""
    captures = drawing.shorten_names(row["capture"] for row in rows)
    marks = {True: "✓ ", False: "✗ ", None: ""}
    texts, heights = [], []
    for row in rows:
        shown = bool(row["found"] or row["truth"])
        notes = _list_notes(row) if shown else []
        name = marks[row["right"]] + captures[row["capture"]]
        texts.append("\n".join([name, *notes]))
        heights.append(_BARS + _NOTE_LINE * len(notes) if shown else _REASON_LINE)
    return texts, heights


def _draw_row(axes, row, middle, look):
    """The recorded and the identified stretches of a capture."""
    offset = 0.07 if row["truth"] else 0.0
    for spans, y in ((row["truth"], middle - offset), (row["found"], middle + offset)):
        for span in spans:
            width = span["end_s"] - span["start_s"]
            kind = look(span["condition"])
            axes.barh(y, width, left=span["start_s"], height=0.13, **kind)


def _list_notes(row):
    """The lines below the name of a capture: its network, and its warning."""
    network = row["network"]
    notes = [f"network: {short(network, NOTE - len('network: '))}"] if network else []
    return notes + textwrap.wrap(printable(row["warning"]), NOTE)


def draw_recall(path: str | os.PathLike, results: Mapping[str, Any]) -> None:
    """Draws the recall of each method with its interval, for each number of examples.

    The axis starts below the lowest interval and not at 0, to show small differences.

    Args:
      path: of the file.
      results: see `evaluation.results`.
    """
    methods, shots = list(results["methods"]), results["shots"]
    groups = list(next(iter(shots.values()))["recall"][results["main"]])
    names = drawing.shorten_names(methods)
    lows = [
        part["recall"][method][group]["window"]["low"]
        for part in shots.values()
        for method in methods
        for group in groups
        if part["recall"][method][group]["window"]["value"] is not None
    ]
    start = min(_RECALL_START, math.floor(10 * min(lows, default=0)) / 10)
    drawn = drawing.make_figure(
        2.2 + 3.2 * len(groups), 0.5 + (0.55 + 0.24 * len(methods)) * len(shots)
    )
    for row, (count, part) in enumerate(shots.items()):
        for column, group in enumerate(groups):
            place = 1 + row * len(groups) + column
            axes = drawn.add_subplot(len(shots), len(groups), place)
            for y, method in enumerate(methods):
                interval = part["recall"][method][group]["window"]
                mean, low, high = (interval[x] for x in ("value", "low", "high"))
                if mean is None:
                    continue
                is_baseline = results["methods"][method]
                colour = drawing.PALE if is_baseline else drawing.CURVE
                axes.plot([low, high], [y, y], color=colour, linewidth=2)
                axes.plot([mean], [y], "o", color=colour, markersize=5)
                side = axes.get_yaxis_transform()  # x is a share of the axes
                text = axes.text(1.03, y, f"{mean:.2f}", va="center", fontsize=8)
                text.set_transform(side)
            if part["chance"] > start:
                axes.axvline(part["chance"], color=drawing.LINE, linestyle=":")
            examples = f"{count} example{'s' if count != '1' else ''} of each"
            words = f"{group}, {examples}; chance {part['chance']:.2f}"
            axes.set_title(words, fontsize=9, color=INK, loc="left")
            texts = [names[method] if column == 0 else "" for method in methods]
            axes.set_yticks(range(len(methods)), texts)
            axes.set(
                xlim=(start, 1 + 0.02 * (1 - start)), ylim=(len(methods) - 0.5, -0.5)
            )
            axes.tick_params(labelsize=8, length=0, labelcolor=INK)
            axes.spines[:].set_visible(False)
            axes.grid(axis="x", color=drawing.LINE, linewidth=0.5)
    words = "recall per window, mean over conditions; bars: 95 % over captures"
    drawn.supxlabel(f"{words}; grey: baselines", fontsize=8, color=INK)
    drawn.tight_layout()
    drawing.save_figure(drawn, path)


def draw_traffic(
    path: str | os.PathLike,
    panels: Sequence[tuple[str, Mapping[str, Any], Sequence[int]] | None],
    columns: Sequence[str],
    *,
    clip: float,
    bin_s: float,
    across: int = 3,
) -> None:
    """Draws windows as heat maps: some of their columns over time.

    Args:
      path: of the file.
      panels: a list of (title, window, indices of its columns to show), see
        `assessment.pictures`; None: a gap.
      columns: names of all columns.
      clip: the deviation that gets the full colour.
      bin_s: seconds of a bin.
      across: panels in a row.
    """
    names = drawing.shorten_names(columns, _COLUMN)
    down = -(-len(panels) // across)
    drawn = drawing.make_figure(4.0 * across, 2.7 * max(1, down))
    for place, panel in enumerate(panels):
        if panel is None:
            continue
        title, window, rows = panel
        axes = drawn.add_subplot(down, across, place + 1)
        shown = _values(window)[:, rows].T  # [rows, T]
        image = axes.imshow(
            shown,
            cmap=_less_more(),
            vmin=-clip,
            vmax=clip,
            aspect="auto",
            extent=(0, shown.shape[1] * bin_s, len(rows) - 0.5, -0.5),
            interpolation="nearest",
        )
        axes.set_yticks(range(len(rows)), [names[columns[f]] for f in rows])
        ends = [0, shown.shape[1] * bin_s / 2, shown.shape[1] * bin_s]
        axes.set_xticks(ends, [f"{s:g} s" for s in ends])
        axes.set_title(title, fontsize=8, color=INK, loc="left")
        axes.tick_params(labelsize=6.5, length=0, labelcolor=INK)
        axes.spines[:].set_visible(False)
    drawn.tight_layout()
    if panels:
        bar = drawn.colorbar(image, ax=drawn.axes, fraction=0.02, shrink=0.6 / down)
        bar.set_label("deviations from normal time", fontsize=7, color=INK)
        bar.ax.tick_params(labelsize=6.5, length=0)
        bar.outline.set_visible(False)
    drawing.save_figure(drawn, path, bbox_inches="tight")


def _values(window):
    """The features `[T, F]` of a window, from signed bytes."""
    packed = window["traffic"]
    raw = np.frombuffer(base64.b64decode(packed["data"]), np.int8)
    return raw.reshape(packed["shape"]) / 127 * packed["largest"]


def _blues():
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("blues", ["#f4f6f9", "#8fb3d9", "#123f72"])


def _less_more():
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("less", ["#1f6fb4", "#f6f7fb", "#b0244f"])
