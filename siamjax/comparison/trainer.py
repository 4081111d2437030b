"""Trains cells: settings of a loss, each on every fold.

On an accelerator the cells are one compiled program under `vmap`; on a CPU they run one
after another through one program. Either way a program is compiled once for all
settings of a loss that differ in numbers alone, and every cell has the weights of its
best validation by MAP@R.
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
    """Where a head's validation was best."""

    score: float  # MAP@R; NaN where the training broke
    step: int
    time_s: float  # of training until then, of the whole group if vmapped
    collapsed: bool  # all points of validation are one at the end
    weights: Any  # dict(params, stats), as NumPy arrays


class Outcome(NamedTuple):
    """What training one cell gave."""

    best: dict  # head -> Best
    train_s: float


class Program(NamedTuple):
    """What is compiled for one loss on one data set."""

    run: Any  # (state, steps, data) -> state, of one cell or of a group
    embed: Any  # see `models.embedder`
    finalise: Any


class Key(NamedTuple):
    """What trainings that share a program have in common, as texts."""

    encoder: str
    parts: str  # what else their `step.Parts` are built of, but for the losses
    losses: str


class _LastUsed(collections.OrderedDict):
    """The compiled functions that were used last, at most `KEPT` of them."""

    def get_or_make(self, key, make):
        if key not in self:
            self[key] = make()
            if len(self) > KEPT:
                self.popitem(last=False)
        self.move_to_end(key)
        return self[key]


# A program that was dropped comes back from JAX's cache on disk.
KEPT = 48
# By everything that the compiled functions close over. Data are arguments of theirs.
_PROGRAMS, _EMBED, _LIKE = _LastUsed(), _LastUsed(), _LastUsed()


def train(
    config: CompareConfig,
    data_set: str,
    members: Sequence[protocol.Member],
    *,
    vmapped: bool,
    blind: bool = True,
) -> list[Outcome]:
    """`Outcome` of each of the members, which train one loss.

    Args:
      config: of the comparison.
      data_set: its name.
      members: `protocol.Member`s.
      vmapped: those that share a program go through it together.
      blind: see `protocol.splits`; False is for a test of it alone.
    """
    trainings = [protocol.training(config, data_set, m.fold) for m in members]
    splits = [protocol.splits(train, blind=blind) for train in trainings]
    judges = [validator(s) for s in splits]
    ready = [prepared(t, s, m) for t, s, m in zip(trainings, splits, members)]
    outcomes: dict[int, Outcome] = {}
    for group in _groups(ready, vmapped):
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


def prepared(train: Config, splits: Splits, member: protocol.Member) -> "Ready":
    """`Ready` of a member."""
    parts, key = _parts(train, splits, member)
    first = state.create_state(member.seed, parts)
    first = jax.device_put(first, devices.replicated(parts.mesh))
    data = loop.place_data(splits, train.batch.batch_from, parts, member.seed)
    return Ready(key, parts, splits, first, data)


def validator(splits: Splits) -> Callable[..., dict[str, tuple[float, bool]]]:
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
        return score, readouts.collapsed(x)

    return validate


def begun(
    config: CompareConfig,
    data_set: str,
    members: Sequence[protocol.Member],
    *,
    vmapped: bool,
) -> list[state.TrainState]:
    """`TrainState` of each of the members after one step, with its first gradients in
    the optimiser's moments."""
    trainings = [protocol.training(config, data_set, m.fold) for m in members]
    splits = [protocol.splits(train, blind=True) for train in trainings]
    ready = [prepared(t, s, m) for t, s, m in zip(trainings, splits, members)]
    states: dict[int, state.TrainState] = {}
    for group in _groups(ready, vmapped):
        program, first, data = _started([ready[i] for i in group])
        stepped = jax.device_get(program.run(first, 1, data))
        states |= {i: _member(stepped, k, len(group)) for k, i in enumerate(group)}
    return [states[i] for i in range(len(members))]


def _groups(ready, vmapped):
    """Lists of those that go through one program together, by their indices."""
    groups = {}
    for i, training in enumerate(ready):
        shapes = str(jax.tree.map(jnp.shape, (training.state, training.data)))
        key = (training.key, shapes) if vmapped else i
        groups.setdefault(key, []).append(i)
    return list(groups.values())


