"""One comparison from its config to its page."""

import logging
import multiprocessing
import os
import pathlib
import signal

from siamjax.comparison import protocol, studies, workers
from siamjax.training import devices, loop
from siamjax.types import Interrupted, SiamjaxError

_LOG = logging.getLogger(__name__)

HEARTBEAT_S = 20


def compare(config, workdir, losses="", storage=""):
    """Searches, repeats, reads out and reports, from wherever it was."""
    if losses:
        config.losses = protocol.listed(losses)
    protocol.check(config)
    workdir = pathlib.Path(workdir)
    loop.same_config(workdir, config)
    url = storage or f"sqlite:///{workdir / 'studies.db'}"
    many = processes(config)
    if many == 1:
        _worker(config, workdir, url, 0)
    else:
        _spawn(config, workdir, url, many)


def processes(config):
    """How many workers: one a core, one alone on an accelerator."""
    if config.workers:
        return config.workers
    on_cpu = devices.prepare(config.train.platform)[0].platform == "cpu"
    return len(os.sched_getaffinity(0)) if on_cpu else 1


def _worker(config, workdir, url, index):
    place = workers.Place(workdir, studies.storage(url, HEARTBEAT_S))
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        workers.work(config, place)
    except KeyboardInterrupt:
        raise Interrupted(
            "stopped, what is done is kept: the same command goes on", 130
        ) from None


def _interrupt(number, _):
    raise KeyboardInterrupt


def _spawn(config, workdir, url, many):
    """Workers of one thread each, on a core of their own."""
    os.environ["OMP_NUM_THREADS"] = "1"
    flags_now = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags_now} --xla_cpu_multi_thread_eigen=false"
    context = multiprocessing.get_context("spawn")
    crew = [
        context.Process(target=_worker, args=(config, workdir, url, i))
        for i in range(many)
    ]
    for process in crew:
        process.start()
    for process in crew:
        process.join()
    if any(process.exitcode for process in crew):
        raise SiamjaxError("a worker ended early: the same command goes on")
