"""Still pictures: the points in their cube, and who is taken for whom.

matplotlib comes with the extra `viz`; it is imported when a picture is drawn.
"""

import base64
import textwrap

import numpy as np

from siamjax.checks import require
from siamjax.reports import colours, drawing
from siamjax.reports.drawing import INK, NAME
from siamjax.text import printable, short

# Characters of a line of a warning beside a timeline.
NOTE = 56
_STYLES = (
    dict(color=drawing.CURVE),
    dict(color="#b5179e", linestyle="--"),
    dict(color="#8c564b", linestyle=":"),
    dict(color="#332288", linestyle="-."),
)


def draw_cube(path, points, conditions, *, novel=(), title=""):
    """Draws points in the unit cube, coloured by condition.

    Args:
      path: of the file; its suffix chooses PNG, SVG or PDF.
      points: `[N, E]`; of more than three dimensions the three main axes are drawn.
      conditions: N names.
      novel: names that training never saw, drawn as diamonds with a dark edge.
      title: a line above.
    """
    xyz = drawing.to_three_axes(points)
    require(
        len(xyz) == len(conditions),
        f"{len(xyz)} points do not have {len(conditions)} conditions",
    )
    drawn = drawing.make_figure(8.6, 6.4)
    axes = drawing.cube_axes(drawn, (0.0, 0.0, 0.76, 0.97), *drawing.cube_corners(xyz))
    drawing.add_legend(
        drawn, drawing.scatter_points(axes, xyz, conditions, novel), novel, 0.74, 0.93
    )
    if title:
        drawn.text(0.03, 0.955, title, fontsize=11, color=INK)
    drawing.save_figure(drawn, path)


def draw_confusion(path, shares, conditions, *, novel=(), title=""):
    """Draws `[C, C]` shares of a row's windows named as the column; NaN or None: none.

    Args:
      path: of the file.
      shares: `[C, C]`.
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
        axes.text(
            column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=8,
            color="white" if value > 0.55 else INK,
        )  # fmt: skip
    texts = [short(name, NAME) + " *" * (name in novel) for name in conditions]
    axes.set_xticks(
        range(count), texts, rotation=45, ha="right", rotation_mode="anchor"
    )
    axes.set_yticks(range(count), texts)
    of, beside = colours.assign_colours(conditions), np.full(count, -0.6)
    patch = dict(c=[of[name] for name in conditions], marker="s", s=28, clip_on=False)
    axes.scatter(beside, range(count), **patch)
    axes.scatter(range(count), count - 1 - beside, **patch)
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


def draw_curves(path, scalars):
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


def draw_timelines(path, rows, novel=()):
    """Draws for each capture what was recorded above what was identified.

    Args:
      path: of the file.
      rows: a list of `page.timeline`.
      novel: names that training never saw, drawn with a dark edge.
    """
    from matplotlib.patches import Patch

    names = {s["condition"] for row in rows for s in (*row["truth"], *row["found"])}
    of = colours.assign_colours(names)
    marks = {True: "✓ ", False: "✗ ", None: ""}
    texts = [f"{marks[row['right']]}{short(row['capture'], NAME)}" for row in rows]
    texts = [_noted(text, row["warning"]) for text, row in zip(texts, rows)]
    lines = max([text.count("\n") for text in texts], default=0)
    drawn = drawing.make_figure(9.5, 0.9 + (0.36 + 0.12 * lines) * len(rows))
    axes = drawn.add_subplot()
    for y, row in enumerate(rows):
        below = 0.2 if row["truth"] else 0.0
        for spans, shift in ((row["truth"], -0.2), (row["found"], below)):
            for span in spans:
                name, wide = span["condition"], span["end_s"] - span["start_s"]
                axes.barh(
                    y + shift, wide, left=span["start_s"], height=0.36, color=of[name],
                    alpha=0.45 if name == "normal" else 1.0, linewidth=0.8,
                    edgecolor=INK if name in novel else "white",
                )  # fmt: skip
    axes.set_yticks(range(len(rows)), texts, fontsize=8, color=INK)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, max([row["end_s"] for row in rows], default=0) or 1)
    both = any(row["truth"] for row in rows)
    axes.set_xlabel(
        "seconds after the first packet"
        + ("; above recorded, below identified" if both else "")
    )
    axes.xaxis.label.set(fontsize=8, color=INK)
    axes.tick_params(labelsize=8, length=0)
    axes.spines[:].set_visible(False)
    order = drawing.order_names(names, novel)
    handles = [
        Patch(
            facecolor=of[name], alpha=0.45 if name == "normal" else 1.0,
            linewidth=0.8, edgecolor=INK if name in novel else "white",
        )
        for name in order
    ]  # fmt: skip
    axes.legend(
        handles, [short(name, NAME) for name in order], loc="upper left",
        bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8, labelcolor=INK,
    )  # fmt: skip
    drawing.save_figure(drawn, path, bbox_inches="tight")


def _noted(text, warning):
    """A capture's text with what is odd about it in lines below."""
    return "\n".join([text, *textwrap.wrap(printable(warning), NOTE)])


