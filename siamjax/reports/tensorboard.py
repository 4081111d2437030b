"""What TensorBoard shows beside scalars: pictures, histograms, config and results.

Each call replaces the folder, so that nothing is shown twice.
"""

import contextlib
import io
import json
import os
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorboard.plugins.text.summary_v2 import text_pb

from siamjax import files
from siamjax.evaluation import pairwise
from siamjax.reports import camera, colours, discs, drawing, events
from siamjax.reports.trace import Trace

# The name of this run in TensorBoard, and of its folder in that of the training run.
RUN = "results"
# Pixels of a picture of the embedding, and how many: TensorBoard shows ten at most.
SIDE, PICTURES = 480, 10
# Its legend: width and line height in pixels, and the most characters of a name.
LEGEND, LINE, NAME = 230, 19, 28


def write_summaries(
    folder: str | os.PathLike,
    *,
    config: dict[str, Any],
    traced: Trace | None = None,
    results: dict[str, Any] | None = None,
    text: str = "",
    pictures: Iterable[str | os.PathLike] = (),
) -> None:
    """Writes an event file that TensorBoard shows as one run.

    Args:
      folder: is replaced.
      config: the run's fields, nested dicts of plain values.
      traced: images of the cube, with a legend, and histograms at its steps.
      results: see `evaluation.results`; shown with the config as hyper-parameters.
      text: the results as a table.
      pictures: paths of PNG files; shown under their names.
    """
    step = 0 if results is None else results["step"]
    with (
        files.replacing_folder(folder) as beside,
        contextlib.closing(events.EventFile(beside)) as records,
    ):
        records.add(0, text_pb("config", _code(json.dumps(config, indent=1))))
        if text:
            records.add(step, text_pb("results", _code(text)))
        for path in pictures:
            with Image.open(path) as picture:
                records.add(step, _image(pathlib.Path(path).stem, picture))
        if traced is not None:
            for traced_step, summary in _trace(traced):
                records.add(traced_step, summary)
        if results is not None:
            metrics, settings = _metrics(results), _flat(config)
            columns = [hparams.HParam(name) for name in settings]
            tags = [hparams.Metric(tag) for tag in metrics]
            records.add(step, hparams.hparams_config_pb(columns, tags))
            records.add(step, hparams.hparams_pb(settings))
            records.add(step, events.scalar_summary(metrics))


def _trace(traced):
    """`(step, summary)` of the pictures and histograms of a trace."""
    names, novel = traced.about["conditions"], traced.about["novel"]
    colour, shape = colours.assign_colours(names), colours.assign_shapes(names, novel)
    looks = {name: (colour[name], shape[name]) for name in names}
    point_looks = [looks[name] for name in names]
    legend = _legend({name: looks[name] for name in drawing.order_names(names, novel)})
    xyz = drawing.to_main_axes(traced.points, like=traced.points[-1])
    low, high = drawing.cube_corners(xyz)
    shown = np.linspace(0, len(traced.steps) - 1, min(PICTURES, len(traced.steps)))
    for i in np.unique(shown.round().astype(int)):
        unit = (xyz[i] - low) / (high - low)
        cube = camera.render_cube(unit, point_looks, camera.View(-50, 20), SIDE)
        picture = Image.new("RGB", (SIDE + LEGEND, max(SIDE, legend.height)), "white")
        picture.paste(cube, (0, 0))
        picture.paste(legend, (SIDE, 0))
        yield int(traced.steps[i]), _image("embedding", picture)
    head = traced.about["head"]
    for step, points in zip(traced.steps.tolist(), traced.points):
        gaps = pairwise.distances(points, points)
        yield step, histogram_pb(f"{head}/coordinates", points)
        yield step, histogram_pb(f"{head}/distances", gaps)


def _legend(looks):
    """A picture with a line for each {name: (colour, shape)}."""
    picture = Image.new("RGB", (LEGEND, LINE * (len(looks) + 2)), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    texts = drawing.shorten_names(looks, NAME)
    for i, (name, look) in enumerate(looks.items(), 1):
        disc = discs.draw_disc(LINE - 3, *look)
        picture.paste(disc, (0, LINE * i), disc)
        draw.text((LINE, LINE * i), texts[name], fill=drawing.INK, font=font)
    return picture


def _image(name, picture):
    """A PIL image as a summary."""
    png = io.BytesIO()
    picture.convert("RGB").save(png, "png")
    return events.image_summary(name, png.getvalue(), picture.size)


def _metrics(results):
    """{name: value} of the main method, one example, per window."""
    recall = results["shots"]["1"]["recall"][results["main"]]
    return {
        f"one_shot/{group}": units["window"]["value"]
        for group, units in recall.items()
        if units["window"]["value"] is not None
    }


def _flat(tree, prefix=""):
    """{dotted name: number or text} of nested dicts, for TensorBoard."""
    if isinstance(tree, dict):
        parts = [_flat(sub, f"{prefix}{name}.") for name, sub in tree.items()]
        return {name: value for part in parts for name, value in part.items()}
    plain = tree if isinstance(tree, (bool, int, float, str)) else json.dumps(tree)
    return {prefix.rstrip("."): plain}


def _code(text):
    """Text as a block of code in Markdown."""
    return "\n".join(f"    {line}" for line in text.splitlines())
