"""Losses under JAX's transformations and its strict settings, by tracing alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from siamjax.losses import LOSSES, resolve

B, E, CLASSES = 12, 4, 4
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 3, 0, 1, 2])
SETTINGS = (
    "triplet:mining=distance_weighted",
    "triplet:reduce=class",
    "triplet:mining=easy_positive_semihard",
    "contrastive:distance=linf",
    "margin:mining=distance_weighted",
    "arcface:centers=3",
    "mined:by=hardest",
    "0.5*triplet+0.1*koleo+cosface",
)
# Those with an operation of mixed types that no other has, and one with a memory; all
# with --slow.
QUICK = (
    "adaface",
    "angular",
    "center",
    "lossless",
    "contrastive:distance=linf",
    "margin:mining=distance_weighted",
    "mined:by=hardest",
)
ALL = sorted({*LOSSES, *SETTINGS})
EVERY_LOSS = [
    pytest.param(spec, marks=() if spec in QUICK else pytest.mark.slow) for spec in ALL
]


def make_step(spec):
    """A loss's state, and `step(state, batch)` with a gradient, as `scan` takes it."""
    loss = resolve(spec)

    def step(state, batch):
        x, labels, where = batch

        def value(x, params):
            full_state = {**state, "params": params} if state else state
            return loss.apply(full_state, x, labels, where=where, key=jax.random.key(1))

        gradient = jax.value_and_grad(value, (0, 1), has_aux=True)
        (number, state), slopes = gradient(x, state.get("params", {}))
        return state, (number, slopes)

    return loss.init(jax.random.key(0), CLASSES, E), step


@pytest.mark.parametrize("spec", EVERY_LOSS)
def test_a_loss_is_traced_under_all_transformations_and_strict_settings(spec):
    """`shard_map` of `scan` of `vmap`, in half precision with labels of 8 bits, without
    implicit promotion of types; no tracer leaks."""
    state, step = make_step(spec)

    def train(*batches):
        start = jax.tree.map(vary, state)
        return jax.lax.scan(step, start, batches)[1][0][None]

    def vary(array):
        return jax.lax.pcast(array, "data", to="varying")

    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    part = PartitionSpec("data")
    sharded = jax.shard_map(jax.vmap(train), mesh=mesh, in_specs=part, out_specs=part)
    sizes = (2, 3, B)  # devices, steps, rows
    batches = (
        jax.ShapeDtypeStruct((*sizes, E), jnp.bfloat16),
        jax.ShapeDtypeStruct(sizes, jnp.int8),
        jax.ShapeDtypeStruct(sizes, bool),
    )
    with jax.numpy_dtype_promotion("strict"), jax.check_tracer_leaks(True):
        values = jax.eval_shape(sharded, *batches)
    assert values.shape == (2, 1, 3) and values.dtype == jnp.float32


@pytest.mark.parametrize("spec", EVERY_LOSS)
def test_single_precision_stays_single_where_x64_is_on(spec):
    state, step = make_step(spec)
    batch = np.ones((B, E), np.float32), LABELS.astype(np.int64), np.ones(B, bool)
    with jax.enable_x64(True):
        after, (value, slopes) = jax.eval_shape(step, state, batch)
    types = {leaf.dtype for leaf in jax.tree.leaves((value, slopes))}
    assert types == {np.dtype(np.float32)}
    old, new = (jax.tree.map(lambda a: a.dtype, s) for s in (state, after))
    assert old == new


@pytest.mark.parametrize("spec", ["proxy_anchor", "arcface", "center"])
def test_labels_of_8_bits_are_compared_with_more_classes_than_they_can_hold(spec):
    """200 is no number of 8 bits: the comparison could wrap around or overflow."""
    loss = resolve(spec)
    state = loss.init(jax.random.key(0), 200, E)
    x = np.random.default_rng(0).normal(size=(B, E)).astype(np.float32)
    run = jax.jit(lambda labels: loss.apply(state, x, labels)[0])
    narrow, wide = (run(LABELS.astype(kind)) for kind in (np.int8, np.int32))
    assert float(narrow) == float(wide) > 0
