"""Judges settings on several networks, beside simple methods.

The same command continues a board that was interrupted. Example:

  siamjax board --config configs/board.py:bed --workdir runs/board
"""

import pathlib
from collections.abc import Sequence

from absl import flags

from siamjax import cli, files

COMMAND = cli.Command("siamjax board", __doc__, config="configs/board.py")
_CONFIG = COMMAND.define_config(
    "The networks and the settings: a file like configs/board.py."
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the board.", COMMAND.flags, required=True
)
_SETTINGS = flags.DEFINE_string(
    "settings",
    "",
    "The settings, such as default,wide:encoder.hidden=(128,); those of the config if "
    "it is not given.",
    COMMAND.flags,
)
_VALID = flags.DEFINE_bool(
    "valid",
    False,
    "Judge on validation captures, to choose a setting; else on test captures.",
    COMMAND.flags,
)


def main(argv: Sequence[str]) -> None:
    cli.no_arguments(argv)
    # Imported after the flags: wrong usage is answered at once.
    from siamjax.experiments import settings
    from siamjax.networks import config as configs
    from siamjax.networks import run, table

    plain = _CONFIG.value.to_dict()
    if _SETTINGS.value:
        plain["settings"] = settings.split_list(_SETTINGS.value)
    config = configs.from_dict(plain)
    files.check_writable(pathlib.Path(_WORKDIR.value) / "board.json")
    built = run.run_board(config, _WORKDIR.value, valid=_VALID.value)
    print(table.format_markdown(built))


def run() -> None:
    COMMAND.run(main)


if __name__ == "__main__":
    run()
