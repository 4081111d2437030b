"""Times siamjax train from the command to the first training step, cold and warm.

Cold is with an empty compilation cache. Warm is the same command again, into another
folder. The time ends when the loss of step 1 is printed. Also prints the processor
time, which other work on the machine changes little. The data set of the quickstart
must be there.

  python -m scripts.benchmarks.start
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="of cold and warm each")
    options = parser.parse_args()
    seconds = dict(cold=[], warm=[])
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for state, times in seconds.items():
                times.append(first_step_s(folder, f"{folder}/{state}"))
    print(f"{os.cpu_count()} cores, medians of {options.rounds}")
    for state, times in seconds.items():
        clock, processor = map(statistics.median, zip(*times))
        print(f"{state}: {clock:.1f} s by the clock, {processor:.1f} s of a processor")


def first_step_s(cache, workdir):
    """Seconds until a run of the default config took a step: clock and processor."""
    begin, used = time.perf_counter(), children_s()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "siamjax.train", f"--workdir={workdir}"),
            *("--config=configs/default.py", "--config.log_every=1"),
        ],
        env=dict(os.environ, JAX_COMPILATION_CACHE_DIR=f"{cache}/xla"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith("step 1:"):
            took_s = time.perf_counter() - begin
            process.kill()
            process.communicate()
            return took_s, children_s() - used
    sys.exit(f"no first step: {''.join(said)}")


def children_s():
    """Processor time of all child processes so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
