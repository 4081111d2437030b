"""Evaluates a run's best checkpoint: siamjax-evaluate --workdir=runs/first

With --data=DIR on another prepared data set; its results go to WORKDIR/evaluations.
"""

from absl import flags

from siamjax import cli

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "A run of siamjax-train.", required=True
)
_DATA = flags.DEFINE_string(
    "data", "", "Another prepared data set to judge the run by: all its captures but "
    "those that the run was trained on.",
)  # fmt: skip


def main(argv):
    cli.no_arguments(argv)
    from siamjax.assessment import evaluate

    evaluate.evaluate(_WORKDIR.value, _DATA.value)


def run():
    cli.run(main)


if __name__ == "__main__":
    run()
