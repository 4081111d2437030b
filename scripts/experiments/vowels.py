"""One-shot recognition of held-out speakers in JapaneseVowels, which aeon brings along.

    python scripts/experiments/vowels.py --workdir=runs/vowels

No telecom data, but public, small, and as short and wide as windows of counters: 9
speakers, 12 columns, 7 to 29 frames. Examples are the recordings of the published
training split, queries those of the test split; 3 speakers are held out, each of the 9
twice over 6 draws. Needs the extra `bench`.
"""

import itertools
import pathlib
import sys
import time

import cells
import numpy as np
import vowels_data as vowels
from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from siamjax import cli
from siamjax.comparison import sources
from siamjax.data import prepared

_WORKDIR = flags.DEFINE_string("workdir", "runs/vowels", "Where cells are kept.")
_SETTINGS = flags.DEFINE_multi_string(
    "setting", ["default"], "NAME or NAME:field=value;field=value, of configs/kddi.py."
)
_SEEDS = flags.DEFINE_integer("seeds", 1, "Seeds of each draw.")


def main(argv):
    cli.no_arguments(argv)
    workdir = pathlib.Path(_WORKDIR.value)
    workdir.mkdir(parents=True, exist_ok=True)
    if prepared.read_meta(workdir / "data") is None:
        prepared.write_data_set(workdir / "data", sources.aeon("JapaneseVowels"), {})
    wanted = list(
        itertools.product(_SETTINGS.value, range(vowels.DRAWS), range(_SEEDS.value))
    )
    for setting, draw, seed in wanted:
        path = _path(workdir, setting, draw, seed)
        if not path.exists():
            start = time.time()
            points = cells.trained(configure(setting, draw, seed))
            np.savez(path, **points)
            print(setting, draw, seed, f"{time.time() - start:.0f} s", flush=True)
    for setting in _SETTINGS.value:
        data = cells.windows(configure(setting, 0, 0).data)
        found = [
            (
                vowels.held_out(draw),
                dict(np.load(_path(workdir, setting, draw, seed))),
                draw,
            )
            for draw in range(vowels.DRAWS)
            for seed in range(_SEEDS.value)
        ]
        names = sorted(set(data["names"]))
        print(f"\n{setting}")
        simple = cells.baseline_gaps(data, bench=True)
        cells.report(data, simple, found, names, (vowels.HELD_OUT, 0))


def configure(setting, draw, seed):
    """The config of a cell."""
    config = vowels.config(draw)
    cells.change(config, setting)
    config.seed, config.data.dir = seed, f"{_WORKDIR.value}/data"
    return config


def _path(workdir, setting, draw, seed):
    return workdir / f"{setting.partition(':')[0]}_{draw}_{seed}.npz"


if __name__ == "__main__":
    cli.run(main)
