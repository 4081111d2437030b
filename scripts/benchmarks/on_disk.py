"""Times training from counts on disk beside training from memory, and its memory.

Two prepared data sets of made-up events are written to a folder if they are not there:
one whose counts have the size asked for, by default 20 GB, in sessions of about a
month, and one of 0.25 GB. Training writes the counts of the large one to shards. Then
the same model is trained from the shards and from the small set in memory, in turns.
Each round of turns is printed, with the time by the clock and of the processor, what
was read from the disk, and the memory that is not of files (RssAnon).

  python -m scripts.benchmarks.on_disk --folder runs/on_disk --gigabytes 20

With `--split`, two more ways of training take their turns, which say what the time from
the disk is spent on: from memory in programs of as many steps as a chunk has (what the
starts of programs cost), and from one chunk that is read once (what is left is
reading). Then the parts of reading a chunk are timed.

With `--hidden 4`, a step is so fast that the work of the host is what is measured. With
`--grain`, the threads that read ahead are those of grain (pip install grain).
"""

import argparse
import contextlib
import functools
import operator
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
CHUNKS = 5  # of which the reading is timed


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", required=True, help="of the sets, kept for reuse")
    parser.add_argument("--gigabytes", type=float, default=20.0)
    parser.add_argument("--sessions", type=int, default=16, help="of each set")
    parser.add_argument("--rounds", type=int, default=12, help="of turns")
    parser.add_argument("--seed", type=int, default=0, help="a new one reads new pages")
    parser.add_argument("--steps", type=int, default=256, help="of each turn")
    parser.add_argument("--chunk", type=int, help="steps of a chunk, at most")
    parser.add_argument("--hidden", type=int, default=64, help="width of the LSTM")
    parser.add_argument("--split", action="store_true", help="also says what takes it")
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


def make_config(folder, counts_dir, given):
    config = default.get_config()
    config.encoder.hidden = (given.hidden,)
    config.steps, config.seed = 10**6, given.seed
    config.data.dir, config.data.counts_dir = str(folder), str(counts_dir)
    config.data.novel = config.data.novel_valid = ()
    return from_dict(config)


