"""Trains a run on a prepared data set and evaluates it.

The same command continues a run that was interrupted. Example:

  siamjax train --config configs/default.py --workdir runs/first
"""

import pathlib
from collections.abc import Sequence

from absl import flags

from siamjax import cli, files

COMMAND = cli.Command("siamjax train", __doc__, config="configs/default.py")
_CONFIG = COMMAND.define_config(
    "What to train, and on what: a file of configs/, or your own."
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder that the run writes.", COMMAND.flags, required=True
)


def main(argv: Sequence[str]) -> None:
    cli.no_arguments(argv)
    from siamjax.config import from_dict

    config = from_dict(_CONFIG.value)
    files.check_writable(pathlib.Path(_WORKDIR.value) / "config.json")
    # Imported after the flags: wrong usage is answered at once.
    from siamjax.assessment import evaluate
    from siamjax.training import folds

    folds.train_run(config, _WORKDIR.value)
    evaluate.evaluate_run(_WORKDIR.value)


def run() -> None:
    COMMAND.run(main)


if __name__ == "__main__":
    run()
