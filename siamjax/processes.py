"""Worker processes that end when the command that started them ends."""

import multiprocessing
import os
import threading


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
