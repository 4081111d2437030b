"""Small encoders that each have one known cause of a gap, to test an audit with.

Trained on the counters of `data.synthetic`, many seeds side by side in one program.
scripts/experiments/norm.py trains many of them, tests/test_auditing.py a few.
"""

from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from siamjax import losses, streams
from siamjax.auditing.subject import Batches, Subject
from siamjax.config import EncoderConfig, HeadConfig
from siamjax.data import sampler, synthetic
from siamjax.models import encoder as encoders

ROWS = 6  # K of a batch, which has all conditions to learn
UNSEEN = 3  # conditions of the data that are not learnt
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
    session_spread: float = 0.5  # deviation of log level and log gain of sessions
    known: int = 5  # P, conditions to learn
    strength: float = 0.8  # deviation of the logs by which a condition changes a column


PLANTS = dict(
    lag=Plant("lag", steps=100, session_spread=0.2),
    session=Plant("batch", batch_from="one_session", session_spread=0.8),
    branch=Plant(
        "branch", tuples="branches", session_spread=0.1, known=7, strength=1.2
    ),
    lost=Plant("batch", lose=True),
    # Sound ones: the training cures of session and branch, and other normalisations.
    mixed=Plant("batch", session_spread=0.8),
    one_pass=Plant("batch", session_spread=0.1, known=7, strength=1.2),
    healthy=Plant("batch"),
    renorm=Plant("renorm"),
    frozen=Plant("frozen"),
    per_session=Plant("session", batch_from="one_session", session_spread=0.8),
    layer=Plant("layer"),
    none=Plant("none"),
)


def build(plant):
    """The encoder of a plant, and its loss of points, labels and key."""
    steps = plant.steps if plant.norm == "frozen" else 0
    return _build(plant.norm, plant.tuples, plant.momentum, steps)


@lru_cache
def _build(norm, tuples, momentum, steps):
    config = EncoderConfig(
        hidden=(16,),
        bidirectional=False,
        pooling="mean_max",
        norm=norm,
        momentum=momentum,
        frozen_share=0.7,
    )
    view = HeadConfig(
        dim=3,
        norm="sigmoid",
        loss="triplet",
        weight=1.0,
        features="live",
        statistics_weight=0.0,
    )
    heads = dict(view=view)
    encoder = encoders.build_encoder(config, heads, features=8, steps=steps)
    of_batch = losses.resolve(f"triplet:margin={MARGIN},reduce=all")

    def loss(points, labels, key):
        chosen = {}
        if tuples == "branches":
            count = 4 * labels.shape[0]
            chosen = dict(triplets=sampler.draw_branch_triplets(key, labels, count))
        where = jnp.ones(labels.shape, bool)
        value, _ = of_batch.apply({}, points["view"], labels, where=where, **chosen)
        return value

    return encoder, loss


def data(plant, seed):
    """Windows of `data.synthetic` with log1p of the counts."""
    windows = synthetic.make_windows(
        seed,
        sessions=SESSIONS,
        conditions=plant.known + UNSEEN,
        repeats=EACH,
        level=plant.session_spread,
        gain=plant.session_spread,
        strength=plant.strength,
    )
    return np.log1p(windows.counts), windows


def rows(key, known, one_session):
    """Rows, labels and sessions `[B]` of a batch, by the order of `synthetic`.

    Args:
      key: of the batch.
      known: P.
      one_session: [] bool, whether all rows are of one.
    """
    keys = jax.random.split(key)
    labels = jnp.repeat(jnp.arange(known), ROWS)
    of_row, of_all = (
        jax.random.randint(keys[0], shape, 0, TRAINED) for shape in (labels.shape, ())
    )
    session = jnp.where(one_session, of_all, of_row)
    window = jax.random.randint(keys[1], labels.shape, 0, EACH)
    return (session * EACH + window) * (known + UNSEEN) + labels, labels, session


def trained(plant, seeds):
    """`(params, stats)` of each seed along a first axis, on its own data."""
    encoder, loss = build(plant)
    start = [
        jax.device_get(_init(streams.stream(seed, streams.ENCODER), encoder.init))
        for seed in seeds
    ]
    start = jax.tree.map(lambda *leaves: np.stack(leaves), *start)
    x = np.stack([data(plant, seed)[0] for seed in seeds])
    return _run(
        start,
        jnp.asarray(seeds),
        x,
        plant.steps,
        plant.batch_from == "one_session",
        known=plant.known,
        branches=plant.norm == "branch",
        apply=encoder.apply,
        loss=loss,
    )


@partial(jax.jit, static_argnames="init")
def _init(key, init):
    return init(key)


@partial(jax.jit, static_argnames=("known", "branches", "apply", "loss"))
def _run(start, seeds, x, steps, one_session, *, known, branches, apply, loss):
    """Adam's steps of all seeds: one program for plants of one normalisation."""
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(RATE))

    def objective(params, stats, x, labels, session, key):
        lengths = jnp.full(x.shape[:1], x.shape[1], jnp.int32)
        group = sampler.branch_of_rows(labels) if branches else session
        points, stats = apply(params, x, lengths, stats, group=group, train=True)
        return loss(points, labels, key), stats

    def body(step, carry, x, seed):
        params, stats, opt_state = carry
        of_batch = streams.stream(seed, streams.BATCH, step)
        chosen, labels, session = rows(of_batch, known, one_session)
        key = streams.stream(seed, streams.LOSS, step)
        slopes, stats = jax.grad(objective, has_aux=True)(
            params, stats, x[chosen], labels, session, key
        )
        updates, opt_state = optimizer.update(slopes, opt_state, params)
        return optax.apply_updates(params, updates), stats, opt_state

    @jax.vmap
    def train_seed(start, seed, x):
        begin = (*start, optimizer.init(start[0]))
        moved = partial(body, x=x, seed=seed)
        return jax.lax.fori_loop(0, steps, moved, begin)[:2]

    return train_seed(start, seeds, x)


def subject(plant, weights, index):
    """`Subject` of one of the seeds of `trained`."""
    params, stats = jax.device_get(jax.tree.map(lambda leaf: leaf[index], weights))
    of_seed = make_subject(plant, params, stats)
    return without_variance(of_seed) if plant.lose else of_seed


def make_subject(plant, params, stats):
    """`Subject` of a plant with these weights and statistics."""
    encoder, loss = build(plant)
    return Subject(
        encoder=encoder,
        params=params,
        stats=stats,
        loss=loss,
        head="view",
        norm=plant.norm,
        momentum=plant.momentum,
        columns=tuple(f"column {i}" for i in range(8)),
    )


def without_variance(subject):
    """The subject with kept variances of 0, as a race of updates left them in Keras."""
    stats = subject.stats
    zeros = np.zeros_like(stats.moments["variance"])
    stats = stats.replace(moments=dict(stats.moments, variance=zeros))
    return subject._replace(stats=stats)


def batches(plant, seed, count=30):
    """`Batches` as training drew them, of its last steps."""
    x, _ = data(plant, seed)
    last = plant.steps - count + jnp.arange(count)
    of_batch, of_loss = (
        jax.vmap(partial(streams.stream, seed, name))(last)
        for name in (streams.BATCH, streams.LOSS)
    )
    chosen, labels, session = jax.vmap(
        partial(rows, known=plant.known, one_session=plant.batch_from == "one_session")
    )(of_batch)
    windows = x[np.asarray(chosen)]
    lengths = np.full(windows.shape[:2], windows.shape[2], np.int32)
    group = session
    if plant.norm == "branch":
        group = jax.vmap(sampler.branch_of_rows)(labels)
    return Batches(windows, lengths, labels, session, group, of_loss)
