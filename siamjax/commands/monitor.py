"""Watches live traffic: a line for each change of condition.

SOURCE is - for a capture, or lines of a table of counters, on standard input; the other
sources are flags. Examples:

  siamjax monitor --workdir runs/first --read day.pcap --speed 10
  tcpdump -U -w - udp port 5060 | siamjax monitor --workdir runs/first -
  siamjax monitor --workdir runs/first --interface eth0 --webhook http://alerts:9093
"""

import contextlib
import dataclasses
import json
import math
import pathlib
import sys
import tempfile
from collections.abc import Iterable, Sequence

from absl import flags

from siamjax import cli
from siamjax.commands import shared_flags
from siamjax.types import Interrupted, UsageError

COMMAND = cli.Command("siamjax monitor", __doc__, arguments="[SOURCE]")
_WORKDIR = shared_flags.define_run(COMMAND)
_LIBRARY = shared_flags.define_library(COMMAND)
_NETWORK = shared_flags.define_networks(COMMAND, "servers")
_FALSE_ALARMS = flags.DEFINE_float(
    "false_alarms",
    None,
    "How many false alarms are allowed in an hour of normal traffic; by default as the "
    "rule was learnt.",
    flag_values=COMMAND.flags,
)
_READ = flags.DEFINE_string(
    "read",
    None,
    "Source: a capture file, or a table of counters, that is replayed.",
    COMMAND.flags,
)
_SPEED = flags.DEFINE_float(
    "speed",
    1.0,
    "With --read, how many times faster than it was captured; 0: as fast as possible.",
    lower_bound=0.0,
    flag_values=COMMAND.flags,
)
_FOLLOW = flags.DEFINE_string(
    "follow",
    None,
    "Source: a capture file or a table of counters that grows, or a folder or a "
    "pattern of files that are written one after the other.",
    COMMAND.flags,
)
_INTERFACE = flags.DEFINE_string(
    "interface",
    None,
    "Source: an interface, which tcpdump or dumpcap captures.",
    COMMAND.flags,
)
_FILTER = flags.DEFINE_string(
    "filter",
    "",
    "With --interface, which packets, such as 'udp port 5060'.",
    COMMAND.flags,
)
_HEP = flags.DEFINE_string(
    "hep",
    None,
    "Source: HOST:PORT to which agents of Homer send HEP over UDP or TCP.",
    COMMAND.flags,
)
_SESSION_BY = flags.DEFINE_enum(
    "session_by",
    "all",
    ["all", "server"],
    "All traffic is one session, or that of each server is one.",
    COMMAND.flags,
)
_HEARTBEAT = flags.DEFINE_float(
    "heartbeat_s",
    30.0,
    "Seconds from one heartbeat to the next; the state is saved as often.",
    lower_bound=0.1,
    flag_values=COMMAND.flags,
)
_SILENT = flags.DEFINE_float(
    "silent_s",
    10.0,
    "After so many seconds without a packet, a live source is silent.",
    lower_bound=1.0,
    flag_values=COMMAND.flags,
)
_STATE = flags.DEFINE_string(
    "state",
    None,
    "Folder of the state, from which a restart goes on, and of alarms that wait; by "
    "default WORKDIR/monitor, and with --read none.",
    COMMAND.flags,
)
_JSON = flags.DEFINE_bool(
    "json",
    None,
    "Print JSON lines; by default where the output is no terminal.",
    COMMAND.flags,
)
_LISTEN = flags.DEFINE_string(
    "listen",
    None,
    "HOST:PORT of a page of the present state and of metrics for Prometheus.",
    COMMAND.flags,
)
_WEBHOOK = flags.DEFINE_multi_string(
    "webhook",
    [],
    "URL that gets alarms in the form of Alertmanager; may be repeated.",
    COMMAND.flags,
)
_VES = flags.DEFINE_multi_string(
    "ves",
    [],
    "URL of a VES collector that gets alarms as fault events; may be repeated.",
    COMMAND.flags,
)
_POLICY = flags.DEFINE_string(
    "policy", None, "TOML file with an action for each condition.", COMMAND.flags
)

# A speed other than 0 is between these.
_SLOWEST, _FASTEST = 1e-3, 1e6


def main(argv: Sequence[str]) -> int:
    _check_flags(argv[1:])
    assignment, prefixes = _parse_networks()
    from siamjax import processes
    from siamjax.data import columns
    from siamjax.identification import library, references
    from siamjax.inference import runs
    from siamjax.monitoring import monitor, sources, states, table_monitor, watching

    library.check_given(_LIBRARY.value)
    run = runs.open_run(_WORKDIR.value)
    opened = references.open_references(
        run,
        [assignment.others, *prefixes.values()],
        folder=_LIBRARY.value,
        false_alarms=_FALSE_ALARMS.value,
    )
    reference = opened[assignment.others]
    conditions = references.list_conditions(reference)
    of_table = run.columns[0].role == columns.COUNTER
    _check_source(run, of_table)
    kind = table_monitor.TableMonitor if of_table else monitor.Monitor
    watched = kind(
        reference,
        sources.Tally(),
        by_prefix={prefix: opened[name] for prefix, name in prefixes.items()},
        by_server=_SESSION_BY.value == "server",
        silent_s=_SILENT.value,
    )
    folder = _state_folder()
    with contextlib.ExitStack() as stack:
        stack.callback(watched.end)
        deliver = stack.enter_context(_delivering(folder, conditions))
        if folder:
            states.restore_state(folder, watched)
        name, batches = _open_source(watched, of_table)
        stack.enter_context(contextlib.closing(batches))
        caught = stack.enter_context(processes.catch_signals())
        deliver(
            watching.watch(
                watched,
                batches,
                source=name,
                heartbeat_s=_HEARTBEAT.value,
                save=lambda m: states.save_state(folder, m) if folder else None,
                stopped=lambda: bool(caught),
            )
        )
    if caught:
        kept = f"state saved in {folder}: the same command goes on" if folder else ""
        raise Interrupted(f"stopped; {kept or 'no state was kept'}", 128 + caught[0])
    return 0


