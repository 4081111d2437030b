"""What identify says of the test captures, each of the folds being the test once.

    python scripts/experiments/verdicts.py --workdir=runs/folds

trains a run for each fold (half a minute each) into WORKDIR/foldN, where there is none
yet, and counts its verdicts: see `siamjax.assessment.tally`. Captures of unseen
faults are test captures in every fold: each is judged by every run.
"""

import pathlib

from absl import flags
from ml_collections import config_flags

from siamjax import cli, files
from siamjax.assessment import evaluate, tally
from siamjax.config import from_dict
from siamjax.evaluation import results
from siamjax.training import loop

_CONFIG = config_flags.DEFINE_config_file("config", None, "What to train.")
_WORKDIR = flags.DEFINE_string("workdir", "runs/folds", "Where the runs are kept.")


def main(argv):
    cli.no_arguments(argv)
    rows = []
    for fold in range(_CONFIG.value.data.folds):
        verdicts = judged(_CONFIG.value, fold, pathlib.Path(_WORKDIR.value))
        print(f"fold {fold}: {len(verdicts)} test captures", flush=True)
        rows += verdicts
    print(
        "\n".join(
            tally.describe_counts(
                tally.count_rows(rows, evaluate.onset_tolerance_s(_CONFIG.value))
            )
        )
    )


def judged(config, fold, folder):
    """`tally.Row`s of the test captures of a fold, by the run of that fold."""
    config, workdir = config.copy_and_resolve_references(), folder / f"fold{fold}"
    config.data.test_fold = fold
    config.data.valid_fold = (fold + 1) % config.data.folds
    if not (workdir / results.FILE).exists():
        loop.train(from_dict(config), workdir)
        evaluate.evaluate_run(workdir)
    found = files.read_json(workdir / results.FILE, f"remove {workdir}")
    return [tally.Row(**row) for row in found["identification"]["captures"]]


if __name__ == "__main__":
    cli.run(main, config="configs/default.py")
