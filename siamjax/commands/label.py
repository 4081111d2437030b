"""Writes labels: from tickets, by hand on a page, or by a line; and reviews them.

FILE is a capture, or a table of counters. With FILE alone, a page is written on which
labels are drawn. Examples:

  siamjax label --labels labels.csv FILE
  siamjax label --labels labels.csv --add overload=36.5-90 FILE
  siamjax label --labels labels.csv --session 'trunk=ring/trunk_*.pcap'
  siamjax label --tickets T.csv --mapping M.csv --captures DIR --labels new.csv
  siamjax label --review --workdir runs/first
"""

import re
from collections.abc import Sequence

from absl import flags

from siamjax import cli
from siamjax.types import UsageError

COMMAND = cli.Command("siamjax label", __doc__, arguments="[FILE]")
_LABELS = flags.DEFINE_string(
    "labels",
    None,
    "Table of labels: read for the page, written by --add and --tickets.",
    COMMAND.flags,
)
_CAPTURES = flags.DEFINE_string(
    "captures",
    None,
    "Folder of captures; files are named by their path in it, as siamjax ingest does.",
    COMMAND.flags,
)
_FORMAT = flags.DEFINE_enum(
    "format",
    "packets",
    ["packets", "counters"],
    "Packet captures, or tables of counters.",
    COMMAND.flags,
)
_PAGE = flags.DEFINE_string(
    "page",
    "label.html",
    "Where the page is written.",
    COMMAND.flags,
)
_ADD = flags.DEFINE_multi_string(
    "add",
    [],
    "CONDITION=FROM-TO in seconds after the first packet or row, or CONDITION=FROM- to "
    "the end: a row for --labels. May be repeated.",
    COMMAND.flags,
)
_SESSION = flags.DEFINE_string(
    "session",
    None,
    "NAME=GLOB in place of FILE: captures that were written in a row (a ring buffer), "
    "which siamjax ingest reads as one.",
    COMMAND.flags,
)
_TICKETS = flags.DEFINE_string(
    "tickets",
    None,
    "Table of tickets with the columns start, end, text; for a new --labels.",
    COMMAND.flags,
)
_MAPPING = flags.DEFINE_string(
    "mapping",
    None,
    "CSV of pattern, condition: what the text of a ticket means.",
    COMMAND.flags,
)
_ZONE = flags.DEFINE_string(
    "zone",
    None,
    "Time zone of tickets without one, such as Europe/Berlin; if it is not given, UTC "
    "for captures, that of the table for tables.",
    COMMAND.flags,
)
_REVIEW = flags.DEFINE_bool(
    "review",
    False,
    "List the normal times of a run's data that are nearest to a fault.",
    COMMAND.flags,
)
_WORKDIR = flags.DEFINE_string("workdir", None, "A run, for --review.", COMMAND.flags)

_INTERVAL = re.compile(r"(.+)=(\d+(?:\.\d*)?)-(\d+(?:\.\d*)?)?")
# The flags of each way to use the command.
_USES = {
    "review": (_REVIEW, _WORKDIR),
    "tickets": (_TICKETS, _MAPPING, _CAPTURES, _LABELS, _FORMAT, _ZONE),
    "add": (_ADD, _LABELS, _CAPTURES, _FORMAT, _SESSION),
    "page": (_PAGE, _LABELS, _CAPTURES, _FORMAT, _SESSION),
}
_NEEDED = {
    "review": (_WORKDIR,),
    "tickets": (_MAPPING, _CAPTURES, _LABELS),
    "add": (_LABELS,),
    "page": (),
}


def main(argv: Sequence[str]) -> None:
    from siamjax.assessment import labelling

    use = _use(argv)
    is_table = _FORMAT.value == "counters"
    if use == "review":
        from siamjax.assessment import review

        lines = review.review_run(str(_WORKDIR.value))
    elif use == "tickets":
        paths = (_TICKETS.value, _MAPPING.value, _CAPTURES.value, _LABELS.value)
        lines = labelling.label_by_tickets(
            *map(str, paths), is_table=is_table, zone=_ZONE.value
        )
    else:
        path = _session() if _SESSION.value else argv[1]
        target = labelling.Target(path, _CAPTURES.value, _LABELS.value, is_table)
        if use == "add":
            lines = labelling.add_labels(target, [_interval(x) for x in _ADD.value])
        else:
            lines = labelling.draw_page(target, _PAGE.value)
    print("\n".join(lines))


def _session():
    """The files of --session."""
    from siamjax.capture import parts

    if _FORMAT.value == "counters":
        raise UsageError("--session is for packets")
    sessions = parts.parse_sessions([str(_SESSION.value)])
    return next(parts.match_files(*item) for item in sessions.items())


def _use(argv):
    """Which way the command is used, of `_USES`."""
    if _REVIEW.value:
        use = "review"
    elif _TICKETS.value:
        use = "tickets"
    else:
        use = "add" if _ADD.value else "page"
    known = {flag.name for flag in _USES[use]}
    for flag in (flag for flags_of_use in _USES.values() for flag in flags_of_use):
        if flag.present and flag.name not in known:
            raise UsageError(f"--{flag.name} has no effect beside --{use}")
    for flag in _NEEDED[use]:
        if not flag.value:
            raise UsageError(f"--{use} needs --{flag.name}")
    files = 1 if use in ("add", "page") and not _SESSION.value else 0
    if len(argv) != 1 + files:
        beside = "session" if _SESSION.value else use
        raise UsageError(
            "name one capture: siamjax label FILE"
            if files
            else f"unexpected argument {argv[1]!r} beside --{beside}"
        )
    return use


def _interval(text):
    """`(condition, from, to)` of CONDITION=FROM-TO; to the end is infinite."""
    match = _INTERVAL.fullmatch(text)
    if match is None:
        raise UsageError(
            f"--add={text}: write CONDITION=FROM-TO in seconds, as in overload=36-90"
        )
    condition, start, end = match.groups()
    return condition, float(start), float(end or "inf")


def run() -> None:
    COMMAND.run(main)


if __name__ == "__main__":
    run()
