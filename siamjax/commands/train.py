"""Trains a run on a prepared data set and evaluates it.

The same command continues a run that was interrupted. Example:

  siamjax train --config configs/default.py --workdir runs/first

With several processes, on one host or many, each takes its share of every batch; see
docs/launch.md.
"""

import pathlib
from collections.abc import Sequence

from absl import flags

from siamjax import cli, files
from siamjax.commands import joining

COMMAND = cli.Command("siamjax train", __doc__, config="configs/default.py")
_CONFIG = COMMAND.define_config(
    "What to train, and on what: a file of configs/, or your own."
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder that the run writes.", COMMAND.flags, required=True
)
# What becomes of the work when the command is started again.
RESTARTED = "the training goes on from its last checkpoint"
_JOINING = joining.Joining(COMMAND, RESTARTED)
_PROFILE = flags.DEFINE_string(
    "profile",
    None,
    "Folder for a trace of some steps, for TensorBoard and Perfetto.",
    COMMAND.flags,
)


def main(argv: Sequence[str]) -> None:
    cli.no_arguments(argv)
    from siamjax.config import from_dict

    config = from_dict(_CONFIG.value)
    # Imported after the flags: wrong usage is answered at once.
    from siamjax.assessment import evaluate
    from siamjax.training import folds, hosts

    workdir = pathlib.Path(_WORKDIR.value)
    with _JOINING.connected():
        hosts.from_first(lambda: files.check_writable(workdir / "config.json"))
        folds.train_run(config, workdir, _PROFILE.value)
        evaluate.evaluate_run(workdir, trained_on=config.data)


def run() -> None:
    COMMAND.run(main)


if __name__ == "__main__":
    run()
