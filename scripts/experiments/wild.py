"""Counts SIP messages by kind in captures of strangers, beside tshark's counts.

  python -m scripts.experiments.wild FOLDER ...

tshark counts a packet again at each port and hop at which it was captured. So copies
are counted here as well, and said in a column of their own. A kind that tshark names by
a method that SIP does not have is `other`. Needs tshark and the captures: without them
there is nothing to compare, and nothing fails.
"""

import argparse
import collections
import pathlib
import shutil
import subprocess
import sys

from siamjax.capture import duplicates, events, messages, sip
from siamjax.types import SiamjaxError

ENDINGS = (".pcap", ".pcapng", ".cap")
FIELDS = ("sip.Request-Line", "sip.Status-Line")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+")
    options = parser.parse_args()
    captures = [
        path
        for folder in options.folders
        for path in sorted(pathlib.Path(folder).rglob("*"))
        if path.suffix in ENDINGS
    ]
    if not captures or not shutil.which("tshark"):
        sys.exit("nothing to compare: tshark and captures are needed")
    print("| capture | tshark | siamjax | of these copies | repeated | differences |")
    print("|---|--:|--:|--:|--:|---|")
    total = collections.Counter()
    for path in captures:
        theirs = count_tshark(path)
        try:
            ours, _ = count_siamjax(path, copies=True)
            once, repeated = count_siamjax(path, copies=False)
        except SiamjaxError as error:
            print(f"| {path.name} | {theirs.total()} | | | | {error} |")
            continue
        if not theirs and not ours:
            continue
        copies = ours.total() - once.total()
        sums = dict(tshark=theirs.total(), siamjax=ours.total(), copies=copies)
        total.update(sums, repeated=repeated, same=(theirs & ours).total())
        cells = [path.name, *sums.values(), repeated, difference(theirs, ours)]
        print("| " + " | ".join(map(str, cells)) + " |")
    share = total["same"] / max(total["tshark"], 1)
    print(
        f"| all | {total['tshark']} | {total['siamjax']} | {total['copies']} |", end=""
    )
    print(f" {total['repeated']} | {share:.1%} of tshark's are read |")


def count_tshark(path):
    """Messages by method or status, in all layers of all frames."""
    fields = [part for field in FIELDS for part in ("-e", field)]
    command = ["tshark", "-n", "-r", path, "-Y", "sip", "-T", "fields", *fields]
    done = subprocess.run(
        [*command, "-E", "occurrence=a", "-E", "aggregator=|"],
        capture_output=True,
        text=True,
        errors="replace",
    )
    counts = collections.Counter()
    for line in done.stdout.splitlines():
        requests, answers = line.split("\t")
        methods = (first.split()[0].encode() for first in requests.split("|") if first)
        for method in methods:
            counts[method.decode() if method in sip.METHODS else "other"] += 1
        counts.update(first.split()[1] for first in answers.split("|") if first)
    return counts


def count_siamjax(path, *, copies):
    """The same, and the number of repeated messages; copies count or not."""
    within = duplicates.COPY_NS, duplicates.UNNAMED_COPY_NS
    if copies:
        duplicates.COPY_NS = duplicates.UNNAMED_COPY_NS = -1
    try:
        contents = messages.read_messages(path)
        _, _, report = events.read_events(path, protocols=["sip"])
    finally:
        duplicates.COPY_NS, duplicates.UNNAMED_COPY_NS = within
    counts = collections.Counter()
    rows = contents.rows
    for kind in rows.kind[rows.says != messages.SILENT]:
        method, _, status = contents.kinds[kind].partition("/")
        counts[status or method] += 1
    return counts, report.retransmitted


def difference(theirs, ours):
    """What only one of the two counted."""
    parts = [
        f"{name}: " + ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items()))
        for name, counts in (
            ("only tshark", theirs - ours),
            ("only siamjax", ours - theirs),
        )
        if counts
    ]
    return "; ".join(parts)


if __name__ == "__main__":
    main()
