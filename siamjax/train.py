"""Trains: python -m siamjax.train --config=configs/default.py --workdir=runs/first"""

from absl import flags
from ml_collections import config_flags

from siamjax import cli

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "What to train, and on what: a file of configs/.", lock_config=True
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the run writes.", required=True)


def main(argv):
    cli.no_arguments(argv)
    from siamjax.assessment import evaluate  # after the flags: a usage error is quick
    from siamjax.training import folds

    folds.train(_CONFIG.value, _WORKDIR.value)
    evaluate.evaluate(_WORKDIR.value)


def run():
    cli.run(main, config="configs/default.py")


if __name__ == "__main__":
    run()
