"""Names what happens in captures, and since when.

CAPTURE is a file, or a folder whose captures are all read. A run that was trained on
counters reads tables of counters. Example:

  siamjax identify --workdir runs/first --example slow=old.pcap@60 new.pcap
"""

from collections.abc import Sequence

from absl import flags

from siamjax import cli
from siamjax.types import UsageError

COMMAND = cli.Command("siamjax identify", __doc__, arguments="CAPTURE...")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "An evaluated run.", COMMAND.flags, required=True
)
_EXAMPLES = flags.DEFINE_string(
    "examples",
    None,
    "CSV (condition,capture,start) instead of the run's own examples.",
    COMMAND.flags,
)
_EXAMPLE = flags.DEFINE_multi_string(
    "example",
    [],
    "NAME=CAPTURE@SECONDS: one more example of a condition, also of a new one. "
    "SECONDS is the start of a window, after the first packet. May be repeated.",
    COMMAND.flags,
)
_BASELINE = flags.DEFINE_float(
    "baseline",
    None,
    "Seconds at the beginning that are normal; as in training if it is not given.",
    flag_values=COMMAND.flags,
)
_BASELINE_CAPTURE = flags.DEFINE_string(
    "baseline_capture",
    None,
    "A normal capture of the same network to compare with.",
    COMMAND.flags,
)
_JSON = flags.DEFINE_bool("json", False, "Print JSON lines.", COMMAND.flags)
_PLOT = flags.DEFINE_string(
    "plot",
    None,
    "Also draw the timelines: a file that ends in .html, .png or .svg.",
    COMMAND.flags,
)


def main(argv: Sequence[str]) -> int:
    if len(argv) < 2:
        raise UsageError(
            "name one capture or more: siamjax identify --workdir DIR CAPTURE"
        )
    if _BASELINE.value is not None and _BASELINE_CAPTURE.value:
        raise UsageError("give --baseline or --baseline_capture, not both")
    from siamjax.identification import examples, identify

    failures = identify.identify_captures(
        _WORKDIR.value,
        argv[1:],
        places=tuple(examples.parse_place(text) for text in _EXAMPLE.value),
        examples_csv=_EXAMPLES.value,
        baseline_s=_BASELINE.value,
        baseline_capture=_BASELINE_CAPTURE.value,
        as_json=_JSON.value,
        plot=_PLOT.value,
    )
    return 1 if failures else 0


def run() -> None:
    COMMAND.run(main)


if __name__ == "__main__":
    run()