@contextlib.contextmanager
def read_by_grain(reader, end):
    """`counts_on_disk.reading_ahead` with the threads and the buffer of grain."""
    import grain

    class Chunks:
        def __len__(self):
            return -(-end // reader.steps)

        def __getitem__(self, number):
            return reader.read(int(number))

    options = grain.ReadOptions(
        num_threads=counts_on_disk.AHEAD, prefetch_buffer_size=counts_on_disk.AHEAD
    )
    chunks = iter(grain.MapDataset.source(Chunks()).to_iter_dataset(options))
    latest = next(chunks)

    def chunk_of(step_number):
        nonlocal latest
        while latest.first + reader.steps <= step_number:
            latest = next(chunks)
        return latest

    yield chunk_of


def in_programs(run, size):
    """Trains in programs of at most so many steps."""

    def run_in_programs(current, steps, data):
        for begin in range(0, steps, size):
            current, metrics = run(current, min(size, steps - begin), data)
        return current, metrics

    return run_in_programs


def always_first(reader):
    """Gives the first chunk in place of each other one."""
    chunk = reader.read(0)
    return lambda number: chunk._replace(first=np.int32(number - number % reader.steps))


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
    if given.chunk:
        counts_on_disk.CHUNK_STEPS = given.chunk
    mesh = devices.make_mesh(devices.prepare_devices(given.platform)[:1])
    with contextlib.ExitStack() as stack:
        config = make_config(folder / "small", "", given)
        splits, parts = open_set(config, IN_MEMORY_GB, given.sessions, mesh)
        data = loop.place_data(splits, "all", parts, given.seed)
        run = step.compile_run(parts)
        trainings = {"memory": (run, data, parts)}
        config = make_config(folder / "large", folder / "counts", given)
        splits, parts = open_set(config, given.gigabytes, given.sessions, mesh)
        data = loop.place_data(splits, "all", parts, given.seed, streamed=True)
        reader = loop.make_chunk_reader(splits, data, parts)
        if given.split:
            cut_run = in_programs(run, reader.steps)
            trainings["programs"] = (cut_run, *trainings["memory"][1:])
        run = step.compile_run(parts, streamed=True)
        if given.split:
            kept = step.read_ahead(run, always_first(reader))
            trainings["one chunk"] = (kept, data, parts)
        end = given.steps * (1 + given.rounds)  # the first round compiles
        ahead = read_by_grain if given.grain else counts_on_disk.reading_ahead
        run = step.read_ahead(run, stack.enter_context(ahead(reader, end)))
        trainings["disk"] = (run, data, parts)
        shards = list((folder / "counts").glob("*/*.f32")) if given.cold else []
        time_turns(trainings, given.rounds, given.steps, shards)
    if given.split:
        time_reading(reader, splits, shards)


def open_set(config, gigabytes, sessions, mesh):
    """Splits and parts of a set, which is written if it is not there."""
    begin_s = time.perf_counter()
    write_set(pathlib.Path(config.data.dir), gigabytes, sessions, config)
    made_s = time.perf_counter()
    splits = open_splits(config.data)
    opened_s = time.perf_counter()
    bins, width = splits.sessions.bins.sum(), splits.counts.shape[2]
    print(
        f"{'disk' if config.data.counts_dir else 'memory'}: "
        f"{bins * width * 4e-9:.2f} GB of counts, "
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
    return splits, parts


def forget(paths):
    """Drops files from the cache of the system."""
    for path in paths:
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def time_turns(trainings, rounds, steps, forgotten):
    """Prints the time of a step in each training, round by round, and the medians.

    Args:
      trainings: name -> (run, data, parts); they take turns.
      rounds: so many turns of each, after one that compiles.
      steps: of a turn.
      forgotten: files that are dropped from the cache of the system before each turn.
    """
    names = list(trainings)
    states = {name: state.create_state(0, trainings[name][2]) for name in names}
    clock, processor = ({name: [] for name in names} for _ in range(2))
    print("ms a step: by the clock, of the processor; and MB a step from the disk")
    print(
        "round" + "".join(f"{name:>10}" for name in names * 2) + "      MB  RssAnon MB"
    )
    for number in range(-1, rounds):  # the first compiles
        from_disk = 0.0
        # Each goes first in turn.
        for name in names[number % len(names) :] + names[: number % len(names)]:
            run, data, _ = trainings[name]
            forget(forgotten)
            begin = time.perf_counter(), time.process_time(), read_mb()
            states[name], _ = run(states[name], steps, data)
            jax.block_until_ready(states[name])
            clock[name].append(1e3 * (time.perf_counter() - begin[0]) / steps)
            processor[name].append(1e3 * (time.process_time() - begin[1]) / steps)
            from_disk += (read_mb() - begin[2]) / steps
        if number < 0:
            before = anonymous_mb()
            clock, processor = ({name: [] for name in names} for _ in range(2))
            continue
        figures = [times[name][-1] for times in (clock, processor) for name in names]
        print(
            f"{number:5}" + "".join(f"{figure:10.2f}" for figure in figures),
            f"{from_disk:7.2f}  {anonymous_mb():10.0f}",
            flush=True,
        )
    for name in names[1:]:
        ratios = (
            statistics.median(map(operator.truediv, times[name], times["memory"]))
            for times in (clock, processor)
        )
        print(
            f"{name} / memory, median of the rounds: "
            "{:.3f} by the clock, {:.3f} of the processor".format(*ratios)
        )
    print(f"RssAnon grew by {anonymous_mb() - before:.0f} MB")


def time_reading(reader, splits, forgotten):
    """Prints how long one thread needs for the parts of reading a chunk."""
    seconds = {"windows drawn": [], "counts read": [], "all, on the device": []}
    for number in range(CHUNKS):
        forget(forgotten)
        times = [time.perf_counter()]
        windows = reader.draw(number)
        times.append(time.perf_counter())
        splits.counts.read_windows(windows, splits.length)
        times.append(time.perf_counter())
        forget(forgotten)
        times.append(time.perf_counter())
        jax.block_until_ready(reader.read(number).windows)
        times.append(time.perf_counter())
        for name, begin in zip(seconds, (0, 1, 3)):
            seconds[name].append(times[begin + 1] - times[begin])
    print(f"one chunk of {reader.steps} steps in one thread, median of {CHUNKS}:")
    for name, values in seconds.items():
        print(f"  {name}: {1e3 * statistics.median(values):.1f} ms")


if __name__ == "__main__":
    main()
