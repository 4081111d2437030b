"""Watches live traffic: a line for each change of condition.

SOURCE is - for a capture on standard input. Examples:

  siamjax monitor --workdir runs/first --read day.pcap --speed 10
  tcpdump -i any -w - udp port 5060 | siamjax monitor --workdir runs/first -
"""

import json
import math
import sys
from collections.abc import Iterable, Sequence

from absl import flags

from siamjax import cli
from siamjax.types import Interrupted, UsageError

COMMAND = cli.Command("siamjax monitor", __doc__, arguments="[SOURCE]")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "An evaluated run.", COMMAND.flags, required=True
)
_LIBRARY = flags.DEFINE_string(
    "library",
    None,
    "Folder of examples and networks that were learnt; by default that of the run.",
    COMMAND.flags,
)
_NETWORK = flags.DEFINE_string(
    "network",
    None,
    "Network of the traffic, learnt with siamjax adapt.",
    COMMAND.flags,
)
_READ = flags.DEFINE_string(
    "read", None, "A capture file that is replayed.", COMMAND.flags
)
_SPEED = flags.DEFINE_float(
    "speed",
    1.0,
    "How many times faster than it was captured; 0: as fast as possible.",
    lower_bound=0.0,
    flag_values=COMMAND.flags,
)
_HEARTBEAT = flags.DEFINE_float(
    "heartbeat_s",
    30.0,
    "Seconds from one heartbeat to the next.",
    lower_bound=0.1,
    flag_values=COMMAND.flags,
)
_JSON = flags.DEFINE_bool(
    "json",
    None,
    "Print JSON lines; by default where the output is no terminal.",
    COMMAND.flags,
)


def main(argv: Sequence[str]) -> int:
    _check_flags(argv[1:])
    from siamjax import processes
    from siamjax.identification import identify
    from siamjax.inference import runs
    from siamjax.monitoring import monitor, sources

    tally = sources.Tally()
    if _READ.value is not None:
        name = _READ.value
        batches = sources.replay(name, _SPEED.value, tally)
    else:
        name = "standard input"
        batches = sources.stream(sys.stdin.buffer, name, tally)
    run = runs.open_run(_WORKDIR.value)
    reference = identify.open_reference(
        run, folder=_LIBRARY.value, network=_NETWORK.value
    )
    with processes.catch_signals() as caught:
        made = monitor.watch(
            monitor.Monitor(reference, tally),
            batches,
            source=name,
            heartbeat_s=_HEARTBEAT.value,
            stopped=lambda: bool(caught),
        )
        deliver(made)
    if caught:
        raise Interrupted("stopped", 128 + caught[0])
    return 0


def deliver(made: Iterable) -> None:
    """Prints records. Whoever wants them elsewhere, too, takes them here."""
    from siamjax.monitoring import lines, records

    as_json = not sys.stdout.isatty() if _JSON.value is None else _JSON.value
    for record in made:
        if as_json:
            print(json.dumps(records.as_json(record), allow_nan=False), flush=True)
        elif line := lines.describe(record):
            print(line, flush=True)


def _check_flags(arguments):
    if _READ.value is None and list(arguments) != ["-"]:
        raise UsageError(
            "say where packets come from: - for standard input, or --read CAPTURE"
        )
    if _READ.value is not None and arguments:
        raise UsageError("give --read or -, not both")
    if not math.isfinite(_SPEED.value):
        raise UsageError(f"--speed {_SPEED.value:g} is not finite: 0 is the fastest")


def run() -> None:
    COMMAND.run(main)


if __name__ == "__main__":
    run()
