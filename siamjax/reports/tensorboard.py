"""What TensorBoard shows beside scalars: pictures, histograms, config and results.

A folder of its own, written anew each time, so that nothing is there twice.
"""

import contextlib
import io
import json
import pathlib

import numpy as np
from PIL import Image
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorboard.plugins.text.summary_v2 import text_pb

from siamjax import files
from siamjax.evaluation import pairwise
from siamjax.reports import camera, colours, drawing, events

# The name of this run in TensorBoard, and of its folder in that of the training run.
RUN = "results"
# Of the embedding at a traced step, in pixels; TensorBoard shows ten steps at most.
SIDE, PICTURES = 480, 10


def write_summaries(folder, *, config, traced=None, results=None, text="", pictures=()):
    """Writes an event file that TensorBoard shows as one run.

    Args:
      folder: is emptied first.
      config: the run's fields, nested dicts of plain values.
      traced: a `trace.Trace`: images of the cube and histograms at its steps.
      results: see `evaluation.results`: hyper-parameters with what came of them.
      text: the results as a table.
      pictures: paths of PNG files; shown under their names.
    """
    judged = 0 if results is None else results["step"]
    with (
        files.replacing_folder(folder) as beside,
        contextlib.closing(events.EventFile(beside)) as records,
    ):
        records.add(0, text_pb("config", _code(json.dumps(config, indent=1))))
        if text:
            records.add(judged, text_pb("results", _code(text)))
        for path in pictures:
            with Image.open(path) as picture:
                records.add(judged, _image(pathlib.Path(path).stem, picture))
        if traced is not None:
            for step, summary in _trace(traced):
                records.add(step, summary)
        if results is not None:
            metrics, settings = _metrics(results), _flat(config)
            columns = [hparams.HParam(name) for name in settings]
            tags = [hparams.Metric(tag) for tag in metrics]
            records.add(judged, hparams.hparams_config_pb(columns, tags))
            records.add(judged, hparams.hparams_pb(settings))
            records.add(judged, events.scalar_summary(metrics))


def _trace(traced):
    """`(step, summary)` of the pictures and histograms of a trace."""
    names, novel = traced.about["conditions"], traced.about["novel"]
    colour, shape = colours.assign_colours(names), colours.assign_shapes(names, novel)
    looks = [(colour[name], shape[name]) for name in names]
    xyz = drawing.to_main_axes(traced.points, like=traced.points[-1])
    low, high = drawing.cube_corners(xyz)
    shown = np.linspace(0, len(traced.steps) - 1, min(PICTURES, len(traced.steps)))
    for i in np.unique(shown.round().astype(int)):
        unit = (xyz[i] - low) / (high - low)
        picture = camera.render_cube(unit, looks, camera.View(-50, 20), SIDE)
        yield int(traced.steps[i]), _image("embedding", picture)
    head = traced.about["head"]
    for step, points in zip(traced.steps.tolist(), traced.points):
        gaps = pairwise.distances(points, points)
        yield step, histogram_pb(f"{head}/coordinates", points)
        yield step, histogram_pb(f"{head}/distances", gaps)


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
    """{dotted name: number or text}, as hyper-parameters are."""
    if isinstance(tree, dict):
        parts = [_flat(sub, f"{prefix}{name}.") for name, sub in tree.items()]
        return {name: value for part in parts for name, value in part.items()}
    plain = tree if isinstance(tree, (bool, int, float, str)) else json.dumps(tree)
    return {prefix.rstrip("."): plain}


def _code(text):
    """As a block that Markdown leaves as it is."""
    return "\n".join(f"    {line}" for line in text.splitlines())