def _check_source(run, of_table):
    """Raises UsageError where the run cannot be used with the source of the flags."""
    from siamjax.capture.protocols.sip import SIP
    from siamjax.data import columns

    if of_table and (_INTERFACE.value or _HEP.value):
        raise UsageError(
            f"{run.workdir} was trained on counters: give it a table, by -, --read or "
            "--follow"
        )
    is_sip = SIP.name in columns.protocols_of(run.columns)
    if _HEP.value and not of_table and not is_sip:
        raise UsageError(
            f"{run.workdir} was not trained on SIP, and HEP is read of SIP alone: give "
            "it packets, such as by --interface"
        )


def _parse_networks():
    """The networks that the flags give, and those of prefixes of servers."""
    from siamjax.identification import assigning

    assignment = assigning.parse_networks(_NETWORK.value)
    prefixes = assigning.parse_prefixes(assignment)
    if prefixes and _SESSION_BY.value != "server":
        raise UsageError(
            "--network NAME=ADDRESS is for some servers: give --session_by server, or "
            "--network NAME for all traffic"
        )
    return assignment, prefixes


def _state_folder():
    """The folder of state and alarms that wait; None: a replay, which begins anew."""
    if _STATE.value:
        return pathlib.Path(_STATE.value)
    if _READ.value is not None:
        return None
    return pathlib.Path(_WORKDIR.value) / "monitor"


def _open_source(watched, of_table):
    """The name of the source that the flags say, and its batches."""
    from siamjax.monitoring import following, listening, sources, table_sources

    tally, position = watched.tally, watched.position
    put = table_sources.put_lines if of_table else sources.put_packets
    if _READ.value is not None:
        path = _READ.value
        is_continued = position is not None and position.file == str(path)
        skip = position.offset if is_continued else 0
        if of_table:
            return path, table_sources.replay_lines(path, _SPEED.value, skip)
        return path, sources.replay(path, _SPEED.value, tally, skip)
    if _FOLLOW.value is not None:
        return _FOLLOW.value, following.follow(_FOLLOW.value, tally, position, put)
    if _INTERFACE.value is not None:
        batches = listening.capture_interface(_INTERFACE.value, _FILTER.value, tally)
        return _INTERFACE.value, batches
    if _HEP.value is not None:
        host, port = listening.parse_address(_HEP.value, listening.HEP_PORT)
        server = listening.HepServer(host, port)
        return f"hep {host}:{server.port}", server.packets(tally)
    if sys.stdin is None:
        raise UsageError("standard input is closed: give it a capture")
    return "standard input", sources.stream(
        sys.stdin.buffer, "standard input", tally, put
    )


@contextlib.contextmanager
def _delivering(folder, conditions):
    """Gives a function that prints records and hands them to the receivers."""
    from siamjax.alarms import outputs, policy

    actions = policy.read_policy(_POLICY.value, conditions) if _POLICY.value else {}
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="siamjax"))
        receivers = stack.enter_context(
            outputs.open_outputs(folder, webhooks=_WEBHOOK.value, collectors=_VES.value)
        )
        if _LISTEN.value:
            stack.enter_context(outputs.serving(receivers, _LISTEN.value, conditions))
        yield lambda new_records: deliver(new_records, actions, receivers.send)


def deliver(new_records: Iterable, actions, send) -> None:
    """Prints records, with their actions, and hands them to the receivers."""
    from siamjax.monitoring import lines, records

    as_json = not sys.stdout.isatty() if _JSON.value is None else _JSON.value
    for record in new_records:
        if isinstance(record, records.Change) and record.condition in actions:
            record = dataclasses.replace(record, action=actions[record.condition])
        if as_json:
            print(json.dumps(records.as_json(record), allow_nan=False), flush=True)
        elif line := lines.describe(record):
            print(line, flush=True)
        send(record)


def _check_flags(arguments):
    given = {
        "--read": _READ.value,
        "--follow": _FOLLOW.value,
        "--interface": _INTERFACE.value,
        "--hep": _HEP.value,
    }
    named = [name for name, value in given.items() if value is not None]
    named += list(arguments)
    if len(named) != 1 or (arguments and list(arguments) != ["-"]):
        raise UsageError(
            f"say where packets come from, once: - for standard input, or one of "
            f"{', '.join(given)}"
        )
    if pathlib.Path(_READ.value or "-").is_dir():
        raise UsageError(
            f"--read={_READ.value} is a folder: give a file, or the folder to --follow"
        )
    speed = _SPEED.value
    if speed and not _SLOWEST <= speed <= _FASTEST:
        raise UsageError(
            f"--speed {speed:g} is not from {_SLOWEST:g} to {_FASTEST:g}, nor 0, which "
            "is the fastest"
        )
    for flag in (_HEARTBEAT, _SILENT):
        if not math.isfinite(flag.value):
            raise UsageError(f"--{flag.name} {flag.value:g} is no number of seconds")
    if _FILTER.value and _INTERFACE.value is None:
        raise UsageError("--filter goes with --interface")


def run() -> None:
    COMMAND.run(main)


if __name__ == "__main__":
    run()
