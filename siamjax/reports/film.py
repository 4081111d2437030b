"""The film of a training: how the points of the conditions separate.

Each traced step gets the same time; between them the points move smoothly.
"""

import contextlib
import pathlib
import subprocess
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont
from scipy import interpolate
from tqdm import tqdm

from siamjax import files
from siamjax.checks import require
from siamjax.reports import camera, colours, drawing
from siamjax.reports.drawing import INK, LINE, PALE
from siamjax.reports.trace import Trace
from siamjax.types import SiamjaxError

WIDTH, HEIGHT, DPI, FPS = 1280, 720, 100, 30
# The GIF is half as wide and has every third frame.
GIF_STEP = 3
# The camera turns by TURN degrees over the film; in the last second the points do not
# move.
AZIMUTH, TURN, STILL = -50, 40, FPS
CURSOR = "#d62728"


class Frames(NamedTuple):
    """What each of M frames shows."""

    steps: np.ndarray  # [M] float, steps of training
    points: np.ndarray  # [M, N, 3]


def make_frames(trace: Trace, count: int) -> Frames:
    """`count` frames between the traced steps, smooth and without overshoot (PCHIP)."""
    xyz = drawing.to_main_axes(trace.points, like=trace.points[-1])
    if len(xyz) == 1:
        return Frames(np.repeat(trace.steps.astype(float), count), xyz.repeat(count, 0))
    number = np.arange(len(xyz))  # one for each traced step
    last = number[-1]
    moving = np.linspace(0, last, max(2, count - STILL)) if count > 1 else number[-1:]
    times = np.append(moving, np.full(max(0, count - len(moving)), last))[-count:]
    steps = np.interp(times, number, trace.steps)
    return Frames(steps, interpolate.PchipInterpolator(number, xyz, axis=0)(times))


