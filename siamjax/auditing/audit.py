"""Audits a run: prints the table and the verdict, writes audit.json and pictures."""

import json
import logging
import pathlib
import tempfile

from siamjax.auditing import drawings, examine, inputs, opened, text
from siamjax.training import checkpoints

_LOG = logging.getLogger(__name__)


def audit(workdir, which=checkpoints.BEST):
    """`examine.Report` of a checkpoint of a run.

    Writes audit.json and figures/audit_*.png into workdir, and prints the table.

    Raises:
      SiamjaxError: no run, or no data set to make its batches from.
    """
    run, splits = opened.open_run(workdir, which)
    batches = opened.batches(run, splits)
    report = examine.examine(
        opened.subject(run),
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
    found = json.dumps(plain | report.plain(), indent=1, allow_nan=False)
    (workdir / "audit.json").write_text(found + "\n")
    _draw(workdir / "figures", report)
    return report


def _reloaded(run):
    """The state after it was written and read once more."""
    with tempfile.TemporaryDirectory() as folder, checkpoints.manager(folder) as saved:
        saved.save(checkpoints.LAST, run.state, run.meta)
        return saved.restore(checkpoints.LAST, checkpoints.template(run.state)).state


def _draw(folder, report):
    folder.mkdir(exist_ok=True)
    try:
        drawings.gaps(folder / "audit_gaps.png", report)
        if "lag" in report.probes:
            drawings.drift(folder / "audit_drift.png", report)
    except ImportError:
        _LOG.info("no picture: install siamjax[viz] for matplotlib")
