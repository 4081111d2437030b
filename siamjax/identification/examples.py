"""Examples: the labelled windows that captures are compared with."""

import io
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from siamjax import files
from siamjax.data import labels
from siamjax.types import NORMAL, Baseline, Inputs, UsageError

COLUMNS = ("condition", "capture", "start")
# What an npz holds, with NumPy's kind of each array: text or floats.
_ARRAYS = dict(
    condition="U", capture="U", start_s="f", counts="f", mean="f", deviation="f"
)


class Place(NamedTuple):
    """Where an example lies: a window of a capture."""

    condition: str
    capture: str
    start_s: float  # after the capture's first packet


class Examples(NamedTuple):
    """N examples, as counts: each run embeds them itself."""

    places: tuple[Place, ...]
    counts: np.ndarray  # [N, T, F]
    baseline: Baseline  # [N, F]

    @property
    def names(self) -> tuple[str, ...]:
        """The condition of each example."""
        return tuple(place.condition for place in self.places)

    @property
    def inputs(self) -> Inputs:
        """The input of the encoder; examples of one capture share a session."""
        captures = [place.capture for place in self.places]
        _, session = np.unique(captures, return_inverse=True)
        return Inputs(self.counts, self.baseline, session)


def join_examples(*parts: Examples) -> Examples:
    """Joins several `Examples` into one."""
    return Examples(
        sum((part.places for part in parts), ()),
        np.concatenate([part.counts for part in parts]),
        Baseline(*(np.concatenate(x) for x in zip(*(part.baseline for part in parts)))),
    )


def save_examples(path: str | os.PathLike, examples: Examples) -> None:
    """Writes an npz that `load_examples` reads."""
    with files.replacing(path) as beside:
        np.savez_compressed(
            beside,
            condition=np.array([p.condition for p in examples.places]),
            capture=np.array([p.capture for p in examples.places]),
            start_s=np.array([p.start_s for p in examples.places]),
            counts=examples.counts,
            mean=examples.baseline.mean,
            deviation=examples.baseline.deviation,
        )


def load_examples(path: str | os.PathLike) -> Examples:
    """Reads what `save_examples` wrote.

    Raises:
      ValueError: its arrays are not those of `Examples`. A damaged file raises what
        NumPy and zipfile raise.
    """
    # Read from memory: in a file, a damaged archive could raise an error of the system.
    with np.load(io.BytesIO(pathlib.Path(path).read_bytes())) as saved:
        arrays = {name: saved[name] for name in _ARRAYS}
    counts = arrays["counts"]
    baseline_shape = counts.shape[::2]
    shapes = dict(counts=counts.shape, mean=baseline_shape, deviation=baseline_shape)
    for name, array in arrays.items():
        shape = shapes.get(name, counts.shape[:1])
        if array.dtype.kind != _ARRAYS[name] or array.shape != shape:
            raise ValueError(f"{name} is {array.dtype} {list(array.shape)}")
    if counts.ndim != 3 or not len(counts):
        raise ValueError(
            f"its windows are {list(counts.shape)}, not [N, bins, columns]"
        )
    if not np.isfinite(arrays["start_s"]).all():
        raise ValueError("the start of a window is not finite")
    rows = zip(*(arrays[name].tolist() for name in ("condition", "capture", "start_s")))
    baseline = Baseline(arrays["mean"], arrays["deviation"])
    return Examples(tuple(Place(*row) for row in rows), counts, baseline)


def parse_place(text: str) -> Place:
    """The `Place` of `NAME=CAPTURE@SECONDS`; UsageError if text has another form."""
    name, _, rest = text.partition("=")
    capture, _, start = rest.rpartition("@")
    return make_place(name, capture, start, f"example {text!r}", "NAME=CAPTURE@SECONDS")


def write_places(path: str | os.PathLike, examples: Examples) -> None:
    """Writes the places of examples as a CSV, for people."""
    files.write_csv(path, [COLUMNS, *examples.places])


def make_place(name: str, capture: str, start: Any, where: str, form: str) -> Place:
    """A `Place`, once it is one.

    Args:
      name: of the condition.
      capture: path of a file.
      start: seconds after its first packet, a number or its text.
      where: what an error begins with: where the three were given.
      form: how they are to be given.
    Raises:
      UsageError: the three are not a name, a file and seconds from 0 on.
    """
    try:
        start_s = float(start)
    except (TypeError, ValueError):
        start_s = -1.0
    named = isinstance(name, str) and bool(name.strip())
    filed = bool(capture) and "\0" not in capture
    if not named or not filed or not 0 <= start_s < float("inf"):
        raise UsageError(
            f"{where} is not of the form {form}: a name, a file, seconds from 0 on"
        )
    name = name.strip()
    if name.lower() == NORMAL:  # so that whoever takes no normal example says why
        name = NORMAL
    try:
        labels.check_condition(name)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None
    return Place(name, capture, start_s)
