"""What TensorBoard shows beside scalars: pictures, histograms, config and results.

A folder of its own, written anew each time, so that nothing is there twice.
"""

import json
import pathlib
import shutil

import numpy as np

from siamjax.reports import camera, colours, drawing

# Of the embedding at a traced step, in pixels; TensorBoard shows ten steps at most.
SIDE, PICTURES = 480, 10


def write(folder, *, config, traced=None, results=None, text="", pictures=()):
    """Writes an event file that TensorBoard shows as one run.

    Args:
      folder: is emptied first.
      config: the run's fields, nested dicts of plain values.
      traced: a `trace.Trace`: images of the cube and histograms at its steps.
      results: see `evaluation.results`: hyper-parameters with what came of them.
      text: the results as a table.
      pictures: paths of PNG files; shown under their names.
    """
    from PIL import Image
    from tensorboardX import SummaryWriter
    from tensorboardX.summary import hparams

    folder = pathlib.Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    judged = 0 if results is None else results["step"]
    with SummaryWriter(str(folder)) as out:
        out.add_text("config", _code(json.dumps(config, indent=1)), 0)
        if text:
            out.add_text("results", _code(text), judged)
        for path in pictures:
            pixels = np.asarray(Image.open(path).convert("RGB"))
            out.add_image(pathlib.Path(path).stem, pixels, judged, dataformats="HWC")
        if traced is not None:
            _trace(out, traced)
        if results is not None:
            metrics = _metrics(results)
            for summary in hparams(_flat(config), metrics):
                out.file_writer.add_summary(summary)
            for name, value in metrics.items():
                out.add_scalar(name, value, judged)


def _trace(out, traced):
    names, novel = traced.about["conditions"], traced.about["novel"]
    of, shape = colours.of(names), colours.shapes(names, novel)
    looks = [(of[name], shape[name]) for name in names]
    xyz = drawing.three(traced.points, like=traced.points[-1])
    low, high = drawing.limits(xyz)
    shown = np.linspace(0, len(traced.steps) - 1, min(PICTURES, len(traced.steps)))
    for i in np.unique(shown.round().astype(int)):
        unit = (xyz[i] - low) / (high - low)
        picture = camera.image(unit, looks, camera.View(-50, 20), SIDE)
        step = int(traced.steps[i])
        out.add_image("embedding", np.asarray(picture), step, dataformats="HWC")
    for step, points in zip(traced.steps.tolist(), traced.points):
        gaps = np.linalg.norm(points[:, None] - points, axis=-1)
        out.add_histogram(f"{traced.about['head']}/coordinates", points, step)
        out.add_histogram(f"{traced.about['head']}/distances", gaps, step)


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
