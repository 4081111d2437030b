"""One optimiser step as a pure function, and the compiled loop of many."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from siamjax import checks, losses, streams
from siamjax.config import BatchConfig, Config, OptimizerConfig
from siamjax.data import features, made_up, sampler
from siamjax.models import encoder as encoders
from siamjax.training import devices
from siamjax.training.state import TrainState
from siamjax.types import Baseline, Scaler, Windows


class Data(NamedTuple):
    """What batches are cut from; lives on the devices once."""

    seed: jax.Array  # [] int32, of the batches; no constant of the program
    counts: jax.Array  # [S, bins, F]
    baseline: Baseline  # [S, F]
    scaler: Scaler
    windows: Windows  # of the data set
    table: sampler.SamplingTable


class Parts(NamedTuple):
    """The variants that a config picks, once, so that no step has an if for them."""

    length: int  # T
    classes: int  # known conditions, for losses with weights per class
    shape: sampler.BatchShape
    made_up: made_up.MadeUp
    tuples: Any  # (key, labels) -> dict(pairs=) or dict(triplets=) or dict()
    encoder: encoders.Encoder
    by_branch: bool  # statistics by group are of branches, not of sessions
    losses: dict  # head -> (losses.Loss, dim)
    weights: dict  # head -> weight of its loss in the total
    norms: dict  # head -> norm of its embedding
    decide_with: str
    optimizer: optax.GradientTransformation
    mesh: Any


def build_parts(config: Config, *, columns, classes, mesh) -> Parts:
    """`Parts` of a config.

    Args:
      config: see configs/default.py.
      columns: `types.Column`s, F of them.
      classes: number of known conditions.
      mesh: with the axis `data`.
    """
    heads = config.active_heads
    checks.require(
        config.decide_with in heads,
        f"config.decide_with is {config.decide_with!r}, heads are {sorted(heads)}",
    )
    checks.require(
        config.encoder.norm != "session" or config.data.baseline_s,
        "config.encoder.norm is 'session' and config.data.baseline_s is 0: prediction "
        "tells sessions by their baselines, and all would have one",
    )
    batch = config.batch
    return Parts(
        length=config.data.bins,
        classes=classes,
        shape=sampler.BatchShape(batch.conditions, batch.made_up, batch.per_condition),
        made_up=made_up.build_changes(config.made_up, columns),
        tuples=_tuples(batch),
        encoder=encoders.build_encoder(
            config.encoder, heads, features=len(columns), steps=config.steps
        ),
        by_branch=config.encoder.norm == "branch",
        losses={
            name: (losses.resolve(head.loss), head.dim) for name, head in heads.items()
        },
        weights={name: head.weight for name, head in heads.items()},
        norms={name: head.norm for name, head in heads.items()},
        decide_with=config.decide_with,
        optimizer=make_optimizer(config.optimizer, config.steps),
        mesh=mesh,
    )


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """AdamW behind gradient clipping, with a warm-up and a cosine decay."""
    rate = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, config.warmup, max(steps, config.warmup + 1),
        config.learning_rate * config.final,
    )  # fmt: skip
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(rate, weight_decay=config.weight_decay),
    )


def make_batch(step, data, parts):
    """Features `[B, T, F]`, labels and group `[B]` of batch `step`.

    Labels below 0 are made up; the group is what statistics by group go by.
    """
    rows, labels = sampler.batch_rows(data.seed, step, data.table, parts.shape)
    split = devices.batch_sharding(parts.mesh)
    rows = jax.lax.with_sharding_constraint(rows, split)
    session = data.windows.session[rows]
    baseline = Baseline(data.baseline.mean[session], data.baseline.deviation[session])
    counts = sampler.gather_windows(data.counts, data.windows, rows, parts.length)
    if parts.shape.made_up:
        key = streams.stream(data.seed, streams.MADE_UP, step)
        floor = jnp.broadcast_to(data.scaler.floor, baseline.deviation.shape)
        unit = baseline.deviation + floor
        counts = made_up.change_windows(key, counts, -1 - labels, unit, parts.made_up)
    x = features.to_features(counts, baseline, data.scaler)
    group = sampler.branch_of_rows(labels) if parts.by_branch else session
    return jax.lax.with_sharding_constraint(x, split), labels, group


def objective(params, state, windows, labels, group, key, parts):
    """The total loss, and (stats, loss states, embeddings, terms) it was made of."""
    lengths = jnp.full(windows.shape[:1], windows.shape[1], jnp.int32)
    heads, stats = parts.encoder.apply(
        params["encoder"], windows, lengths, state.batch_stats, group=group, train=True
    )
    total, terms, memory = total_loss(
        heads, labels, key, params["losses"], state.loss_state, parts
    )
    return total, (stats, memory, heads, terms)


def total_loss(heads, labels, key, weights, loss_state, parts):
    """The total loss of embeddings, that of each head, and what the losses remember.

    Args:
      heads: head -> `[B, E]`.
      labels: `[B]` int.
      key: of the step, `streams.LOSS`.
      weights, loss_state: head -> weights of its loss, what it remembered before.
      parts: `Parts`.
    """
    for_tuples, *keys = jax.random.split(key, 1 + len(parts.losses))
    chosen = parts.tuples(for_tuples, labels)
    terms, memory = {}, {}
    for key, (name, (loss, _)) in zip(keys, sorted(parts.losses.items())):
        remembered = dict(loss_state[name], params=weights[name])
        where = labels >= 0 if loss.per_class else jnp.ones_like(labels, bool)
        terms[name], remembered = loss.apply(
            remembered, heads[name], labels, where=where, key=key, **chosen
        )
        memory[name] = {k: v for k, v in remembered.items() if k != "params"}
    total = sum(parts.weights[name] * term for name, term in terms.items())
    return total, terms, memory


def train_step(state, data, parts):
    """One step: `(state, (total, terms, heads, labels, gradients))`."""
    windows, labels, group = make_batch(state.step, data, parts)
    grad = jax.value_and_grad(objective, has_aux=True)
    key = streams.stream(data.seed, streams.LOSS, state.step)
    (total, (stats, memory, heads, terms)), gradients = grad(
        state.params, state, windows, labels, group, key, parts
    )
    updates, opt_state = parts.optimizer.update(
        gradients, state.opt_state, state.params
    )
    new = TrainState(
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        batch_stats=stats,
        loss_state=memory,
        opt_state=opt_state,
    )
    return new, (total, terms, heads, labels, gradients)


def hyper_parameters(config: Config) -> dict[str, dict]:
    """Every setting of each head's loss, defaults too: `{head: {name: value}}`."""
    heads = config.active_heads
    return {name: losses.resolve(head.loss).hyper for name, head in heads.items()}


