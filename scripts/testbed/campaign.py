"""Record all captures of a network, several at the same time, with their labels.

    nice -n -10 python campaign.py --network access --out captures --parallel 8

labels.csv is next to the folder of the captures. How many captures of each kind there
are is in networks.py: each kind is recorded with the seeds 1, 2, .... A capture that is
named in labels.csv is not recorded again, so a campaign that was interrupted continues.
To repeat a capture, delete its rows.
"""

import argparse
import csv
import json
import queue
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from networks import NETWORKS
from plan import LONG_NORMAL, make_plan
from record import LABEL_COLUMNS

# A busy machine can spoil a capture: it is tried so many times.
ATTEMPTS = 3
RECORD = Path(__file__).resolve().parent / "record.py"


def planned_jobs(network):
    """(kind, seed) of all captures: the longest, one of each kind, the next ones."""
    jobs = [
        (kind, seed)
        for seed in range(1, max(network.captures.values()) + 1)
        for kind, count in network.captures.items()
        if seed <= count
    ]
    return sorted(jobs, key=lambda job: job[0] != LONG_NORMAL)


def recorded_files(labels):
    if not labels.exists():
        return set()
    with open(labels, newline="") as file:
        return {row["file"] for row in csv.DictReader(file)}


def append_rows(labels, rows):
    is_new = not labels.exists()
    with open(labels, "a", newline="") as file:
        writer = csv.DictWriter(file, LABEL_COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


def sort_labels(labels, network):
    """Sorts labels.csv by kind and seed: captures end in any order."""
    kinds = list(network.captures)

    def place(row):
        kind = row["file"].partition(".")[0].rpartition("_")[0]
        return kinds.index(kind), int(row["seed"])

    with open(labels, newline="") as file:
        rows = sorted(csv.DictReader(file), key=place)
    ordered = labels.with_suffix(".new")
    ordered.unlink(missing_ok=True)
    append_rows(ordered, rows)
    ordered.replace(labels)


def record_in_slot(slots, network, kind, seed, folder):
    """Records one capture in the next free slot; returns the rows of its label."""
    slot = slots.get()
    options = f"--network {network.name} --kind {kind} --seed {seed} --slot {slot}"
    command = [sys.executable, str(RECORD), *options.split(), "--out", str(folder)]
    try:
        for _ in range(ATTEMPTS):
            result = subprocess.run(command, capture_output=True, text=True)
            if not result.returncode:
                return json.loads(result.stdout)
    finally:
        slots.put(slot)
    raise RuntimeError(f"{kind} {seed} failed:\n{result.stderr}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="testbed", choices=list(NETWORKS))
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the captures"
    )
    parser.add_argument(
        "--parallel", type=int, default=8, help="test beds at the same time"
    )
    parser.add_argument(
        "--first-slot",
        type=int,
        default=1,
        help="number of the first test bed; campaigns that run at the same time must "
        "not share a number",
    )
    options = parser.parse_args()

    network = NETWORKS[options.network]
    labels = options.out.resolve().parent / "labels.csv"
    done = recorded_files(labels)
    jobs = [
        job
        for job in planned_jobs(network)
        if f"{make_plan(network, *job).name}.pcap.xz" not in done
    ]
    slots = queue.Queue()
    for slot in range(options.first_slot, options.first_slot + options.parallel):
        slots.put(slot)

    failures = 0
    with ThreadPoolExecutor(options.parallel) as pool:
        running = [
            pool.submit(record_in_slot, slots, network, *job, options.out)
            for job in jobs
        ]
        for count, future in enumerate(as_completed(running), 1):
            try:
                rows = future.result()
            except RuntimeError as error:
                failures += 1
                print(error, file=sys.stderr, flush=True)
                continue
            append_rows(labels, rows)
            print(f"{count}/{len(jobs)} {rows[0]['file']}", flush=True)
    sort_labels(labels, network)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
