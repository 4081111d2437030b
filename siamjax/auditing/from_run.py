"""Audits a run: prints table and verdict, writes audit.json, pictures and cures.

A cure needs no training: it is a copy of the run with other statistics, next to it.
"""

import dataclasses
import logging
import pathlib
import tempfile
from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from siamjax import files, streams
from siamjax.auditing import probes, report, statistics, verdict
from siamjax.auditing.statistics import Candidate
from siamjax.auditing.subject import Batches, Subject
from siamjax.config import to_plain
from siamjax.data import sampler
from siamjax.data.counts_on_disk import StoredCounts
from siamjax.data.splits import Splits
from siamjax.inference import runs
from siamjax.inference.runs import Checkpoint
from siamjax.models.norm import TrainStats
from siamjax.training import checkpoints, loop, run_config, step
from siamjax.types import SiamjaxError, UsageError

_LOG = logging.getLogger(__name__)

# How many batches are drawn again: the last ones before the checkpoint.
BATCHES = 30
# Name of the cure -> the statistics of `statistics.candidates` that it keeps.
CURES = {
    "debias": "debiased",
    "precise": "precise",
    "pooled": "pooled",
    "per-session": "per-session",
}


def audit_run(
    workdir: str | pathlib.Path, which: str = checkpoints.BEST, cure: str = ""
) -> bool:
    """Audits a checkpoint of a run. True: it has no gap, or the cure leaves none.

    Writes audit.json and figures/audit_*.png into workdir, and prints the table.

    Args:
      workdir: of siamjax train.
      which: `checkpoints.BEST` or `LAST`.
      cure: name of a cure to apply, see `write_cure`; none by default.
    Raises:
      UsageError: the cure does not fit this normalisation.
      SiamjaxError: workdir holds no run, its data set is gone, or the cure's workdir
        exists.
    """
    checkpoint, splits = open_with_data(workdir, which)
    if cure:
        cure_workdir(checkpoint, cure)
    subject = make_subject(checkpoint)
    batches = last_batches(checkpoint, splits)
    audited = report.audit_subject(
        subject,
        batches,
        steps=checkpoint.step,
        reloaded=_reload(checkpoint).batch_stats,
        inputs=probes.input_path(checkpoint, splits),
    )
    count, size = batches.labels.shape
    print(
        f"{workdir}, checkpoint {which} of step {checkpoint.step}: normalisation "
        f"{audited.norm!r}, on its last {count} batches of {size} windows\n"
    )
    print("\n".join(report.report_lines(audited)))
    workdir = pathlib.Path(workdir)
    version = checkpoint.meta["version"]
    about = dict(checkpoint=which, step=checkpoint.step, version=version)
    files.write_json(workdir / "audit.json", about | audited.to_json(), allow_nan=False)
    _draw(workdir / "figures", audited)
    if not cure:
        return not audited.verdict.gap
    written = write_cure(checkpoint, statistics.candidates(subject, batches), cure)
    cured_gap = audited.gaps[CURES[cure]]
    print(
        f"\n{cure}: the gap goes from {audited.gaps['moving'].share:z.2f} to "
        f"{cured_gap.share:z.2f} [{cured_gap.low:z.2f}, {cured_gap.high:z.2f}].\n"
        f"Written: {written}; "
        f"siamjax evaluate --workdir {written} judges it."
    )
    return cured_gap.low <= verdict.TOLERATED


def open_with_data(
    workdir: str | pathlib.Path, which: str
) -> tuple[Checkpoint, Splits]:
    """A checkpoint of a workdir, and the splits of its data.

    Args:
      workdir: of siamjax train.
      which: `checkpoints.BEST` or `LAST`.
    Raises:
      SiamjaxError: no run or no data set; the data set no longer has the run's columns.
    """
    checkpoint = runs.open_checkpoint(workdir, which)
    # Scaler and shared baseline are computed again from the data: the audit compares
    # them with those of the checkpoint.
    trained = checkpoint.trained._replace(scaler=None, baseline=None)
    return checkpoint, runs.read_data(checkpoint._replace(trained=trained))


def make_subject(checkpoint: Checkpoint) -> Subject:
    """The encoder of a checkpoint, with the total loss of its training."""
    state, config = checkpoint.state, checkpoint.config
    return Subject(
        encoder=checkpoint.parts.encoder,
        params=state.params["encoder"],
        stats=state.batch_stats,
        loss=partial(_loss, parts=checkpoint.parts, state=state),
        head=config.deciding_head,
        norm=config.encoder.norm,
        momentum=config.encoder.momentum,
        columns=tuple(column.name for column in checkpoint.trained.columns),
    )


