"""Shows what is in the library: examples of faults, and networks.

Example:

  siamjax list --workdir runs/first
"""

import json
from collections.abc import Sequence

from absl import flags

from siamjax import cli
from siamjax.commands import shared_flags

COMMAND = cli.Command("siamjax list", __doc__)
_WORKDIR, _LIBRARY = shared_flags.define_library_or_run(COMMAND)
_JSON = flags.DEFINE_bool("json", False, "Print JSON lines.", COMMAND.flags)


def main(argv: Sequence[str]) -> None:
    cli.no_arguments(argv)
    from siamjax.identification import library

    library.check_given(_LIBRARY.value)
    kept = library.read_library(library.locate(_WORKDIR.value, _LIBRARY.value))
    lines = (
        map(json.dumps, library.list_records(kept))
        if _JSON.value
        else library.describe_library(kept)
    )
    print("\n".join(lines))


def run() -> None:
    COMMAND.run(main)


if __name__ == "__main__":
    run()
