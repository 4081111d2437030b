"""Captures and their labels -> a prepared data set and a cleaning report.

python -m siamjax.ingest --captures=DIR --labels=labels.csv --out=DIR
python -m siamjax.ingest --format=counters --captures=DIR --labels=labels.csv --out=DIR
"""

import ipaddress

from absl import flags

from siamjax import checks, cli
from siamjax.data import prepare, prepare_counters
from siamjax.types import UsageError

_CAPTURES = flags.DEFINE_string(
    "captures", None, "Folder of captures, or one capture.", required=True
)
_LABELS = flags.DEFINE_string(
    "labels", None,
    "CSV of file, condition, onset_s, clear_s; of counters: file, start, end, "
    "condition.", required=True,
)  # fmt: skip
_OUT = flags.DEFINE_string(
    "out", None, "Folder of the prepared data set.", required=True
)
_FORMAT = flags.DEFINE_enum(
    "format", "packets", ["packets", "counters"],
    "Packet captures, or tables of counters (CSV, Parquet).",
)  # fmt: skip
_SERVER = flags.DEFINE_string(
    "server", None, "IP address of the server; by default found in each capture."
)
_LIMIT_EXPANSION = flags.DEFINE_bool(
    "limit_expansion", True,
    "Leave out compressed files that expand more than 1000 times (16 MB are always "
    "allowed, 17 GB never); --nolimit_expansion reads those that you trust.",
)  # fmt: skip
_ALLOW_EMPTY = flags.DEFINE_bool(
    "allow_empty",
    False,
    "Take captures without a message and tables without a value, too: silence is the "
    "fault.",
)
_WORKERS = flags.DEFINE_integer(
    "workers", None, "Processes; by default one a core.", lower_bound=1
)


def main(argv):
    cli.no_arguments(argv)
    if _FORMAT.value == "counters":
        checks.require(_SERVER.value is None, "--server is for packets, not counters")
        prepare_counters.prepare_counters(
            _CAPTURES.value,
            _LABELS.value,
            _OUT.value,
            limit_expansion=_LIMIT_EXPANSION.value,
            allow_empty=_ALLOW_EMPTY.value,
            workers=_WORKERS.value,
        )
        return
    prepare.prepare(
        _CAPTURES.value,
        _LABELS.value,
        _OUT.value,
        server_address=_address(_SERVER.value),
        limit_expansion=_LIMIT_EXPANSION.value,
        allow_empty=_ALLOW_EMPTY.value,
        workers=_WORKERS.value,
    )


def _address(text):
    try:
        return text and ipaddress.ip_address(text).packed
    except ValueError:
        raise UsageError(f"--server={text} is not an IP address") from None


def run():
    cli.run(main)


if __name__ == "__main__":
    run()
