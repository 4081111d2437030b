"""The library: examples of faults and normal traffic of networks, kept on disk.

A folder, of one run or shared by several:

  examples.npz         all examples, as counts
  networks/NAME.npz    normal traffic of a network, as counts

Nothing in it depends on weights, so any run with the same columns and windows uses it.
A file is replaced as a whole, and one process at a time changes a library.
"""

import contextlib
import os
import pathlib
import re
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from siamjax import files
from siamjax.data import labels
from siamjax.identification import library_files
from siamjax.identification.examples import Examples, Place
from siamjax.inference.runs import Run
from siamjax.text import printable, short
from siamjax.types import NORMAL, Baseline, SiamjaxError, UsageError

FOLDER = "library"  # of a run
EXAMPLES, NETWORKS = "examples.npz", "networks"
# The name of a network is the name of a file.
_NETWORK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Library(NamedTuple):
    """What is in a library; the newest last."""

    examples: tuple[library_files.Example, ...]
    networks: tuple[library_files.Network, ...]

    def network(self, name: str) -> library_files.Network:
        """A network by its name; UsageError if it is not there."""
        for network in self.networks:
            if network.name == name:
                return network
        check_network_name(name)  # one with another name cannot be learnt
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


def check_given(folder: str | os.PathLike | None) -> None:
    """Raises UsageError if a folder of a library was given and is not there."""
    if folder and not pathlib.Path(folder).is_dir():
        raise UsageError(
            f"--library={folder}: there is no such folder: siamjax learn and siamjax "
            "adapt make one"
        )


def layout_of(run: Run) -> library_files.Layout:
    """The `Layout` of a run."""
    return library_files.Layout(
        tuple(column.name for column in run.columns),
        tuple(bool(heavy) for heavy in np.asarray(run.scaler.heavy)),
        run.config.data.bin_s,
    )


def origin_of(run: Run, note: str = "") -> library_files.Origin:
    """The `Origin` of what a run learns now."""
    try:
        labels.check_condition(note or "-")  # what can be shown, and is not too long
    except ValueError as error:
        raise UsageError(f"--note: {str(error).replace('condition', 'note')}") from None
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    checkpoint = f"{pathlib.Path(run.workdir).name}, step {run.step}"
    return library_files.Origin(note, moment, checkpoint)


def read_library(
    folder: str | os.PathLike, layout: library_files.Layout | None = None
) -> Library:
    """Reads a library; one that is not there is empty.

    Args:
      folder: of the library.
      layout: of the run that uses it; by default it is not compared.
    Raises:
      files.Damaged: a file cannot be read.
      SiamjaxError: it was learnt with another layout.
    """
    folder = pathlib.Path(folder)
    kept: tuple[library_files.Example, ...] = ()
    if (folder / EXAMPLES).exists():
        kept = library_files.read_examples(folder / EXAMPLES, layout)
    networks = [
        library_files.read_network(path, layout)
        for path in sorted((folder / NETWORKS).glob("*.npz"))
        if _NETWORK_NAME.fullmatch(path.stem)
    ]
    networks.sort(key=lambda network: (network.origin.learnt, network.name))
    return Library(kept, tuple(networks))


def as_examples(kept: Sequence[library_files.Example]) -> Examples | None:
    """The examples of a library as `Examples`; None if there is none."""
    if not kept:
        return None
    return Examples(
        tuple(example.place for example in kept),
        np.stack([example.counts for example in kept]),
        Baseline(*(np.stack(x) for x in zip(*(example.baseline for example in kept)))),
    )


def add_examples(
    folder: str | os.PathLike,
    added: Sequence[library_files.Example],
    layout: library_files.Layout,
) -> None:
    """Adds examples; one at the same place replaces the one that was there."""
    with _changing(folder) as path:
        kept = read_library(path, layout).examples
        places = {example.place for example in added}
        kept = tuple(example for example in kept if example.place not in places)
        library_files.write_examples(path / EXAMPLES, (*kept, *added), layout)


def put_network(
    folder: str | os.PathLike,
    network: library_files.Network,
    layout: library_files.Layout,
) -> None:
    """Adds a network; it replaces the one of the same name."""
    check_network_name(network.name)
    with _changing(folder) as path:
        read_library(path, layout)
        library_files.write_network(
            path / NETWORKS / f"{network.name}.npz", network, layout
        )


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
                layout = library_files.read_layout(path / EXAMPLES)
                library_files.write_examples(path / EXAMPLES, kept, layout)
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
        layouts = [
            library_files.read_layout(path) for path in _stored(pathlib.Path(unpacked))
        ]
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
