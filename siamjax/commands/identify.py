"""Names what happens in captures, and since when.

CAPTURE is a file, or a folder whose captures are all read. A run that was trained on
counters reads tables of counters. Example:

  siamjax identify --workdir runs/first new.pcap
"""

from collections.abc import Sequence

from absl import flags

from siamjax import cli
from siamjax.commands import shared_flags
from siamjax.types import UsageError

COMMAND = cli.Command("siamjax identify", __doc__, arguments="CAPTURE...")
_WORKDIR = shared_flags.define_run(COMMAND)
_SESSION = flags.DEFINE_multi_string(
    "session",
    [],
    "NAME=GLOB: captures that were written in a row (a ring buffer) are read as one, "
    "in order of time. May be repeated.",
    COMMAND.flags,
)
_LIBRARY = shared_flags.define_library(COMMAND)
_NETWORK = shared_flags.define_networks(COMMAND)
_BASELINE = flags.DEFINE_float(
    "baseline",
    None,
    "Seconds at the beginning that are normal; as in training if it is not given.",
    flag_values=COMMAND.flags,
)
_FALSE_ALARMS = flags.DEFINE_float(
    "false_alarms",
    None,
    "False alarms that are allowed in an hour of normal traffic.",
    flag_values=COMMAND.flags,
)
_JSON = flags.DEFINE_bool("json", False, "Print JSON lines.", COMMAND.flags)
_PLOT = flags.DEFINE_string(
    "plot",
    None,
    "Also draw the timelines: a file that ends in .html, .png or .svg.",
    COMMAND.flags,
)


def main(argv: Sequence[str]) -> int:
    if len(argv) < 2 and not _SESSION.value:
        raise UsageError(
            "name one capture or more: siamjax identify --workdir DIR CAPTURE"
        )
    if _BASELINE.value is not None and _NETWORK.value:
        raise UsageError("give --baseline or --network, not both")
    from siamjax.capture import parts
    from siamjax.identification import identify

    sessions = parts.parse_sessions(_SESSION.value)

    failures = identify.identify_captures(
        _WORKDIR.value,
        [*argv[1:], *(parts.match_files(*item) for item in sessions.items())],
        folder=_LIBRARY.value,
        networks=_NETWORK.value,
        baseline_s=_BASELINE.value,
        false_alarms=_FALSE_ALARMS.value,
        as_json=_JSON.value,
        plot=_PLOT.value,
    )
    return 1 if failures else 0


def run() -> None:
    COMMAND.run(main)


if __name__ == "__main__":
    run()
