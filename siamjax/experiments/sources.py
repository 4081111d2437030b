"""Data sets that an experiment makes if they are missing: made-up counters, and aeon's.

A data set with a `source` is written as a prepared data set if its folder is not there.
`dict(name="synthetic", ...)` takes the arguments of `synthetic.make_data_set`, and
`dict(name="aeon", of="JapaneseVowels")` those of `read_aeon`.
"""

import inspect
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from siamjax.checks import require
from siamjax.data import prepared, synthetic
from siamjax.evaluation import baselines
from siamjax.types import DataSet, Label, Series, Session, UsageError

MADE_OF = "made_of"  # in meta.json: the source of a data set that was made here


def make_if_missing(
    source: Mapping[str, Any], folder: str | os.PathLike, where: str
) -> None:
    """Writes a data set into a folder that is not there yet.

    Args:
      source: what it is made of; empty: the user prepares the data set.
      folder: of the data set.
      where: the field of the config that has the source, for messages.
    Raises:
      UsageError: the folder was made from another source.
    """
    if not source:
        return
    meta = prepared.read_meta(folder)
    if meta is None:
        arguments = {k: v for k, v in source.items() if k != "name"}
        created = SOURCES[source["name"]](**arguments)
        created = created._replace(meta={**created.meta, MADE_OF: dict(source)})
        prepared.write_data_set(folder, created, {})
        return
    before = meta.get(MADE_OF, source)  # older data sets do not say
    require(
        before == source,
        f"{folder} was made of {before}, {where} is {source}: give another "
        "data.dir, or remove the folder",
    )


def check_source(source: Mapping[str, Any], where: str) -> None:
    """Raises `UsageError` if a source is unknown, or does not take its options.

    Args:
      source: of `make_if_missing`.
      where: the field of the config that has it.
    """
    options = dict(source)
    if not options:
        return
    name = options.pop("name", None)
    require(name in SOURCES, f"{where}.name is {name!r}: one of {sorted(SOURCES)}")
    takes = inspect.signature(SOURCES[name]).parameters
    unknown = sorted(set(options) - set(takes))
    require(not unknown, f"{where} sets {unknown}, {name} takes {sorted(takes)}")
    missing = [
        option
        for option, parameter in takes.items()
        if parameter.default is parameter.empty and option not in options
    ]
    require(not missing, f"{where} lacks {missing}, which {name} needs")


def read_aeon(of: str) -> DataSet:
    """A classification data set of aeon; aeon downloads those that it does not contain.

    Each recording is a session and each class a condition; none is normal. A frame
    counts as a second. Shorter recordings are stretched to the longest, so that all
    methods see the same.

    Args:
      of: its name in the UCR and UEA archives, such as `JapaneseVowels`.
    Raises:
      UsageError: aeon is not installed, or does not have the data set.
    """
    load = baselines.import_bench("aeon.datasets").load_classification
    options = dict(load_equal_length=False, load_no_missing=False)
    try:
        parts = {split: load(of, split=split, **options) for split in ("train", "test")}
    except (
        Exception
    ) as error:  # aeon's own errors, and those of files and of the network
        raise UsageError(f"aeon has no data set {of}: {error}") from error
    frames = max(row.shape[1] for x, _ in parts.values() for row in x)
    sessions = [
        _recording(f"{split}_{i:04d}", row, f"class {label}", frames)
        for split, (x, labels) in parts.items()
        for i, (row, label) in enumerate(zip(x, labels))
    ]
    channels = sessions[0].series.values.shape[1]
    names = tuple(f"channel {i}" for i in range(channels))
    return DataSet(tuple(sessions), names, dict(source=f"aeon: {of}"))


def _recording(name, row, condition, frames):
    """`types.Session` of `row [channels, its own frames]`, stretched to `frames`."""
    places = np.linspace(0, row.shape[1] - 1, frames)
    stretched = np.stack([np.interp(places, np.arange(len(x)), x) for x in row], 1)
    time_ns = np.arange(frames, dtype=np.int64) * 10**9
    series = Series(time_ns, stretched.astype(np.float32))
    return Session(
        name, float(frames), (Label(condition, 0.0, float(frames)),), None, series
    )


SOURCES = {"synthetic": synthetic.make_data_set, "aeon": read_aeon}
