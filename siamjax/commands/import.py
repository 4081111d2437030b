"""Adds the examples and networks of an exported library to a library.

Example:

  siamjax export --workdir runs/first faults.zip
  siamjax import --workdir runs/second faults.zip
"""

from collections.abc import Sequence

from siamjax import cli, text
from siamjax.commands import shared_flags
from siamjax.types import UsageError

COMMAND = cli.Command("siamjax import", __doc__, arguments="FILE")
_WORKDIR, _LIBRARY = shared_flags.define_library_or_run(COMMAND)


def main(argv: Sequence[str]) -> None:
    if len(argv) != 2:
        raise UsageError("name one file: siamjax import --workdir DIR FILE")
    from siamjax.identification import library

    folder = library.locate(_WORKDIR.value, _LIBRARY.value)
    for line in library.import_file(folder, argv[1]):
        print(text.printable(f"added {line}"))


def run() -> None:
    COMMAND.run(main)


if __name__ == "__main__":
    run()
