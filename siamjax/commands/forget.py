"""Removes examples of a fault, or a network, from the library.

NAME@SECONDS removes only the examples that begin at this second. Example:

  siamjax forget --workdir runs/first slow
"""

from collections.abc import Sequence

from siamjax import cli, text
from siamjax.commands import shared_flags
from siamjax.types import UsageError

COMMAND = cli.Command("siamjax forget", __doc__, arguments="NAME...")
_WORKDIR, _LIBRARY = shared_flags.define_library_or_run(COMMAND)


def main(argv: Sequence[str]) -> None:
    if len(argv) < 2:
        raise UsageError("name what to forget: siamjax forget --workdir DIR NAME")
    from siamjax.identification import library

    folder = library.locate(_WORKDIR.value, _LIBRARY.value)
    for name in argv[1:]:
        for line in library.forget(folder, name):
            print(text.printable(f"forgot {line}"))


def run() -> None:
    COMMAND.run(main)


if __name__ == "__main__":
    run()
