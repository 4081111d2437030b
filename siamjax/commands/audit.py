"""Finds where training and prediction differ in normalisation.

Exits with 3 if there is a gap. Example:

  siamjax audit --workdir runs/first
"""

from collections.abc import Sequence

from absl import flags

from siamjax import cli

COMMAND = cli.Command("siamjax audit", __doc__)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "A run of siamjax train.", COMMAND.flags, required=True
)
_CHECKPOINT = flags.DEFINE_enum(
    "checkpoint", "best", ["best", "last"], "Which checkpoint.", COMMAND.flags
)
_CURE = flags.DEFINE_enum(
    "cure",
    None,
    ["debias", "precise", "pooled", "per-session"],
    "Also write the run with other statistics, as WORKDIR-CURE.",
    COMMAND.flags,
)

GAP = 3  # exit code
DEVICES = 8  # simulated on a CPU, to compare statistics of one device and of all


def main(argv: Sequence[str]) -> int:
    cli.no_arguments(argv)
    import jax

    jax.config.update("jax_num_cpu_devices", DEVICES)
    from siamjax.auditing import from_run

    sound = from_run.audit_run(_WORKDIR.value, _CHECKPOINT.value, _CURE.value or "")
    return 0 if sound else GAP


def run() -> None:
    COMMAND.run(main)


if __name__ == "__main__":
    run()
