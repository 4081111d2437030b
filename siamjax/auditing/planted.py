"""Small encoders that suffer from one known cause each, to prove an audit with.

Trained on the counters of `data.synthetic`, many seeds side by side in one program.
"""

from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from siamjax import losses
from siamjax.auditing.subject import Batches, Subject
from siamjax.data import sampler, synthetic
from siamjax.models import encoder as encoders

KNOWN, ROWS = 5, 6  # P and K of a batch: all conditions to learn
SESSIONS, TRAINED, EACH = 24, 16, 8  # of the data, of training, windows of each pair
MARGIN, RATE = 0.4, 3e-3


class Plant(NamedTuple):
    """How an encoder is trained."""

    norm: str
    batch_from: str = "all"
    tuples: str = "all"
    steps: int = 300
    momentum: float = 0.99
    lose: bool = False  # the variance of the kept statistics is set to 0 at the end
    own: float = 0.5  # how much sessions differ: deviation of log level and gain


PLANTS = dict(
    healthy=Plant("batch"),
    renorm=Plant("renorm"),
    frozen=Plant("frozen"),
    nothing=Plant("none"),
    lag=Plant("lag", steps=100, own=0.2),
    session=Plant("batch", batch_from="one_session", own=0.8),
    branch=Plant("branch", tuples="branches", own=0.1),
    lost=Plant("batch", lose=True),
)


@lru_cache
def build(plant):
    """The encoder of a plant, and its loss of points, labels and key."""
    config = ConfigDict(
        dict(
            hidden=(16,), bidirectional=False, pooling="mean_max", norm=plant.norm,
            momentum=plant.momentum, frozen_share=0.7,
        )
    )  # fmt: skip
    heads = dict(view=dict(dim=3, norm="sigmoid"))
    encoder = encoders.build(config, heads, features=8, steps=plant.steps)
    of_batch = losses.resolve(f"triplet:margin={MARGIN},reduce=all")

    def loss(points, labels, key):
        chosen = {}
        if plant.tuples == "branches":
            count = 4 * KNOWN * ROWS
            chosen = dict(triplets=sampler.branch_triplets(key, labels, count))
        where = jnp.ones(labels.shape, bool)
        value, _ = of_batch.apply({}, points["view"], labels, where=where, **chosen)
        return value

    return encoder, loss


def data(plant, seed):
    """Windows of `data.synthetic` with log1p of the counts."""
    made = synthetic.windows(
        seed, sessions=SESSIONS, conditions=KNOWN + 3, each=EACH, level=plant.own,
        gain=plant.own,
    )  # fmt: skip
    return np.log1p(made.counts), made


def rows(key, batch_from):
    """Rows, labels and sessions `[B]` of a batch, by the order of `synthetic`."""
    keys = jax.random.split(key)
    labels = jnp.repeat(jnp.arange(KNOWN), ROWS)
    many = () if batch_from == "one_session" else labels.shape
    session = jax.random.randint(keys[0], many, 0, TRAINED)
    session = jnp.broadcast_to(session, labels.shape)
    window = jax.random.randint(keys[1], labels.shape, 0, EACH)
    return (session * EACH + window) * (KNOWN + 3) + labels, labels, session


def group_of(plant, labels, session):
    """What statistics by group go by."""
    return sampler.branches(labels) if plant.norm == "branch" else session


def trained(plant, seeds):
    """`(params, stats)` of each seed along a first axis, on its own data."""
    encoder, loss = build(plant)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(RATE))

    def objective(params, stats, x, labels, session, key):
        lengths = jnp.full(x.shape[:1], x.shape[1], jnp.int32)
        group = group_of(plant, labels, session)
        points, stats = encoder.apply(
            params, x, lengths, stats, group=group, train=True
        )
        return loss(points, labels, key), stats

    def body(step, carry, x, key):
        params, stats, opt_state = carry
        key = jax.random.fold_in(key, step)
        chosen, labels, session = rows(key, plant.batch_from)
        slopes, stats = jax.grad(objective, has_aux=True)(
            params, stats, x[chosen], labels, session, key
        )
        updates, opt_state = optimizer.update(slopes, opt_state, params)
        return optax.apply_updates(params, updates), stats, opt_state

    @jax.jit
    @jax.vmap
    def run(seed, x):
        key = jax.random.key(seed)
        params, stats = encoder.init(key)
        start = (params, stats, optimizer.init(params))
        return jax.lax.fori_loop(0, plant.steps, partial(body, x=x, key=key), start)[:2]

    x = np.stack([data(plant, seed)[0] for seed in seeds])
    return run(jnp.asarray(seeds), x)


def subject(plant, found, index):
    """`Subject` of one of the seeds of `trained`."""
    params, stats = jax.device_get(jax.tree.map(lambda leaf: leaf[index], found))
    if plant.lose:
        nothing = jnp.zeros_like(stats.moments["variance"])
        stats = stats.replace(moments=dict(stats.moments, variance=nothing))
    encoder, loss = build(plant)
    names = tuple(f"column {i}" for i in range(8))
    return Subject(
        encoder, params, stats, encoder.finalise(stats), loss, "view", plant.norm,
        plant.momentum, names,
    )  # fmt: skip


def batches(plant, seed, count=30):
    """`Batches` as training drew them, of its last steps."""
    x, _ = data(plant, seed)
    keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(seed)))(
        plant.steps - count + jnp.arange(count)
    )
    chosen, labels, session = jax.vmap(lambda k: rows(k, plant.batch_from))(keys)
    windows = x[np.asarray(chosen)]
    lengths = np.full(windows.shape[:2], windows.shape[2], np.int32)
    group = jax.vmap(partial(group_of, plant))(labels, session)
    return Batches(windows, lengths, labels, session, group, keys)
