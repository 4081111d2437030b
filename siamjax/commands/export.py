"""Writes the library into one file, for another run or another place.

Example:

  siamjax export --workdir runs/first faults.zip
  siamjax import --workdir runs/second faults.zip
"""

from collections.abc import Sequence

from siamjax import cli
from siamjax.commands import shared_flags
from siamjax.types import UsageError

COMMAND = cli.Command("siamjax export", __doc__, arguments="FILE")
_WORKDIR, _LIBRARY = shared_flags.define_library_or_run(COMMAND)


def main(argv: Sequence[str]) -> None:
    if len(argv) != 2:
        raise UsageError("name one file: siamjax export --workdir DIR FILE")
    from siamjax.identification import library

    library.export(library.locate(_WORKDIR.value, _LIBRARY.value), argv[1])


def run() -> None:
    COMMAND.run(main)


if __name__ == "__main__":
    run()
