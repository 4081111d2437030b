"""Check that faults are seen in the captures of networks, and print how they look.

    python scripts/testbed/summarize.py data/access data/core

Reads labels.csv and counts.csv.xz (see export_counts.py). Prints Markdown tables: of
each condition in how many of its captures its sign is seen, with the lowest and the
highest value of the sign; of each network the mean messages per second before, during
and after a fault. Ends with code 1 if a fault is not seen, or a capture has
retransmissions without a fault. Needs NumPy.

retrans  repeated requests and answers
silent   percentage of bins of half a second without a request
ring     median milliseconds from INVITE to ringing or its final answer
reg      median milliseconds from REGISTER to its final answer
"""

import argparse
import csv
import sys
from collections import defaultdict
from itertools import product
from pathlib import Path

import numpy as np
from loader_example import BIN_S, load_counts
from networks import NETWORKS

COLUMNS = (
    "INVITE ACK BYE CANCEL REGISTER OPTIONS 100 180 200 401 404 408 480 486 487 503"
).split()
EXTRA = "retrans silent ring reg".split()
METHODS = "INVITE ACK BYE CANCEL REGISTER OPTIONS".split()
# A fault is looked for from so many seconds after its onset on.
SETTLE_S = 2.0
# Retransmissions go on for so long after the end of a fault.
ECHO_S = 10.0
# Repeated messages of all messages, where there is no fault.
MOST_REPEATED = 0.002


class Phase:
    """The counts of some bins of a capture: means of columns."""

    def __init__(self, rows, header):
        self._rows, self._index = rows, {name: i for i, name in enumerate(header)}
        self.bins = len(rows)

    def column(self, name):
        return self._rows[:, self._index[name]]

    def rate(self, *names):
        """Messages per second, of several columns together."""
        return sum(float(self.column(name).mean()) for name in names) / BIN_S

    def median(self, name):
        values = self.column(name)
        measured = values[~np.isnan(values)]
        return float(np.median(measured)) if len(measured) else float("nan")

    @property
    def requests(self):
        return self.rate(*METHODS)

    @property
    def answers(self):
        return self.rate(*(name for name in self._index if name.endswith("xx")))

    @property
    def messages(self):
        return self.requests + self.answers

    @property
    def repeated(self):
        return self.rate("retransmitted requests", "retransmitted answers")

    @property
    def silent(self):
        return float(np.mean(sum(self.column(name) for name in METHODS) == 0))

    def cells(self):
        """What the table of phases shows."""
        values = [self.rate(name) for name in COLUMNS]
        return [
            *values,
            self.repeated,
            100 * self.silent,
            self.median("INVITE to ringing ms"),
            self.median("REGISTER to final ms"),
        ]


def share(count, total):
    return count / total if total else 0.0


def _stops(before, during, severity):
    first = [p.requests - p.rate("retransmitted requests") for p in (before, during)]
    left = min(
        share(during.answers, before.answers),
        share(first[1], first[0]),
        share(during.rate("INVITE/1xx"), before.rate("INVITE/1xx")),
    )
    return left, left < 0.1


def _repeats(before, during, severity):
    repeated = share(during.repeated, during.messages)
    return repeated, repeated > 0.02


def _rings_later(before, during, severity):
    name = "INVITE to ringing ms"
    later_s = (during.median(name) - before.median(name)) / 1000
    return later_s, later_s > severity


def _share_of_requests(code, *methods):
    """The sign of conditions whose severity is a share of requests with one answer."""

    def sign(before, during, severity):
        more = share(during.rate(code), during.rate(*methods)) - share(
            before.rate(code), before.rate(*methods)
        )
        return more, more > severity / 3

    return sign


def _registers_more(before, during, severity):
    more = during.rate("REGISTER") - before.rate("REGISTER")
    return more, more > severity  # each registration has two


def _leaves_open(before, during, severity):
    left_open = during.rate("INVITE") - during.rate("ACK")
    return left_open, left_open > severity / 3


def _rings_no_more(before, during, severity):
    rings = share(during.rate("180"), during.rate("INVITE"))
    return rings, rings < 0.1


def _is_silent(before, during, severity):
    more = during.silent - before.silent
    return more, more > severity / 3


def _is_refused(before, during, severity):
    refused = share(during.rate("401"), during.rate("REGISTER"))
    return refused, refused > 0.6


def _registers_slowly(before, during, severity):
    name = "REGISTER to final ms"
    slower = during.median(name) / before.median(name)
    return slower, slower > 5


# Of each condition: what is measured, and the function that gives it and whether the
# fault is seen.
SIGNS = dict(
    blocked=("answers or new requests, of before", _stops),
    capacity_limit=("share of repeated messages", _repeats),
    packet_loss=("share of repeated messages", _repeats),
    downlink_loss=("share of repeated messages", _repeats),
    delay=("s until ringing, more than before", _rings_later),
    server_overload=(
        "503 to a request, more than before",
        _share_of_requests("503", "INVITE", "REGISTER", "OPTIONS"),
    ),
    registration_storm=("REGISTER/s, more than before", _registers_more),
    callee_down=("180 to an INVITE", _rings_no_more),
    busy_reject=(
        "486 to an INVITE, more than before",
        _share_of_requests("486", "INVITE"),
    ),
    link_flap=("share of bins without a request, more than before", _is_silent),
    auth_failure=("401 to a REGISTER", _is_refused),
    invite_flood=("INVITE/s without an ACK", _leaves_open),
    slow_registrar=("time to register, times before", _registers_slowly),
    routing_failure=(
        "404 to an INVITE, more than before",
        _share_of_requests("404", "INVITE"),
    ),
)


