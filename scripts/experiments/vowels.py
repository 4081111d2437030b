"""One-shot recognition of held-out speakers in JapaneseVowels, a data set in aeon.

    python -m scripts.experiments.vowels --workdir=runs/vowels

It is no telecom data, but it is public and small, and its recordings are about as short
and wide as windows of counters: 9 speakers, 12 columns, 7 to 29 frames. Examples are
the recordings of the published training split, queries those of the test split. Each
draw holds out 3 speakers; over 6 draws each speaker is held out twice. Needs the extra
`bench`.
"""

import dataclasses
import functools
import itertools
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from absl import flags

from scripts.experiments import cells
from scripts.experiments import vowels_data as vowels
from siamjax import cli
from siamjax.comparison import sources
from siamjax.config import Config, from_dict
from siamjax.data import prepared
from siamjax.experiments import runner, settings

_WORKDIR = flags.DEFINE_string("workdir", "runs/vowels", "Where cells are kept.")
_SETTINGS = flags.DEFINE_multi_string(
    "setting", ["default"], "NAME or NAME:field=value,field=value, of configs/kddi.py."
)
_SEEDS = flags.DEFINE_integer("seeds", 1, "Seeds of each draw.")
_WORKERS = flags.DEFINE_integer("workers", os.cpu_count(), "Processes of one thread.")


def main(argv):
    cli.no_arguments(argv)
    settings.check_names(_SETTINGS.value)
    workdir = pathlib.Path(_WORKDIR.value)
    data = str(workdir / "data")
    if prepared.read_meta(data) is None:
        prepared.write_data_set(data, sources.read_aeon("JapaneseVowels"), {})
    wanted = [
        dict(data=data, setting=setting, draw=draw, seed=seed)
        for setting, draw, seed in itertools.product(
            _SETTINGS.value, range(vowels.DRAWS), range(_SEEDS.value)
        )
    ]
    work = functools.partial(run, workdir=str(workdir))
    runner.run_cells(work, wanted, workdir / "cells.jsonl", workers=_WORKERS.value)
    for setting in _SETTINGS.value:
        trained = [cell for cell in wanted if cell["setting"] == setting]
        windows = cells.windows(configure(trained[0]).data)
        print(f"\n{setting}")
        cells.report(
            windows,
            cells.baseline_gaps(windows, bench=True),
            [
                (
                    vowels.held_out(cell["draw"]),
                    cells.load_points(cell, str(workdir)),
                    cell["draw"],
                )
                for cell in trained
            ],
            sorted(set(windows["names"])),
            (vowels.HELD_OUT, 0),
        )


def run(cell: Mapping[str, Any], workdir: str) -> str:
    """Trains a cell; the name of the file of its points."""
    return cells.store_points(cell, workdir, configure(cell))


def configure(cell: Mapping[str, Any]) -> Config:
    """The config of a cell."""
    config = vowels.get_config(cell["draw"])
    config.data.dir = cell["data"]
    config = settings.apply_setting(from_dict(config), cell["setting"])
    return dataclasses.replace(config, seed=cell["seed"])


if __name__ == "__main__":
    cli.run(main)
