"""Processes that work side by side, each on its own part."""

import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator

from siamjax import processes


def run(target: Callable, arguments: Iterable[tuple]) -> list[int]:
    """Calls `target(*each)` in a process for each of the arguments, at the same time.

    Ctrl-C and SIGTERM interrupt all of them, and they end where this process is killed.

    Returns:
      Their exit codes, once all have ended.
    Raises:
      KeyboardInterrupt: after all have ended.
    """
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_work, args=(target, *each)) for each in arguments
    ]
    with interrupted_by_sigterm():
        for worker in workers:
            worker.start()
        try:
            for worker in workers:
                worker.join()
        except KeyboardInterrupt:
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.join()
            raise
    return [worker.exitcode for worker in workers]


@contextlib.contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt inside, as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _work(target, *arguments):
    processes.end_with_parent()
    target(*arguments)


def _interrupt(number, _):
    raise KeyboardInterrupt
