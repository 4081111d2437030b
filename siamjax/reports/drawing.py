"""Shared by pictures and film: the cube, its points, their legend and names.

matplotlib comes with the extra `viz`; it is imported when something is drawn.
"""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from siamjax import files
from siamjax.checks import require
from siamjax.reports import colours
from siamjax.text import short
from siamjax.types import SiamjaxError

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, PALE, LINE, CURVE = "#333333", "#666666", "#d5d5d5", "#0072b2"
_MARKERS = dict(circle="o", square="s", triangle="^", down="v", diamond="D")
DPI = 160
# The longest side of a picture: matplotlib's limit is 65 536 pixels.
PIXELS = 30_000
# The most characters of a name in a picture, and in a legend.
NAME, LEGEND_NAME = 40, 30
IN_TRAINING, NOT_SEEN = "in training", "never seen in training"


def make_figure(width: float, height: float) -> "Figure":
    """An empty figure, of a size in inches.

    Raises:
      SiamjaxError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SiamjaxError(
            "pictures need matplotlib: pip install matplotlib"
        ) from error
    return Figure(figsize=(width, height), facecolor="white")


def disable_formulas(drawn: "Figure") -> None:
    """Shows all text of a figure as it is: a name with two $ is not a formula."""
    from matplotlib.text import Text

    for text in drawn.findobj(Text):
        text.set_parse_math(False)


def save_figure(drawn: "Figure", path: str | os.PathLike, **options: Any) -> None:
    """Writes a figure, whole or not at all; the same figure gives the same bytes.

    Args:
      drawn: the figure.
      path: of the file; its suffix chooses PNG, SVG or PDF.
      options: of `Figure.savefig`.
    """
    import matplotlib

    disable_formulas(drawn)
    dpi = min(DPI, PIXELS / max(drawn.get_size_inches()))
    dated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    with (
        files.replacing(path) as beside,
        matplotlib.rc_context({"svg.hashsalt": "siamjax"}),
    ):
        drawn.savefig(beside, dpi=dpi, metadata=dated.get(beside.suffix), **options)


def to_main_axes(
    points: np.ndarray, like: np.ndarray | None = None, *, count: int = 3
) -> np.ndarray:
    """Points `[..., E]` -> `[..., count]`: padded with 0, or projected (PCA).

    Args:
      points: finite floats.
      like: `[N, E]` points that define the main axes; `points` by default.
      count: how many axes; points of more dimensions are projected on the main ones.
    """
    points = np.asarray(points, np.float64)
    like = points if like is None else np.asarray(like, np.float64)
    require(points.ndim >= 2, f"points must be [N, E], not {list(points.shape)}")
    bad = int(np.sum(~np.isfinite(points)))
    require(not bad, f"points must be finite: {bad} of {points.size} numbers are not")
    if points.shape[-1] > count:
        middle = like.mean(0)
        _, _, axes = np.linalg.svd(like - middle, full_matrices=False)
        points = (points - middle) @ axes[:count].T
    missing = count - points.shape[-1]
    return np.pad(points, [(0, 0)] * (points.ndim - 1) + [(0, missing)])


def cube_corners(xyz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two corners of the cube to show: the unit cube if it holds all points."""
    xyz = xyz.reshape(-1, 3)
    if not len(xyz) or (xyz.min() >= 0 and xyz.max() <= 1):
        return np.zeros(3), np.ones(3)
    middle = (xyz.max(0) + xyz.min(0)) / 2
    half = 1.04 * max(np.ptp(xyz, axis=0).max() / 2, 1e-6)
    return middle - half, middle + half


