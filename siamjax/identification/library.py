"""The library: examples of faults and normal traffic of networks, kept on disk.

A folder, of one run or shared by several:

  examples.npz         all examples, as counts
  networks/NAME.npz    normal traffic of a network, as counts

Nothing in it depends on weights, so any run with the same columns and windows uses it.
A file is replaced as a whole, and one process at a time changes a library.
"""

import contextlib
import io
import os
import pathlib
import re
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from siamjax import files
from siamjax.data import labels
from siamjax.identification.examples import Examples, Place
from siamjax.inference.runs import Run
from siamjax.text import printable, short
from siamjax.types import NORMAL, Baseline, SiamjaxError, UsageError

FOLDER = "library"  # of a run
EXAMPLES, NETWORKS = "examples.npz", "networks"
# The name of a network is the name of a file.
_NETWORK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
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


class Library(NamedTuple):
    """What is in a library; the newest last."""

    examples: tuple[Example, ...]
    networks: tuple[Network, ...]

    def network(self, name: str) -> Network:
        """A network by its name; UsageError if it is not there."""
        for network in self.networks:
            if network.name == name:
                return network
        known = ", ".join(network.name for network in self.networks)
        raise UsageError(
            f"the library has no network {name!r}, it has {known or 'none'}: learn it "
            f"with siamjax adapt --network {name} CAPTURE"
        )


def locate(
    workdir: str | os.PathLike | None, folder: str | os.PathLike | None = None
) -> pathlib.Path:
    """The folder of a library: the one that is given, or that of a run.

    Raises:
      UsageError: neither is given.
    """
    if folder:
        return pathlib.Path(folder)
    if not workdir:
        raise UsageError(
            "give --library DIR, or --workdir DIR for the library of a run"
        )
    return pathlib.Path(workdir) / FOLDER


def layout_of(run: Run) -> Layout:
    """The `Layout` of a run."""
    return Layout(
        tuple(column.name for column in run.columns),
        tuple(bool(heavy) for heavy in np.asarray(run.scaler.heavy)),
        run.config.data.bin_s,
    )


def origin_of(run: Run, note: str = "") -> Origin:
    """The `Origin` of what a run learns now."""
    try:
        labels.check_condition(note or "-")  # what can be shown, and is not too long
    except ValueError as error:
        raise UsageError(f"--note: {str(error).replace('condition', 'note')}") from None
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    checkpoint = f"{pathlib.Path(run.workdir).name}, step {run.step}"
    return Origin(note, moment, checkpoint)


def read_library(folder: str | os.PathLike, layout: Layout | None = None) -> Library:
    """Reads a library; one that is not there is empty.

    Args:
      folder: of the library.
      layout: of the run that uses it; by default it is not compared.
    Raises:
      files.Damaged: a file cannot be read.
      SiamjaxError: it was learnt with another layout.
    """
    folder = pathlib.Path(folder)
    kept: tuple[Example, ...] = ()
    if (folder / EXAMPLES).exists():
        kept = _read_examples(folder / EXAMPLES, layout)
    networks = [
        _read_network(path, layout)
        for path in sorted((folder / NETWORKS).glob("*.npz"))
        if _NETWORK_NAME.fullmatch(path.stem)
    ]
    networks.sort(key=lambda network: (network.origin.learnt, network.name))
    return Library(kept, tuple(networks))


def as_examples(kept: Sequence[Example]) -> Examples | None:
    """The examples of a library as `Examples`; None if there is none."""
    if not kept:
        return None
    return Examples(
        tuple(example.place for example in kept),
        np.stack([example.counts for example in kept]),
        Baseline(*(np.stack(x) for x in zip(*(example.baseline for example in kept)))),
    )


def add_examples(
    folder: str | os.PathLike, added: Sequence[Example], layout: Layout
) -> None:
    """Adds examples; one at the same place replaces the one that was there."""
    with _changing(folder) as path:
        kept = read_library(path, layout).examples
        places = {example.place for example in added}
        kept = tuple(example for example in kept if example.place not in places)
        _write_examples(path / EXAMPLES, (*kept, *added), layout)


def put_network(folder: str | os.PathLike, network: Network, layout: Layout) -> None:
    """Adds a network; it replaces the one of the same name."""
    check_network_name(network.name)
    with _changing(folder) as path:
        read_library(path, layout)
        _write_network(path / NETWORKS / f"{network.name}.npz", network, layout)


def forget(folder: str | os.PathLike, name: str) -> list[str]:
    """Removes the examples of a condition and the network of a name.

    Args:
      folder: of the library.
      name: of a condition or a network; `NAME@SECONDS` removes the examples of a
        condition that begin at this second.
    Returns:
      A line for each thing that was removed.
    Raises:
      UsageError: there is nothing of that name.
    """
    if not pathlib.Path(folder).exists():
        raise UsageError(f"there is no library {folder}")
    with _changing(folder) as path:
        library = read_library(path)
        gone = [
            example
            for example in library.examples
            if name
            in (
                example.place.condition,
                f"{example.place.condition}@{example.place.start_s:g}",
            )
        ]
        networks = [network for network in library.networks if network.name == name]
        if not gone and not networks:
            known = [example.place.condition for example in library.examples]
            known += [network.name for network in library.networks]
            raise UsageError(
                f"{folder} has nothing of the name {name!r}, it has "
                f"{', '.join(dict.fromkeys(known)) or 'nothing'}"
            )
        if gone:
            places = {example.place for example in gone}
            kept = tuple(e for e in library.examples if e.place not in places)
            if kept:
                layout = _stored_layout(path / EXAMPLES)
                _write_examples(path / EXAMPLES, kept, layout)
            else:
                (path / EXAMPLES).unlink()
        for network in networks:
            (path / NETWORKS / f"{network.name}.npz").unlink()
    return [
        *(f"the example {describe_place(example.place)}" for example in gone),
        *(f"the network {network.name}" for network in networks),
    ]


