"""Says which unknown stretches of captures may be the same fault.

Each group has the command that would name it. CAPTURE is a file, or a folder. Example:

  siamjax group --workdir runs/first captures
"""

import logging
from collections.abc import Sequence

from siamjax import cli
from siamjax.commands import shared_flags
from siamjax.types import SiamjaxError, UsageError

COMMAND = cli.Command("siamjax group", __doc__, arguments="CAPTURE...")
_WORKDIR = shared_flags.define_run(COMMAND)
_LIBRARY = shared_flags.define_library(COMMAND)
_NETWORK = shared_flags.define_network(COMMAND)
_LOG = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> int:
    if len(argv) < 2:
        raise UsageError(
            "name one capture or more: siamjax group --workdir DIR CAPTURE"
        )
    from siamjax.data import columns
    from siamjax.identification import grouping, identify, references
    from siamjax.inference import runs

    run = runs.open_run(_WORKDIR.value)
    is_table = run.columns[0].role == columns.COUNTER
    paths = identify.list_captures(argv[1:], is_table=is_table)
    reference = references.open_reference(
        run, folder=_LIBRARY.value, network=_NETWORK.value
    )
    stretches, failures = [], 0
    for path in paths:
        try:
            stretches += grouping.find_unknown(path, reference)
        except SiamjaxError as error:  # the other captures are still read
            failures += 1
            _LOG.error("%s", error)
    groups = grouping.group_stretches(stretches, reference.rule.unknown)
    options = [
        f"--{flag.name}={flag.value}"
        for flag in (_WORKDIR, _LIBRARY, _NETWORK)
        if flag.value
    ]
    lines = grouping.describe_groups(groups, options)
    print("\n".join(lines or ["no stretch is unknown"]))
    return 1 if failures else 0


def run() -> None:
    COMMAND.run(main)


if __name__ == "__main__":
    run()