def draw_recall(path, found):
    """Draws the recall of each method with its interval, for each number of examples.

    Args:
      path: of the file.
      found: see `evaluation.results`.
    """
    methods, shots = list(found["methods"]), found["shots"]
    groups = list(next(iter(shots.values()))["recall"][found["main"]])
    drawn = drawing.make_figure(
        2.2 + 3.2 * len(groups), 0.5 + (0.55 + 0.24 * len(methods)) * len(shots)
    )
    for row, (many, part) in enumerate(shots.items()):
        for column, group in enumerate(groups):
            axes = drawn.add_subplot(
                len(shots), len(groups), 1 + row * len(groups) + column
            )
            for y, method in enumerate(methods):
                interval = part["recall"][method][group]["window"]
                mean, low, high = (interval[x] for x in ("value", "low", "high"))
                if mean is not None:
                    colour = drawing.PALE if found["methods"][method] else drawing.CURVE
                    axes.plot([low, high], [y, y], color=colour, linewidth=2)
                    axes.plot([mean], [y], "o", color=colour, markersize=5)
                    axes.text(1.06, y, f"{mean:.2f}", va="center", fontsize=8)
            axes.axvline(part["chance"], color=drawing.LINE, linestyle=":")
            words = f"{group}, {many} example{'s' if many != '1' else ''} of each"
            axes.set_title(words, fontsize=9, color=INK, loc="left")
            names = [short(method, NAME) for method in methods] if column == 0 else []
            axes.set_yticks(range(len(methods)), names or [""] * len(methods))
            axes.set(xlim=(0, 1.02), ylim=(len(methods) - 0.5, -0.5))
            axes.tick_params(labelsize=8, length=0, labelcolor=INK)
            axes.spines[:].set_visible(False)
            axes.grid(axis="x", color=drawing.LINE, linewidth=0.5)
    below = "recall per window, mean over conditions; bars: 95 % over captures; "
    drawn.supxlabel(f"{below}dotted: chance; grey: baselines", fontsize=8, color=INK)
    drawn.tight_layout()
    drawing.save_figure(drawn, path)


def draw_traffic(path, panels, columns, *, clip, bin_s, across=3):
    """Draws windows as heat maps of some of their columns over time.

    Args:
      path: of the file.
      panels: a list of (title, window, its columns shown), see `page`; None: a gap.
      columns: names of all columns.
      clip: the deviation that has the full colour.
      bin_s: seconds of a bin.
      across: panels beside one another.
    """
    down = -(-len(panels) // across)
    drawn = drawing.make_figure(4.0 * across, 2.7 * max(1, down))
    for place, panel in enumerate(panels):
        if panel is None:
            continue
        title, window, rows = panel
        axes = drawn.add_subplot(down, across, place + 1)
        shown = _values(window)[:, rows].T  # [rows, T]
        image = axes.imshow(
            shown, cmap=_less_more(), vmin=-clip, vmax=clip, aspect="auto",
            extent=(0, shown.shape[1] * bin_s, len(rows) - 0.5, -0.5),
            interpolation="nearest",
        )  # fmt: skip
        axes.set_yticks(range(len(rows)), [short(columns[f], 24) for f in rows])
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
    """Its features `[T, F]`, from signed bytes."""
    packed = window["traffic"]
    raw = np.frombuffer(base64.b64decode(packed["data"]), np.int8)
    return raw.reshape(packed["shape"]) / 127 * packed["largest"]


def _blues():
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("blues", ["#f4f6f9", "#8fb3d9", "#123f72"])


def _less_more():
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("less", ["#1f6fb4", "#f6f7fb", "#b0244f"])
