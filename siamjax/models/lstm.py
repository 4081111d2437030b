"""The LSTM layer, written for the speed of value and gradient together.

Automatic differentiation of the scan saves all that each step computes, and adds the
weight gradient up step by step. Here the gradient is written out: the forward pass
keeps the gates, and the backward pass computes what is cheap again. The weight
gradient is added up as is fastest on the platform.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax


class LSTM(nn.Module):
    """Series `[T, B, F]`, time first -> the state after each bin, `[T, B, H]`.

    Reference: Hochreiter, Schmidhuber, Neural Computation 9(8), 1997, with the forget
    gate of Gers et al., 2000, whose bias starts at 1 (Jozefowicz et al., ICML 2015).
    """

    width: int  # H

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        features, gates = x.shape[-1], 4 * self.width
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (features, gates))
        recurrent = self.param("recurrent", _orthogonal_gates, (self.width, gates))
        bias = self.param("bias", _forget_bias, (gates,))
        return run_lstm(x, jnp.concatenate([kernel, recurrent]), bias)


@jax.custom_vjp
def run_lstm(x: jax.Array, weights: jax.Array, bias: jax.Array) -> jax.Array:
    """Runs the cell over time from a zero state; reverse-mode gradients only.

      i, f, o = sigmoid, g = tanh of  [x_t, h_(t-1)] @ weights + bias
      c_t = f * c_(t-1) + i * g
      h_t = o * tanh(c_t)

    Args:
      x: `[T, B, F]`.
      weights: `[F + H, 4H]`, gates in the order i, f, g, o.
      bias: `[4H]`.
    Returns:
      h, `[T, B, H]`.
    """
    return _forward(x, weights, bias)[0]


def _forward(x, weights, bias):
    def step(carry, x):
        h, c = carry
        xh = jnp.concatenate([x, h], -1)
        i, f, g, o = jnp.split(xh @ weights + bias[None], 4, -1)
        i, f, g, o = _sigmoid(i), _sigmoid(f), jnp.tanh(g), _sigmoid(o)
        new = f * c + i * g
        h = o * jnp.tanh(new)
        return (h, new), (h, (xh, (c, i, f, g, o)))

    zero = jnp.zeros((x.shape[1], bias.shape[0] // 4), x.dtype)
    _, (h, kept) = lax.scan(step, (zero, zero), x)
    return h, (weights, *kept)


def _backward(saved, slope):
    """From the gradient with respect to h, `[T, B, H]`, those of x, weights and bias.

    dz is the gradient with respect to the inputs of the gates.
    """
    return lax.platform_dependent(
        *saved, slope, cpu=_gradients_by_bin, default=_gradients_at_once
    )


def _gradients_by_bin(weights, xh, kept, slope):
    """Adds the weight gradient up bin by bin.

    On a CPU this is faster: dz is in the cache, and is never written to memory.
    """
    features = weights.shape[0] - slope.shape[2]
    # A sum of many bins in bfloat16 would lose the small terms.
    precise = jnp.promote_types(weights.dtype, jnp.float32)

    def step(carry, inputs):
        state, weight_sum, bias_sum = carry
        xh, slope, kept = inputs
        state, dz = _step_back(weights[features:], state, slope, kept)
        dz_by_device = _by_device(dz)
        weight_sum += jnp.einsum(
            "dbi,dbj->dij",
            _by_device(xh),
            dz_by_device,
            preferred_element_type=precise,
        )
        bias_sum += dz_by_device.sum(1, dtype=precise)
        return (state, weight_sum, bias_sum), dz @ weights[:features].T

    # Each device adds up its own windows, and the devices are added up at the end.
    devices = len(_by_device(xh[0]))
    zero, gates = jnp.zeros_like(slope[0]), weights.shape[1]
    sums = (
        jnp.zeros((devices, *weights.shape), precise),
        jnp.zeros((devices, gates), precise),
    )
    carry = (zero, zero), *sums
    (_, *sums), dx = lax.scan(step, carry, (xh, slope, kept), reverse=True)
    return dx, *(total.sum(0).astype(weights.dtype) for total in sums)


def _gradients_at_once(weights, xh, kept, slope):
    """The weight gradient is one product over all bins, after the loop.

    On an accelerator this is faster: the loop waits for fewer small products.
    """
    steps, batch, width = slope.shape
    features = weights.shape[0] - width

    def step(state, inputs):
        return _step_back(weights[features:], state, *inputs)

    zero = jnp.zeros_like(slope[0])
    _, dz = lax.scan(step, (zero, zero), (slope, kept), reverse=True)
    dx = dz @ weights[:features].T
    # Windows come first: they are split over devices, and [T * B] would gather them.
    dz, xh = (a.swapaxes(0, 1).reshape(batch * steps, -1) for a in (dz, xh))
    return dx, xh.T @ dz, dz.sum(0)


def _step_back(recurrent, state, slope, kept):
    """One bin: the gradients with respect to the state before it, and dz `[B, 4H]`."""
    dh, dc = state
    c, i, f, g, o = kept
    t = jnp.tanh(f * c + i * g)
    dh = dh + slope
    dc = dc + dh * o * (1 - t * t)
    di, df, dg, do = dc * g, dc * c, dc * i, dh * t
    dz = [di * i * (1 - i), df * f * (1 - f), dg * (1 - g * g), do * o * (1 - o)]
    dz = jnp.concatenate(dz, -1)
    return (dz @ recurrent.T, dc * f), dz


def _by_device(x):
    """`[B, N] -> [D, B / D, N]`, for the D devices of the mesh that is set."""
    number = math.gcd(len(x), max(1, jax.sharding.get_abstract_mesh().size))
    return x.reshape(number, -1, x.shape[1])


run_lstm.defvjp(_forward, _backward)


def reverse(x: jax.Array, lengths: jax.Array) -> jax.Array:
    """The first `lengths` `[B]` bins of `x` `[T, B, F]` in reverse; padding stays."""
    bins = jnp.arange(x.shape[0])[:, None]  # [T, 1]
    index = jnp.where(bins < lengths[None], lengths[None] - 1 - bins, bins)
    return jnp.take_along_axis(x, index[:, :, None], axis=0)


def _sigmoid(x):
    # By tanh: XLA computes it fast on every platform.
    return 0.5 * jnp.tanh(0.5 * x) + 0.5


def _orthogonal_gates(key, shape, dtype=jnp.float32):
    width = shape[0]
    orthogonal = nn.initializers.orthogonal()
    gates = [orthogonal(k, (width, width), dtype) for k in jax.random.split(key, 4)]
    return jnp.concatenate(gates, -1)


def _forget_bias(key, shape, dtype=jnp.float32):
    width = shape[0] // 4
    return jnp.zeros(shape, dtype).at[width : 2 * width].set(1.0)
