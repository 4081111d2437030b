"""The state of training: all that a step changes. A checkpoint saves it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import flax
import jax
import jax.numpy as jnp

from siamjax import streams
from siamjax.training import devices

if TYPE_CHECKING:
    from siamjax.training.step import Parts


@flax.struct.dataclass
class TrainState:
    """A pytree; `step` alone says which batch comes next."""

    step: jax.Array  # [] int32, optimiser steps taken
    params: Any  # dict(encoder=..., losses=head -> weights of its loss)
    batch_stats: Any  # models.norm.TrainStats: read, never written, in evaluation
    loss_state: Any  # head -> what its loss remembers; empty for most
    opt_state: Any


def create_state(seed: int, parts: Parts) -> TrainState:
    """The state before the first step, a function of the seed, on every device."""
    return compile_create(parts)(seed)


def compile_create(parts: Parts) -> Callable[[int], TrainState]:
    """`create_state` of these parts as one program, for many seeds."""
    # Compiled as one program: op by op it would take about sixty compilations.
    create = partial(_create_state, parts=parts)
    return jax.jit(create, out_shardings=devices.replicated(parts.mesh))


def state_shapes(parts: Parts) -> TrainState:
    """The state's shapes and dtypes, without its numbers."""
    return jax.eval_shape(partial(_create_state, parts=parts), 0)


def _create_state(seed, parts):
    encoder, batch_stats = parts.encoder.init(streams.stream(seed, streams.ENCODER))
    weights, memory = {}, {}
    for i, (name, head) in enumerate(sorted(parts.heads.items())):
        key = streams.stream(seed, streams.LOSS_STATE, i)
        loss_state = dict(head.loss.init(key, parts.classes, head.dim))
        weights[name] = loss_state.pop("params", {})
        memory[name] = loss_state
    params = dict(encoder=encoder, losses=weights)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=batch_stats,
        loss_state=memory,
        opt_state=parts.optimizer.init(params),
    )
