"""Learns what is normal in a network, from captures of its normal traffic.

No label is needed. Ten minutes are enough, an hour is better. Example:

  siamjax adapt --workdir runs/first --network site_a monday.pcap tuesday.pcap
  siamjax identify --workdir runs/first --network site_a new.pcap
"""

import logging
from collections.abc import Sequence

from absl import flags

from siamjax import cli
from siamjax.commands import shared_flags
from siamjax.types import UsageError

COMMAND = cli.Command("siamjax adapt", __doc__, arguments="CAPTURE...")
_WORKDIR = shared_flags.define_run(COMMAND)
_NETWORK = flags.DEFINE_string(
    "network",
    None,
    "A name for the network; one of that name is replaced.",
    COMMAND.flags,
    required=True,
)
_LIBRARY = shared_flags.define_library(COMMAND)
_NOTE = flags.DEFINE_string("note", "", "Is kept with the network.", COMMAND.flags)
_LOG = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> None:
    if len(argv) < 2:
        raise UsageError(
            "name one capture of normal traffic or more: siamjax adapt --workdir DIR "
            "--network NAME CAPTURE"
        )
    from siamjax.identification import adapting
    from siamjax.inference import runs

    run = runs.open_run(_WORKDIR.value)
    seconds, doubts = adapting.learn_network(
        run, _NETWORK.value, argv[1:], folder=_LIBRARY.value, note=_NOTE.value
    )
    for doubt in doubts:
        _LOG.warning("%s", doubt)
    print(f"learnt what is normal in {_NETWORK.value}, from {seconds:.0f} s of traffic")


def run() -> None:
    COMMAND.run(main)


if __name__ == "__main__":
    run()
