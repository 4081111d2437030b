"""Processes that work side by side: none goes on alone, and none is waited for ever."""

import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from siamjax.comparison import crew

ROOT = pathlib.Path(__file__).parent.parent

CREW = """
import os, pathlib, sys, time
from siamjax.comparison import crew

def worker(folder, name):
    with crew.interrupted_by_sigterm():
        try:
            print(os.getpid(), flush=True)
            time.sleep(600)
        except KeyboardInterrupt:
            (folder / name).write_text("interrupted")

if __name__ == "__main__":
    crew.run(worker, [(pathlib.Path(sys.argv[1]), name) for name in ("one", "two")])
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_the_process_that_began_them(tmp_path, number):
    script, folder = tmp_path / "crew.py", tmp_path / "ended"
    script.write_text(CREW)
    folder.mkdir()
    parent = subprocess.Popen(
        [sys.executable, script, folder], env=os.environ | dict(PYTHONPATH=str(ROOT)),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    for _ in range(2):
        assert parent.stdout.readline(), "a worker did not begin"
    parent.send_signal(number)
    parent.communicate(timeout=60)  # the workers hold the other end of this pipe, too
    interrupted = {path.name for path in folder.iterdir()}
    assert interrupted == (set() if number == signal.SIGKILL else {"one", "two"})


def test_a_worker_that_dies_keeps_nobody():
    assert crew.run(sys.exit, [(3,), (0,)]) == [3, 0]
    assert crew.run(os.kill, [(0, "no number")]) == [1]
    assert not multiprocessing.active_children()
