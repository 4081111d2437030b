"""Processes that work side by side, and end with the one that began them."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator

# A compiled program cannot be interrupted: after so long the process ends all the same,
# as if it was killed.
GRACE_S = 10.0


def run(target: Callable, arguments: Iterable[tuple]) -> list[int]:
    """Calls `target(*each)` in a process for each of the arguments, at the same time.

    Ctrl-C and SIGTERM interrupt all of them. They end, too, where this process is
    killed: each of them must call `end_with_parent`.

    Returns:
      Their exit codes, once all have ended.
    Raises:
      KeyboardInterrupt: after all have ended.
    """
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=target, args=each) for each in arguments]
    with interrupted_by_sigterm():
        for process in processes:
            process.start()
        try:
            for process in processes:
                process.join()
        except KeyboardInterrupt:
            for process in processes:
                process.terminate()
            for process in processes:
                process.join()
            raise
    return [process.exitcode for process in processes]


@contextlib.contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt inside, as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def end_with_parent() -> None:
    """From now on SIGTERM comes when the parent ends, however it ends.

    The system closes the parent's end of a pipe even where it is killed (SIGKILL).
    """
    parent = multiprocessing.parent_process()

    def watch():
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_S)
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _interrupt(number, _):
    raise KeyboardInterrupt
