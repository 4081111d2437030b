"""Times losses and the training step on the device that JAX takes: CPU, GPU or TPU.

Each number is the least of several calls after the first, which compiles. Value and
gradient of a loss are of B unit rows of 16 dimensions in 8 classes; a training step is
that of configs/default.py with B rows, its windows made of random counts.

  python scripts/benchmarks/accelerator.py
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

from siamjax import losses
from siamjax.config import from_dict
from siamjax.configs import default
from siamjax.data import columns, features, sampler
from siamjax.training import devices, state, step
from siamjax.types import Baseline, Windows

LOSSES = (
    "triplet",
    "triplet:mining=hard,margin=soft,scale=5",
    "supcon",
    "multi_similarity",
    "smooth_ap",
)
SIZES, CLASSES, DIM, CALLS = (256, 1024, 4096), 8, 16, 10
# Rows of a batch -> conditions, made-up conditions, windows of each.
BATCHES = {96: (7, 9, 6), 1024: (7, 9, 64), 4096: (7, 9, 256)}
SESSIONS, BINS, STEPS = 64, 512, 20


def least_ms(call):
    """The least time of some calls, in milliseconds, after one that compiles."""
    times = []
    for _ in range(1 + CALLS):
        begin = time.perf_counter()
        jax.block_until_ready(call())
        times.append(1e3 * (time.perf_counter() - begin))
    return min(times[1:])


def loss_ms(text, size):
    """Milliseconds of value and gradient of a loss."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(size, DIM)).astype(np.float32)
    points = jnp.asarray(points / np.linalg.norm(points, axis=1, keepdims=True))
    labels = jnp.arange(size) % CLASSES
    loss, key = losses.resolve(text), jax.random.key(0)
    memory = loss.init(key, CLASSES, DIM)

    @jax.jit
    def value_and_grad(points):
        where = jnp.ones(size, bool)
        return jax.value_and_grad(
            lambda x: loss.apply(memory, x, labels, where=where, key=key)[0]
        )(points)

    return least_ms(lambda: value_and_grad(points))


def step_ms(rows):
    """Milliseconds of one training step with so many rows in a batch."""
    config = default.get_config()
    conditions, made_up, per_condition = BATCHES[rows]
    config.batch.update(
        conditions=conditions, made_up=made_up, per_condition=per_condition
    )
    config = from_dict(config)
    rng = np.random.default_rng(0)
    counts = rng.poisson(4.0, (SESSIONS, BINS, len(columns.SIP))).astype(np.float32)
    scaler = features.scaler(columns.SIP, floor=0.3, clip=30.0)
    baseline = jax.vmap(features.baseline, (0, None))(counts[:, :48], scaler)
    start = np.arange(48, BINS - config.data.bins, 8)
    session = np.repeat(np.arange(SESSIONS), len(start)).astype(np.int32)
    starts = np.tile(start, SESSIONS).astype(np.int32)
    windows = Windows(session, starts, (session % conditions).astype(np.int32))
    mesh = devices.mesh(jax.devices()[:1])
    parts = step.build(config, columns=columns.SIP, classes=conditions, mesh=mesh)
    every = np.ones(len(starts), bool)
    table = sampler.table(windows, every, conditions=conditions)
    data = step.Data(np.int32(0), counts, Baseline(*baseline), scaler, windows, table)
    data, current = jax.device_put((data, state.create(0, parts)))
    run = step.compile_run(parts)

    def call():
        nonlocal current
        current, metrics = run(current, STEPS, data)
        return metrics

    return least_ms(call) / STEPS


def main():
    device = jax.devices()[0]
    print(f"{device.device_kind}, JAX {jax.__version__}\n")
    print(
        "| loss, value and gradient, ms | "
        + " | ".join(f"B = {b}" for b in SIZES)
        + " |"
    )
    print("|---|" + "--:|" * len(SIZES))
    for text in LOSSES:
        times = (f"{loss_ms(text, size):.2f}" for size in SIZES)
        print(f"| `{text}` | " + " | ".join(times) + " |")
    print("\n| | " + " | ".join(f"B = {b}" for b in BATCHES) + " |")
    print("|---|" + "--:|" * len(BATCHES))
    times = (f"{step_ms(rows):.2f}" for rows in BATCHES)
    print("| training step, ms | " + " | ".join(times) + " |")


if __name__ == "__main__":
    main()
