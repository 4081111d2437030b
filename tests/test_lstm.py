import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from siamjax.models import lstm

F, H = 5, 7


def series(steps, batch, seed=0):
    shape = (steps, batch, F)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def weights(seed=1):
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(F + H, 4 * H), scale=0.5).astype(np.float32),
        rng.normal(size=(4 * H,), scale=0.5).astype(np.float32),
    )


def flax_lstm(x, weights, bias):
    """The same recurrence by Flax's cell and scan, batch first inside."""
    params = {}
    for k, gate in enumerate("ifgo"):
        part = slice(k * H, (k + 1) * H)
        params[f"i{gate}"] = {"kernel": weights[:F, part]}
        params[f"h{gate}"] = {"kernel": weights[F:, part], "bias": bias[part]}
    rnn = nn.RNN(nn.OptimizedLSTMCell(H))
    h = rnn.apply({"params": {"cell": params}}, x.transpose(1, 0, 2))
    return h.transpose(1, 0, 2)


@functools.partial(jax.jit, static_argnums=0)
def pull_back(layer, x, weights, bias, slope):
    """The value of a layer, and the gradient of its product with `slope`."""
    value, back = jax.vjp(layer, x, weights, bias)
    return value, back(slope)


@pytest.mark.parametrize("steps, batch", [(1, 3), (9, 1), (12, 4)])
def test_values_and_gradients_are_those_of_flax(steps, batch):
    x, (w, b) = series(steps, batch), weights()
    slope = np.random.default_rng(2).normal(size=(steps, batch, H)).astype(np.float32)
    with jax.default_matmul_precision("highest"):
        want, want_slopes = pull_back(flax_lstm, x, w, b, slope)
        got, slopes = pull_back(lstm.run_lstm, x, w, b, slope)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    for mine, theirs in zip(slopes, want_slopes):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("devices, batch", [(1, 3), (8, 16), (8, 12)])
def test_the_weight_gradient_is_the_same_on_a_cpu_and_on_an_accelerator(devices, batch):
    h, saved = lstm._forward(series(6, batch), *weights())
    slope = np.random.default_rng(2).normal(size=h.shape).astype(np.float32)
    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((devices,), "d")):
        by_bin = lstm._gradients_by_bin(*saved, slope)
    for mine, theirs in zip(by_bin, lstm._gradients_at_once(*saved, slope)):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


def test_a_gradient_in_bfloat16_is_added_up_in_more_bits():
    halves = (jnp.asarray(x, jnp.bfloat16) for x in (series(128, 8), *weights()))
    h, saved = lstm._forward(*halves)
    _, *by_bin = lstm._gradients_by_bin(*saved, h)
    _, *exact = lstm._gradients_at_once(*jax.tree.map(jnp.float32, (*saved, h)))
    for mine, wanted in zip(by_bin, exact):
        assert mine.dtype == jnp.bfloat16
        wanted = np.asarray(wanted)
        limit = 0.01 * np.abs(wanted).max()
        np.testing.assert_allclose(np.float32(mine), wanted, rtol=0, atol=limit)


def test_devices_add_up_their_windows_and_send_one_sum():
    mesh = Mesh(np.array(jax.devices()), ("data",))
    with jax.set_mesh(mesh):
        windows = jax.ShapeDtypeStruct(
            (6, 16, F), np.float32, sharding=NamedSharding(mesh, P(None, "data"))
        )
        gradient = jax.jit(
            jax.grad(lambda w, b, x: lstm.run_lstm(x, w, b).sum(), argnums=(0, 1))
        )
        text = gradient.lower(*weights(), windows).compile().as_text()
    assert "all-gather" not in text
    loops = text.split("ENTRY")[0]
    assert "all-reduce(" in text and "all-reduce(" not in loops


def test_one_step_by_hand():
    # Every weight is 0, the bias alone opens the input gate: c = 0.5 * tanh(1).
    bias = np.array([0, 0, 1, 0], np.float32)
    h = lstm.run_lstm(
        np.ones((1, 1, 1), np.float32), np.zeros((2, 4), np.float32), bias
    )
    np.testing.assert_allclose(h[0, 0, 0], 0.5 * np.tanh(0.5 * np.tanh(1)), rtol=1e-6)


def test_huge_input_saturates_and_stays_finite():
    w, b = weights()
    x = np.broadcast_to(np.float32([1e30, -1e30, 1e6])[:, None, None], (3, 2, F))
    slope = np.ones((3, 2, H), np.float32)
    value, slopes = pull_back(lstm.run_lstm, x, w, b, slope)
    assert np.abs(value).max() <= 1
    assert all(np.isfinite(g).all() for g in slopes)


def test_starts_orthogonal_and_remembering():
    params = jax.jit(lstm.LSTM(H).init)(jax.random.key(0), series(2, 2))["params"]
    for gate in np.split(np.asarray(params["recurrent"]), 4, -1):
        np.testing.assert_allclose(gate.T @ gate, np.eye(H), atol=1e-5)
    np.testing.assert_array_equal(params["bias"], np.repeat([0, 1, 0, 0], H))


def test_reverse_turns_the_real_bins_alone():
    x = np.arange(4.0)[:, None, None] * np.ones((4, 3, 1)) + 1
    got = lstm.reverse(x, jnp.array([4, 3, 1]))[:, :, 0].T
    np.testing.assert_array_equal(got, [[4, 3, 2, 1], [3, 2, 1, 4], [1, 2, 3, 4]])


def test_vmap_over_seeds_is_each_seed_alone():
    x, layer = series(6, 3), lstm.LSTM(H)
    keys = jax.random.split(jax.random.key(0), 3)
    params = jax.jit(jax.vmap(lambda key: layer.init(key, x)))(keys)

    def loss(params):
        return (layer.apply(params, x) ** 2).sum()

    together = jax.jit(jax.vmap(jax.value_and_grad(loss)))(params)
    alone = jax.jit(jax.value_and_grad(loss))(jax.tree.map(lambda p: p[1], params))
    for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone)):
        np.testing.assert_allclose(a[1], b, rtol=1e-5, atol=1e-6)
