"""Times training from counts on disk beside training from memory, and its memory.

Two prepared data sets of made-up events are written to a folder if they are not there:
one whose counts have the size asked for, by default 20 GB, in sessions of about a
month, and one of 0.25 GB. Training writes the counts of the large one to shards. Then
the same model is trained from the shards and from the small set in memory, in turns.
Each pair of turns is printed, with the time by the clock and of the processor, what was
read from the disk, and the memory that is not of files (RssAnon).

  python -m scripts.benchmarks.on_disk --folder runs/on_disk --gigabytes 20

With `--grain`, the threads that read ahead are those of grain (pip install grain).
"""

import argparse
import contextlib
import functools
import os
import pathlib
import statistics
import time

import jax
import numpy as np

from configs import default
from siamjax.config import from_dict
from siamjax.data import columns, counts_on_disk, prepared
from siamjax.data.splits import open_splits
from siamjax.training import devices, loop, state, step
from siamjax.types import NORMAL, DataSet, Events, Label, StoredSession

FAULTS, STRETCHES = 8, 18
KINDS = tuple(
    f"sip:{kind}"
    for kind in ("INVITE", "INVITE/200", "INVITE/486", "INVITE/503", "REGISTER")
)
RATE = 0.1  # events of a kind in a second
IN_MEMORY_GB = 0.25


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", required=True, help="of the sets, kept for reuse")
    parser.add_argument("--gigabytes", type=float, default=20.0)
    parser.add_argument("--sessions", type=int, default=16, help="of each set")
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0, help="a new one reads new pages")
    parser.add_argument("--steps", type=int, default=64, help="of each turn")
    parser.add_argument("--platform", default="cpu", help="cpu, gpu or tpu")
    parser.add_argument(
        "--cold", action="store_true", help="each turn reads the disk, not its cache"
    )
    parser.add_argument("--grain", action="store_true", help="reads by grain's threads")
    return parser.parse_args()


def session_events(index, span_s, conditions):
    """Events of a session: each fault has rates of its own.

    Args:
      index: of the session.
      span_s: its length.
      conditions: of its stretches, which are equally long.
    """
    rng = np.random.default_rng(index)
    length_s = span_s / len(conditions)
    times, kinds = [], []
    for stretch, condition in enumerate(conditions):
        rates = np.full(len(KINDS), RATE)
        if condition != NORMAL:
            rates *= np.random.default_rng(int(condition[-1])).gamma(1.0, 2.0, 5)
        number = rng.poisson(rates * length_s)
        times.append(
            rng.uniform(stretch * length_s, (stretch + 1) * length_s, sum(number))
        )
        kinds.append(np.arange(len(KINDS), dtype=np.int32).repeat(number))
    time_ns = (np.concatenate(times) * 1e9).astype(np.int64)
    order, n = np.argsort(time_ns), len(time_ns)
    return Events(
        time_ns[order],
        np.zeros(n, np.int8),
        np.concatenate(kinds)[order],
        np.zeros(n, bool),
        np.full(n, -1, np.int64),
    )


def stretch_conditions(index):
    """The condition of each stretch of a session: every second one is normal."""
    return [
        f"fault_{(index + i // 2) % FAULTS}" if i % 2 else NORMAL
        for i in range(STRETCHES)
    ]


def write_set(folder, gigabytes, number, config):
    """Writes a prepared data set whose counts have this size; one session at a time."""
    if (folder / "meta.json").exists():
        return
    width = len(columns.event_columns(["sip"]))
    span_s = float(gigabytes * 1e9 / (4 * width * number) * config.data.bin_s)
    sessions = []
    for i in range(number):
        ends = np.linspace(0, span_s, STRETCHES + 1).tolist()
        conditions = stretch_conditions(i)
        labels = tuple(map(Label, conditions, ends[:-1], ends[1:]))
        read = functools.partial(session_events, i, span_s, conditions)
        sessions.append(StoredSession(f"s{i:03}", span_s, labels, True, read, {}))
    prepared.write_data_set(folder, DataSet(tuple(sessions), KINDS, {}), {})


def make_config(folder, counts_dir, seed):
    config = default.get_config()
    config.steps, config.seed = 10**6, seed
    config.data.dir, config.data.counts_dir = str(folder), str(counts_dir)
    config.data.novel = config.data.novel_valid = ()
    return from_dict(config)


@contextlib.contextmanager
def read_by_grain(read):
    """`counts_on_disk.reading_ahead` with the threads and the buffer of grain."""
    import grain

    class Chunks:
        def __len__(self):
            return 10**6

        def __getitem__(self, number):
            return read(int(number))

    options = grain.ReadOptions(
        num_threads=counts_on_disk.AHEAD, prefetch_buffer_size=counts_on_disk.AHEAD
    )
    chunks = iter(grain.MapDataset.source(Chunks()).to_iter_dataset(options))
    latest = next(chunks)

    def chunk_of(step_number):
        nonlocal latest
        while latest.first + counts_on_disk.CHUNK_STEPS <= step_number:
            latest = next(chunks)
        return latest

    yield chunk_of


