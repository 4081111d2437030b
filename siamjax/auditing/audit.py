"""Audits a run: prints the table and the verdict, writes audit.json and pictures."""

import logging
import pathlib
import tempfile

from siamjax import files
from siamjax.auditing import (
    cure,
    drawings,
    examine,
    inputs,
    opened,
    statistics,
    text,
    verdict,
)
from siamjax.training import checkpoints

_LOG = logging.getLogger(__name__)


def audit(workdir, which=checkpoints.BEST, name=""):
    """Whether a checkpoint of a run has no gap, or none once the cure is applied.

    Writes audit.json and figures/audit_*.png into workdir, and prints the table.

    Args:
      workdir: of siamjax-train.
      which: `checkpoints.BEST` or `LAST`.
      name: of a cure to apply, see `cure.write`; none by default.
    Raises:
      UsageError: the cure is none for this normalisation.
      SiamjaxError: no run, no data set to make its batches from, or cured before.
    """
    run, splits = opened.open_run(workdir, which)
    if name:
        cure.check(run, name)
    subject, batches = opened.subject(run), opened.batches(run, splits)
    report = examine.examine(
        subject,
        batches,
        steps=run.step,
        reloaded=_reloaded(run).batch_stats,
        inputs=inputs.compare(run, splits),
    )
    count, size = batches.labels.shape
    print(
        f"{workdir}, checkpoint {which} of step {run.step}: normalisation "
        f"{report.norm!r}, on its last {count} batches of {size} windows\n"
    )
    print("\n".join(text.table(report)))
    workdir = pathlib.Path(workdir)
    plain = dict(checkpoint=which, step=run.step, version=run.meta["version"])
    files.write_json(workdir / "audit.json", plain | report.plain(), allow_nan=False)
    _draw(workdir / "figures", report)
    if not name:
        return not report.verdict.gap
    written = cure.write(run, statistics.candidates(subject, batches), name)
    left = report.gaps[cure.CURES[name]]
    print(
        f"\n{name}: the gap goes from {report.gaps['moving'].share:z.2f} to "
        f"{left.share:z.2f} [{left.low:z.2f}, {left.high:z.2f}].\nWritten: {written}; "
        f"siamjax-evaluate --workdir {written} judges it."
    )
    return left.low <= verdict.TOLERATED


def _reloaded(run):
    """The state after it was written and read once more."""
    with (
        tempfile.TemporaryDirectory() as folder,
        checkpoints.open_checkpoints(folder, write=True) as saved,
    ):
        saved.save(run.state, run.meta)
        return saved.restore(
            checkpoints.LAST, checkpoints.state_template(run.state)
        ).state


def _draw(folder, report):
    folder.mkdir(exist_ok=True)
    try:
        drawings.gaps(folder / "audit_gaps.png", report)
        if "lag" in report.probes:
            drawings.drift(folder / "audit_drift.png", report)
    except ImportError:
        _LOG.info("no picture: it needs matplotlib: pip install matplotlib")
