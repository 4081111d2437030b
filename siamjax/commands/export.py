"""Writes the library into one file, for another run or another place.

Example:

  siamjax export --workdir runs/first faults.zip
  siamjax import --workdir runs/second faults.zip
"""

from collections.abc import Sequence

from absl import flags

from siamjax import cli
from siamjax.types import UsageError

COMMAND = cli.Command("siamjax export", __doc__, arguments="FILE")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "A run, for its library.", COMMAND.flags
)
_LIBRARY = flags.DEFINE_string("library", None, "Another folder.", COMMAND.flags)


def main(argv: Sequence[str]) -> None:
    if len(argv) != 2:
        raise UsageError("name one file: siamjax export --workdir DIR FILE")
    from siamjax.identification import library

    library.export(library.locate(_WORKDIR.value, _LIBRARY.value), argv[1])


def run() -> None:
    COMMAND.run(main)


if __name__ == "__main__":
    run()