def _started(ready):
    """The program of a group, its state before the first step, and its data."""
    many = len(ready) > 1
    states, data = [r.state for r in ready], [r.data for r in ready]
    first = _stack(states) if many else states[0]
    return program_of(ready[0], many=many), first, _group(data) if many else data[0]


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
                if score > best_score or np.isnan(score):  # what broke stays broken
                    best[head] = Best(score, step, spent_s, flat, weights)
                best[head] = best[head]._replace(collapsed=flat)
    return [Outcome(best, spent_s) for best in best_by_head]


def _stops(train):
    """Steps after which a cell is validated; the last one is always there."""
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
        mesh=mesh(train.platform),
    )
    heads, keys = {}, []
    for name, head in parts.heads.items():
        loss, key = tunable.resolve(*member.setting[name])
        heads[name] = head._replace(loss=loss)
        keys.append(key)
    key = Key(
        encoder_key(train, splits.columns),
        _parts_key(train, splits.columns, len(splits.conditions.known)),
        " | ".join(keys),
    )
    return parts._replace(heads=heads), key


def encoder_key(train: Config, columns: Sequence[Column]) -> str:
    """All that the encoder of a training is built of, as text."""
    fixed = dict(encoder=to_plain(train.encoder), heads=_heads(train))
    return json.dumps([fixed, train.steps, len(columns)], default=list)


def _parts_key(train, columns, classes):
    """All that `step.build_parts` makes of a training but its losses, as text.

    Made-up conditions need to know each column, the rest only how many there are.
    """
    config = to_plain(train) | dict(heads=_heads(train))
    del config["seed"], config["data"]
    made_for = columns if train.batch.made_up else len(columns)
    return json.dumps([config, train.data.bins, classes, made_for], default=list)


def _heads(train):
    """The heads of a training without their losses, which are a key of their own."""
    return {
        name: to_plain(head) | dict(loss="")
        for name, head in train.active_heads.items()
    }


def shared_embedder(key: str, encoder: Encoder) -> Callable[..., dict[str, np.ndarray]]:
    """`models.embedder`'s function, compiled once for all of an `encoder_key`."""
    return _EMBED.get_or_make(key, lambda: embedder.make_embedder(encoder))


def encoder_weights(trained: state.TrainState) -> dict[str, Any]:
    """dict(params, stats): what of a state encodes."""
    return dict(params=trained.params["encoder"], stats=trained.batch_stats)


def weights_like(key: str, parts: step.Parts) -> dict[str, Any]:
    """`encoder_weights` of the form that all of an `encoder_key` have."""

    def make():
        return encoder_weights(state.create_state(0, parts))

    return _LIKE.get_or_make(key, make)


def program_of(ready: Ready, *, many: bool) -> Program:
    """The compiled program of a training, from memory where it was used lately."""

    def make():
        return Program(
            run=_compiled(ready.parts, many),
            embed=shared_embedder(ready.key.encoder, ready.parts.encoder),
            finalise=ready.parts.encoder.finalise,
        )

    return _PROGRAMS.get_or_make((ready.key, many), make)


# A group shares the counts and nothing else: each fold has its own classes and captures
# to train on, and of counters also its own scaler and baselines.
_AXES: dict[str, Any] = dict.fromkeys(step.Data._fields, 0)
_SHARED_COUNTS = step.Data(**_AXES | dict(counts=None))


def _compiled(parts, many):
    """`run(state, steps, data) -> state`; the number of steps is traced."""

    def run(state, steps, data):
        def body(_, state):
            return step.train_step(state, data, parts)[0]

        return jax.lax.fori_loop(0, steps, body, state)

    if many:
        run = jax.vmap(run, in_axes=(0, None, _SHARED_COUNTS))
    return jax.jit(run, donate_argnums=0)


def _member(tree, i, many):
    """The i-th of a group of many; one alone has no axis for it."""
    return jax.tree.map(lambda x: x[i], tree) if many > 1 else tree


@functools.cache
def mesh(platform: str) -> jax.sharding.Mesh:
    """The mesh of one device that all cells are trained on."""
    return devices.make_mesh(devices.prepare_devices(platform)[:1])


def _stack(trees):
    return jax.tree.map(lambda *x: jnp.stack(x), *trees)


def _group(data):
    """One `step.Data` of many that share the counts."""
    stacked = _stack([d._replace(counts=()) for d in data])
    return stacked._replace(counts=data[0].counts)
