"""Says where training and prediction differ: python -m siamjax.audit
--workdir=runs/first"""

from absl import flags

from siamjax import cli

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "A run of siamjax-train.", required=True
)
_CHECKPOINT = flags.DEFINE_enum(
    "checkpoint", "best", ["best", "last"], "Which one of the run."
)
_CURE = flags.DEFINE_enum(
    "cure", None, ["debias", "precise", "pooled", "per-session"],
    "Also write the run with other statistics, as WORKDIR-CURE.",
)  # fmt: skip

GAP = 3  # exit code
DEVICES = 8  # simulated ones of a CPU, to compare statistics on one and on all


def main(argv):
    cli.no_arguments(argv)
    import jax

    jax.config.update("jax_num_cpu_devices", DEVICES)
    from siamjax.auditing import audit

    sound = audit.audit(_WORKDIR.value, _CHECKPOINT.value, _CURE.value or "")
    return 0 if sound else GAP


def run():
    cli.run(main)


if __name__ == "__main__":
    run()
