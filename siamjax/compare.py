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
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where all of it is kept.", required=True
)
_LOSSES = flags.DEFINE_string(
    "losses", "", "Compare these, such as triplet,supcon,my_module.mine; else config's."
)
_STORAGE = flags.DEFINE_string(
    "storage", "", "URL of a database that workers share; a file of workdir if not set."
)
_AGAIN = flags.DEFINE_bool(
    "read_test_again", False, "Read the test once more, for cells that are new."
)
_UNFINISHED = flags.DEFINE_bool(
    "unfinished", False, "Report what is done by now, and train nothing."
)
_REPRODUCE = flags.DEFINE_string(
    "reproduce", "", "FILE:ROW, such as results.csv:3: train that row once more."
)


def main(argv):
    cli.no_arguments(argv)
    # After the flags: a usage error is quick.
    from siamjax.comparison import protocol, reproduce, run, tables

    config = _CONFIG.value
    if _LOSSES.value:
        config.losses = protocol.listed(_LOSSES.value)
    if _REPRODUCE.value:
        for line in reproduce.reproduce(config, _WORKDIR.value, _REPRODUCE.value):
            print(line)
        return
    made = run.compare(
        config, _WORKDIR.value, storage=_STORAGE.value, read_again=_AGAIN.value,
        unfinished=_UNFINISHED.value,
    )  # fmt: skip
    print(tables.markdown(made))


def run():
    cli.run(main, config="configs/compare.py")


if __name__ == "__main__":
    run()