def cube_axes(
    drawn: "Figure", rectangle: Sequence[float], low: np.ndarray, high: np.ndarray
) -> "Axes":
    """Three-dimensional axes: the three far walls of the cube, and few ticks.

    Args:
      drawn: the figure.
      rectangle: left, bottom, width, height as shares of the figure.
      low, high: corners of the cube.
    """
    left, bottom, width, height = rectangle
    axes: Any = drawn.add_axes((left, bottom, width, height), projection="3d")
    unit = not low.any() and (high == 1).all()
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color((0.975, 0.978, 0.985, 1.0))
        axis.line.set_color("#b0b0b0")
        axis._axinfo["grid"].update(color=LINE, linewidth=0.6)
        if unit:
            axis.set_ticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    axes.tick_params(labelsize=8, labelcolor=PALE, pad=-1)
    axes.set_box_aspect((1, 1, 1), zoom=1.04)
    axes.view_init(elev=20, azim=-57)
    return axes


def order_names(names: Iterable[str], novel: Collection[str]) -> list[str]:
    """Each name once: normal first, then the known, then the novel ones."""
    return sorted(set(names), key=lambda n: (n in novel, n != "normal", n))


def shorten_names(names: Iterable[str], most: int = NAME) -> dict[str, str]:
    """{name: text of at most `most` characters}; different names differ in text."""
    texts: dict[str, str] = {}
    for name in dict.fromkeys(names):
        text, number = short(name, most), 1
        while text in texts.values():
            number += 1
            mark = f" ({number})"
            text = short(name, most - len(mark)) + mark
        texts[name] = text
    return texts


def scatter_points(
    axes: Any, points: np.ndarray, names: Sequence[str], novel: Collection[str]
) -> "dict[str, tuple[Artist, int]]":
    """Draws points `[N, 2 or 3]`; returns {condition: (artist, number of points)}."""
    condition = np.asarray(names)
    artists: dict[str, tuple[Artist, int]] = {}
    options = dict(depthshade=False) if points.shape[1] == 3 else {}
    for name, look in _looks(order_names(names, novel), novel).items():
        members = points[condition == name]
        artist = axes.scatter(*members.T, s=26, alpha=0.9, **options, **look)
        artists[name] = artist, len(members)
    return artists


def legend_samples(
    counts: Mapping[str, int], novel: Collection[str]
) -> "dict[str, tuple[Artist, int]]":
    """{name: number} -> {name: (artist, number)}, for a legend without points."""
    from matplotlib.axes import Axes

    axes = Axes(make_figure(1, 1), (0, 0, 1, 1))
    return {
        name: (axes.scatter([0], [0], s=32, **look), counts[name])
        for name, look in _looks(list(counts), novel).items()
    }


def add_legend(
    drawn: "Figure",
    scattered: "Mapping[str, tuple[Artist, int]]",
    novel: Collection[str],
    left: float,
    top: float,
    *,
    bottom: float = 0.0,
    size: float = 9,
) -> None:
    """Conditions with their numbers of points, the known apart from the novel ones.

    Args:
      drawn: the figure.
      scattered: {name: (artist, number)}.
      novel: names that training never saw.
      left, top, bottom: shares of the figure.
      size: points, less where the names would reach below the bottom.
    """
    line = 0.0212 / drawn.get_size_inches()[1]  # a line's height at one point
    size = min(size, (top - bottom) / line / (len(scattered) + 4))
    texts = shorten_names(scattered, LEGEND_NAME)
    for heading, is_novel in ((IN_TRAINING, False), (NOT_SEEN, True)):
        group = {n: v for n, v in scattered.items() if (n in novel) == is_novel}
        if group:
            box = drawn.legend(
                [artist for artist, _ in group.values()],
                [f"{texts[name]}  ({count})" for name, (_, count) in group.items()],
                title=heading,
                loc="upper left",
                bbox_to_anchor=(left, top),
                frameon=False,
                fontsize=size,
                labelcolor=INK,
            )
            box.set_alignment("left")
            box.get_title().set(fontsize=size, fontweight="bold", color=INK)
            top -= (len(group) + 2) * size * line


def _looks(order, novel):
    """{name: how matplotlib draws its points}."""
    colour, shape = colours.assign_colours(order), colours.assign_shapes(order, novel)
    return {
        name: dict(
            c=colour[name],
            marker=_MARKERS[shape[name]],
            edgecolors=INK if name in novel else "white",
            linewidths=0.7 if name in novel else 0.35,
        )
        for name in order
    }