def last_batches(
    checkpoint: Checkpoint, splits: Splits, count: int = BATCHES
) -> Batches:
    """The last batches that the run's sampler drew before the checkpoint."""
    parts, config = checkpoint.parts, checkpoint.config
    streamed = isinstance(splits.counts, StoredCounts)
    data = loop.place_data(
        splits, config.batch.batch_from, parts, config.seed, streamed=streamed
    )
    last = max(checkpoint.step, 1)
    steps = np.arange(max(0, last - count), last)

    def make_one(data, number):
        rows, _ = sampler.batch_rows(
            data.seed, number, data.table, parts.sampling.shape
        )
        windows, labels, group = step.make_batch(number, data, parts)
        lengths = jnp.full(windows.shape[:1], windows.shape[1], jnp.int32)
        key = streams.stream(data.seed, streams.LOSS, number)
        return Batches(windows, lengths, labels, data.windows.session[rows], group, key)

    @jax.jit
    def make_all(data, steps):
        return jax.lax.map(partial(make_one, data), steps)

    if not streamed:
        return jax.device_get(make_all(data, steps))
    reader, blocks = loop.make_chunk_reader(splits, data, parts), []
    for number in np.unique(steps // reader.steps).tolist():
        of_chunk = data._replace(counts=reader.read(number))
        inside = steps[steps // reader.steps == number]
        blocks.append(make_all(of_chunk, inside))
    return jax.device_get(jax.tree.map(lambda *x: jnp.concatenate(x), *blocks))


def write_cure(
    checkpoint: Checkpoint, candidates: Mapping[str, Candidate], cure: str
) -> pathlib.Path:
    """Writes a copy of the run with the statistics of a cure; returns its workdir.

    The new workdir is that of the run followed by `-CURE`. Every command can read it.
    `lag` becomes `batch`, whose average has no start value. With `per-session` the
    normalisation becomes `session`: a window is read against its session's own windows.

    Args:
      checkpoint: of the run.
      candidates: what `statistics.candidates` gives.
      cure: one of `CURES`.
    Raises:
      UsageError: no such cure for this normalisation.
      SiamjaxError: the new workdir exists.
    """
    workdir, norm = cure_workdir(checkpoint, cure), checkpoint.config.encoder.norm
    new_norm = {"per-session": "session"}.get(cure, "batch" if norm == "lag" else norm)
    encoder = dataclasses.replace(checkpoint.config.encoder, norm=new_norm)
    config = dataclasses.replace(checkpoint.config, encoder=encoder)
    name = "pooled" if cure == "per-session" else CURES[cure]
    stats = TrainStats(
        jax.device_get(checkpoint.state.batch_stats.updates),
        {
            key: jnp.asarray(moment, jnp.float32)
            for key, moment in candidates[name].final.moments.items()
        },
    )
    state = dataclasses.replace(checkpoint.state, batch_stats=stats)
    meta = dict(checkpoint.meta, config=to_plain(config), best=None)
    with files.replacing_folder(workdir) as new_folder:
        run_config.write_config(new_folder, config)
        with checkpoints.open_checkpoints(new_folder, write=True) as saved:
            saved.save(state, meta)
    return workdir


def cure_workdir(checkpoint: Checkpoint, cure: str) -> pathlib.Path:
    """The workdir that a cure will write; the errors are those of `write_cure`."""
    norm = checkpoint.config.encoder.norm
    workdir = pathlib.Path(f"{checkpoint.workdir}-{cure}")
    if norm in verdict.STATELESS:
        raise UsageError(
            f"--cure {cure}: normalisation {norm!r} keeps no statistics to cure"
        )
    if cure == "debias" and norm != "lag":
        raise UsageError(
            f"--cure debias: the average of {norm!r} has no share of its start value"
        )
    if workdir.exists():
        raise SiamjaxError(f"{workdir} exists: remove it to write the cure again")
    return workdir


def _loss(points, labels, key, *, parts, state):
    weights, remembered = state.params["losses"], state.loss_state
    return step.total_loss(points, labels, key, weights, remembered, parts)[0]


def _reload(checkpoint):
    """The state of a checkpoint, written to disk and read again."""
    with (
        tempfile.TemporaryDirectory() as folder,
        checkpoints.open_checkpoints(folder, write=True) as saved,
    ):
        saved.save(checkpoint.state, checkpoint.meta)
        template = checkpoints.state_template(checkpoint.state)
        return saved.restore(checkpoints.LAST, template).state


def _draw(folder, audited):
    try:
        report.draw_gaps(folder / "audit_gaps.png", audited)
        if "lag" in audited.probes:
            report.draw_drift(folder / "audit_drift.png", audited)
    except SiamjaxError as error:  # matplotlib is not installed
        _LOG.info("no picture: %s", error)
