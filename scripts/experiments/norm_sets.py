"""Encoders with one cause each on four data sets, for norm.py.

On the generator they are those of planted.py. On recorded data they are trained as
siamjax train does, with a small encoder and the config of the data set changed as in
configs/riddle.py.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from configs import default, kddi, riddle
from scripts.experiments import planted
from scripts.experiments import vowels_data as vowels
from siamjax.auditing import from_run, statistics
from siamjax.config import from_dict
from siamjax.data import features, identity
from siamjax.data.splits import open_splits
from siamjax.evaluation import one_shot
from siamjax.inference import runs
from siamjax.models.norm import FinalStats
from siamjax.training import devices, loop, state, step
from siamjax.types import TEST

HIDDEN = (16,)
ROWS = 60  # of a batch of new windows
DRAWS, BATCHES = 40, 20  # of examples, of new windows
CHUNK = 512  # new windows are encoded so many at a time: one program for all


class New(NamedTuple):
    """N windows of sessions that training never saw; C conditions, known ones first."""

    x: np.ndarray  # [N, T, F] features
    condition: np.ndarray  # [N]
    session: np.ndarray  # [N]
    known: int  # how many conditions training saw
    unseen: np.ndarray  # the conditions to tell apart that it did not
    library: Any  # [N] bool, earlier windows that examples come from; None: any
    rows: int  # of a batch


def generator(arm, seeds):
    """Gives `(subject, batches, New)` of each seed, for one of `planted.PLANTS`."""
    plant = planted.PLANTS[arm]
    trained = planted.trained(plant, seeds)
    for index, seed in enumerate(seeds):
        x, windows = planted.data(plant, seed)
        is_new = windows.session >= planted.TRAINED
        new = New(
            x=x[is_new],
            condition=windows.condition[is_new],
            session=windows.session[is_new],
            known=plant.known,
            unseen=plant.known + np.arange(planted.UNSEEN),
            library=None,
            rows=plant.known * planted.ROWS,
        )
        subject = planted.subject(plant, trained, index)
        yield subject, planted.batches(plant, seed), new


def recorded(name, folder, arm, seeds):
    """The same for one of `CONFIGS` and one of `ARMS`: one program for all seeds."""
    parts = loss = None
    for seed in seeds:
        config = configure(name, folder, arm, seed)
        splits = open_splits(config.data)
        if parts is None:
            mesh = devices.make_mesh(devices.prepare_devices("cpu")[:1])
            parts = step.build_parts(
                config,
                columns=splits.columns,
                classes=len(splits.conditions.known),
                mesh=mesh,
            )
            run_steps = step.compile_run(parts)
        data = loop.place_data(splits, config.batch.batch_from, parts, seed)
        start = jax.device_put(
            state.create_state(seed, parts), devices.replicated(mesh)
        )
        end, _ = run_steps(start, config.steps, data)
        trained = identity.Trained(
            dir=str(folder),
            sha256="",
            captures={},
            conditions=splits.conditions.names,
            known=len(splits.conditions.known),
            columns=splits.columns,
            scaler=splits.scaler,
            baseline=None,
        )
        checkpoint = runs.Checkpoint(None, config, {}, parts, end, trained)
        subject = from_run.make_subject(checkpoint)
        loss = loss or subject.loss  # has no weights: one for all seeds
        subject = subject._replace(loss=loss)
        if arm == "lost":
            subject = planted.without_variance(subject)
        batches = from_run.last_batches(checkpoint, splits)
        yield subject, batches, _new(splits)


def _new(splits):
    """The windows of the test captures, with those that examples come from."""
    names = splits.conditions.known + splits.conditions.novel
    windows, library = splits.windows_to_judge(TEST, names)
    counts, baseline, _ = splits.inputs(windows)
    x = np.asarray(features.to_features(counts, baseline, splits.scaler))
    unseen = np.array(
        [splits.conditions.names.index(name) for name in splits.conditions.novel]
    )
    return New(
        x=x,
        condition=windows.condition,
        session=windows.session,
        known=len(splits.conditions.known),
        unseen=unseen,
        library=library,
        rows=ROWS,
    )


def configure(name, folder, arm, seed):
    """The config of one training."""
    config = CONFIGS[name](seed)
    config.seed = seed
    config.data.dir = str(folder)
    config.encoder.hidden = HIDDEN
    riddle.bare(config)
    ARMS[arm](config)
    return from_dict(config)


def _testbed(seed):
    config = default.get_config()
    config.data.test_fold = seed % config.data.folds
    config.data.valid_fold = (seed + 1) % config.data.folds
    return config


CONFIGS = dict(
    testbed=_testbed,
    vowels=vowels.get_config,
    kddi=lambda seed: kddi.get_config(),
)


def _batch(config):
    config.encoder.norm = "batch"


def _mixed(config):
    riddle.session(config)
    config.batch.batch_from = "all"


def _one_pass(config):
    riddle.branch(config)
    config.encoder.norm = "batch"
    config.batch.tuples = "all"


def _none(config):
    config.data.baseline = "session"


ARMS = dict(
    lag=riddle.lag,
    session=riddle.session,
    branch=riddle.branch,
    lost=_batch,
    mixed=_mixed,
    one_pass=_one_pass,
    healthy=_batch,
    none=_none,
)

# A session of JapaneseVowels is one window: no batch is of one session.
CANNOT = dict(testbed=(), kddi=(), vowels=("session", "mixed"))


def judge(subject, new, final, name):
    """Loss and one-shot recall, of seen and of unseen conditions, of `New` windows."""
    group = np.zeros(len(new.x), np.int32)
    if name == "per-session" or subject.norm == "session":
        real = np.ones(new.x.shape[:2], bool)
        group, moments = statistics.group_moments(
            new.x.astype(float), real, new.session
        )
        final = FinalStats(dict(zip(("mean", "variance"), np.float32(moments))))
    points = _points(subject, final, new.x, group)
    shown = one_shot.shown_conditions(new.condition)
    judged = dict(loss=_loss(subject, points, new))
    for key, classes in (("seen", np.arange(new.known)), ("unseen", new.unseen)):
        judged[key] = one_shot.recognise(
            points[subject.head],
            new.condition,
            new.session,
            draws=DRAWS,
            classes=np.intersect1d(classes, shown),
            library=new.library,
        ).mean
    return judged


def _points(subject, final, x, group):
    """`{head: [N, E]}` of windows `[N, T, F]`."""
    parts = [
        _chunk(subject.params, final, *filled, apply=subject.encoder.apply)
        for filled in (
            (_fill(x[i : i + CHUNK]), _fill(group[i : i + CHUNK]))
            for i in range(0, len(x), CHUNK)
        )
    ]
    joined = jax.tree.map(lambda *p: np.concatenate(p), *jax.device_get(parts))
    return {head: p[: len(x)] for head, p in joined.items()}


@partial(jax.jit, static_argnames="apply")
def _chunk(params, final, x, group, *, apply):
    lengths = jnp.full(x.shape[:1], x.shape[1], jnp.int32)
    return apply(params, x, lengths, final, group=group, train=False)


def _fill(array):
    """Zeros behind the rows, up to CHUNK."""
    return np.pad(array, [(0, CHUNK - len(array))] + [(0, 0)] * (array.ndim - 1))


def _loss(subject, points, new):
    """Mean over batches of new windows of known conditions."""
    library = np.zeros(len(new.x), bool) if new.library is None else new.library
    known = np.flatnonzero((new.condition < new.known) & ~library)
    rng, few = np.random.default_rng(0), len(known) < new.rows
    drawn = np.stack([rng.choice(known, new.rows, few) for _ in range(BATCHES)])
    batches = {head: p[drawn] for head, p in points.items()}
    return float(_mean_loss(batches, new.condition[drawn], loss=subject.loss))


@partial(jax.jit, static_argnames="loss")
def _mean_loss(points, labels, *, loss):
    key = jax.random.key(0)
    return jax.lax.map(lambda batch: loss(*batch, key), (points, labels)).mean()
