"""Counts what `siamjax identify` says of the test captures of each fold.

    python -m scripts.experiments.verdicts --workdir=runs/folds

Trains a run for each fold into WORKDIR/foldN, unless it is there already (half a minute
each), and counts its verdicts, see `siamjax.assessment.tally`. Captures of novel faults
are test captures in every fold, so every run judges them.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

from absl import flags
from ml_collections import config_flags

from siamjax import cli, files
from siamjax.assessment import evaluate, tally
from siamjax.config import from_dict, to_plain
from siamjax.evaluation import results
from siamjax.experiments import runner
from siamjax.training import loop

_CONFIG = config_flags.DEFINE_config_file("config", None, "What to train.")
_WORKDIR = flags.DEFINE_string("workdir", "runs/folds", "Where the runs are kept.")


def main(argv):
    cli.no_arguments(argv)
    config = from_dict(_CONFIG.value)
    cells = [
        dict(fold=fold, config=to_plain(config)) for fold in range(config.data.folds)
    ]
    work = functools.partial(judged, folder=_WORKDIR.value)
    by_fold = runner.run_cells(
        work, cells, pathlib.Path(_WORKDIR.value) / "folds.jsonl"
    )
    for fold, verdicts in enumerate(by_fold):
        print(f"fold {fold}: {len(verdicts)} test captures", flush=True)
    rows = [tally.Row(**row) for verdicts in by_fold for row in verdicts]
    counts = tally.count_rows(rows, evaluate.onset_tolerance_s(config))
    print("\n".join(tally.describe_counts(counts)))


def judged(cell: Mapping[str, Any], folder: str) -> list[dict[str, Any]]:
    """The fields of `tally.Row` of the test captures of a fold, judged by its run."""
    config, workdir = from_dict(cell["config"]), pathlib.Path(folder)
    workdir = workdir / f"fold{cell['fold']}"
    valid_fold = (cell["fold"] + 1) % config.data.folds
    data = dataclasses.replace(
        config.data, test_fold=cell["fold"], valid_fold=valid_fold
    )
    if not (workdir / results.FILE).exists():
        loop.train(dataclasses.replace(config, data=data), workdir)
        evaluate.evaluate_run(workdir)
    judged_run = files.read_json(workdir / results.FILE, f"remove {workdir}")
    return judged_run["identification"]["captures"]


if __name__ == "__main__":
    cli.run(main, config="configs/default.py")
