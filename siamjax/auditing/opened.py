"""A trained run as an audit looks at it: its encoder, and the batches it trained on."""

from functools import partial

import jax
import jax.numpy as jnp

from siamjax import streams
from siamjax.auditing.subject import Batches, Subject
from siamjax.data import sampler
from siamjax.inference import runs
from siamjax.training import loop, step

# Batches that are made again: the last before the checkpoint.
BATCHES = 30


def open_run(workdir, which):
    """`inference.runs.Opened` of a workdir, and the splits of its data.

    Args:
      workdir: of siamjax-train.
      which: `training.checkpoints.BEST` or `LAST`.
    Raises:
      SiamjaxError: no run or no data set; the data set has other columns by now.
    """
    opened = runs.open_checkpoint(workdir, which)
    # The scaler is made anew: whether it is that of the checkpoint is to be seen.
    anew = opened.trained._replace(scaler=None)
    return opened, runs.read_data(opened._replace(trained=anew))


def subject(opened):
    """`Subject` of an opened checkpoint, with the total loss of its training."""
    state, parts, config = opened.state, opened.parts, opened.config
    return Subject(
        encoder=parts.encoder,
        params=state.params["encoder"],
        stats=state.batch_stats,
        final=parts.encoder.finalise(state.batch_stats),
        loss=partial(_loss, parts=parts, state=state),
        head=parts.decide_with,
        norm=config.encoder.norm,
        momentum=config.encoder.momentum,
        columns=tuple(column.name for column in opened.columns),
    )


def batches(opened, splits, count=BATCHES):
    """`Batches` as the run's sampler drew them last, before the checkpoint."""
    parts, seed = opened.parts, opened.config.seed
    data = loop.place_data(splits, opened.config.batch.batch_from, parts, seed)
    last = max(opened.step, 1)
    steps = jnp.arange(max(0, last - count), last)
    return jax.device_get(_batches(data, steps, parts))


def _loss(points, labels, key, *, parts, state):
    weights, remembered = state.params["losses"], state.loss_state
    return step.total_loss(points, labels, key, weights, remembered, parts)[0]


def _batches(data, steps, parts):
    @jax.jit
    def made(data, steps):
        return jax.lax.map(partial(one, data), steps)

    def one(data, at):
        rows, _ = sampler.batch_rows(data.seed, at, data.table, parts.shape)
        windows, labels, group = step.make_batch(at, data, parts)
        lengths = jnp.full(windows.shape[:1], windows.shape[1], jnp.int32)
        key = streams.stream(data.seed, streams.LOSS, at)
        return Batches(windows, lengths, labels, data.windows.session[rows], group, key)

    return made(data, steps)
