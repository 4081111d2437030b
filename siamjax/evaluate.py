"""Evaluates a run's best checkpoint: siamjax-evaluate --workdir=runs/first"""

from absl import flags

from siamjax import cli

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "A run of siamjax-train.", required=True
)


def main(argv):
    cli.no_arguments(argv)
    from siamjax.identification import assess

    assess.evaluate(_WORKDIR.value)


def run():
    cli.run(main)


if __name__ == "__main__":
    run()
