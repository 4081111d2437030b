"""Compares losses so that the answer can be believed.

python -m siamjax.compare --config=configs/compare.py --workdir=runs/compare
"""

from absl import flags
from ml_collections import config_flags

from siamjax import cli

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "What to compare, on what: see configs/compare.py.",
    lock_config=True,
)  # fmt: skip
_WORKDIR = flags.DEFINE_string("workdir", None, "Where all of it is kept.")
_LOSSES = flags.DEFINE_string(
    "losses", "", "Compare these, such as triplet,supcon,my_module.mine; else config's."
)
_STORAGE = flags.DEFINE_string(
    "storage", "", "URL of a database that workers share; a file of workdir if not set."
)


def main(argv):
    cli.no_arguments(argv)
    from siamjax.comparison import run  # after the flags: a usage error is quick

    run.compare(_CONFIG.value, _WORKDIR.value, _LOSSES.value, _STORAGE.value)


def run():
    cli.run(main, config="configs/compare.py")


if __name__ == "__main__":
    run()
