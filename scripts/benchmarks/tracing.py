"""What the trace adds to the time of training, in the default config on real data.

Blocks of training steps and single frames of the trace take turns, so that other work
on the machine slows both. The cost is the median over pairs, for the frames and steps
of the whole config.

  python -m scripts.benchmarks.tracing --data runs/testbed
"""

import argparse
import os
import statistics
import tempfile
import time

import jax

from configs import default
from siamjax.config import from_dict
from siamjax.data.splits import open_splits
from siamjax.models import embedder
from siamjax.training import devices, loop, state, step, tracer

STEPS = 20  # of a block


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="runs/testbed", help="a prepared data set")
    parser.add_argument("--pairs", type=int, default=25, help="of a block and a frame")
    options = parser.parse_args()
    config = default.get_config()
    config.data.dir = options.data
    config = from_dict(config)
    splits = open_splits(config.data)
    mesh = devices.make_mesh(devices.prepare_devices("cpu"))
    parts = step.build_parts(
        config, columns=splits.columns, classes=len(splits.conditions.known), mesh=mesh
    )
    data = loop.place_data(splits, config.batch.batch_from, parts, config.seed)
    run, embed = step.compile_run(parts), embedder.make_embedder(parts.encoder)
    current = jax.device_put(
        state.create_state(config.seed, parts), devices.replicated(mesh)
    )
    blocks, frames = [], []
    with (
        tempfile.TemporaryDirectory() as workdir,
        tracer.open_tracer(
            workdir, 0, splits=splits, parts=parts, config=config, embed=embed
        ) as (record_trace, _),
    ):
        for _ in range(1 + options.pairs):  # the first compiles
            begin = time.perf_counter()
            current, metrics = run(current, STEPS, data)
            jax.block_until_ready(metrics)
            between = time.perf_counter()
            record_trace(current, int(current.step))
            blocks.append(between - begin)
            frames.append(time.perf_counter() - between)
    per_block = (config.trace_frames + 1) / config.steps * STEPS
    cost = [per_block * frame / block for block, frame in zip(blocks[1:], frames[1:])]
    print(
        f"{os.cpu_count()} cores, {options.pairs} pairs: a step "
        f"{1e3 * statistics.median(blocks[1:]) / STEPS:.1f} ms, a frame "
        f"{1e3 * statistics.median(frames[1:]):.1f} ms; {config.trace_frames + 1} "
        f"frames cost {statistics.median(cost):.1%} of {config.steps} steps"
    )


if __name__ == "__main__":
    main()
