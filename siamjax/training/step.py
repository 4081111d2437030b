"""One optimiser step as a pure function, and the compiled loop of many."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from siamjax import checks, losses, streams
from siamjax.config import BEST, BatchConfig, Config, OptimizerConfig
from siamjax.data import features, made_up, sampler
from siamjax.data.counts_on_disk import Chunk
from siamjax.losses import registry, states
from siamjax.models import encoder as encoders
from siamjax.training import devices
from siamjax.training.state import TrainState
from siamjax.types import Baseline, Column, Scaler, UsageError, Windows


class Data(NamedTuple):
    """What batches are cut from; each device holds one copy."""

    seed: jax.Array  # [] int32, of the batches
    counts: jax.Array | np.ndarray | Chunk | None  # [S, bins, F]; or read ahead
    baseline: Baseline  # [S, F]
    scaler: Scaler
    windows: Windows  # of the data set
    table: sampler.SamplingTable


class Sampling(NamedTuple):
    """How a batch is drawn and changed."""

    length: int  # T
    shape: sampler.BatchShape
    made_up: made_up.MadeUp
    draw_tuples: Callable  # (key, labels) -> dict(pairs=), dict(triplets=) or {}
    by_branch: bool  # statistics by group are of branches, not of sessions


class HeadLoss(NamedTuple):
    """What trains one head."""

    loss: losses.Loss
    dim: int  # E
    weight: float  # of this loss in the total
    norm: str  # of the embedding: unit, sigmoid or none


class Parts(NamedTuple):
    """What a config chooses, built once, so that the compiled step needs no
    branches."""

    sampling: Sampling
    encoder: encoders.Encoder
    heads: dict[str, HeadLoss]
    classes: int  # known conditions, for losses with weights per class
    optimizer: optax.GradientTransformation
    mesh: Mesh


class Batch(NamedTuple):
    """The input of one step."""

    windows: jax.Array  # [B, T, F] features
    labels: jax.Array  # [B] int; below 0: made up
    group: jax.Array  # [B] int, session or branch, for normalisation by group


class StepDetails(NamedTuple):
    """What a step computes besides the new state, for the metrics."""

    total: jax.Array  # the loss
    terms: dict[str, jax.Array]  # head -> its loss, without its weight
    embeddings: dict[str, jax.Array]  # head -> [B, E]
    labels: jax.Array  # [B]
    gradients: Any


def build_parts(
    config: Config, *, columns: Sequence[Column], classes: int, mesh: Mesh
) -> Parts:
    """`Parts` of a config.

    Args:
      config: see configs/default.py.
      columns: F of them.
      classes: number of known conditions.
      mesh: with the axis `data`.
    Raises:
      UsageError: `decide_with` is neither `best` nor a head, or another value is not
        allowed.
    """
    heads = config.active_heads
    checks.require(
        heads and config.decide_with in (BEST, *heads),
        f"config.decide_with is {config.decide_with!r}: set {BEST}, or a head of "
        f"{', '.join(sorted(heads))}",
    )
    batch = config.batch
    return Parts(
        sampling=Sampling(
            length=config.data.bins,
            shape=sampler.BatchShape(
                batch.conditions, batch.made_up, batch.per_condition
            ),
            made_up=made_up.build_changes(config.made_up, columns),
            draw_tuples=_choose_tuples(batch),
            by_branch=config.encoder.norm == "branch",
        ),
        encoder=encoders.build_encoder(
            config.encoder, heads, features=len(columns), steps=config.steps
        ),
        heads={
            name: HeadLoss(losses.resolve(head.loss), head.dim, head.weight, head.norm)
            for name, head in heads.items()
        },
        classes=classes,
        optimizer=make_optimizer(config.optimizer, config.steps),
        mesh=mesh,
    )


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """AdamW behind gradient clipping, with a warm-up and a cosine decay."""
    learning_rate = optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=config.learning_rate,
        warmup_steps=config.warmup,
        decay_steps=max(steps, config.warmup + 1),
        end_value=config.learning_rate * config.final,
    )
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(learning_rate, weight_decay=config.weight_decay),
    )


def make_batch(step: jax.Array, data: Data, parts: Parts) -> Batch:
    """The batch of a step, divided over the devices."""
    sampling = parts.sampling
    rows, labels = sampler.batch_rows(data.seed, step, data.table, sampling.shape)
    sharding = devices.batch_sharding(parts.mesh)
    rows = jax.lax.with_sharding_constraint(rows, sharding)
    session = data.windows.session[rows]
    baseline = Baseline(data.baseline.mean[session], data.baseline.deviation[session])
    if isinstance(data.counts, Chunk):
        counts = data.counts.windows[step - data.counts.first]
    else:
        counts = sampler.gather_windows(
            data.counts, data.windows, rows, sampling.length
        )
    if sampling.shape.made_up:
        key = streams.stream(data.seed, streams.MADE_UP, step)
        floor = jnp.broadcast_to(data.scaler.floor, baseline.deviation.shape)
        unit = baseline.deviation + floor
        change = sampling.made_up
        counts = made_up.change_windows(key, counts, -1 - labels, unit, change)
    x = features.to_features(counts, baseline, data.scaler)
    group = sampler.branch_of_rows(labels) if sampling.by_branch else session
    return Batch(jax.lax.with_sharding_constraint(x, sharding), labels, group)


def objective(
    params: Any, state: TrainState, batch: Batch, key: jax.Array, parts: Parts
) -> tuple[jax.Array, tuple]:
    """The total loss, and (statistics, loss state, embeddings, loss of each head).

    Args:
      params: as `state.params`; the gradient is taken with respect to them.
      state: before the step.
      batch: of the step.
      key: of the step, `streams.LOSS`.
      parts: of the training.
    """
    windows = batch.windows
    lengths = jnp.full(windows.shape[:1], windows.shape[1], jnp.int32)
    embeddings, stats = parts.encoder.apply(
        params["encoder"],
        windows,
        lengths,
        state.batch_stats,
        group=batch.group,
        train=True,
    )
    total, terms, memory = total_loss(
        embeddings, batch.labels, key, params["losses"], state.loss_state, parts
    )
    return total, (stats, memory, embeddings, terms)


def total_loss(
    embeddings: Mapping[str, jax.Array],
    labels: jax.Array,
    key: jax.Array,
    params: Mapping[str, Any],
    loss_state: Mapping[str, Any],
    parts: Parts,
) -> tuple[jax.Array, dict[str, jax.Array], dict[str, Any]]:
    """The weighted sum of the losses, the loss of each head, and their new memory.

    Args:
      embeddings: head -> `[B, E]`.
      labels: `[B]` int.
      key: of the step, `streams.LOSS`.
      params: head -> weights of its loss.
      loss_state: head -> the memory of its loss before the step.
      parts: of the training.
    """
    tuples_key, *keys = jax.random.split(key, 1 + len(parts.heads))
    tuples = parts.sampling.draw_tuples(tuples_key, labels)
    terms, memory = {}, {}
    for key, (name, head) in zip(keys, sorted(parts.heads.items())):
        before = dict(loss_state[name], params=params[name])
        where = labels >= 0 if head.loss.per_class else jnp.ones_like(labels, bool)
        terms[name], after = head.loss.apply(
            before, embeddings[name], labels, where=where, key=key, **tuples
        )
        memory[name] = {k: v for k, v in after.items() if k != "params"}
        registry.check_number(head.loss, terms[name])
        change = states.form_change(loss_state[name], memory[name])
        if change:
            raise UsageError(
                f"loss {head.loss.spec} of head {name}: {change}; its apply must "
                "return a state like the one that init gives"
            )
    total = sum(parts.heads[name].weight * term for name, term in terms.items())
    return total, terms, memory


def check_losses(state: TrainState, parts: Parts) -> None:
    """Refuses a loss that does not fit, without computing anything.

    Args:
      state: before the first step; its shapes are enough.
      parts: of the training.
    Raises:
      UsageError: a loss gives no number, or returns a state of another form.
    """
    size = parts.sampling.shape.size
    points = {
        name: jax.ShapeDtypeStruct((size, head.dim), jnp.float32)
        for name, head in parts.heads.items()
    }
    labels = jax.ShapeDtypeStruct((size,), jnp.int32)
    key = jax.eval_shape(jax.random.key, 0)
    evaluate = partial(total_loss, parts=parts)
    weights = state.params["losses"]
    jax.eval_shape(evaluate, points, labels, key, weights, state.loss_state)


def train_step(
    state: TrainState, data: Data, parts: Parts
) -> tuple[TrainState, StepDetails]:
    """One step of the optimiser."""
    batch = make_batch(state.step, data, parts)
    grad = jax.value_and_grad(objective, has_aux=True)
    key = streams.stream(data.seed, streams.LOSS, state.step)
    # Losses divide over the mesh that is set what XLA does not divide by itself.
    with jax.sharding.use_abstract_mesh(parts.mesh.abstract_mesh):
        (total, (stats, memory, embeddings, terms)), gradients = grad(
            state.params, state, batch, key, parts
        )
    updates, opt_state = parts.optimizer.update(
        gradients, state.opt_state, state.params
    )
    new_state = TrainState(
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        batch_stats=stats,
        loss_state=memory,
        opt_state=opt_state,
    )
    return new_state, StepDetails(total, terms, embeddings, batch.labels, gradients)


def hyper_parameters(config: Config) -> dict[str, dict]:
    """Every setting of each head's loss, defaults too: `{head: {name: value}}`."""
    heads = config.active_heads
    return {name: losses.resolve(head.loss).hyper for name, head in heads.items()}