def write_film(
    folder: pathlib.Path,
    trace: Trace,
    scalars: Mapping[str, tuple[Sequence, Sequence]],
    *,
    count: int = 300,
) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes film.mp4 and film.gif into a folder; returns their paths.

    Args:
      folder: is created.
      trace: of the training.
      scalars: {name: (steps, values)}, for the curves beside the cube.
      count: how many frames, 30 per second.
    Raises:
      SiamjaxError: ffmpeg is not installed.
    """
    require(count > 0, f"a film needs frames, not {count}")
    shown, small = make_frames(trace, count), []
    scene = _Scene(trace, shown, scalars)
    mp4, gif = folder / "film.mp4", folder / "film.gif"
    with files.replacing(mp4) as beside, _encoder(beside) as send:
        for i in tqdm(range(count), desc="film", unit="frame", disable=None):
            pixels = scene.draw(i)
            send(pixels)
            if i % GIF_STEP == 0 or i == count - 1:
                image = Image.fromarray(pixels)
                small.append(
                    image.resize((WIDTH // 2, HEIGHT // 2), Image.Resampling.LANCZOS)
                )
    palette = _palette(trace.about["conditions"])
    small = [
        image.quantize(palette=palette, dither=Image.Dither.NONE) for image in small
    ]
    with files.replacing(gif) as beside:
        small[0].save(
            beside,
            save_all=True,
            append_images=small[1:],
            duration=1000 * GIF_STEP // FPS,
            loop=0,
            optimize=False,
        )
    return mp4, gif


def _palette(names):
    """An image with the colours of the film, and mixtures with white and with ink.

    The palette is not computed from the frames: a condition has few pixels, and its
    colour would change.
    """
    main = [
        *colours.assign_colours(names).values(),
        CURSOR,
        drawing.CURVE,
        camera.WALL,
        INK,
    ]
    shades = [
        tuple(round(a + (b - a) * share) for a, b in zip(*map(ImageColor.getrgb, pair)))
        for colour in dict.fromkeys(main)
        for pair, shares in (
            ((colour, "#ffffff"), (0, 0.3, 0.6, 0.85)),
            ((colour, INK), (0.5,)),
        )
        for share in shares
    ]
    greys = [(level,) * 3 for level in range(60, 256, 13)]
    palette = [*greys, (255, 255, 255), *dict.fromkeys(shades)][:256]
    image = Image.new("P", (1, 1))
    image.putpalette([level for rgb in palette for level in rgb])
    return image


class _Scene:
    """Draws the fixed parts once, and the moving parts for each frame."""

    def __init__(self, trace, shown, scalars):
        novel, names = trace.about["novel"], trace.about["conditions"]
        colour = colours.assign_colours(names)
        shape = colours.assign_shapes(names, novel)
        low, high = drawing.cube_corners(shown.points)
        self._looks = [(colour[name], shape[name]) for name in names]
        self._points, self._steps = (shown.points - low) / (high - low), shown.steps
        self._still, self._font, cursors = _still(
            names, novel, scalars, shown.steps[-1]
        )
        self._cursors = [(to_x(shown.steps), *ends) for to_x, *ends in cursors]

    def draw(self, i):
        """Frame i as `[HEIGHT, WIDTH, 3]` uint8."""
        share = i / max(1, len(self._steps) - 1)
        view = camera.View(AZIMUTH + TURN * (share - 0.5), 20)
        picture = self._still.copy()
        picture.paste(
            camera.render_cube(self._points[i], self._looks, view, HEIGHT), (40, 0)
        )
        draw = ImageDraw.Draw(picture)
        draw.text((36, 28), f"step {self._steps[i]:.0f}", font=self._font, fill=INK)
        for x, top, bottom in self._cursors:
            draw.line((x[i], top, x[i], bottom), fill=CURSOR, width=2)
        return np.asarray(picture)


def _still(names, novel, scalars, last):
    """Legend and curves as an image, a font, a (steps -> x, top, bottom) per panel."""
    from matplotlib import font_manager
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    drawn = drawing.make_figure(WIDTH / DPI, HEIGHT / DPI)
    drawn.set_dpi(DPI)
    canvas = FigureCanvasAgg(drawn)
    counts = {name: names.count(name) for name in drawing.order_names(names, novel)}
    samples = drawing.legend_samples(counts, novel)
    drawing.add_legend(drawn, samples, novel, 0.66, 0.98, bottom=0.46, size=11)
    panels = [
        _curves(drawn, rectangle, curves, last, title)
        for rectangle, curves, title in _panels(scalars)
    ]
    drawing.disable_formulas(drawn)
    canvas.draw()
    cursors = []
    for axes in panels:
        box = axes.get_window_extent()

        def to_x(steps, axes=axes):
            return axes.transData.transform(np.stack([steps, 0 * steps], 1))[:, 0]

        cursors.append((to_x, HEIGHT - box.y1, HEIGHT - box.y0))
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 26)
    return (
        Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"),
        font,
        cursors,
    )


def _panels(scalars):
    """Rectangle, {label: (steps, values)} and title of each panel with curves."""
    recall = {
        label: scalars[name]
        for name, label in (("valid/known", "known"), ("valid/novel", "novel"))
        if name in scalars
    }
    loss = {"loss": scalars["loss"]} if "loss" in scalars else {}
    panels = [(loss, "loss"), (recall, "one-shot recall, validation")]
    panels = [(curves, title) for curves, title in panels if curves]
    return [
        ((0.68, 0.08 + 0.22 * (len(panels) - 1 - i), 0.29, 0.13), curves, title)
        for i, (curves, title) in enumerate(panels)
    ]


def _curves(drawn, rectangle, curves, last, title):
    """Draws curves over the steps."""
    axes = drawn.add_axes(rectangle)
    # Traced steps grow like squares: on a square-root axis the cursor moves evenly.
    axes.set_xscale("function", functions=(lambda x: np.sqrt(np.abs(x)), np.square))
    for (label, (steps, values)), style in zip(curves.items(), ("-", "--")):
        axes.plot(steps, values, style, color=drawing.CURVE, linewidth=1.6, label=label)
    axes.set_title(title, fontsize=11, color=INK, loc="left")
    axes.set_xlim(0, max(last, 1))
    ticks = [round(last * share) for share in (0, 1 / 16, 1 / 4, 9 / 16, 1)]
    axes.set_xticks(ticks, ticks)
    axes.tick_params(labelsize=9, labelcolor=PALE, color=LINE, length=2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.grid(color=LINE, linewidth=0.4)
    if len(curves) > 1:
        axes.set_ylim(-0.02, 1.02)
        axes.legend(fontsize=9, frameon=False, loc="lower right", labelcolor=INK)
    return axes


@contextlib.contextmanager
def _encoder(path):
    """`send(pixels)` into an MP4 that every browser plays."""
    try:
        from imageio_ffmpeg import get_ffmpeg_exe
    except ImportError as error:
        raise SiamjaxError(
            "the film needs ffmpeg: pip install imageio-ffmpeg"
        ) from error
    # Not with imageio_ffmpeg's own writer: it forks, and JAX's threads forbid that.
    source = f"-f rawvideo -pix_fmt rgb24 -s {WIDTH}x{HEIGHT} -r {FPS} -i -"
    encoding = "-c:v libx264 -pix_fmt yuv420p -crf 20 -threads 2 -movflags +faststart"
    options = f"-y -loglevel error {source} {encoding}".split()
    process = subprocess.Popen(
        [get_ffmpeg_exe(), *options, str(path)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    ended_early = False
    try:
        yield lambda pixels: process.stdin.write(pixels.tobytes())
    except BrokenPipeError:
        ended_early = True  # the message of ffmpeg, raised below, says why
    finally:
        _, stderr = process.communicate()
    if process.returncode or ended_early:
        reason = " ".join(stderr.decode(errors="replace").split()) or "no message"
        raise SiamjaxError(f"ffmpeg failed to write the film: {reason}")
