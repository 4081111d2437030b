"""The state of training: what a step changes, no more, so it is the checkpoint."""

from functools import partial
from typing import Any

import flax
import jax
import jax.numpy as jnp

from siamjax import streams


@flax.struct.dataclass
class TrainState:
    """A pytree; `step` alone says which batch comes next."""

    step: jax.Array  # [] int32, optimiser steps taken
    params: Any  # dict(encoder=..., losses=head -> weights of its loss)
    batch_stats: Any  # models.norm.TrainStats: read, never written, in evaluation
    loss_state: Any  # head -> what its loss remembers; empty for most
    opt_state: Any


def create_state(seed, parts):
    """The state before the first step, a function of the seed.

    Args:
      seed: of `config.seed`.
      parts: `step.Parts`.
    """
    # One program: op by op, the start would wait for some sixty compilations.
    return jax.jit(partial(_create, parts=parts))(seed)


def _create(seed, parts):
    encoder, batch_stats = parts.encoder.init(streams.stream(seed, streams.ENCODER))
    weights, memory = {}, {}
    for i, (head, (loss, dim)) in enumerate(sorted(parts.losses.items())):
        key = streams.stream(seed, streams.LOSS_STATE, i)
        state = dict(loss.init(key, parts.classes, dim))
        weights[head] = state.pop("params", {})
        memory[head] = state
    params = dict(encoder=encoder, losses=weights)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=batch_stats,
        loss_state=memory,
        opt_state=parts.optimizer.init(params),
    )