def step_metrics(details: StepDetails, parts: Parts) -> dict[str, jax.Array]:
    """What is logged of a step, with the same names for every loss: `{name:
    scalar}`."""
    gradient_norm = optax.tree_utils.tree_norm(details.gradients)
    logged = {"loss": details.total, "gradient_norm": gradient_norm}
    for name, term in details.terms.items():
        head = parts.heads[name]
        margin = head.loss.hyper.get("margin")
        health = partial(losses.health, sigmoid=head.norm == "sigmoid")
        if isinstance(margin, int | float):
            health = partial(health, margin=margin)
        logged[f"{name}/loss"] = term
        for key, value in health(details.embeddings[name], details.labels).items():
            logged[f"{name}/{key}"] = value
    return logged


def compile_run(
    parts: Parts, *, streamed: bool = False
) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
    """`run(state, steps, data) -> (state, metrics of the last step)`, compiled once.

    The number of steps is an argument of the program, so one program serves every
    interval of logging and saving, and a run that was cut stays bit-identical to one
    that was not.

    Args:
      parts: of the training.
      streamed: whether the counts are a `Chunk`, see `read_ahead`.
    """

    def run(state, steps, data):
        no_metrics = _no_metrics(state, parts)

        def body(i, carry):
            state, details = train_step(carry[0], data, parts)
            is_last = i == steps - 1
            return state, jax.lax.cond(
                is_last, lambda: step_metrics(details, parts), lambda: no_metrics
            )

        return jax.lax.fori_loop(0, steps, body, (state, no_metrics))

    whole = devices.replicated(parts.mesh)
    data = _streamed_shardings(parts.mesh) if streamed else whole
    shardings = (whole, whole, data)
    return jax.jit(run, donate_argnums=0, in_shardings=shardings, out_shardings=whole)