def anonymous_mb():
    """Memory of this process that is not of files, in MB."""
    return memory_mb("RssAnon")


def memory_mb(field, pid="self"):
    """A field of /proc/PID/status, in MB."""
    return int(_proc("status", field, pid).split()[0]) / 1e3


def read_mb():
    """What this process read from the disk, in MB."""
    return int(_proc("io", "read_bytes")) / 1e6


def _proc(name, field, pid="self"):
    for line in pathlib.Path(f"/proc/{pid}/{name}").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == field:
            return value.strip()
    raise OSError(f"the system does not say {field}")


def main():
    given = arguments()
    folder = pathlib.Path(given.folder)
    paths = {"memory": folder / "small", "disk": folder / "large"}
    sizes = {"memory": IN_MEMORY_GB, "disk": given.gigabytes}
    counts_dirs = {"memory": "", "disk": folder / "counts"}
    configs = {
        name: make_config(path, counts_dirs[name], given.seed)
        for name, path in paths.items()
    }
    mesh = devices.make_mesh(devices.prepare_devices(given.platform)[:1])
    turns = {}
    with contextlib.ExitStack() as stack:
        for name, config in configs.items():
            begin_s = time.perf_counter()
            write_set(paths[name], sizes[name], given.sessions, config)
            made_s = time.perf_counter()
            splits = open_splits(config.data)
            opened_s = time.perf_counter()
            bins, width = splits.sessions.bins.sum(), splits.counts.shape[2]
            print(
                f"{name}: {bins * width * 4e-9:.2f} GB of counts, "
                f"{len(splits.windows.start)} windows; {made_s - begin_s:.0f} s to "
                f"write the set, {opened_s - made_s:.0f} s to open it; "
                f"RssAnon {anonymous_mb():.0f} MB",
                flush=True,
            )
            parts = step.build_parts(
                config,
                columns=splits.columns,
                classes=len(splits.conditions.known),
                mesh=mesh,
            )
            streamed = name == "disk"
            data = loop.place_data(splits, "all", parts, given.seed, streamed=streamed)
            run = step.compile_run(parts, streamed=streamed)
            if streamed:
                read = loop.make_chunk_reader(splits, data, parts)
                ahead = read_by_grain if given.grain else counts_on_disk.reading_ahead
                run = step.read_ahead(run, stack.enter_context(ahead(read)))
            turns[name] = [run, data, state.create_state(0, parts)]
        shards = list((folder / "counts").glob("*/*.f32")) if given.cold else []
        time_pairs(turns, given.pairs, given.steps, shards)


def forget(paths):
    """Drops files from the cache of the system."""
    for path in paths:
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def time_pairs(turns, pairs, steps, forgotten):
    """Prints the time of each pair of turns, and the medians of the ratios.

    The files `forgotten` are dropped from the cache of the system before each turn.
    """
    ratios = {"clock": [], "processor": []}
    before = 0.0
    print("      ms/step by the clock       ms/step of processor    disk")
    print("pair  memory    disk   ratio   memory    disk   ratio  MB/step  RssAnon MB")
    for pair in range(-1, pairs):  # the first compiles
        clock, processor, from_disk = {}, {}, {}
        for name in ("memory", "disk") if pair % 2 else ("disk", "memory"):
            run, data, current = turns[name]
            forget(forgotten)
            begin = time.perf_counter(), time.process_time(), read_mb()
            current, _ = run(current, steps, data)
            jax.block_until_ready(current)
            clock[name] = 1e3 * (time.perf_counter() - begin[0]) / steps
            processor[name] = 1e3 * (time.process_time() - begin[1]) / steps
            from_disk[name] = (read_mb() - begin[2]) / steps
            turns[name][2] = current
        if pair < 0:
            before = anonymous_mb()
            continue
        ratios["clock"].append(clock["disk"] / clock["memory"])
        ratios["processor"].append(processor["disk"] / processor["memory"])
        print(
            f"{pair:4}  {clock['memory']:6.2f}  {clock['disk']:6.2f}  "
            f"{ratios['clock'][-1]:6.3f}  {processor['memory']:7.2f}  "
            f"{processor['disk']:6.2f}  {ratios['processor'][-1]:6.3f}  "
            f"{from_disk['disk']:7.2f}  {anonymous_mb():10.0f}",
            flush=True,
        )
    medians = {name: statistics.median(values) for name, values in ratios.items()}
    print(
        f"median disk/memory: {medians['clock']:.3f} by the clock, "
        f"{medians['processor']:.3f} of the processor; RssAnon grew by "
        f"{anonymous_mb() - before:.0f} MB"
    )


if __name__ == "__main__":
    main()
