"""Trains cells: settings of a loss, each on every fold.

On an accelerator the cells are one compiled program under `vmap`; on a CPU they run one
after another through one program. In both cases a program is compiled once for all
settings of a loss that differ only in numbers. Every cell keeps the weights of its best
validation by MAP@R.
"""

import collections
import functools
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from siamjax.comparison import protocol, readouts, tunable
from siamjax.comparison.config import CompareConfig
from siamjax.config import Config, to_plain
from siamjax.data.splits import Splits
from siamjax.models import embedder
from siamjax.models.encoder import Encoder
from siamjax.training import devices, loop, state, step
from siamjax.types import VALID, Column


class Best(NamedTuple):
    """The best validation of a head."""

    score: float  # MAP@R; NaN if the training diverged
    step: int
    time_s: float  # training time until this step; of the whole group if vmapped
    collapsed: bool  # at the end, all points of validation are equal
    weights: Any  # dict(params, stats), as NumPy arrays


class Outcome(NamedTuple):
    """The result of training one cell."""

    best: dict  # head -> Best
    train_s: float


class Program(NamedTuple):
    """The compiled functions for one loss on one data set."""

    run: Any  # (state, steps, data) -> state, of one cell or of a group
    embed: Any  # see `models.embedder`
    finalise: Any


class Key(NamedTuple):
    """What trainings that share a program have in common, as text."""

    encoder: str
    parts: str  # what else `step.Parts` are built from, without the losses
    losses: str


class _LastUsed(collections.OrderedDict):
    """A cache of the `KEPT` compiled functions that were used last."""

    def get_or_make(self, key, make):
        if key not in self:
            self[key] = make()
            if len(self) > KEPT:
                self.popitem(last=False)
        self.move_to_end(key)
        return self[key]


# A dropped program is loaded again from JAX's cache on disk.
KEPT = 48
# The keys name all that the compiled functions close over; data are their arguments.
_PROGRAMS, _CREATE, _EMBED, _LIKE = (_LastUsed() for _ in range(4))


def train_cells(
    config: CompareConfig,
    data_set: str,
    members: Sequence[protocol.Member],
    *,
    vmapped: bool,
) -> list[Outcome]:
    """Trains members of one loss; returns the `Outcome` of each.

    Args:
      config: of the comparison.
      data_set: its name.
      members: `protocol.Member`s.
      vmapped: trains members that share a program together.
    """
    trainings = [protocol.training_config(config, data_set, m.fold) for m in members]
    splits = [protocol.cell_splits(train, blind=True) for train in trainings]
    judges = [make_validator(s) for s in splits]
    ready = [prepare_training(t, s, m) for t, s, m in zip(trainings, splits, members)]
    outcomes: dict[int, Outcome] = {}
    for group in _group_indices(ready, vmapped):
        trained = _train_group(
            [ready[i] for i in group], [judges[i] for i in group], trainings[0]
        )
        outcomes |= zip(group, trained)
    return [outcomes[i] for i in range(len(members))]


class Ready(NamedTuple):
    """A training before its first step."""

    key: Any  # see `Key`
    parts: step.Parts
    splits: Any
    state: Any
    data: step.Data


def prepare_training(train: Config, splits: Splits, member: protocol.Member) -> "Ready":
    """`Ready` of a member."""
    parts, key = _parts(train, splits, member)
    first = _create_state(parts, key, member)
    data = loop.place_data(splits, train.batch.batch_from, parts, member.seed)
    return Ready(key, parts, splits, first, data)


def _create_state(parts, key, member):
    """`state.create_state`, by a program that is kept.

    If no loss has weights or a memory, one program serves all values of a setting.
    """

    def start_losses(rng):
        return {
            name: head.loss.init(rng, parts.classes, head.dim)
            for name, head in parts.heads.items()
        }

    rng = jax.random.key(0)
    shapes = jax.eval_shape(start_losses, rng).values()
    only_values = all(set(shape) <= {tunable.VALUES} for shape in shapes)
    text = "" if only_values else json.dumps(member.setting)
    create = _CREATE.get_or_make((key, text), lambda: state.compile_create(parts))
    first = create(member.seed)
    if not only_values:
        return first
    values = start_losses(rng)
    everywhere = devices.replicated(parts.mesh)
    return first.replace(loss_state=devices.place(values, everywhere))