def step_metrics(total, terms, heads, labels, gradients, parts):
    """What is logged of a step, alike for all losses: `{name: scalar}`."""
    out = {"loss": total, "gradient_norm": optax.tree_utils.tree_norm(gradients)}
    for name, term in terms.items():
        margin = parts.losses[name][0].hyper.get("margin")
        counted = {"margin": margin} if isinstance(margin, float) else {}
        sigmoid = parts.norms[name] == "sigmoid"
        health = losses.health(heads[name], labels, sigmoid=sigmoid, **counted)
        out[f"{name}/loss"] = term
        out.update({f"{name}/{key}": value for key, value in health.items()})
    return out


def compile_run(parts):
    """`run(state, steps, data) -> (state, metrics of the last step)`, compiled once.

    The number of steps is traced: one program serves every rhythm of logging and
    saving, so a run that was cut stays bit-identical to one that was not.
    """

    def run(state, steps, data):
        nothing = _no_metrics(state, parts)

        def body(i, carry):
            state, details = train_step(carry[0], data, parts)
            last = i == steps - 1
            return state, jax.lax.cond(
                last, lambda: step_metrics(*details, parts), lambda: nothing
            )

        return jax.lax.fori_loop(0, steps, body, (state, nothing))

    whole = devices.replicated(parts.mesh)
    return jax.jit(run, donate_argnums=0, in_shardings=whole, out_shardings=whole)


def _no_metrics(state, parts):
    """Zeros in the form of `step_metrics`, without tracing a step for it."""
    rows = parts.shape.size
    scalar, labels = jnp.zeros(()), jnp.zeros(rows, jnp.int32)
    terms = {name: scalar for name in parts.losses}
    heads = {name: jnp.zeros((rows, dim)) for name, (_, dim) in parts.losses.items()}
    form = jax.eval_shape(
        partial(step_metrics, parts=parts), scalar, terms, heads, labels, state.params
    )
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), form)


def _tuples(batch: BatchConfig):
    makers = dict(
        all=lambda key, labels: {},
        pairs=lambda key, labels: dict(
            pairs=sampler.draw_pairs(
                key, labels, labels.shape[0], similar=batch.similar
            )
        ),
        triplets=lambda key, labels: dict(
            triplets=sampler.draw_triplets(key, labels, labels.shape[0])
        ),
        branches=lambda key, labels: dict(
            triplets=sampler.draw_branch_triplets(key, labels, labels.shape[0])
        ),
    )
    return makers[batch.tuples]
