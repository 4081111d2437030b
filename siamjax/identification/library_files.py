"""The files of a library: examples and networks as compressed NumPy arrays.

A file says of which columns and bins its counts are, so that none is read by a run that
has others.
"""

import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from siamjax import files
from siamjax.identification.examples import Place
from siamjax.types import Baseline, SiamjaxError

# What the files hold, with NumPy's kind of each array: text, float, bool, integer.
_LAYOUT = dict(columns="U", heavy="b", bin_s="f")
_ORIGIN = dict(note="U", learnt="U", checkpoint="U")
_EXAMPLES = dict(
    **dict(condition="U", capture="U", start_s="f"),
    **dict(counts="f", mean="f", deviation="f"),
    **_ORIGIN,
    **_LAYOUT,
)
_NETWORK = dict(capture="U", length="i", counts="f", **_ORIGIN, **_LAYOUT)


class Layout(NamedTuple):
    """What the counts of a library mean; a run must have the same to use it."""

    columns: tuple[str, ...]  # F names
    heavy: tuple[bool, ...]  # F: which take log1p; baselines depend on it
    bin_s: float


class Origin(NamedTuple):
    """How something came into the library."""

    note: str
    learnt: str  # when, ISO 8601 in UTC
    checkpoint: str  # of which run


class Example(NamedTuple):
    """A window of a fault."""

    place: Place
    counts: np.ndarray  # [T, F]
    baseline: Baseline  # [F]
    origin: Origin


class Network(NamedTuple):
    """Normal traffic of a network."""

    name: str
    captures: tuple[str, ...]
    counts: tuple[np.ndarray, ...]  # [bins, F] of each capture
    origin: Origin


def _remedy(path):
    return f"remove {path} and learn again, or import a copy"


def _read(path, kinds, layout):
    """The arrays of a file, once they have the kinds and the layout."""
    with files.parsing(path, _remedy(path)):
        with np.load(io.BytesIO(path.read_bytes())) as saved:
            arrays = {name: saved[name] for name in kinds}
        for name, array in arrays.items():
            if array.dtype.kind != kinds[name]:
                raise ValueError(f"{name} is {array.dtype} {list(array.shape)}")
        width = len(arrays["columns"])
        if arrays["counts"].shape[-1] != width or arrays["heavy"].shape != (width,):
            raise ValueError(f"its counts do not have {width} columns")
    if layout is not None:
        _compare(path, _layout_from(arrays), layout)
    return arrays


def read_layout(path: pathlib.Path) -> Layout:
    """The `Layout` of a file of examples or of a network."""
    with files.parsing(path, _remedy(path)), np.load(path) as saved:
        return _layout_from(saved)


def _layout_from(arrays: Mapping[str, np.ndarray]) -> Layout:
    return Layout(
        tuple(arrays["columns"].tolist()),
        tuple(arrays["heavy"].tolist()),
        float(arrays["bin_s"]),
    )


def _compare(path, stored, wanted):
    """Raises SiamjaxError unless two layouts are the same."""
    if stored == wanted:
        return
    if stored.bin_s != wanted.bin_s:
        what = f"bins of {stored.bin_s:g} s, this run has {wanted.bin_s:g} s"
    else:
        other = sorted(set(stored.columns) ^ set(wanted.columns))
        what = "other columns than this run"
        if other:
            what += f": {', '.join(other[:3])}{', ...' if len(other) > 3 else ''}"
    raise SiamjaxError(
        f"{path} was learnt with {what}; give another --library, or learn again from "
        "the captures"
    )


def read_examples(path: pathlib.Path, layout: Layout | None) -> tuple[Example, ...]:
    """Reads the examples of a file.

    Args:
      path: of the file.
      layout: that they must have; None: any.
    Raises:
      files.Damaged: the file cannot be read.
      SiamjaxError: it has another layout.
    """
    arrays = _read(path, _EXAMPLES, layout)
    with files.parsing(path, _remedy(path)):
        counts = arrays["counts"]
        if counts.ndim != 3 or not len(counts):
            raise ValueError(f"its windows are {list(counts.shape)}")
        single = [*_ORIGIN, "condition", "capture", "start_s"]
        for name in single:
            if arrays[name].shape != counts.shape[:1]:
                raise ValueError(f"{name} is {list(arrays[name].shape)}")
        for name in ("mean", "deviation"):
            if arrays[name].shape != counts.shape[::2]:
                raise ValueError(f"{name} is {list(arrays[name].shape)}")
        rows = zip(*(arrays[name].tolist() for name in single))
        return tuple(
            Example(
                Place(condition, capture, start_s),
                counts[i],
                Baseline(arrays["mean"][i], arrays["deviation"][i]),
                Origin(note, learnt, checkpoint),
            )
            for i, (note, learnt, checkpoint, condition, capture, start_s) in enumerate(
                rows
            )
        )


def read_network(path: pathlib.Path, layout: Layout | None) -> Network:
    """Reads the normal traffic of a network, see `read_examples`."""
    arrays = _read(path, _NETWORK, layout)
    with files.parsing(path, _remedy(path)):
        length = arrays["length"]
        if arrays["counts"].ndim != 2 or length.sum() != len(arrays["counts"]):
            raise ValueError(f"its counts are {list(arrays['counts'].shape)}")
        if not len(length) or (length < 1).any():
            raise ValueError("a capture has no bin")
        parts = np.split(arrays["counts"], np.cumsum(length)[:-1])
        origin = Origin(*(str(arrays[name]) for name in Origin._fields))
    return Network(path.stem, tuple(arrays["capture"].tolist()), tuple(parts), origin)


def _write(path, layout: Layout, **arrays: Any) -> None:
    with files.replacing(path) as beside, files.open_file(beside, "wb") as file:
        np.savez_compressed(
            file,
            columns=np.array(layout.columns),
            heavy=np.array(layout.heavy, bool),
            bin_s=np.float64(layout.bin_s),
            **arrays,
        )


def write_examples(path: pathlib.Path, kept: Sequence[Example], layout: Layout) -> None:
    """Writes examples, at least one, as one file.

    Raises:
      SiamjaxError: their windows differ in length.
    """
    bins = {len(example.counts) for example in kept}
    if len(bins) > 1:
        raise SiamjaxError(
            f"the library has windows of {sorted(bins)} bins: give another --library"
        )
    _write(
        path,
        layout,
        **{
            name: np.array([getattr(example.place, name) for example in kept])
            for name in Place._fields
        },
        **{
            name: np.array([getattr(example.origin, name) for example in kept])
            for name in Origin._fields
        },
        counts=np.stack([example.counts for example in kept]).astype(np.float32),
        mean=np.stack([example.baseline.mean for example in kept]).astype(np.float32),
        deviation=np.stack([example.baseline.deviation for example in kept]).astype(
            np.float32
        ),
    )


def write_network(path: pathlib.Path, network: Network, layout: Layout) -> None:
    """Writes the normal traffic of a network as one file."""
    _write(
        path,
        layout,
        capture=np.array(network.captures),
        length=np.array([len(counts) for counts in network.counts], np.int64),
        counts=np.concatenate(network.counts).astype(np.float32),
        **{name: np.array(value) for name, value in network.origin._asdict().items()},
    )