def make_validator(splits: Splits) -> Callable[..., dict[str, tuple[float, bool]]]:
    """`validate(program, weights) -> {head: (MAP@R, collapsed)}` on validation."""
    novel = splits.conditions.novel_valid
    windows = splits.windows_of(VALID, splits.conditions.known + novel)
    inputs = splits.inputs(windows)
    judged = [splits.conditions.names.index(name) for name in novel]

    def validate(program, weights):
        final = program.finalise(weights["stats"])
        points = program.embed(weights["params"], final, splits.scaler, *inputs)
        return {head: judge(x) for head, x in points.items()}

    def judge(x):
        if not np.isfinite(x).all():
            return float("nan"), False
        score = readouts.map_at_r(x, windows.condition, windows.session, judged)
        return score, readouts.is_collapsed(x)

    return validate


def train_one_step(
    config: CompareConfig,
    data_set: str,
    members: Sequence[protocol.Member],
    *,
    vmapped: bool,
) -> list[state.TrainState]:
    """The `TrainState` of each member after one step.

    The optimiser's moments then hold the first gradients.
    """
    trainings = [protocol.training_config(config, data_set, m.fold) for m in members]
    splits = [protocol.cell_splits(train, blind=True) for train in trainings]
    ready = [prepare_training(t, s, m) for t, s, m in zip(trainings, splits, members)]
    states: dict[int, state.TrainState] = {}
    for group in _group_indices(ready, vmapped):
        program, first, data = _started([ready[i] for i in group])
        stepped = jax.device_get(program.run(first, 1, data))
        states |= {i: _member(stepped, k, len(group)) for k, i in enumerate(group)}
    return [states[i] for i in range(len(members))]


def _group_indices(ready, vmapped):
    """Lists of indices: the trainings that go through one program together."""
    groups = {}
    for i, training in enumerate(ready):
        shapes = str(jax.tree.map(jnp.shape, (training.state, training.data)))
        key = (training.key, shapes) if vmapped else i
        groups.setdefault(key, []).append(i)
    return list(groups.values())


def _started(ready):
    """The program of a group, its state before the first step, and its data."""
    vmapped = len(ready) > 1
    states, data = [r.state for r in ready], [r.data for r in ready]
    first = _stack(states) if vmapped else states[0]
    return (
        get_program(ready[0], vmapped=vmapped),
        first,
        _stack_data(data) if vmapped else data[0],
    )


def _train_group(ready, judges, train):
    """Outcomes of a group; their times do not include compilation."""
    program, state, data = _started(ready)
    state = jax.block_until_ready(program.run(state, 0, data))  # compiles
    best_by_head, spent_s, step = [{} for _ in ready], 0.0, 0
    for stop in _stops(train):
        start_s = time.perf_counter()
        state = jax.block_until_ready(program.run(state, stop - step, data))
        spent_s, step = spent_s + time.perf_counter() - start_s, stop
        trained = jax.device_get(encoder_weights(state))
        for i, (judge, best) in enumerate(zip(judges, best_by_head)):
            weights = _member(trained, i, len(ready))
            for head, (score, flat) in judge(program, weights).items():
                best_score = best[head].score if head in best else -1.0
                if score > best_score or np.isnan(score):  # once NaN, always NaN
                    best[head] = Best(score, step, spent_s, flat, weights)
                best[head] = best[head]._replace(collapsed=flat)
    return [Outcome(best, spent_s) for best in best_by_head]


def _stops(train):
    """Steps after which a cell is validated; the last step is always one."""
    return [
        *range(train.evaluate_every, train.steps, train.evaluate_every),
        train.steps,
    ]


