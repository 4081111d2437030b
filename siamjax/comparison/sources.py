"""Data sets that make themselves where they are missing: made-up counters, and aeon's.

A data set of a comparison whose `source` is set is written as a prepared data set when
its folder is not there: `dict(name="synthetic", ...)` takes the arguments of
`synthetic.make_data_set`, `dict(name="aeon", of="JapaneseVowels")` those of `aeon`.
"""

import inspect

import numpy as np

from siamjax.checks import require
from siamjax.data import prepared, synthetic
from siamjax.evaluation import baselines
from siamjax.types import DataSet, Label, Series, Session, UsageError

MADE_OF = "made_of"  # in meta.json: the source of a data set that made itself


def make(config):
    """Writes the data sets of a comparison that have a source and no folder yet.

    Raises:
      UsageError: a folder was made from another source.
    """
    for name, data_set in config.data_sets.items():
        how, folder = dict(data_set.get("source", {})), data_set.data.dir
        if not how:
            continue
        meta = prepared.read_meta(folder)
        if meta is None:
            arguments = {k: v for k, v in how.items() if k != "name"}
            made = SOURCES[how["name"]](**arguments)
            made = made._replace(meta={**made.meta, MADE_OF: how})
            prepared.write_data_set(folder, made, {})
            continue
        before = meta.get(MADE_OF, how)  # an older set does not say
        require(
            before == how,
            f"{folder} was made of {before}, config.data_sets.{name}.source is {how}: "
            "give another data.dir, or remove the folder",
        )


def check(config):
    """Raises `UsageError` where a source is not there, or does not take its options."""
    for name, data_set in config.data_sets.items():
        how = dict(data_set.get("source", {}))
        if not how:
            continue
        where = f"config.data_sets.{name}.source"
        of = how.pop("name", None)
        require(of in SOURCES, f"{where}.name is {of!r}: one of {sorted(SOURCES)}")
        takes = inspect.signature(SOURCES[of]).parameters
        unknown = sorted(set(how) - set(takes))
        require(not unknown, f"{where} sets {unknown}, {of} takes {sorted(takes)}")
        missing = [k for k, p in takes.items() if p.default is p.empty and k not in how]
        require(not missing, f"{where} lacks {missing}, which {of} needs")


def aeon(of):
    """A classification data set of aeon, which brings some along and loads the others.

    Each recording is a session and each class a condition; none is normal. A frame
    counts as a second. Shorter recordings are stretched to the longest, so that all
    methods see the same.

    Args:
      of: its name in the UCR and UEA archives, such as `JapaneseVowels`.
    Returns:
      `types.DataSet`.
    Raises:
      UsageError: aeon is not there, or does not have it.
    """
    load = baselines.import_bench("aeon.datasets").load_classification
    how = dict(load_equal_length=False, load_no_missing=False)
    try:
        parts = {split: load(of, split=split, **how) for split in ("train", "test")}
    except Exception as error:  # its own, of files and of the network
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
    at = np.linspace(0, row.shape[1] - 1, frames)
    stretched = np.stack([np.interp(at, np.arange(len(x)), x) for x in row], 1)
    time_ns = np.arange(frames, dtype=np.int64) * 10**9
    series = Series(time_ns, stretched.astype(np.float32))
    return Session(
        name, float(frames), (Label(condition, 0.0, float(frames)),), None, series
    )


SOURCES = {"synthetic": synthetic.make_data_set, "aeon": aeon}
