"""Keeps an example of a fault in the library: from then on the fault has its name.

SECONDS is the start of a window, after the first packet of the capture. Example:

  siamjax learn --workdir runs/first slow=old.pcap@60
  siamjax identify --workdir runs/first new.pcap
"""

import logging
from collections.abc import Sequence

from absl import flags

from siamjax import cli
from siamjax.commands import shared_flags
from siamjax.types import UsageError

COMMAND = cli.Command("siamjax learn", __doc__, arguments="NAME=CAPTURE@SECONDS...")
_WORKDIR = shared_flags.define_run(COMMAND)
_LIBRARY = shared_flags.define_library(COMMAND)
_NETWORK = shared_flags.define_networks(COMMAND)
_NOTE = flags.DEFINE_string("note", "", "Is kept with the example.", COMMAND.flags)
_LOG = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> None:
    if len(argv) < 2:
        raise UsageError(
            "name one example or more: siamjax learn --workdir DIR NAME=CAPTURE@SECONDS"
        )
    from siamjax.identification import examples, learning, library
    from siamjax.inference import runs

    places = [examples.parse_place(text) for text in argv[1:]]
    run = runs.open_run(_WORKDIR.value)
    doubts = learning.learn_examples(
        run,
        places,
        folder=_LIBRARY.value,
        networks=_NETWORK.value,
        note=_NOTE.value,
    )
    for doubt in doubts:
        _LOG.warning("%s", doubt)
    for place in places:
        print(f"learnt {library.describe_place(place)}")


def run() -> None:
    COMMAND.run(main)


if __name__ == "__main__":
    run()
