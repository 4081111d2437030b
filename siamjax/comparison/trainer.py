"""Trains cells: settings of a loss, each on every fold.

On an accelerator the cells are one compiled program under `vmap`; on a CPU they run one
after another through one program. Either way a program is compiled once for all
settings of a loss that differ in numbers alone, and every cell has the weights of its
best validation by MAP@R.
"""

import functools
import json
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from siamjax.comparison import protocol, readouts, tunable
from siamjax.config import Config, to_plain
from siamjax.models import embedder
from siamjax.models.encoder import Encoder
from siamjax.training import devices, loop, state, step
from siamjax.types import VALID, Baseline, Column


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
    """What two trainings that share a program have in common, as texts."""

    encoder: str
    parts: str  # what else their `step.Parts` are built of, but for the losses
    losses: str


# By everything that the compiled functions close over. Data are arguments of theirs.
_PROGRAMS, _EMBED = {}, {}
# Programs kept in memory; a program that was dropped comes back from JAX's cache.
MANY = 48


def train(config, data_set, members, *, vmapped, blind=True):
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
    judges = [validator(s, t.data.bins) for s, t in zip(splits, trainings)]
    ready = [prepared(t, s, m) for t, s, m in zip(trainings, splits, members)]
    out = {}
    for group in _groups(ready, vmapped):
        some, judging = [ready[i] for i in group], [judges[i] for i in group]
        out |= zip(group, _together(some, judging, trainings[0]))
    return [out[i] for i in range(len(members))]


class Ready(NamedTuple):
    """A training before its first step."""

    key: Any  # see `Key`
    parts: step.Parts
    splits: Any
    state: Any
    data: step.Data


def prepared(train, splits, member):
    """`Ready` of a member."""
    parts, key = _parts(train, splits, member)
    first = state.create_state(member.seed, parts)
    return Ready(
        key, parts, splits, jax.device_put(first, devices.replicated(parts.mesh)),
        loop.place_data(splits, train.batch.batch_from, parts, member.seed),
    )  # fmt: skip


def validator(splits, bins):
    """`validate(program, weights) -> {head: (MAP@R, collapsed)}` on validation."""
    novel = splits.novel_valid
    windows = splits.of(VALID, splits.conditions[: splits.known] + novel)
    baseline = Baseline(*(np.asarray(x)[windows.session] for x in splits.baseline))
    counts = embedder.cut_windows(splits.counts, windows, bins)
    judged = [splits.conditions.index(name) for name in novel]

    def validate(program, weights):
        final = program.finalise(weights["stats"])
        points = program.embed(
            weights["params"], final, splits.scaler, counts, baseline
        )
        return {head: judge(x) for head, x in points.items()}

    def judge(x):
        if not np.isfinite(x).all():
            return float("nan"), False
        of, at = windows.condition, windows.session
        return readouts.map_at_r(x, of, at, judged), readouts.collapsed(x)

    return validate


def begun(config, data_set, members, *, vmapped):
    """`TrainState` of each of the members after one step, with its first gradients in
    the optimiser's moments."""
    trainings = [protocol.training(config, data_set, m.fold) for m in members]
    splits = [protocol.splits(train, blind=True) for train in trainings]
    ready = [prepared(t, s, m) for t, s, m in zip(trainings, splits, members)]
    out = {}
    for group in _groups(ready, vmapped):
        program, now, data = _started([ready[i] for i in group])
        now = jax.device_get(program.run(now, 1, data))
        out |= {i: _member(now, k, len(group)) for k, i in enumerate(group)}
    return [out[i] for i in range(len(members))]


def _groups(ready, vmapped):
    """Lists of those that go through one program together, by their places."""
    groups = {}
    for i, one in enumerate(ready):
        shapes = str(jax.tree.map(jnp.shape, (one.state, one.data)))
        groups.setdefault((one.key, shapes) if vmapped else i, []).append(i)
    return list(groups.values())


def _started(ready):
    """The program of a group, its state before the first step, and its data."""
    many = len(ready) > 1
    states, data = [r.state for r in ready], [r.data for r in ready]
    now = _stack(states) if many else states[0]
    return program_of(ready[0], many=many), now, _group(data) if many else data[0]


