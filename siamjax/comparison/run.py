"""One comparison from its config to its page."""

import importlib.metadata
import logging
import os
import pathlib
import platform
import sys

from siamjax import files
from siamjax.comparison import (
    crew,
    figures,
    films,
    page,
    protocol,
    report,
    sources,
    studies,
    tables,
    test_readout,
    trainer,
    workers,
)
from siamjax.types import Interrupted, SiamjaxError

_LOG = logging.getLogger(__name__)

DATABASE = "studies.db"
HEARTBEAT_S = 20
STOPPED = "stopped, what is done is kept: the same command goes on"
VERSIONS = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy", "optuna")


@studies.told()
def compare(config, workdir, *, storage="", read_again=False, unfinished=False):
    """Searches, repeats, reads out and reports, from wherever it was.

    Args:
      config: see configs/compare.py.
      workdir: gets everything; several machines share it.
      storage: URL of the database that workers share; by default a file of workdir.
      read_again: read the test once more, for cells that are new.
      unfinished: report what is done by now, and do nothing else.
    Returns:
      The dict of `report`.
    """
    trainer.one_thread()
    protocol.check(config)
    workdir = pathlib.Path(workdir)
    url = storage or f"sqlite:///{workdir / DATABASE}"
    for tuning in report.tuning(config).values():
        _LOG.warning("%s", tuning.line)
    # One machine at a time, of those that share the folder; the next finds it done.
    with files.locked(workdir, wait=True):
        sources.make(config)
        if not storage:
            _say_if_lost(workdir)
        protocol.same(workdir, config)
        # Its tables are made now, or workers that begin together would all make them.
        studies.storage(url, HEARTBEAT_S).engine.dispose()
    if not unfinished:
        work(config, workdir, url)
    place = workers.Place(workdir, studies.storage(url, HEARTBEAT_S))
    with files.locked(workdir, wait=True):
        found = test_readout.cells(config, place)
        read, mark = test_readout.read(config, place, found, again=read_again)
        opened = workers.look(config, place.store, {})
        made = report.build(config, opened, found, read, mark)
        write(workdir, config, made, films.make(config, workdir, found))
    return made


def write(workdir, config, made, traces):
    """results.csv, pairs.csv, tables, figures and the page of a report."""
    tables.write_csv(workdir / "results.csv", made["rows"])
    tables.write_csv(workdir / "pairs.csv", tables.pair_rows(made))
    files.write_text(workdir / "tables.md", tables.format_markdown(made))
    files.write_text(workdir / "tables.tex", tables.format_latex(made))
    about = settings(config)
    files.write_json(workdir / "settings.json", about, default=list)
    for data_set, heads in made["data_sets"].items():
        first = next(iter(heads.values()))
        baselines = [m for m in first["levels"] if m not in made["losses"]]
        figures.draw_levels(
            _both(workdir, f"{data_set}_levels"), heads, data_set, baselines
        )
        for head, of in heads.items():
            if of["pairs"]["one_shot"]:
                figures.draw_critical_differences(
                    _both(workdir, f"{data_set}_{head}_critical"),
                    of["ranks"]["one_shot"], of["pairs"]["one_shot"],
                    f"{data_set}, {head} head: mean rank in one-shot accuracy",
                )  # fmt: skip
    page.write_comparison(workdir / "compare.html", made, traces, about)


def _say_if_lost(workdir):
    """Says that a comparison begins anew because its database is lost or empty."""
    path = workdir / DATABASE
    empty = not path.exists() or not path.stat().st_size
    if empty and (workdir / protocol.CONFIG).exists():
        _LOG.warning(
            "%s is lost or empty: every setting is searched again; to keep what was "
            "done, stop now and put the file back from a copy", path,
        )  # fmt: skip


def settings(config):
    """All that an exact repeat needs: config, versions, machine."""
    return dict(
        config=config.to_dict(),
        versions={name: importlib.metadata.version(name) for name in VERSIONS},
        python=platform.python_version(),
        machine=platform.machine(),
        devices=[d.device_kind for d in trainer.mesh(config.train.platform).devices],
    )


def work(config, workdir, url):
    """All workers, until every slot is done."""
    many = processes(config)
    if many == 1:
        _worker(config, workdir, url)
        return
    cores = sorted(os.sched_getaffinity(0))
    each = [(cores[i % len(cores)], config, workdir, url) for i in range(many)]
    try:
        codes = crew.run(_pinned, each)
    except KeyboardInterrupt:
        raise Interrupted(STOPPED, 130) from None
    if any(codes):
        raise SiamjaxError("a worker ended early: the same command goes on")


def processes(config):
    """How many workers: one a core, one alone on an accelerator."""
    if config.workers:
        return config.workers
    on_cpu = trainer.mesh(config.train.platform).devices[0].platform == "cpu"
    return len(os.sched_getaffinity(0)) if on_cpu else 1


def _pinned(core, config, workdir, url):
    """A worker process on a core of its own."""
    os.sched_setaffinity(0, {core})
    log = logging.getLogger("siamjax")
    log.setLevel(logging.INFO)
    log.addHandler(logging.StreamHandler())
    log.propagate = False
    try:
        _worker(config, workdir, url)
    except Interrupted as stopped:
        sys.exit(stopped.code)
    except (SiamjaxError, OSError) as error:
        log.error("a worker: %s", error)
        sys.exit(1)


def _worker(config, workdir, url):
    try:
        with crew.interrupted_by_sigterm(), studies.told():
            place = workers.Place(workdir, studies.storage(url, HEARTBEAT_S))
            workers.work(config, place)
    except KeyboardInterrupt:
        raise Interrupted(STOPPED, 130) from None


def _both(workdir, name):
    folder = workdir / "figures"
    return [folder / f"{name}.{suffix}" for suffix in ("png", "svg")]
