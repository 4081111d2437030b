"""Times value and gradient of losses on the device that JAX takes: CPU, GPU or TPU.

Each number is the least of several calls after the first, which compiles, for B unit
rows of 16 dimensions in 8 classes.

  python -m scripts.benchmarks.accelerator
  python -m scripts.benchmarks.accelerator --all --sizes 1024,4096
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

from siamjax import losses

LOSSES = (
    "triplet",
    "triplet:mining=hard,margin=soft,scale=5",
    "supcon",
    "multi_similarity",
    "smooth_ap",
)
SIZES, CLASSES, DIM, CALLS = (256, 1024, 4096), 8, 16, 10


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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="every loss of LOSSES")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="B, several")
    given = parser.parse_args()
    chosen = tuple(losses.LOSSES) if given.all else LOSSES
    sizes = [int(size) for size in given.sizes.split(",")]
    device = jax.devices()[0]
    print(f"{device.device_kind}, JAX {jax.__version__}\n")
    heads = " | ".join(f"B = {size}, ms" for size in sizes)
    print(f"| value and gradient of | {heads} |\n|---|{'--:|' * len(sizes)}")
    for text in chosen:
        print(f"| `{text}` |", end="", flush=True)
        for size in sizes:
            print(f" {loss_ms(text, size):.2f} |", end="", flush=True)
        print(flush=True)


if __name__ == "__main__":
    main()