def read_ahead(
    run_steps: Callable[..., tuple[TrainState, dict[str, jax.Array]]],
    chunk_of: Callable[[int], Chunk],
) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
    """`run` of `compile_run` for counts on disk, see `counts_on_disk.reading_ahead`."""

    def run(state, steps, data):
        step = int(state.step)
        end = step + steps
        while step < end:
            chunk = chunk_of(step)
            stop = min(end, int(chunk.first) + len(chunk.windows))
            state, metrics = run_steps(state, stop - step, data._replace(counts=chunk))
            step = stop
        return state, metrics

    return run


def _streamed_shardings(mesh):
    """The shardings of `Data` with a `Chunk`."""
    whole = devices.replicated(mesh)
    everywhere = Data(*[whole] * len(Data._fields))
    return everywhere._replace(counts=Chunk(whole, devices.chunk_sharding(mesh)))


def _no_metrics(state, parts):
    """Zeros with the structure of `step_metrics`, without tracing a step."""
    rows, scalar = parts.sampling.shape.size, jnp.zeros(())
    details = StepDetails(
        total=scalar,
        terms=dict.fromkeys(parts.heads, scalar),
        embeddings={n: jnp.zeros((rows, head.dim)) for n, head in parts.heads.items()},
        labels=jnp.zeros(rows, jnp.int32),
        gradients=state.params,
    )
    shapes = jax.eval_shape(partial(step_metrics, parts=parts), details)
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)


def _choose_tuples(batch: BatchConfig):
    """The function that draws explicit pairs or triplets, as many as there are rows."""

    def none(key, labels):
        return {}

    def pairs(key, labels):
        drawn = sampler.draw_pairs(key, labels, len(labels), similar=batch.similar)
        return dict(pairs=drawn)

    def triplets(key, labels):
        return dict(triplets=sampler.draw_triplets(key, labels, len(labels)))

    def branches(key, labels):  # for the research of docs/norm.md
        return dict(triplets=sampler.draw_branch_triplets(key, labels, len(labels)))

    return dict(all=none, pairs=pairs, triplets=triplets, branches=branches)[
        batch.tuples
    ]
