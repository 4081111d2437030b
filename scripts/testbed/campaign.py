"""Record many captures, several at the same time, with their labels in labels.csv.

    nice -n -10 python campaign.py --out captures --parallel 8

labels.csv is next to the folder of the captures. Each condition is recorded with the
seeds 1 to --captures (normal: 1 to --normal-captures). A capture that has a row in
labels.csv is not recorded again, so a campaign that was interrupted continues. To
repeat a capture, delete its row.
"""

import argparse
import csv
import json
import queue
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from faults import CONDITIONS
from record import LABEL_COLUMNS

RECORD = Path(__file__).resolve().parent / "record.py"


def planned_jobs(captures, normal_captures):
    """(condition, seed) of all captures: one of each condition, then the next ones."""
    counts = {
        name: normal_captures if name == "normal" else captures for name in CONDITIONS
    }
    return [
        (name, seed)
        for seed in range(1, max(counts.values()) + 1)
        for name, count in counts.items()
        if seed <= count
    ]


def recorded_jobs(labels):
    if not labels.exists():
        return set()
    with open(labels, newline="") as file:
        return {(row["condition"], int(row["seed"])) for row in csv.DictReader(file)}


def append_label(labels, label):
    is_new = not labels.exists()
    with open(labels, "a", newline="") as file:
        writer = csv.DictWriter(file, LABEL_COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(label)


def record_in_slot(slots, condition, seed, out, duration):
    """Records one capture in the next free slot; returns its label."""
    slot = slots.get()
    options = f"--condition {condition} --seed {seed} --duration {duration}".split()
    command = [sys.executable, str(RECORD), *options, "--slot", str(slot)]
    try:
        result = subprocess.run(
            [*command, "--out", str(out)], capture_output=True, text=True
        )
    finally:
        slots.put(slot)
    if result.returncode:
        raise RuntimeError(f"{condition} {seed} failed:\n{result.stderr}")
    return json.loads(result.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the captures"
    )
    parser.add_argument(
        "--captures", type=int, default=10, help="captures of each fault"
    )
    parser.add_argument("--normal-captures", type=int, default=16)
    parser.add_argument(
        "--duration", type=int, default=100, help="seconds of each capture"
    )
    parser.add_argument(
        "--parallel", type=int, default=8, help="test beds at the same time"
    )
    options = parser.parse_args()

    labels = options.out.resolve().parent / "labels.csv"
    done = recorded_jobs(labels)
    jobs = [
        job
        for job in planned_jobs(options.captures, options.normal_captures)
        if job not in done
    ]
    slots = queue.Queue()
    for slot in range(1, options.parallel + 1):
        slots.put(slot)

    failures = 0
    with ThreadPoolExecutor(options.parallel) as pool:
        running = [
            pool.submit(record_in_slot, slots, *job, options.out, options.duration)
            for job in jobs
        ]
        for count, future in enumerate(as_completed(running), 1):
            try:
                label = future.result()
            except RuntimeError as error:
                failures += 1
                print(error, file=sys.stderr, flush=True)
                continue
            append_label(labels, label)
            print(f"{count}/{len(jobs)} {label['file']}", flush=True)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
