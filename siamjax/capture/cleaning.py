"""The cleaning report: what a capture contains, and what was wrong in it, by cause."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from siamjax import text
from siamjax.capture.clock import PAUSE_NS
from siamjax.capture.protocols import PROTOCOLS

# Causes in the order in which they are shown, and what each counts.
CAUSES = {
    "truncated": "files whose last packet is cut, perhaps still being written: what is "
    "before the cut is used",
    "damaged": "records of a file that cannot be read",
    "malformed": "packets whose headers cannot be read",
    "joined": "captures behind the first one in a file: put in order of time",
    "clock_step": "jumps of the clock, back or by more than a day: time goes on from "
    "the packet before",
    "untimed": "packets without a time: they have that of the packet before",
    "unknown_link": "packets of a link type that is not read, or encrypted there",
    "not_ip": "frames without IP",
    "fragment": "fragments of IP packets of which a part is missing: not read, but a "
    "message in the first",
    "assembled": "fragments of IP packets that were put together, besides the one that "
    "completes each",
    "snapped": "packets cut by the snap length: used if their headers are complete",
    "cut_short": "packets cut by the snap length inside the headers of IP, UDP or TCP",
    "unnamed": "messages that do not name their transaction, or are cut before it: "
    "counted, but without latency and repetition",
    "other_method": "messages of a method that SIP does not have: of kind other",
    "reordered": "packets earlier than the one before: sorted",
    "duplicated": "packets captured twice: used once",
    "tls": "packets encrypted by TLS, not read",
    "ipsec": "packets encrypted by IPsec, not read",
    "tcp": "TCP without a message that is read",
    "tcp_repeated": "segments of TCP that repeat bytes of SIP",
    "tcp_lost": "holes in connections of SIP: messages in them are lost",
    "sctp": "data of SCTP without a message that is read",
    "tunnel": "packets in tunnels, not read",
    "too_deep": "packets in more than 60 layers of tunnels or tags, not read",
    "no_tshark": "packets of signalling that only tshark reads, which is not installed",
    "tshark": "packets that a tshark which failed did not read",
    "signalling": "packets of signalling without a message of their own, such as "
    "acknowledgements and parts of messages",
    "not_asked": "packets of protocols that were not asked for",
    "udp": "UDP without a message that is read",
    "icmp_other": "ICMP that reports no error",
    "other_ip": "other IP packets",
}
# Causes by which traffic is lost in which there may be messages.
NOT_READ = frozenset(
    """truncated damaged malformed unknown_link fragment cut_short tls ipsec tcp_lost
    sctp tunnel too_deep no_tshark tshark""".split()
)
# Each packet is in one of these groups: what a group says, and the causes that it has.
# Other causes are of files, messages or holes, or say more of packets that are counted.
_READ, _FAULTS = "hold messages", "report an error or a repetition of the transport"
ACCOUNT = {
    _READ: frozenset(),
    _FAULTS: frozenset(),
    "are other parts of signalling": frozenset(("signalling", "tcp_repeated")),
    "are fragments that were put together": frozenset(("assembled",)),
    "are copies": frozenset(("duplicated",)),
    "were not read": NOT_READ - {"truncated", "damaged", "tcp_lost"},
    "carry no signalling that was asked for": frozenset(
        "not_ip not_asked tcp udp icmp_other other_ip".split()
    ),
}
# A fault shows even if the latencies of a few messages are missing. So unnamed messages
# count as not read only where they are more than this share of all.
MOST_UNNAMED = 0.05
# How the server is known. Absent: its address was given, but no packet has it.
FOUND, GIVEN, ABSENT, UNCLEAR = "found", "given", "absent", "unclear"
_WORSE = FOUND, GIVEN, UNCLEAR, ABSENT  # in this order

# Where more than this share of the messages of joined captures repeat another, they may
# show the same calls, at two places whose clocks differ.
MOST_REPEATED = 1 / 3

INSTALL = "install it, such as apt install tshark"

_GAP_S, _GAP_SPACINGS = 2.0, 10


class Report(NamedTuple):
    """The contents of one capture, or of all. It has no address and no Call-ID."""

    name: str
    packets: int
    messages: int  # packets captured twice count once
    retransmitted: int  # messages that repeat one
    span_s: float  # first packet to last
    server: str  # found, given, unclear or absent: the worst of its protocols
    causes: dict[str, int]  # of CAUSES, those that occurred
    gaps: list[list[float]]  # [start_s, length_s]: long silence
    by_protocol: Mapping[str, int] = {}  # messages, by the protocol's name
    # [cause, protocol, packets] of signalling that could not be read without tshark.
    unread: Sequence[Sequence[Any]] = ()
    tshark: str = ""  # its version; empty: it was not started
    notes: Sequence[str] = ()  # sentences on how it was read
    servers: Mapping[str, str] = {}  # as `server`, by the protocol's name
    also: Mapping[str, int] = {}  # packets of protocols that were not asked for
    account: Mapping[str, int] = {}  # packets by group of ACCOUNT, which add up


def find_gaps(times_ns: np.ndarray) -> list[list[float]]:
    """Unusually long times without a packet, `[[start_s, length_s]]`.

    Args:
      times_ns: `[N]` int64, sorted; starts are since the first.
    """
    pauses_ns = np.stack([times_ns[:-1] - times_ns[:1], np.diff(times_ns)], 1)
    return list_gaps(pauses_ns[pauses_ns[:, 1] > PAUSE_NS], len(times_ns))


def list_gaps(pauses_ns: np.ndarray, packets: int) -> list[list[float]]:
    """The pauses that are unusually long, `[[start_s, length_s]]`.

    Args:
      pauses_ns: `[P, 2]`, start and length of each that is longer than `PAUSE_NS`;
        shorter ones count as none.
      packets: how many there are.
    """
    if packets < 2:
        return []
    short = packets - 1 - len(pauses_ns)
    in_order = np.sort(pauses_ns[:, 1])
    middle = [in_order[i - short] if i >= short else 0 for i in _middle(packets - 1)]
    least_ns = max(_GAP_S * 1e9, _GAP_SPACINGS * np.mean(middle))
    return (pauses_ns[pauses_ns[:, 1] > least_ns] / 1e9).tolist()


def _middle(count):
    """The one or two places in the middle, whose mean is the median."""
    return sorted({(count - 1) // 2, count // 2})


def account_for(causes: Mapping[str, int], read: int, faults: int) -> dict[str, int]:
    """How many packets are in each group of `ACCOUNT`; groups without one are left out.

    Args:
      causes: counts by cause.
      read: packets that hold a message.
      faults: packets without one that report a fault of the transport.
    """
    counts = {_READ: read, _FAULTS: faults}
    for group, members in ACCOUNT.items():
        counts.setdefault(group, sum(causes.get(cause, 0) for cause in members))
    return {group: count for group, count in counts.items() if count}


def describe_account(report: Report) -> str:
    """`of 9 packets, 7 hold messages, 2 are copies`."""
    parts = [f"{count} {group}" for group, count in report.account.items()]
    return ", ".join([f"of {report.packets} packets", *parts])


def worst_state(servers: Iterable[str]) -> str:
    """Of the states of several servers, the one that is known least."""
    return max(servers, key=_WORSE.index, default=UNCLEAR)


def without_server(report: Report) -> list[str]:
    """The usual names of the protocols whose directions are not known."""
    return [
        PROTOCOLS[name].short
        for name, state in report.servers.items()
        if state in (UNCLEAR, ABSENT)
    ]


def not_read(report: Report) -> dict[str, int]:
    """The counts by cause of what was not read; empty: all was read.

    The causes are those of `NOT_READ`, and `unnamed` where more than `MOST_UNNAMED` of
    the messages are.
    """
    mostly_unnamed = report.causes.get("unnamed", 0) > MOST_UNNAMED * report.messages
    missing = NOT_READ | {"unnamed"} if mostly_unnamed else NOT_READ
    return {c: report.causes[c] for c in CAUSES if c in missing & set(report.causes)}


def sentence(report: Report) -> str:
    """How much signalling was read, and what was not, in one line without the name.

    Where no message was read, it lists all causes, and the protocols that were not
    asked for: they say what the capture contains.
    """
    read = f"{_list_messages(report)} in {report.packets} packets"
    if not report.messages:
        listed = ": ".join(filter(None, [read, list_causes(report.causes)]))
        return "; ".join([listed, *list_also([report])])
    return "; not read: ".join(filter(None, [read, list_causes(not_read(report))]))


def _list_messages(report):
    counts = report.by_protocol or {"sip": 0}
    listed = [f"{n} messages of {PROTOCOLS[name].short}" for name, n in counts.items()]
    return ", ".join(listed)


def list_unread(report: Report) -> str:
    """What could not be read without tshark: `sctp 22: 13 NGAP, 9 S1AP`."""
    causes: dict[str, list[str]] = {}
    total: Counter[str] = Counter()
    for cause, name, count in report.unread:
        causes.setdefault(cause, []).append(f"{count} {PROTOCOLS[name].short}")
        total[cause] += count
    return "; ".join(f"{c} {total[c]}: {', '.join(n)}" for c, n in causes.items())


def without_tshark(reports: Sequence[Report]) -> list[str]:
    """A line about what was not read since tshark is missing; empty: nothing."""
    unread = list_unread(total_report(reports))
    missing = f"{unread}, not read: tshark missing; {INSTALL}"
    return [f"warning: {missing}"] if unread else []


def list_also(reports: Sequence[Report]) -> list[str]:
    """What is there of protocols that were not asked for; empty: nothing."""
    also = total_report(reports).also
    counts = [f"{n} packets of {PROTOCOLS[name].short}" for name, n in also.items()]
    return [f"also there, not asked for: {', '.join(counts)}"] * bool(counts)


def list_suspicions(report: Report) -> list[str]:
    """Says where captures that were joined may show the same calls; empty: they do not.

    Copies at one time were recognised, and calls that were made again much later, too.
    """
    joined = report.causes.get("joined", 0)
    if not joined or report.retransmitted <= MOST_REPEATED * report.messages:
        return []
    return [
        f"{report.retransmitted} of {report.messages} messages repeat another, and the "
        f"file is joined of {joined + 1} captures: if they show the same calls, give "
        "each a file of its own"
    ]


def list_causes(causes: Mapping[str, int], meanings: Mapping[str, str] = CAUSES) -> str:
    """Counts by cause with their meanings, in one line: `14 pppoe (frames of ...)`."""
    return ", ".join(
        f"{causes[cause]} {cause} ({meaning.partition(':')[0]})"
        for cause, meaning in meanings.items()
        if causes.get(cause)
    )


def total_report(reports: Sequence[Report]) -> Report:
    """One `Report` of all captures; the gaps are only in the reports of captures."""
    counts = {c: sum(report.causes.get(c, 0) for report in reports) for c in CAUSES}
    by_protocol: Counter[str] = Counter()
    also: Counter[str] = Counter()
    account: Counter[str] = Counter()
    unread: Counter[tuple[str, str]] = Counter()
    for report in reports:
        by_protocol.update(report.by_protocol)
        also.update(report.also)
        account.update(report.account)
        unread.update({(what, name): n for what, name, n in report.unread})
    unclear = sum(report.server in (UNCLEAR, ABSENT) for report in reports)
    return Report(
        name="all",
        packets=sum(report.packets for report in reports),
        messages=sum(report.messages for report in reports),
        retransmitted=sum(report.retransmitted for report in reports),
        span_s=sum(report.span_s for report in reports),
        server=f"{unclear} {UNCLEAR}" if unclear else FOUND,
        causes={cause: count for cause, count in counts.items() if count},
        gaps=[],
        by_protocol={name: n for name in PROTOCOLS if (n := by_protocol[name])},
        unread=[[what, name, n] for (what, name), n in unread.most_common()],
        also={name: n for name in PROTOCOLS if (n := also[name])},
        account={group: n for group in ACCOUNT if (n := account[group])},
    )


def format_reports(reports: Sequence[Report]) -> str:
    """The reports as text: a line for each, the total, the meaning of each cause."""
    total = total_report(reports)
    causes = list(total.causes)
    head = "capture packets messages repeated span_s messages/s server gaps".split()
    lines = [head + causes]
    lines += [_cells(report, len(report.gaps), causes) for report in reports]
    lines += [_cells(total, sum(len(report.gaps) for report in reports), causes)]
    return "\n".join(
        [
            *align_cells(lines),
            *(f"{cause}: {CAUSES[cause]}" for cause in causes),
            describe_account(total),
        ]
    )


def align_cells(lines: Sequence[Sequence[object]]) -> list[str]:
    """Lines of cells as lines of text: the first cell to the left, the others right.

    Cells are made safe to show.
    """
    safe = [[text.printable(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*safe)]
    return [
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in safe
    ]


def _server_cell(report):
    """The state of the servers; with names where it is not that of all."""
    if len(set(report.servers.values())) <= 1:
        return report.server
    names = [name for name, state in report.servers.items() if state == report.server]
    return f"{report.server}: {' '.join(names)}"


def _cells(report, gap_count, causes):
    rate = report.messages / report.span_s if report.span_s else 0.0
    return [
        report.name,
        str(report.packets),
        str(report.messages),
        str(report.retransmitted),
        f"{report.span_s:.1f}",
        f"{rate:.1f}",
        _server_cell(report),
        str(gap_count),
        *(str(report.causes.get(cause, 0)) for cause in causes),
    ]
