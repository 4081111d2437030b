"""Draws the page, the film and the figures of a run.

Example:

  siamjax visualize --workdir runs/first
"""

from collections.abc import Sequence

from absl import flags

from siamjax import cli

COMMAND = cli.Command("siamjax visualize", __doc__)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "A run of siamjax train.", COMMAND.flags, required=True
)
_FRAMES = flags.DEFINE_integer(
    "frames",
    300,
    "Frames of the film, 30 a second; 0: no film.",
    flag_values=COMMAND.flags,
)
_FOLLOW = flags.DEFINE_bool(
    "follow",
    False,
    "Keep report.html up to date until training and evaluation end.",
    COMMAND.flags,
)


def main(argv: Sequence[str]) -> None:
    cli.no_arguments(argv)
    from siamjax.assessment import visualize

    if _FOLLOW.value:
        visualize.follow_run(_WORKDIR.value)
    visualize.visualize_run(_WORKDIR.value, frames=_FRAMES.value)


def run() -> None:
    COMMAND.run(main)


if __name__ == "__main__":
    run()
