"""Processes that work side by side: none goes on alone, and none is waited for ever."""

import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from siamjax.comparison import crew

ROOT = pathlib.Path(__file__).parent.parent

CREW = """
import os, pathlib, sys, time
from siamjax.comparison import crew

def worker(folder, name):
    crew.end_with_parent()
    with crew.interrupted_by_sigterm():
        try:
            (folder / f"{name}.pid").write_text(str(os.getpid()))
            time.sleep(600)
        except KeyboardInterrupt:
            (folder / f"{name}.ended").write_text("")

if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    crew.run(worker, [(folder, "one"), (folder, "two")])
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_the_process_that_began_them(tmp_path, number):
    script = tmp_path / "crew.py"
    script.write_text(CREW)
    parent = subprocess.Popen(
        [sys.executable, script, tmp_path], stderr=subprocess.DEVNULL,
        env=os.environ | dict(PYTHONPATH=str(ROOT)),
    )  # fmt: skip
    written(parent, tmp_path, "pid")
    parent.send_signal(number)
    parent.wait()
    written(None, tmp_path, "ended")


def written(process, folder, suffix, until_s=60.0):
    """Waits for the files of both workers, while a process lives."""
    end = time.monotonic() + until_s
    while len([p for p in folder.glob(f"*.{suffix}")]) < 2:
        assert time.monotonic() < end and (process is None or process.poll() is None)
        time.sleep(0.01)


def test_a_worker_that_dies_keeps_nobody():
    assert crew.run(sys.exit, [(3,), (0,)]) == [3, 0]
    assert crew.run(os.kill, [(0, "no number")]) == [1]
    assert not multiprocessing.active_children()
