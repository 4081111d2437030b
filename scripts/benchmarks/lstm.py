"""Times value and gradient of the LSTM layer on the device that JAX takes.

    python -m scripts.benchmarks.lstm

Compares the scan of siamjax.models.lstm, the same with the loop unrolled, with products
in bfloat16, with each bin computed again for the gradient (remat), and cuDNN's LSTM on
an NVIDIA GPU, whose gradients are compared with those of the scan. Each time is the
least of several turns after the first, in ms; MB is what the program keeps meanwhile.
"""

import argparse
import functools
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import rnn

from siamjax.models import lstm

BINS, FEATURES, CALLS = 32, 66, 10
SIZES = ((96, 64), (1024, 64), (1024, 512))  # windows, width
UNROLLED = 8


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    device = jax.devices()[0]
    print(f"{device.device_kind}, JAX {jax.__version__}\n")
    print("| B | H | scan | unrolled | bfloat16 | remat | cuDNN | apart | MB | remat |")
    print("|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    for batch, width in SIZES:
        given = make_input(batch, width)
        layers = lstm.run_lstm, unrolled, bfloat16, remat
        programs = list(map(value_and_grad, layers))
        memory = " | ".join(f"{kept_mb(programs[i], given):.1f}" for i in (0, -1))
        apart = float("nan")
        if device.platform == "gpu":
            programs.append(value_and_grad(cudnn))
            with jax.default_matmul_precision("highest"):
                apart = difference(programs[-1](*given)[1], programs[0](*given)[1])
        times = least_ms([functools.partial(run, *given) for run in programs])
        times += [float("nan")] * (5 - len(times))
        shown = " | ".join(f"{ms:.3f}" for ms in times)
        print(f"| {batch} | {width} | {shown} | {apart:.1e} | {memory} |", flush=True)


def make_input(batch: int, width: int) -> tuple[jax.Array, ...]:
    """x `[T, B, F]`, weights `[F + H, 4H]` and bias `[4H]`."""
    rng = np.random.default_rng(0)
    shapes = (BINS, batch, FEATURES), (FEATURES + width, 4 * width), (4 * width,)
    x, weights, bias = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes)
    return x, weights / np.sqrt(FEATURES + width), bias


def value_and_grad(layer: Callable) -> Callable:
    """A compiled function of x, weights, bias: a sum over the layer, its gradients."""

    def total(*given):
        h = layer(*given)
        return jnp.sum(h * jnp.cos(jnp.arange(h.size, dtype=h.dtype).reshape(h.shape)))

    return jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2)))


def unrolled(x, weights, bias):
    """Several bins in each round of the loop; the gradient is JAX's own."""
    return scan(x, weights, bias, jnp.matmul, UNROLLED)


def bfloat16(x, weights, bias):
    """Products of bfloat16, summed in float32; states and gates are float32."""

    def times(a, b):
        a, b = a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)
        return jnp.matmul(a, b, preferred_element_type=jnp.float32)

    return scan(x, weights, bias, times, 1)


def remat(x, weights, bias):
    """Only the states are kept for the gradient; the gates are computed again."""
    return scan(x, weights, bias, jnp.matmul, 1, jax.checkpoint)


def scan(x, weights, bias, times, unroll, keep=lambda step: step):
    @keep
    def step(carry, inputs):
        h, c = carry
        z = times(jnp.concatenate([inputs, h], -1), weights) + bias[None]
        i, f, g, o = jnp.split(z, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zero = jnp.zeros((x.shape[1], bias.shape[0] // 4), x.dtype)
    return jax.lax.scan(step, (zero, zero), x, unroll=unroll)[1]


def cudnn(x, weights, bias):
    """cuDNN's LSTM, with the same weights; its second bias is 0."""
    bins, batch, features = x.shape
    width = bias.shape[0] // 4
    flat = jnp.concatenate(
        [
            weights[:features].T.ravel(),
            weights[features:].T.ravel(),
            bias,
            jnp.zeros_like(bias),
        ]
    )
    zero = jnp.zeros((1, batch, width), x.dtype)
    h, *_ = rnn.lstm(
        x.swapaxes(0, 1),
        zero,
        zero,
        flat,
        jnp.full(batch, bins, jnp.int32),
        features,
        width,
        1,
        0.0,
        False,
    )
    return h.swapaxes(0, 1)


def least_ms(calls: Sequence[Callable]) -> list[float]:
    """The least time of each call; they take turns, so that other work slows all."""
    times = np.zeros((1 + CALLS, len(calls)))
    for i, j in np.ndindex(times.shape):
        begin = time.perf_counter()
        jax.block_until_ready(calls[j]())
        times[i, j] = 1e3 * (time.perf_counter() - begin)
    return times[1:].min(0).tolist()


def kept_mb(program: Callable, given: tuple[jax.Array, ...]) -> float:
    """Memory of a compiled program besides its input and output."""
    analysis = program.lower(*given).compile().memory_analysis()
    return analysis.temp_size_in_bytes / 1e6


def difference(got, want) -> float:
    """The largest difference of an array, as a share of its largest value."""
    shares = jax.tree.map(
        lambda a, b: jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(b)), got, want
    )
    return float(max(jax.tree.leaves(shares)))


if __name__ == "__main__":
    main()
