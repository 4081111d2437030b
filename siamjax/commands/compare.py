"""Compares losses under equal budgets.

The same command continues a comparison that was interrupted. Example:

  siamjax compare --losses triplet,supcon,my_module.mine --workdir runs/mine
"""

import pathlib
from collections.abc import Sequence

from absl import flags

from siamjax import cli, files

COMMAND = cli.Command("siamjax compare", __doc__, config="configs/compare.py")
_CONFIG = COMMAND.define_config(
    "What to compare, and on what: a file like configs/compare.py."
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the comparison.", COMMAND.flags, required=True
)
_LOSSES = flags.DEFINE_string(
    "losses",
    "",
    "The losses, such as triplet,supcon,my_module.mine; those of the config if it is "
    "not given.",
    COMMAND.flags,
)
_STORAGE = flags.DEFINE_string(
    "storage",
    "",
    "URL of a database that workers on several machines share; a file of the workdir "
    "if it is not given.",
    COMMAND.flags,
)
_AGAIN = flags.DEFINE_bool(
    "read_test_again",
    False,
    "Read the test set once more, for runs that are new; the report says so.",
    COMMAND.flags,
)
_UNFINISHED = flags.DEFINE_bool(
    "unfinished", False, "Report what is done so far, and train nothing.", COMMAND.flags
)
_REPRODUCE = flags.DEFINE_string(
    "reproduce",
    "",
    "FILE:ROW, such as results.csv:3: train that row once more.",
    COMMAND.flags,
)


def main(argv: Sequence[str]) -> None:
    cli.no_arguments(argv)
    # Imported after the flags: wrong usage is answered at once.
    from siamjax.comparison import config as configs
    from siamjax.experiments import settings

    plain = _CONFIG.value.to_dict()
    if _LOSSES.value:
        plain["losses"] = settings.split_list(_LOSSES.value)
    config = configs.from_dict(plain)
    files.check_writable(pathlib.Path(_WORKDIR.value) / "config.json")
    # These need the extra `tune`: what is wrong with the config is said without it.
    from siamjax.comparison import reproduce, run, tables

    if _REPRODUCE.value:
        for line in reproduce.retrain_row(config, _WORKDIR.value, _REPRODUCE.value):
            print(line)
        return
    result = run.compare(
        config,
        _WORKDIR.value,
        storage=_STORAGE.value,
        read_again=_AGAIN.value,
        unfinished=_UNFINISHED.value,
    )
    print(tables.format_markdown(result))


def run() -> None:
    COMMAND.run(main)


if __name__ == "__main__":
    run()
