"""The cube and its points as an image, without matplotlib: fast enough for a film.

It is drawn at twice the size and then halved, which makes lines smooth.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from siamjax.reports import discs

WALL, GRID, FRAME = "#f7f8fb", "#d9dce3", "#a8adb8"
_LARGE = 2
_DISTANCE = 3.4  # from the eye to the middle of the cube, in sides of the cube
_ZOOM = 1.28
# Near edges of the cube look larger, so that seen from above its middle would lie too
# low in the picture: it is moved up by this.
_RISE = 0.16


class View(NamedTuple):
    """Where the eye is: degrees around the cube, and above its floor."""

    azimuth: float
    elevation: float


def project_points(
    xyz: np.ndarray, view: View, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Points `[N, 3]` of the unit cube -> pixels `[N, 2]` and nearness `[N]`.

    Args:
      xyz: the third coordinate points up.
      view: where the eye is.
      side: pixels of the square image.
    Returns:
      Pixels; nearness, which is 1 in the middle of the cube and larger for near points.
    """
    a, e = np.deg2rad([view.azimuth, view.elevation])
    right = np.array([-np.sin(a), np.cos(a), 0.0])
    up = np.array([-np.sin(e) * np.cos(a), -np.sin(e) * np.sin(a), np.cos(e)])
    to_eye = np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
    x = np.asarray(xyz, float) - 0.5
    near = _DISTANCE / (_DISTANCE - x @ to_eye)
    plane = np.stack([x @ right, -(x @ up)], -1) * near[:, None]
    plane[:, 1] -= _RISE * np.sin(2 * e)
    return plane * side / 2 * _ZOOM + side / 2, near


def render_cube(
    xyz: np.ndarray,
    looks: Sequence[tuple[str, str]],
    view: View,
    side: int,
    *,
    size: int = 13,
) -> Image.Image:
    """The far walls of the cube and its points; near points cover far ones.

    Args:
      xyz: `[N, 3]` in the unit cube.
      looks: for each of N points its (colour, shape).
      view: where the eye is.
      side: pixels.
      size: of a point in the middle, in pixels.
    """
    large = _LARGE * side
    picture = Image.new("RGB", (large, large), "white")
    _walls(ImageDraw.Draw(picture), view, large)
    if len(xyz):
        place, near = project_points(xyz, view, large)
        for i in np.argsort(near, kind="stable"):
            tile = _tile(round(_LARGE * size * near[i]), *looks[i])
            corner = np.round(place[i] - tile.width / 2).astype(int)
            picture.paste(tile, tuple(corner.tolist()), tile)
    return picture.reduce(_LARGE)


@functools.lru_cache(maxsize=4096)
def _tile(side, colour, shape):
    return discs.draw_disc(side, colour, shape, rim="#ffffff")


def _walls(draw, view, side):
    """Draws the three walls behind the points, with lines at each quarter."""
    azimuth = np.deg2rad(view.azimuth)
    hidden = np.cos(azimuth) < 0, np.sin(azimuth) < 0, view.elevation < 0
    behind = [float(side_is_far) for side_is_far in hidden]
    for axis, value in enumerate(behind):
        others = [k for k in range(3) if k != axis]

        def line(values, ends, axis=axis, value=value, others=others):
            points = np.full((len(values), 3), value)
            points[:, others[0]], points[:, others[1]] = values, ends
            return [tuple(p) for p in project_points(points, view, side)[0]]

        draw.polygon(line([0, 1, 1, 0], [0, 0, 1, 1]), fill=WALL)
        for quarter in (0.25, 0.5, 0.75):
            draw.line(line([quarter, quarter], [0, 1]), fill=GRID, width=_LARGE)
            draw.line(line([0, 1], [quarter, quarter]), fill=GRID, width=_LARGE)
    for ends in itertools.product((0.0, 1.0), repeat=2):
        for axis, (k, m) in enumerate(((1, 2), (0, 2), (0, 1))):
            # Only the edges of these walls are drawn.
            if ends[0] == behind[k] or ends[1] == behind[m]:
                points = np.zeros((2, 3))
                points[:, k], points[:, m], points[1, axis] = ends[0], ends[1], 1.0
                edge = [tuple(p) for p in project_points(points, view, side)[0]]
                draw.line(edge, fill=FRAME, width=_LARGE)
