"""Times training from counts on disk beside training from memory, and its memory.

A set of made-up counts is written to a folder if it is not there, by default 20 GB. The
same model is trained from it and from a set of 0.25 GB in memory, in turns, with the
default config. Each turn is of the same steps; the pairs are printed, and the growth of
the memory that is not of files (RssAnon).

  python -m scripts.benchmarks.on_disk --folder runs/on_disk --gigabytes 20
"""

import argparse
import contextlib
import pathlib
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from configs import default
from siamjax.config import from_dict
from siamjax.data import columns, counts_on_disk, features, sampler
from siamjax.training import devices, state, step
from siamjax.types import Baseline, Windows

SESSIONS, CLASSES, HOP = 512, 8, 64
IN_MEMORY_GB = 0.25


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", required=True, help="of the set, kept for reuse")
    parser.add_argument("--gigabytes", type=float, default=20.0)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0, help="a new one reads new pages")
    parser.add_argument("--steps", type=int, default=64, help="of each turn")
    return parser.parse_args()


def session_counts(index, bins, width):
    """Counts `[bins, F]` of a session: noise times a factor of its condition."""
    rng = np.random.default_rng(index)
    rate = np.random.default_rng(index % CLASSES).gamma(1.0, 2.0, width)
    noise = rng.integers(0, 4, (bins, width), np.uint8)
    return noise.astype(np.float32) * np.float32(rate)


def open_set(folder, gigabytes, width):
    """The memory-mapped counts `[S, bins, F]` of a set of this size."""
    bins = int(gigabytes * 1e9 / (4 * width * SESSIONS))
    return counts_on_disk.open_counts(
        folder,
        {"made_up": [SESSIONS, CLASSES]},
        [bins] * SESSIONS,
        width,
        lambda i: session_counts(i, bins, width),
    )


def training_data(counts, config, seed, table_columns):
    """`step.Data` of counts, without the counts."""
    bins, length = counts.shape[1], config.data.bins
    start = np.arange(0, bins - length, HOP, dtype=np.int32)
    session = np.repeat(np.arange(SESSIONS, dtype=np.int32), len(start))
    windows = Windows(session, np.tile(start, SESSIONS), session % CLASSES)
    scaler = features.make_scaler(
        table_columns, floor=config.data.floor, clip=config.data.clip
    )
    first = np.log1p(np.asarray(counts[:, :48]))
    table = sampler.sampling_table(
        windows, np.ones(len(session), bool), conditions=CLASSES, batch_from="all"
    )
    return step.Data(
        seed=jnp.asarray(seed, jnp.int32),
        counts=None,
        baseline=Baseline(first.mean(1), first.std(1)),
        scaler=scaler,
        windows=windows,
        table=table,
    )


def anonymous_mb():
    """Memory of this process that is not of files, in MB."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1e3
    raise OSError("the system does not say RssAnon")


def main():
    given = arguments()
    config = default.get_config()
    config.steps = 10**6
    config = from_dict(config)
    table_columns = columns.event_columns(["sip"])
    mesh = devices.make_mesh(devices.prepare_devices("cpu")[:1])
    parts = step.build_parts(config, columns=table_columns, classes=CLASSES, mesh=mesh)
    width = len(table_columns)
    begin_s = time.time()
    large = open_set(given.folder, given.gigabytes, width)
    print(f"{large.nbytes / 1e9:.1f} GB on disk, {time.time() - begin_s:.0f} s to open")
    small = open_set(given.folder, IN_MEMORY_GB, width)
    place = devices.replicated(mesh)
    in_memory = training_data(small, config, given.seed, table_columns)
    in_memory = devices.place(in_memory._replace(counts=np.array(small)), place)
    on_disk = training_data(large, config, given.seed, table_columns)
    run = step.compile_run(parts)
    with contextlib.ExitStack() as stack:
        chunk_of = stack.enter_context(
            counts_on_disk.reading_ahead(
                large,
                on_disk.windows,
                given.seed,
                on_disk.table,
                shape=parts.sampling.shape,
                length=config.data.bins,
                place=lambda chunk: devices.place(chunk, place),
            )
        )
        on_disk = devices.place(on_disk, place)
        turns = {
            "memory": [run, in_memory, state.create_state(0, parts)],
            "disk": [
                step.read_ahead(run, chunk_of),
                on_disk,
                state.create_state(0, parts),
            ],
        }
        before, ratios = 0.0, []
        print("pair  memory ms/step  disk ms/step  disk/memory  RssAnon MB")
        for pair in range(-1, given.pairs):  # the first compiles
            spent = {}
            for name in ("memory", "disk") if pair % 2 else ("disk", "memory"):
                advance, data, now = turns[name]
                begin_s = time.perf_counter()
                now, _ = advance(now, given.steps, data)
                jax.block_until_ready(now)
                spent[name] = 1e3 * (time.perf_counter() - begin_s) / given.steps
                turns[name][2] = now
            if pair < 0:
                before = anonymous_mb()
                continue
            ratios.append(spent["disk"] / spent["memory"])
            print(
                f"{pair:4}  {spent['memory']:14.1f}  {spent['disk']:12.1f}  "
                f"{ratios[-1]:11.3f}  {anonymous_mb():10.0f}",
                flush=True,
            )
    print(
        f"median disk/memory {statistics.median(ratios):.3f}; RssAnon grew by "
        f"{anonymous_mb() - before:.0f} MB"
    )


if __name__ == "__main__":
    main()
