"""Says which unknown stretches of captures may be the same fault.

Each group has the command that would name it. CAPTURE is a file, or a folder. Example:

  siamjax group --workdir runs/first captures
"""

import logging
from collections.abc import Sequence

from siamjax import cli, text
from siamjax.commands import shared_flags
from siamjax.types import UsageError

COMMAND = cli.Command("siamjax group", __doc__, arguments="CAPTURE...")
_WORKDIR = shared_flags.define_run(COMMAND)
_LIBRARY = shared_flags.define_library(COMMAND)
_NETWORK = shared_flags.define_networks(COMMAND)
_LOG = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> int:
    if len(argv) < 2:
        raise UsageError(
            "name one capture or more: siamjax group --workdir DIR CAPTURE"
        )
    from siamjax.data import columns
    from siamjax.identification import (
        grouping,
        identify,
        library,
        references,
        span_lines,
    )
    from siamjax.inference import runs

    library.check_given(_LIBRARY.value)
    run = runs.open_run(_WORKDIR.value)
    is_table = run.columns[0].role == columns.COUNTER
    paths = identify.list_captures(argv[1:], is_table=is_table)
    compared_with = references.open_for_captures(
        run, paths, _NETWORK.value, folder=_LIBRARY.value
    )
    stretches, failures = [], 0
    identified = identify.compare_captures(paths, compared_with)
    for path, reference, result in zip(paths, compared_with, identified):
        for note in references.network_notes(reference, compared_with):
            _LOG.warning("%s: %s", text.printable(path), note)
        if isinstance(result, Exception):
            failures += 1
            span_lines.report_failure(path, result, as_json=False)
        else:
            stretches += grouping.find_unknown(run, path, result)
    print("\n".join(_describe(run, stretches, compared_with[0].rule.unknown)))
    return 1 if failures else 0


def _describe(run, stretches, threshold):
    """Lines about the groups of unknown stretches."""
    from siamjax.identification import grouping

    if not stretches:
        return ["no stretch is unknown"]
    distances = grouping.measure_distances(run, stretches)
    groups = grouping.group_stretches(stretches, distances, threshold)
    options = [
        f"--{flag.name}={flag.value}" for flag in (_WORKDIR, _LIBRARY) if flag.value
    ]
    return grouping.describe_groups(groups, options)


def run() -> None:
    COMMAND.run(main)


if __name__ == "__main__":
    run()
