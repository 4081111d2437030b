"""Processes: workers that end with their command, and signals that end a command."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any


def end_with_parent() -> None:
    """Ends this worker process as soon as its parent ends, even if that was killed.

    Without it, a worker that waits for work would wait for ever: a killed parent does
    not close the queue.
    """
    parent = multiprocessing.parent_process()

    def watch():
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def catch_signals() -> Iterator[list[int]]:
    """A list that SIGTERM and the first Ctrl-C append to; the second interrupts."""
    caught: list[int] = []
    before: dict[int, Any] = {}

    def remember(number, _):
        caught.append(number)
        signal.signal(number, before[number])

    for stop in (signal.SIGTERM, signal.SIGINT):
        before[stop] = signal.signal(stop, remember)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
