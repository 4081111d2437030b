"""Trains on and evaluates a data set larger than the memory allowed, and watches it.

A prepared data set of made-up events is written to a folder if it is not there: its
sessions for training have the size asked for, sixteen short ones are for validation and
test, and one session of the test is as long as asked for. Then `siamjax train` and
`siamjax evaluate` run on it with counts on disk, under a limit of their address space
(as `ulimit -v`). Their time and the memory that is not of files (RssAnon) are printed.

  python -m scripts.benchmarks.memory --folder runs/memory --gigabytes 2.6 --days 30 \
      --limit_gb 3.5
"""

import argparse
import functools
import os
import pathlib
import resource
import subprocess
import sys
import time

from scripts.benchmarks import on_disk
from siamjax.data import columns, prepared
from siamjax.types import NORMAL, DataSet, Label, StoredSession

# How many sessions of each role, and how long the short ones are.
TRAINING, SHORT, SHORT_S = 16, 8, 4 * 3600.0
STEPS = 48
# The memory is looked at so often, and printed so many times.
EVERY_S, PRINTED = 0.25, 8


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", required=True, help="of the set, kept for reuse")
    parser.add_argument(
        "--gigabytes", type=float, default=2.6, help="counts of the training sessions"
    )
    parser.add_argument(
        "--days", type=float, default=30.0, help="length of the long test session"
    )
    parser.add_argument("--limit_gb", type=float, default=3.5, help="address space")
    return parser.parse_args()


def write_set(folder, gigabytes, days):
    """Writes the data set, one session at a time; gives the GB of its counts."""
    width, bin_s = len(columns.event_columns(["sip"])), 0.5
    long_s = gigabytes * 1e9 / (4 * width * TRAINING) * bin_s
    spans_s = {f"train_{i:02}": long_s for i in range(TRAINING)}
    spans_s |= {f"valid_{i}": SHORT_S for i in range(SHORT)}
    spans_s |= {f"test_{i}": SHORT_S for i in range(SHORT)}
    spans_s["test_long"] = days * 86400.0
    if not (folder / "meta.json").exists():
        sessions = [
            make_session(i, name, span_s)
            for i, (name, span_s) in enumerate(spans_s.items())
        ]
        data_set = DataSet(tuple(sessions), on_disk.KINDS, {})
        prepared.write_data_set(folder, data_set, {})
    return sum(spans_s.values()) / bin_s * 4e-9 * width


def make_session(index, name, span_s):
    """A session with one fault, in its ninth eighteenth: a verdict can be judged."""
    conditions = [NORMAL] * on_disk.STRETCHES
    conditions[8] = f"fault_{index % on_disk.FAULTS}"
    stretch_s = span_s / on_disk.STRETCHES
    labels = (Label(conditions[8], 8 * stretch_s, 9 * stretch_s),)
    read = functools.partial(on_disk.session_events, index, span_s, conditions)
    return StoredSession(name, span_s, labels, True, read, {})


def watch(command, limit_gb):
    """Runs a command under a limit, and prints its time and memory."""
    limit = int(limit_gb * 1e9)
    begin_s, used_s = time.perf_counter(), children_s()
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    sizes, most = [], 0.0
    while process.poll() is None:
        try:
            sizes.append(on_disk.memory_mb("RssAnon", process.pid))
            most = max(most, on_disk.memory_mb("VmPeak", process.pid))
        except OSError:  # it ended meanwhile
            break
        time.sleep(EVERY_S)
    code = process.wait()
    step = max(len(sizes) // PRINTED, 1)
    highest = [max(sizes[i : i + step]) for i in range(0, len(sizes), step)]
    print(
        f"{' '.join(command[2:4])}: exit code {code}, "
        f"{time.perf_counter() - begin_s:.0f} s by the clock, "
        f"{children_s() - used_s:.0f} s of the processor; "
        f"address space at most {most / 1e3:.2f} GB of {limit_gb:g}; RssAnon, the most "
        f"in each of {len(highest)} parts of the time: "
        f"{', '.join(f'{x:.0f}' for x in highest)} MB",
        flush=True,
    )
    return code


def children_s():
    """Time of the processor of all commands that ended, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main():
    given = arguments()
    folder = pathlib.Path(given.folder)
    size_gb = write_set(folder / "set", given.gigabytes, given.days)
    print(f"{size_gb:.2f} GB of counts, one session of {given.days:g} days", flush=True)
    workdir = folder / "run"
    settings = dict(
        dir=folder / "set",
        counts_dir=folder / "counts",
        novel="()",
        novel_valid="()",
        test_captures="('test_*',)",
        valid_captures="('valid_*',)",
    )
    siamjax = [sys.executable, "-m", "siamjax"]
    train = [*siamjax, "train", f"--workdir={workdir}", f"--config.steps={STEPS}"]
    train += [f"--config.evaluate_every={STEPS}", "--config.trace_frames=0"]
    train += [f"--config.data.{name}={value}" for name, value in settings.items()]
    evaluate = [*siamjax, "evaluate", f"--workdir={workdir}"]
    return int(any(watch(command, given.limit_gb) for command in (train, evaluate)))


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    sys.exit(main())
