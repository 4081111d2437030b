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
from signs import VIEWS, Phase, share

# A fault is looked for from so many seconds after its onset on.
SETTLE_S = 2.0
# Retransmissions go on for so long after the end of a fault.
ECHO_S = 10.0
# Repeated messages of all messages, where there is no fault.
MOST_REPEATED = 0.002


def view_of(folder):
    return VIEWS[NETWORKS[folder.name].protocol]


def read_rows(folder):
    """{file: rows of labels.csv}."""
    rows = defaultdict(list)
    with open(folder / "labels.csv", newline="") as table:
        for row in csv.DictReader(table):
            rows[row["file"]].append(row)
    return rows


def cut_phases(counts, rows, header, view):
    """(condition, severity, before, during, after) of each fault of a capture.

    `before` of a capture that begins inside its fault is what follows the echo of it.
    A phase without bins is None.
    """

    def phase(begin_s, end_s):
        part = counts[int(np.ceil(begin_s / BIN_S)) : int(end_s / BIN_S)]
        return Phase(part, header, view) if len(part) else None

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
    view = view_of(folder)
    problems, signs = [], defaultdict(list)
    for file, rows in read_rows(folder).items():
        for condition, severity, before, during, _ in cut_phases(
            counts[file], rows, header, view
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
            value, seen = view.signs[condition][1](before, during, severity)
            signs[condition].append((value, bool(seen)))
            if not seen:
                problems.append(f"{file}: {condition} is not seen: {value:.3f}")
    return problems, signs


def print_signs(signs_of, view):
    """Prints a table of the networks of a protocol.

    Args:
      signs_of: {network: {condition: [(value, seen)]}}.
      view: of the protocol.
    """
    print("| condition | sign |", " | ".join(signs_of), "|")
    print("|---|---|" + "---|" * len(signs_of))
    for condition in ("normal", *view.signs):
        sign = view.signs.get(condition, ("share of repeated messages",))[0]
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
    print()


def print_phases(folder):
    counts, header = load_counts(folder)
    view = view_of(folder)
    phases = defaultdict(list)
    for file, rows in read_rows(folder).items():
        for condition, _, *parts in cut_phases(counts[file], rows, header, view):
            for name, part in zip(("before", "during", "after"), parts, strict=True):
                if part:
                    phases[condition, name].append(part.cells())
    columns = [*view.shown, "retrans", "silent", *view.latencies]
    shown = " | ".join(columns)
    print(f"\n{folder.name}\n\n| condition | phase | captures | {shown} |")
    print("|---|---|" + "--:|" * (len(columns) + 1))
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
    for view in VIEWS.values():
        of_view = {f.name: signs_of[f.name] for f in folders if view_of(f) is view}
        if of_view:
            print_signs(of_view, view)
    for folder in folders:
        print_phases(folder)
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
