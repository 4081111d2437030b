"""Shows a run: python -m siamjax.visualize --workdir=runs/first"""

from absl import flags

from siamjax import cli

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "A run of siamjax-train.", required=True
)
_FRAMES = flags.DEFINE_integer("frames", 300, "Of the film, 30 a second; 0: no film.")
_FOLLOW = flags.DEFINE_bool(
    "follow", False, "Keep report.html up to date until training and evaluation end."
)


def main(argv):
    cli.no_arguments(argv)
    from siamjax.assessment import visualize

    if _FOLLOW.value:
        visualize.follow(_WORKDIR.value)
    visualize.visualize(_WORKDIR.value, frames=_FRAMES.value)


def run():
    cli.run(main)


if __name__ == "__main__":
    run()
