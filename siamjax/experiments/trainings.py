"""Trains without files, for experiments; similar trainings share compiled programs."""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from siamjax.config import Config, to_plain
from siamjax.data.splits import Splits
from siamjax.models import embedder
from siamjax.training import devices, loop, state, step
from siamjax.types import SiamjaxError

_PROGRAMS: dict[str, tuple] = {}


def compile_programs(
    config: Config, splits: Splits
) -> tuple[step.Parts, Callable, Callable]:
    """The programs of a training, on one CPU device.

    Trainings share them if they differ only in seed and split, and have the same
    columns and the same number of known conditions.

    Args:
      config: of the training.
      splits: of its data.
    Returns:
      Its parts; `run(state, steps, data) -> state, metrics`; and the embedder, see
      `models.embedder`.
    """
    data = dataclasses.replace(
        config.data,
        dir="any",
        novel=(),
        novel_valid=(),
        test_captures=(),
        valid_captures=(),
        test_fold=0,
        valid_fold=1,
    )
    same = to_plain(dataclasses.replace(config, data=data, seed=0))
    key = json.dumps([len(splits.conditions.known), splits.columns, same])
    if key not in _PROGRAMS:
        mesh = devices.make_mesh(devices.prepare_devices("cpu")[:1])
        parts = step.build_parts(
            config,
            columns=splits.columns,
            classes=len(splits.conditions.known),
            mesh=mesh,
        )
        embed = embedder.make_embedder(parts.encoder)
        _PROGRAMS[key] = parts, step.compile_run(parts), embed
    return _PROGRAMS[key]


def train(
    config: Config, splits: Splits, stops: Iterable[int]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Trains, and yields `(step, weights)` before the first step and at each stop.

    Args:
      config: of the training.
      splits: of its data.
      stops: numbers of steps; training ends at the largest.
    """
    parts, run_steps, _ = compile_programs(config, splits)
    data = loop.place_data(splits, config.batch.batch_from, parts, config.seed)
    trained = state.create_state(config.seed, parts)
    yield 0, get_weights(trained)
    done = 0
    for stop in sorted(stops):
        trained, _ = run_steps(trained, stop - done, data)
        done = stop
        yield done, get_weights(trained)


def get_weights(trained: state.TrainState) -> dict[str, Any]:
    """The encoder's `params` and `stats` of a state, as NumPy arrays."""
    return jax.device_get(
        dict(params=trained.params["encoder"], stats=trained.batch_stats)
    )


def check_finite(config: Config, weights: Mapping[str, Any]) -> None:
    """Raises `SiamjaxError` for weights of `train` that are not finite. It is no
    `UsageError`: other trainings of an experiment go on."""
    if all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(weights)):
        return
    trained_with = ", ".join(head.loss for head in config.active_heads.values())
    raise SiamjaxError(
        f"the training with {trained_with} diverged: its weights are not finite after "
        f"{config.steps} steps. Lower optimizer.learning_rate, or leave the setting out"
    )


def bind_embedder(
    config: Config, splits: Splits, weights: Mapping[str, Any]
) -> Callable[..., dict[str, np.ndarray]]:
    """A function `embed(*splits.inputs(windows)) -> {head: [N, E]}`.

    Args:
      config: of the training.
      splits: of its data.
      weights: of `train`.
    """
    parts, _, embed = compile_programs(config, splits)
    stats = parts.encoder.finalise(weights["stats"])
    return functools.partial(embed, weights["params"], stats, splits.scaler)