def _together(ready, judges, train):
    """Outcomes of a group; the time of compilation is nobody's."""
    program, now, data = _started(ready)
    now = jax.block_until_ready(program.run(now, 0, data))
    best, spent, at = [{} for _ in ready], 0.0, 0
    for stop in _stops(train):
        start = time.perf_counter()
        now = jax.block_until_ready(program.run(now, stop - at, data))
        spent, at = spent + time.perf_counter() - start, stop
        host = jax.device_get(dict(params=now.params["encoder"], stats=now.batch_stats))
        for i, (judge, found) in enumerate(zip(judges, best)):
            weights = _member(host, i, len(ready))
            for head, (score, flat) in judge(program, weights).items():
                best_yet = found[head].score if head in found else -1.0
                if score > best_yet or np.isnan(score):  # what broke stays broken
                    found[head] = Best(score, at, spent, flat, weights)
                found[head] = found[head]._replace(collapsed=flat)
    return [Outcome(found, spent) for found in best]


def _stops(train):
    """Steps after which a cell is validated; the last one is always there."""
    return [
        *range(train.evaluate_every, train.steps, train.evaluate_every),
        train.steps,
    ]


def _parts(train, splits, member):
    """`step.Parts` of a member, and the key of the program that runs it."""
    parts = step.build_parts(
        train, columns=splits.columns, classes=splits.known, mesh=mesh(train.platform)
    )
    made, keys = {}, []
    for head, (_, dim) in parts.losses.items():
        spec, setting = member.setting[head]
        loss, key = tunable.resolve(spec, setting)
        made[head] = loss, dim
        keys.append(key)
    key = Key(
        encoder_key(train, splits.columns),
        _parts_key(train, splits.columns, splits.known),
        " | ".join(keys),
    )
    return parts._replace(losses=made), key


def encoder_key(train: Config, columns: Sequence[Column]) -> str:
    """All that the encoder of a training is built of, as text."""
    fixed = dict(encoder=to_plain(train.encoder), heads=_heads(train))
    return json.dumps([fixed, train.steps, len(columns)], default=list)


def _parts_key(train, columns, classes):
    """All that `step.build_parts` makes of a training but its losses, as text.

    Made-up conditions hang on what each column is, the rest on their number alone.
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
    if key not in _EMBED:
        _EMBED[key] = embedder.make_embedder(encoder)
    return _EMBED[key]


def program_of(ready, *, many):
    """The compiled program of a training, from memory where it was used lately."""
    at = ready.key, many
    if at not in _PROGRAMS:
        while len(_PROGRAMS) >= MANY:
            _PROGRAMS.pop(next(iter(_PROGRAMS)))
        _PROGRAMS[at] = Program(
            run=_compiled(ready.parts, many),
            embed=shared_embedder(ready.key.encoder, ready.parts.encoder),
            finalise=ready.parts.encoder.finalise,
        )
    else:
        _PROGRAMS[at] = _PROGRAMS.pop(at)
    return _PROGRAMS[at]


# Of the cells of a group, which have the counts in common: a fold has its own classes
# and captures to train on, and of counters the scaler and baselines that they give.
_SHARED_COUNTS = step.Data(
    seed=0, counts=None, baseline=0, scaler=0, windows=0, table=0
)


def _compiled(parts, many):
    """`run(state, steps, data) -> state`; the number of steps is traced."""

    def run(now, steps, data):
        def body(_, now):
            return step.train_step(now, data, parts)[0]

        return jax.lax.fori_loop(0, steps, body, now)

    if many:
        run = jax.vmap(run, in_axes=(0, None, _SHARED_COUNTS))
    return jax.jit(run, donate_argnums=0)


def _member(tree, i, many):
    """The i-th of a group of many; one alone has no axis for it."""
    return jax.tree.map(lambda x: x[i], tree) if many > 1 else tree


def one_thread():
    """One thread for what XLA computes on a CPU, here and in processes begun later.

    How many there are changes the order of sums, and so the bits: a cell is to be the
    same whatever number of workers and cores. It has effect before JAX starts.
    """
    os.environ["NPROC"] = "1"  # the size of XLA's pool
    os.environ["OMP_NUM_THREADS"] = "1"


@functools.cache
def mesh(platform):
    """The mesh of one device that all cells are trained on."""
    return devices.make_mesh(devices.prepare_devices(platform)[:1])


def _stack(trees):
    return jax.tree.map(lambda *x: jnp.stack(x), *trees)


def _group(data):
    """One `step.Data` of many that share the counts."""
    stacked = _stack([d._replace(counts=()) for d in data])
    return stacked._replace(counts=data[0].counts)
