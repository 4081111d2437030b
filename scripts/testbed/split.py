"""Print data/split.csv: which captures and conditions are for what, in all networks.

    python scripts/testbed/split.py data/{testbed,access,trunk,core,radius,gtp} \
        > data/split.csv

`part` is by capture: of each kind the last quarter of the seeds is "test", the quarter
before it "valid", the others "train". Captures with two faults, that begin inside a
fault, or are long are "stream": to find faults in, not to learn from. `novel` says
whether the condition of the capture is one that training must not see: "test",
"valid" (for choosing settings), or empty.
"""

import argparse
import csv
import sys
from collections import defaultdict
from pathlib import Path

from plan import SPECIAL_KINDS

NOVEL = dict(
    link_flap="valid",
    server_overload="valid",
    server_stall="valid",
    busy_reject="test",
    delay="test",
    packet_loss="test",
    stale_contexts="test",
    wrong_secret="test",
)


def split_network(files):
    """(file, part, novel) of each file of a network."""
    by_kind = defaultdict(list)
    for file in sorted(set(files)):
        by_kind[file.split(".")[0].rpartition("_")[0]].append(file)
    for kind, members in by_kind.items():
        quarter = max(len(members) // 4, 1)
        for i, file in enumerate(members):
            from_end = (len(members) - 1 - i) // quarter
            part = ("test", "valid")[from_end] if from_end < 2 else "train"
            if kind in SPECIAL_KINDS:
                part = "stream"
            yield file, part, NOVEL.get(kind, "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="such as data/access")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["network", "file", "part", "novel"])
    for folder in parser.parse_args().folders:
        with open(folder / "labels.csv", newline="") as table:
            files = [row["file"] for row in csv.DictReader(table)]
        for row in split_network(files):
            writer.writerow([folder.name, *row])


if __name__ == "__main__":
    main()
