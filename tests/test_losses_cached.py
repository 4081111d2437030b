"""Gradients in chunks are those of the whole batch; a ring that only keys enter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from siamjax import losses
from siamjax.types import UsageError
from tests import reference

RNG = np.random.default_rng(2)
INPUTS = dict(x=RNG.normal(size=(12, 5)), shift=RNG.normal(size=12))
INPUTS = {name: np.float32(values) for name, values in INPUTS.items()}
LABELS = np.arange(12) % 4
PARAMS = dict(
    encoder=np.float32(RNG.normal(size=(5, 3))),
    loss=dict(boundary=np.float32([1.2])),
)


def encode(params, inputs):
    hidden = jnp.tanh(inputs["x"] @ params["encoder"])
    return hidden + inputs["shift"][:, None]


def value(params, embeddings):
    """Of both kinds: pairs that cross chunks, and weights of the loss's own."""
    loss = losses.resolve("margin:nu=0.1")
    state = dict(params=params["loss"], memory={})
    weighted, state = loss.apply(state, embeddings, LABELS)
    return weighted + losses.ntxent(embeddings, LABELS), state["params"]


@pytest.mark.parametrize("rows", [1, 4, 12])
def test_gradients_in_chunks_are_those_of_the_whole_batch(rows):
    whole = jax.value_and_grad(lambda p: value(p, encode(p, INPUTS)), has_aux=True)
    (wanted, _), wanted_slope = jax.jit(whole)(PARAMS)
    step = losses.cached_value_and_grad(encode, value, rows=rows, has_aux=True)
    (loss, aux), slope = jax.jit(step)(PARAMS, INPUTS)
    assert float(loss) == pytest.approx(float(wanted), rel=1e-6)
    assert jax.tree.all(jax.tree.map(np.array_equal, aux, PARAMS["loss"]))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        slope,
        wanted_slope,
    )


def test_activations_of_one_chunk_are_in_memory_at_a_time():
    """An encoder with 4000 hidden units per example, of 256 examples."""
    params, x = np.ones((8, 4000), np.float32), np.ones((256, 8), np.float32)
    labels = np.arange(256) // 2

    def wide(params, x):
        return jnp.tanh(jnp.tanh(x @ params) @ params.T)

    def loss(params, embeddings):
        return losses.ntxent(embeddings, labels)

    def held(function):
        account = jax.jit(function).lower(params, x).compile().memory_analysis()
        return account.temp_size_in_bytes

    whole = held(jax.value_and_grad(lambda p, x: loss(p, wide(p, x))))
    assert held(losses.cached_value_and_grad(wide, loss, rows=16)) < whole / 4


def test_anchors_in_chunks_are_the_loss_of_the_whole_batch():
    """As docs/own_loop.md does it."""
    labels = jnp.arange(12) // 2

    def in_chunks(x):
        @jax.checkpoint
        def add(total, anchors):
            references = losses.References(x, labels, anchor_rows=anchors)
            return total + losses.ntxent(
                x[anchors], labels[anchors], references=references, reduce="sum"
            ), None

        chunks = jnp.arange(12).reshape(-1, 4)
        return jax.lax.scan(add, jnp.zeros(()), chunks)[0] / 12

    x = INPUTS["x"]
    value, slope = jax.value_and_grad(in_chunks)(x)
    wanted, wanted_slope = jax.value_and_grad(lambda x: losses.ntxent(x, labels))(x)
    assert float(value) == pytest.approx(float(wanted), rel=1e-6)
    np.testing.assert_allclose(slope, wanted_slope, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("rows", "says"), [(5, "rows=5 does not divide the batch of 12"), (0, "from 1 on")]
)
def test_chunks_that_do_not_fit_are_refused(rows, says):
    with pytest.raises(UsageError, match=says):
        losses.cached_value_and_grad(encode, value, rows=rows)(PARAMS, INPUTS)


def test_only_enqueued_rows_enter_the_memory():
    """Queries against all keys so far, until the ring of 8 was written over."""
    loss = losses.resolve("memory:loss=(contrastive:power=1),size=8")
    state = loss.init(jax.random.key(0), 4, 3)
    apply, keys = jax.jit(loss.apply), []
    enqueue = np.array([False, True, True, False, True])
    for _ in range(4):
        x = np.float32(RNG.normal(size=(5, 3)))
        labels = RNG.integers(0, 2, 5)
        keys = [*keys, *zip(x[enqueue], labels[enqueue])][-8:]
        pull, push = [], []
        for row, label in zip(x[~enqueue], labels[~enqueue]):
            for other, other_label in keys:
                d = reference.euclidean(row, other)
                (pull if label == other_label else push).append((d, max(0, 1 - d)))
        wanted = reference.mean(d for d, _ in pull) + reference.mean(m for _, m in push)
        found, state = apply(state, x, labels, enqueue=enqueue)
        assert float(found) == pytest.approx(wanted, rel=1e-5)
    with pytest.raises(UsageError, match=r"enqueue has the shape \[3\]"):
        loss.apply(state, x, labels, enqueue=enqueue[:3])
