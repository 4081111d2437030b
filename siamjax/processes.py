"""Worker processes that do not outlive the command that began them."""

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """Ends this worker as soon as its parent is gone, even where that was killed.

    A worker that waits for work would wait for ever: nobody closes its queue.
    """
    parent = multiprocessing.parent_process()

    def watch():
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
