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

GAP = 3  # exit code
DEVICES = 8  # simulated ones of a CPU, to compare statistics on one and on all


def main(argv):
    cli.no_arguments(argv)
    import jax

    jax.config.update("jax_num_cpu_devices", DEVICES)
    from siamjax.auditing import audit

    report = audit.audit(_WORKDIR.value, _CHECKPOINT.value)
    return GAP if report.verdict.gap else 0


def run():
    cli.run(main)


if __name__ == "__main__":
    run()
