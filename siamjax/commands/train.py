"""Trains a run on a prepared data set and evaluates it.

The same command continues a run that was interrupted. Example:

  siamjax train --config configs/default.py --workdir runs/first

With several processes, on one host or many, each takes its share of every batch; see
docs/launch.md.
"""

import contextlib
import pathlib
from collections.abc import Sequence

from absl import flags

from siamjax import cli, files

COMMAND = cli.Command("siamjax train", __doc__, config="configs/default.py")
_CONFIG = COMMAND.define_config(
    "What to train, and on what: a file of configs/, or your own."
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder that the run writes.", COMMAND.flags, required=True
)
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed",
    False,
    "Train with all processes of this job; JAX asks the cluster for them.",
    COMMAND.flags,
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator_address",
    None,
    "HOST:PORT of the first process, where no cluster says it.",
    COMMAND.flags,
)
_PROCESSES = flags.DEFINE_integer(
    "num_processes",
    None,
    "How many processes train.",
    flag_values=COMMAND.flags,
    lower_bound=1,
)
_PROCESS = flags.DEFINE_integer(
    "process_id",
    None,
    "Which of them this is, from 0.",
    flag_values=COMMAND.flags,
    lower_bound=0,
)
_PROFILE = flags.DEFINE_string(
    "profile",
    None,
    "Folder for a trace of some steps, for TensorBoard and Perfetto.",
    COMMAND.flags,
)


def main(argv: Sequence[str]) -> None:
    cli.no_arguments(argv)
    from siamjax.config import from_dict

    config = from_dict(_CONFIG.value)
    # Imported after the flags: wrong usage is answered at once.
    from siamjax.assessment import evaluate
    from siamjax.training import folds, hosts

    with _connected(hosts):
        if hosts.is_first():
            files.check_writable(pathlib.Path(_WORKDIR.value) / "config.json")
        folds.train_run(config, _WORKDIR.value, _PROFILE.value)
        if hosts.is_first():
            evaluate.evaluate_run(_WORKDIR.value)


def _connected(hosts):
    """The context in which this process trains, alone or with others."""
    address = hosts.Address(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
    if _DISTRIBUTED.value or any(value is not None for value in address):
        return hosts.connected(address, debug=COMMAND.flags["debug"].value)
    return contextlib.nullcontext()


def run() -> None:
    COMMAND.run(main)


if __name__ == "__main__":
    run()
