"""Reads captures and their labels into a prepared data set.

Prints what was read of each file and what was not. Examples:

  siamjax ingest --captures DIR --labels labels.csv --out runs/mine
  siamjax ingest --captures DIR --labels labels.csv --session 'trunk=trunk_*.pcap' \
    --out runs/mine
  siamjax ingest --format counters --captures DIR --labels labels.csv --out runs/mine
  siamjax ingest --beam --captures 'gs://calls/2026-11/**.pcap' \
    --labels gs://calls/labels.csv --out runs/mine -- --runner=FlinkRunner
"""

import contextlib
import ipaddress
from collections.abc import Sequence
from typing import Any

from absl import flags

from siamjax import cli, files
from siamjax.text import short
from siamjax.types import UsageError

COMMAND = cli.Command("siamjax ingest", __doc__)
_CAPTURES = flags.DEFINE_multi_string(
    "captures",
    None,
    "Folder of captures, or one capture. May be repeated, with --labels for each.",
    COMMAND.flags,
    required=True,
)
_LABELS = flags.DEFINE_multi_string(
    "labels",
    None,
    "CSV of file, condition, onset_s, clear_s; of counters: file, start, end, "
    "condition.",
    COMMAND.flags,
    required=True,
)
_OUT = flags.DEFINE_string(
    "out", None, "Folder of the prepared data set.", COMMAND.flags, required=True
)
_FORMAT = flags.DEFINE_enum(
    "format",
    "packets",
    ["packets", "counters"],
    "Packet captures, or tables of counters (CSV, Parquet).",
    COMMAND.flags,
)
_SERVER = flags.DEFINE_string(
    "server",
    None,
    "IP address of the server; it is found in each capture if it is not given.",
    COMMAND.flags,
)
_PROTOCOLS = flags.DEFINE_list(
    "protocols",
    None,
    "Protocols to read, such as sip,diameter; those with messages if it is not given.",
    COMMAND.flags,
)
_DECODE_AS = flags.DEFINE_list(
    "decode_as",
    None,
    "NAME=PORT of protocols that are spoken at an unusual port, such as "
    "diameter=13868,radius=18120. SIP is found at any port.",
    COMMAND.flags,
)
_SESSION = flags.DEFINE_multi_string(
    "session",
    [],
    "NAME=GLOB: captures that were written in a row (a ring buffer) are one session, "
    "which labels call NAME. GLOB is of paths as labels have them. May be repeated.",
    COMMAND.flags,
)
_LIMIT_EXPANSION = flags.DEFINE_bool(
    "limit_expansion",
    True,
    "Leave out compressed files that expand more than 1000 times (16 MB are always "
    "allowed, 17 GB never); --nolimit_expansion reads files that you trust.",
    COMMAND.flags,
)
_ALLOW_EMPTY = flags.DEFINE_bool(
    "allow_empty",
    False,
    "Also take captures without a message and tables without a value: for faults that "
    "show as silence.",
    COMMAND.flags,
)
_WORKERS = flags.DEFINE_integer(
    "workers",
    None,
    "Number of processes; one for each core if it is not given.",
    lower_bound=1,
    flag_values=COMMAND.flags,
)
_BEAM = flags.DEFINE_bool(
    "beam",
    False,
    "Read the captures by an Apache Beam pipeline, whose options stand behind --; "
    "captures and labels are on any file system that Beam reads.",
    COMMAND.flags,
)


def main(argv: Sequence[str]) -> None:
    if not _BEAM.value:
        cli.no_arguments(argv)
    elif _WORKERS.present:
        raise UsageError("--workers is for this machine, not for --beam")
    files.check_writable(_OUT.value)

    with _open_reader(argv[1:]) as reader:
        _ingest(reader)


@contextlib.contextmanager
def _open_reader(beam_arguments):
    if not _BEAM.value:
        from siamjax.data.local_reading import LocalReader

        yield LocalReader(_WORKERS.value)
        return
    from siamjax.data.beam_reading import BeamReader

    with contextlib.closing(BeamReader(beam_arguments)) as reader:
        yield reader


def _ingest(reader):
    from siamjax.capture import decode_as, parts
    from siamjax.data import from_counters, prepare

    paths = _CAPTURES.value, _LABELS.value, _OUT.value
    options: dict[str, Any] = dict(
        limit_expansion=_LIMIT_EXPANSION.value,
        allow_empty=_ALLOW_EMPTY.value,
        reader=reader,
    )
    if _FORMAT.value == "packets":
        server = _address(_SERVER.value)
        protocols = _check_protocols(_PROTOCOLS.value)
        prepare.prepare_packets(
            *paths,
            server_address=server,
            protocols=protocols,
            ports=decode_as.parse_ports(_DECODE_AS.value or (), protocols),
            sessions=parts.parse_sessions(_SESSION.value),
            **options,
        )
        return
    for flag in (_SERVER, _PROTOCOLS, _DECODE_AS, _SESSION):
        if flag.present:
            raise UsageError(f"--{flag.name} is for packets, not for counters")
    from_counters.prepare_counters(*paths, **options)


def _check_protocols(names):
    from siamjax.capture.protocols import PROTOCOLS

    if names is None:
        return None
    names = [name.strip().lower() for name in names if name.strip()]
    if not names:
        raise UsageError(f"--protocols is empty: choose of {', '.join(PROTOCOLS)}")
    unknown = [name for name in names if name not in PROTOCOLS]
    if unknown:
        raise UsageError(
            f"--protocols has {short(unknown[0])!r}: choose of {', '.join(PROTOCOLS)}"
        )
    return tuple(name for name in PROTOCOLS if name in names)


def _address(text):
    try:
        return text and ipaddress.ip_address(text).packed
    except ValueError:
        raise UsageError(f"--server={text} is not an IP address") from None


def run() -> None:
    COMMAND.run(main)


if __name__ == "__main__":
    run()
