"""Evaluates the best checkpoint of a run.

Prints the tables and writes results.json. With --data the results go to
WORKDIR/evaluations. Example:

  siamjax evaluate --workdir runs/first

Several processes, on one host or many, divide the sessions; see docs/launch.md.
"""

from collections.abc import Sequence

from absl import flags

from siamjax import cli
from siamjax.commands import joining

COMMAND = cli.Command("siamjax evaluate", __doc__)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "A run of siamjax train.", COMMAND.flags, required=True
)
_DATA = flags.DEFINE_string(
    "data",
    None,
    "Another prepared data set to judge the run by: all its captures except those "
    "that the run was trained or validated with.",
    COMMAND.flags,
)
# What becomes of the work when the command is started again.
RESTARTED = "the evaluation begins again, and no file is half-written"
_JOINING = joining.Joining(COMMAND, RESTARTED)


def main(argv: Sequence[str]) -> None:
    cli.no_arguments(argv)
    from siamjax.assessment import evaluate

    with _JOINING.connected():
        evaluate.evaluate_run(_WORKDIR.value, _DATA.value)


def run() -> None:
    COMMAND.run(main)


if __name__ == "__main__":
    run()
