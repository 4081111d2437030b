"""One comparison from its config to its page."""

import functools
import importlib.metadata
import logging
import pathlib
import platform
from collections.abc import Iterable
from typing import Any

import numpy as np

from siamjax import files
from siamjax.comparison import (
    figures,
    final_readout,
    page,
    protocol,
    report,
    studies,
    tables,
    trainer,
    workers,
)
from siamjax.comparison.config import CompareConfig
from siamjax.config import to_plain
from siamjax.experiments import runner, sources
from siamjax.reports import trace
from siamjax.training import tracer
from siamjax.types import Interrupted, SiamjaxError, UsageError

_LOG = logging.getLogger(__name__)

DATABASE = "studies.db"
VERSIONS = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy", "optuna")


@studies.database_errors()
def compare(
    config: CompareConfig,
    workdir: str | pathlib.Path,
    *,
    storage: str = "",
    read_again: bool = False,
    unfinished: bool = False,
) -> dict[str, Any]:
    """Searches settings, trains repeats, reads the test and writes the report.

    What an earlier call has done stays.

    Args:
      config: see configs/compare.py.
      workdir: gets all files; several machines can share it.
      storage: URL of the database that workers share; by default a file of workdir.
      read_again: read the test once more, for new cells.
      unfinished: only report what is done so far.
    Returns:
      The dict of `report`.
    """
    runner.use_one_thread()
    protocol.check_config(config)
    workdir = pathlib.Path(workdir)
    url = storage or f"sqlite:///{workdir / DATABASE}"
    for tuning in report.tuning_by_loss(config).values():
        _LOG.warning("%s", tuning.line)
    # Of machines that share the folder one does this, and the others wait.
    with files.locked(workdir, wait=True):
        for name, data_set in config.data_sets.items():
            where = f"config.data_sets.{name}.source"
            folder = config.train_on(name).data.dir
            sources.make_if_missing(data_set.source, folder, where)
        if storage:
            protocol.claim_prefix(workdir)
        else:
            _warn_if_lost(workdir)
        protocol.claim_workdir(workdir, config)
        # Creates the tables: workers that begin together would all try to.
        studies.open_storage(url).engine.dispose()
    if not unfinished:
        run_workers(config, workdir, url)
    place = workers.open_place(workdir, url)
    with files.locked(workdir, wait=True):
        cells = final_readout.list_cells(config, place)
        readouts, mark = final_readout.read_test(config, place, cells, again=read_again)
        opened = workers.open_studies(config, place, {})
        compared = report.build_report(config, opened, cells, readouts, mark)
        write_report(workdir, config, compared, make_films(config, workdir, cells))
    return compared


def write_report(
    workdir: pathlib.Path,
    config: CompareConfig,
    compared: dict[str, Any],
    traces: dict[tuple[str, str], trace.Trace],
) -> None:
    """Writes the files of a report: CSV, settings.json, tables, figures, the page."""
    tables.write_csv(workdir / "results.csv", compared["rows"])
    tables.write_csv(workdir / "pairs.csv", tables.pair_rows(compared))
    tables.write_csv(workdir / "workers.csv", compared["shares"])
    files.write_text(workdir / "tables.md", tables.format_markdown(compared))
    files.write_text(workdir / "tables.tex", tables.format_latex(compared))
    about = describe_run(config)
    files.write_json(workdir / "settings.json", about, default=list)
    for data_set, heads in compared["data_sets"].items():
        first = next(iter(heads.values()))
        baselines = [m for m in first["levels"] if m not in compared["losses"]]
        figures.draw_levels(
            _figure_paths(workdir, f"{data_set}_levels"), heads, data_set, baselines
        )
        for head, judged in heads.items():
            if judged["pairs"]["one_shot"]:
                figures.draw_critical_differences(
                    _figure_paths(workdir, f"{data_set}_{head}_critical"),
                    judged["ranks"]["one_shot"],
                    judged["pairs"]["one_shot"],
                    f"{data_set}, {head} head: mean rank in one-shot accuracy",
                )
    page.write_comparison(workdir / "compare.html", compared, traces, about)


def make_films(
    config: CompareConfig, workdir: pathlib.Path, cells: Iterable[final_readout.Cell]
) -> dict[tuple[str, str], trace.Trace]:
    """{(data set, loss): trace}: how each loss moves the same windows.

    The trace is that of repeat 0 on fold 0. A training that diverged has none.

    The training is run again and gives the same bits. Its trace shows windows of the
    test, so it is made after the final readout.
    """
    traces = {
        (cell.data_set, cell.method): _retrace(config, workdir, cell)
        for cell in cells
        if cell.about and cell.repeat == 0 and cell.fold == 0
    }
    return {k: kept for k, kept in traces.items() if np.isfinite(kept.points).all()}


def _retrace(config, workdir, cell):
    folder = workdir / "films" / runner.digest(cell.name)
    train = protocol.training_config(config, cell.data_set, cell.fold)
    stops = trace.choose_steps(train.steps, train.trace_frames)
    stored = trace.read_trace(folder)
    if stored is not None and stored.steps[-1] == train.steps:
        return stored
    member = protocol.Member(cell.fold, cell.about["seed"], cell.about["setting"])
    ready = trainer.prepare_training(
        train, protocol.cell_splits(train, blind=True), member
    )
    program = trainer.get_program(ready, vmapped=False)
    state, step = ready.state, 0
    traced = tracer.open_tracer(
        folder,
        -1,
        splits=protocol.cell_splits(train, blind=False),
        parts=ready.parts,
        config=train,
        embed=program.embed,
    )
    with traced as (record_trace, _):
        for stop in stops:
            state, step = program.run(state, stop - step, ready.data), stop
            record_trace(state, step)
    return trace.read_trace(folder)


def describe_run(config: CompareConfig) -> dict[str, Any]:
    """What one needs to repeat the comparison exactly: config, versions, machine."""
    devices = trainer.single_device_mesh(config.train.platform).devices
    return dict(
        config=to_plain(config),
        versions={name: importlib.metadata.version(name) for name in VERSIONS},
        python=platform.python_version(),
        machine=platform.machine(),
        devices=[device.device_kind for device in devices],
    )


def _warn_if_lost(workdir):
    """Warns if a comparison starts again because its database is lost or empty."""
    path = workdir / DATABASE
    empty = not path.exists() or not path.stat().st_size
    if empty and (workdir / protocol.CONFIG).exists():
        _LOG.warning(
            "%s is lost or empty: every setting is searched again; to keep what was "
            "done, stop now and put the file back from a copy",
            path,
        )


def run_workers(config: CompareConfig, workdir: pathlib.Path, url: str) -> None:
    """Starts the worker processes and waits until every slot is done."""
    count = workers.count_workers(config)
    work_on = functools.partial(_work, config, workdir, url)
    try:
        outcomes = [
            x for _, x in runner.run_unordered(work_on, range(count), workers=count)
        ]
    except KeyboardInterrupt:
        raise Interrupted(runner.STOPPED, 130) from None
    failures = [x for x in outcomes if isinstance(x, runner.Failed)]
    if failures:
        if failures[0].usage:
            raise UsageError(failures[0].reason)
        raise SiamjaxError(
            f"{len(failures)} of {count} workers ended early ({failures[0].reason}): "
            "run the same command again to go on"
        )


def _work(config, workdir, url, _):
    with studies.database_errors():
        workers.work_until_done(config, workers.open_place(workdir, url))


def _figure_paths(workdir, name):
    folder = workdir / "figures"
    return [folder / f"{name}.{suffix}" for suffix in ("png", "svg")]