def read_rows(folder):
    """{file: rows of labels.csv}."""
    rows = defaultdict(list)
    with open(folder / "labels.csv", newline="") as table:
        for row in csv.DictReader(table):
            rows[row["file"]].append(row)
    return rows


def cut_phases(counts, rows, header):
    """(condition, severity, before, during, after) of each fault of a capture.

    `before` of a capture that begins inside its fault is what follows the echo of it.
    A phase without bins is None.
    """

    def phase(begin_s, end_s):
        part = counts[int(np.ceil(begin_s / BIN_S)) : int(end_s / BIN_S)]
        return Phase(part, header) if len(part) else None

    end_s = len(counts) * BIN_S
    if rows[0]["condition"] == "normal":
        yield "normal", 0.0, phase(0, end_s), None, None
        return
    times = [
        (float(row["onset_s"]), min(float(row["clear_s"] or "inf"), end_s))
        for row in rows
    ]
    before = phase(0, times[0][0] - BIN_S) if times[0][0] > 0 else None
    for i, (row, (onset_s, clear_s)) in enumerate(zip(rows, times, strict=True)):
        following_s = times[i + 1][0] if i + 1 < len(times) else end_s
        after = phase(clear_s, following_s)
        yield (
            row["condition"],
            float(row["severity"]),
            before or phase(clear_s + ECHO_S, end_s),
            phase(onset_s + SETTLE_S, clear_s),
            after,
        )


def find_problems(folder):
    """Lines about captures that do not show what their label says.

    Returns:
      The lines, and {condition: [(value of the sign, whether it is seen)]}.
    """
    counts, header = load_counts(folder)
    problems, signs = [], defaultdict(list)
    for file, rows in read_rows(folder).items():
        for condition, severity, before, during, _ in cut_phases(
            counts[file], rows, header
        ):
            starts_inside = rows[0]["onset_s"] and float(rows[0]["onset_s"]) == 0
            repeated = share(before.repeated, before.messages)
            if not starts_inside and repeated > MOST_REPEATED:
                problems.append(
                    f"{file}: {100 * repeated:.2f} % of the messages are repeated "
                    "without a fault"
                )
            if condition == "normal":
                signs["normal"].append((repeated, repeated <= MOST_REPEATED))
                continue
            value, seen = SIGNS[condition][1](before, during, severity)
            signs[condition].append((value, bool(seen)))
            if not seen:
                problems.append(f"{file}: {condition} is not seen: {value:.3f}")
    return problems, signs


def print_signs(signs_of):
    """Prints a table of all networks, from {network: {condition: [(value, seen)]}}."""
    print("| condition | sign |", " | ".join(signs_of), "|")
    print("|---|---|" + "---|" * len(signs_of))
    for condition in ("normal", *SIGNS):
        sign = SIGNS.get(condition, ("share of repeated messages",))[0]
        cells = []
        for signs in signs_of.values():
            values = [value for value, _ in signs[condition]]
            seen = sum(is_seen for _, is_seen in signs[condition])
            cells.append(
                f"{seen} of {len(values)}: {min(values):.3g}-{max(values):.3g}"
                if values
                else "-"
            )
        print(f"| {condition} | {sign} |", " | ".join(cells), "|")


def print_phases(folder):
    counts, header = load_counts(folder)
    phases = defaultdict(list)
    for file, rows in read_rows(folder).items():
        for condition, _, *parts in cut_phases(counts[file], rows, header):
            for name, part in zip(("before", "during", "after"), parts, strict=True):
                if part:
                    phases[condition, name].append(part.cells())
    columns = " | ".join([*COLUMNS, *EXTRA])
    print(f"\n{folder.name}\n\n| condition | phase | captures | {columns} |")
    print("|---|---|" + "--:|" * (len(COLUMNS) + len(EXTRA) + 1))
    conditions = dict.fromkeys(condition for condition, _ in phases)
    for condition, name in product(conditions, ("before", "during", "after")):
        if cells := phases[condition, name]:
            table = np.array(cells)
            means = [
                np.mean(column[~np.isnan(column)])
                if (~np.isnan(column)).any()
                else np.nan
                for column in table.T
            ]
            shown = ("-" if np.isnan(mean) else f"{mean:.1f}" for mean in means)
            print(f"| {condition} | {name} | {len(cells)} |", " | ".join(shown), "|")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="such as data/access")
    folders = parser.parse_args().folders
    if strange := [folder for folder in folders if folder.name not in NETWORKS]:
        sys.exit(f"{strange[0]}: must be a folder of one of {', '.join(NETWORKS)}")
    problems, signs_of = [], {}
    for folder in folders:
        of_folder, signs_of[folder.name] = find_problems(folder)
        problems += [f"{folder.name}: {problem}" for problem in of_folder]
    print_signs(signs_of)
    for folder in folders:
        print_phases(folder)
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