def _parts(train, splits, member):
    """`step.Parts` of a member, and the key of the program that runs it."""
    parts = step.build_parts(
        train,
        columns=splits.columns,
        classes=len(splits.conditions.known),
        mesh=single_device_mesh(train.platform),
    )
    heads, keys = {}, []
    for name, head in parts.heads.items():
        loss, key = tunable.resolve_setting(*member.setting[name])
        heads[name] = head._replace(loss=loss)
        keys.append(key)
    key = Key(
        encoder_key(train, splits.columns),
        _parts_key(train, splits.columns, len(splits.conditions.known)),
        " | ".join(keys),
    )
    return parts._replace(heads=heads), key


def encoder_key(train: Config, columns: Sequence[Column]) -> str:
    """All that the encoder of a training is built from, as text."""
    fixed = dict(encoder=to_plain(train.encoder), heads=_heads(train))
    return json.dumps([fixed, train.steps, len(columns)], default=list)


def _parts_key(train, columns, classes):
    """All that `step.build_parts` uses of a training except its losses, as text.

    Made-up conditions depend on each column, the rest only on the number of columns.
    """
    config = to_plain(train) | dict(heads=_heads(train))
    del config["seed"], config["data"]
    column_key = columns if train.batch.made_up else len(columns)
    return json.dumps([config, train.data.bins, classes, column_key], default=list)


def _heads(train):
    """The heads of a training without their losses, which have a key of their own."""
    return {
        name: to_plain(head) | dict(loss="")
        for name, head in train.active_heads.items()
    }


def shared_embedder(key: str, encoder: Encoder) -> Callable[..., dict[str, np.ndarray]]:
    """The function of `models.embedder`, compiled once for each `encoder_key`."""
    return _EMBED.get_or_make(key, lambda: embedder.make_embedder(encoder))


def encoder_weights(trained: state.TrainState) -> dict[str, Any]:
    """dict(params, stats): the part of a state that the encoder needs."""
    return dict(params=trained.params["encoder"], stats=trained.batch_stats)


def weights_like(key: str, parts: step.Parts) -> dict[str, Any]:
    """`encoder_weights` with the shapes that belong to an `encoder_key`."""

    def make():
        return encoder_weights(state.create_state(0, parts))

    return _LIKE.get_or_make(key, make)


def get_program(ready: Ready, *, vmapped: bool) -> Program:
    """The compiled program of a training; it is kept for the next one that fits.

    Args:
      ready: the training.
      vmapped: whether it runs a group of such trainings at once.
    """

    def make():
        return Program(
            run=_compiled(ready.parts, vmapped),
            embed=shared_embedder(ready.key.encoder, ready.parts.encoder),
            finalise=ready.parts.encoder.finalise,
        )

    return _PROGRAMS.get_or_make((ready.key, vmapped), make)


# A group shares only the counts: each fold has its own classes and training captures,
# and with counters also its own scaler and baselines.
_AXES: dict[str, Any] = dict.fromkeys(step.Data._fields, 0)
_SHARED_COUNTS = step.Data(**_AXES | dict(counts=None))


def _compiled(parts, vmapped):
    """`run(state, steps, data) -> state`; the number of steps is traced."""

    def run(state, steps, data):
        def body(_, state):
            return step.train_step(state, data, parts)[0]

        return jax.lax.fori_loop(0, steps, body, state)

    if vmapped:
        run = jax.vmap(run, in_axes=(0, None, _SHARED_COUNTS))
    return jax.jit(run, donate_argnums=0)


def _member(tree, i, members):
    """The i-th member of a group; a group of one has no axis for its members."""
    return jax.tree.map(lambda x: x[i], tree) if members > 1 else tree


@functools.cache
def single_device_mesh(platform: str) -> jax.sharding.Mesh:
    """The mesh of one device that all cells are trained on."""
    return devices.make_mesh(devices.prepare_devices(platform)[:1])


def _stack(trees):
    return jax.tree.map(lambda *x: jnp.stack(x), *trees)


def _stack_data(data):
    """Stacks the `step.Data` of a group; the counts are shared."""
    stacked = _stack([d._replace(counts=()) for d in data])
    return stacked._replace(counts=data[0].counts)