def export(folder: str | os.PathLike, file: str | os.PathLike) -> None:
    """Writes a library as one zip file that `import_file` reads."""
    with _changing(folder) as path:
        read_library(path)  # what is damaged is not handed on
        stored = [path / EXAMPLES, *sorted((path / NETWORKS).glob("*.npz"))]
        stored = [part for part in stored if part.exists()]
        if not stored:
            raise UsageError(f"the library {folder} is empty: learn something first")
        with files.replacing(file) as beside, zipfile.ZipFile(beside, "w") as archive:
            for part in stored:
                archive.write(part, part.relative_to(path).as_posix())


def import_file(folder: str | os.PathLike, file: str | os.PathLike) -> list[str]:
    """Adds what `export` wrote; nothing is added unless all of it can be.

    Returns:
      A line for each example and network.
    Raises:
      files.Damaged: the file cannot be read.
      SiamjaxError: its layout is another than that of the library.
      UsageError: a network of that name is there already, with other traffic.
    """
    remedy = "export it again with siamjax export"
    if not os.path.isfile(file):
        raise UsageError(f"there is no file {file}")
    with tempfile.TemporaryDirectory() as unpacked:
        with files.parsing(file, remedy), zipfile.ZipFile(file) as archive:
            _unpack(archive, pathlib.Path(unpacked))
        added = read_library(unpacked)
        if not added.examples and not added.networks:
            raise SiamjaxError(f"{file} holds no library: {remedy}")
        layouts = [_stored_layout(path) for path in _stored(pathlib.Path(unpacked))]
    layout = layouts[0]
    there = {network.name: network for network in read_library(folder).networks}
    for network in added.networks:
        other = there.get(network.name)
        if other is not None and other.origin != network.origin:
            raise UsageError(
                f"the library has another network {network.name!r}: forget it first "
                "with siamjax forget"
            )
    if added.examples:
        add_examples(folder, added.examples, layout)
    for network in added.networks:
        put_network(folder, network, layout)
    return [
        *(f"the example {describe_place(example.place)}" for example in added.examples),
        *(f"the network {network.name}" for network in added.networks),
    ]


def describe_place(place: Place) -> str:
    """An example in a few words, as it is given to `siamjax learn`."""
    return f"{place.condition}={pathlib.Path(place.capture).name}@{place.start_s:g}"


def list_records(kept: Library) -> list[dict[str, Any]]:
    """What is in a library, as plain values."""
    return [
        *(
            dict(example.place._asdict(), kind="example", **example.origin._asdict())
            for example in kept.examples
        ),
        *(
            dict(
                network=network.name,
                captures=list(network.captures),
                bins=sum(map(len, network.counts)),
                kind="network",
                **network.origin._asdict(),
            )
            for network in kept.networks
        ),
    ]


def describe_library(kept: Library) -> list[str]:
    """Lines about what is in a library."""
    lines = []
    for example in kept.examples:
        lines.append(_described(describe_place(example.place), example.origin))
    for network in kept.networks:
        captures = ", ".join(network.captures)
        lines.append(
            _described(f"network {network.name}: {short(captures)}", network.origin)
        )
    return lines or ["the library is empty"]


def _described(what, origin):
    note = f": {origin.note}" if origin.note else ""
    return printable(f"{what}  ({origin.learnt}, {origin.checkpoint}){note}")


def check_network_name(name: str) -> None:
    """Raises UsageError unless a network can have this name."""
    if not _NETWORK_NAME.fullmatch(name) or name.lower() in (NORMAL, *labels.RESERVED):
        raise UsageError(
            f"--network {name!r}: give a name of letters, digits, dots, dashes and "
            "underscores, which is not the name of a verdict"
        )


@contextlib.contextmanager
def _changing(folder: str | os.PathLike) -> Iterator[pathlib.Path]:
    """The folder, which this process alone changes; others wait."""
    with files.locked(folder, wait=True):
        yield pathlib.Path(folder)


def _stored(folder):
    """The files of a library."""
    paths = [folder / EXAMPLES, *sorted((folder / NETWORKS).glob("*.npz"))]
    return [path for path in paths if path.exists()]


def _unpack(archive, folder):
    """Writes the files of a library from a zip file, and no other file."""
    for name in archive.namelist():
        part = pathlib.PurePosixPath(name)
        is_network = part.parent.name == NETWORKS and len(part.parts) == 2
        named = part.suffix == ".npz" and _NETWORK_NAME.fullmatch(part.stem)
        if name == EXAMPLES or (is_network and named):
            path = folder / part
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(archive.read(name))


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


def _stored_layout(path):
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


def _read_examples(path, layout):
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


def _read_network(path, layout):
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


def _write_examples(path, kept: Iterable[Example], layout: Layout) -> None:
    kept = tuple(kept)
    joined = as_examples(kept)
    assert joined is not None  # a library without an example has no file
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
        counts=joined.counts.astype(np.float32),
        mean=np.asarray(joined.baseline.mean, np.float32),
        deviation=np.asarray(joined.baseline.deviation, np.float32),
    )


def _write_network(path, network, layout):
    _write(
        path,
        layout,
        capture=np.array(network.captures),
        length=np.array([len(counts) for counts in network.counts], np.int64),
        counts=np.concatenate(network.counts).astype(np.float32),
        **{name: np.array(value) for name, value in network.origin._asdict().items()},
    )
