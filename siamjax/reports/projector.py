"""Files for TensorBoard's embedding projector, written without TensorFlow.

A folder holds tensors.bytes, metadata.tsv, sprite.png (the disc of each point in the
colour of its condition), bookmarks.json, projector_config.pbtxt and an event file,
without which TensorBoard ignores the folder. Three-dimensional points get a bookmark
that shows their own axes instead of the main axes (PCA).
"""

import json
import pathlib
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from siamjax import files
from siamjax.checks import require
from siamjax.reports import colours, events

# TensorBoard's largest sprite sheet is 8192 pixels a side.
SHEET = 8192
CONFIG = "projector_config.pbtxt"
TILE, SMALL_TILE = 32, 16


def write_projector(
    folder: pathlib.Path,
    points: np.ndarray,
    *,
    conditions: Sequence[str],
    captures: Sequence[str],
    times: Sequence[float] | np.ndarray,
    roles: Sequence[str] | None = None,
    right: np.ndarray | None = None,
    novel: Collection[str] = (),
    learnt: int | None = None,
) -> None:
    """Writes a folder that `tensorboard --logdir` shows in its projector tab.

    Args:
      folder: is created; files of an earlier call are replaced.
      points: `[N, E]` finite floats, N > 0.
      conditions: N names.
      captures: N names.
      times: `[N]` seconds after the capture's first packet.
      roles: N words, such as `test`.
      right: `[N]`, the share of draws in which a window was recognised; NaN: not
        judged.
      novel: names of conditions that training never saw, drawn as diamonds.
      learnt: how many of the E coordinates the network computes; they come first. The
        name of the tensor also counts the other ones, statistics of the window.
    """
    from google.protobuf import text_format
    from tensorboard.plugins.projector import ProjectorConfig

    points = np.ascontiguousarray(points, "<f4")
    require(
        points.ndim == 2 and len(points) > 0 and np.isfinite(points).all(),
        f"the projector needs finite points [N, E], not {list(points.shape)}",
    )
    folder = pathlib.Path(folder)
    # Without the config TensorBoard shows nothing, so it never mixes old and new files.
    (folder / CONFIG).unlink(missing_ok=True)
    files.write_bytes(folder / "tensors.bytes", points.tobytes())
    columns = {
        "condition": conditions,
        "capture": captures,
        "time_s": [f"{t:g}" for t in times],
    }
    if roles is not None:
        columns["role"] = roles
    if right is not None:
        columns["recognised"] = [_recognised(share) for share in right]
    _metadata(folder / "metadata.tsv", columns, len(points))
    config = ProjectorConfig()
    embedding = config.embeddings.add(
        tensor_name=_tensor_name(folder.name, points.shape[1], learnt),
        tensor_path="tensors.bytes",
        tensor_shape=points.shape,
        metadata_path="metadata.tsv",
    )
    if tile := write_sprite(folder / "sprite.png", conditions, novel):
        embedding.sprite.image_path = "sprite.png"
        embedding.sprite.single_image_dim.extend([tile, tile])
    if points.shape[1] == 3:
        text = json.dumps([cube_bookmark(points)])
        files.write_text(folder / "bookmarks.json", text)
        embedding.bookmarks_path = "bookmarks.json"
    _event_file(folder)
    files.write_text(folder / CONFIG, text_format.MessageToString(config))


def write_sprite(
    path: pathlib.Path, conditions: Sequence[str], novel: Collection[str] = ()
) -> int:
    """Writes a sheet with one shape per point, row by row.

    Returns:
      The side of a shape in pixels; 0 if there are too many points for TensorBoard's
      largest sheet: none is written then.
    """
    from PIL import Image

    from siamjax.reports import discs

    count = len(conditions)
    across = int(np.ceil(np.sqrt(count)))
    tile = next((side for side in (TILE, SMALL_TILE) if across * side <= SHEET), 0)
    if not tile:
        return 0
    names = list(dict.fromkeys(conditions))
    colour, shape = colours.assign_colours(names), colours.assign_shapes(names, novel)
    tiles = {name: discs.draw_disc(tile, colour[name], shape[name]) for name in names}
    # TensorBoard expects as many rows as columns: the sheet must be square.
    sheet = Image.new("RGBA", (across * tile, across * tile))
    for i, name in enumerate(conditions):
        sheet.paste(tiles[name], (i % across * tile, i // across * tile))
    with files.replacing(path) as beside:
        sheet.save(beside)
    return tile


def cube_bookmark(points: np.ndarray) -> dict[str, Any]:
    """A bookmark whose three axes are those of the points `[N, 3]`.

    TensorBoard computes no main axes if a bookmark has coordinates under their names.
    It needs every field: if one is missing, the plot is empty.
    """
    xyz = points.astype(float).round(5).tolist()
    custom = {
        f"custom{axis}{end}": value
        for axis in ("XLeft", "XRight", "YUp", "YDown")
        for end, value in (("Text", ""), ("Regex", False))
    }
    return dict(
        label="true axes of the cube",
        isSelected=True,
        selectedProjection="pca",
        pcaComponentDimensions=[0, 1, 2],
        projections=[{f"pca-{k}": x for k, x in enumerate(p)} for p in xyz],
        dataSetDimensions=list(points.shape),
        shuffledDataIndices=list(range(len(points))),
        tSNEIteration=0,
        tSNEPerplexity=8,
        tSNELearningRate=10,
        tSNEis3d=True,
        umapIs3d=True,
        umapNeighbors=15,
        umapMinDist=0.1,
        selectedPoints=[],
        selectedColorOptionName="",
        forceCategoricalColoring=False,
        selectedLabelOption="condition",
        customSelectedSearchByMetadataOption="condition",
        cameraDef=dict(
            orthographic=False, position=[1.6, 0.9, 1.6], target=[0, 0, 0], zoom=1
        ),
        **custom,
    )


def _tensor_name(head, dimensions, learnt):
    """The name that TensorBoard shows beside the number of dimensions.

    It becomes part of a URL without quoting, so it has no `+`, `&` or `#`.
    """
    if learnt is None or learnt == dimensions:
        return head
    return f"{head}: {learnt} learnt, {dimensions - learnt} statistics"


def _metadata(path, columns, count):
    """Writes a tab-separated table, one row per point, with safe names."""
    for name, values in columns.items():
        require(len(values) == count, f"{len(values)} values of {name}, {count} points")
    rows = [columns, *zip(*columns.values())]
    lines = ["\t".join(_safe(value) for value in row) for row in rows]
    files.write_text(path, "\n".join(lines) + "\n")


def _safe(value):
    """One line without control characters; an empty field would shift the columns."""
    text = "".join(c if c.isprintable() else " " for c in str(value))
    return " ".join(text.split()) or "-"


def _recognised(share):
    """A word for a share of draws: the projector can colour points by it."""
    if np.isnan(share):
        return "not judged"
    return "yes" if share > 0.5 else "no"


def _event_file(folder):
    """An event file without events, unless there is one."""
    if not any(folder.glob("events.out.tfevents.*")):
        events.EventFile(folder).close()
