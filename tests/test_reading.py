"""Many files read at once: a file that ends a process harms no other."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from siamjax.capture import decompress
from siamjax.data import reading
from siamjax.types import SiamjaxError

# Run by a process of its own: two workers that never end.
SLEEPERS = """
import pathlib, sys
from siamjax import cli
from siamjax.capture import decompress
from siamjax.data import reading
from tests import test_reading
folder = pathlib.Path(sys.argv.pop())
tasks = [reading.Task(test_reading.sleep, folder / name, name) for name in "ab"]
cli.run(lambda argv: reading.read_all(tasks, 2))
"""


def read(path):
    """What the name of the file says."""
    behaviour = path.name.partition(".")[0]
    if behaviour == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour == "once" and not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour == "memory":
        raise MemoryError
    if behaviour == "bug":
        return {}["no such key"]
    if behaviour == "wrong":
        raise SiamjaxError(f"{path}: not a capture")
    if behaviour == "refused":
        raise PermissionError(13, "Permission denied", str(path))
    return behaviour


@pytest.mark.parametrize("workers", [1, 2])
def test_results_that_are_taken_in_order_are_not_read_far_ahead(tmp_path, workers):
    names = [*["slow"] * (workers > 1), *"abcdefgh", "wrong.x", "z"]
    names += ["killed.x"] * (workers > 1)
    tasks = [reading.Task(note, tmp_path / name, name) for name in names]
    results, counts = [], []
    for batch in reading.read_in_order(tasks, workers):
        results += batch
        counts.append(len(list(tmp_path.glob("*.read"))))
    *results, last = results if workers > 1 else [*results, None]
    assert [r.line if isinstance(r, reading.Failure) else r for r in results] == [
        "wrong.x: not a capture" if name == "wrong.x" else name
        for name in names
        if name != "killed.x"
    ]
    assert workers == 1 or "was killed twice" in last.line
    # While the first file was read, another process read the next ones.
    assert counts[0] <= (1 if workers == 1 else 4)


def note(path):
    """`read`, which leaves a file behind; the first one takes long."""
    if path.name == "slow":
        time.sleep(0.5)
    path.with_suffix(".read").touch()
    return read(path)


def sleep(path):
    held = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    path.write_text(f"{os.getpid()} {held}\n")
    time.sleep(60)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_happens_to_one_file_harms_no_other(tmp_path, workers):
    names = ["a", "memory.x", "bug.x", "wrong.x", "refused.x", "b"]
    names += ["killed.x", "once.x", "c"] * (workers > 1)
    tasks = [reading.Task(read, tmp_path / name, name) for name in names]
    results = dict(zip(names, reading.read_all(tasks, workers)))
    failed = {n: r for n, r in results.items() if isinstance(r, reading.Failure)}
    assert {n: r for n, r in results.items() if n not in failed} == {
        name: name.partition(".")[0] for name in names if name not in failed
    }
    temporary = {name for name in failed if failed[name].temporary}
    assert temporary == {"memory.x", "refused.x", "killed.x"} & set(names)
    results = {name: failure.line for name, failure in failed.items()}
    assert results["memory.x"] == "memory.x: not enough memory to read it"
    assert results["bug.x"].startswith("bug.x: KeyError at test_reading.py:")
    assert "a bug of siamjax" in results["bug.x"]
    assert results["wrong.x"] == "wrong.x: not a capture"
    assert results["refused.x"] == "refused.x: Permission denied"
    if workers > 1:
        assert results["killed.x"].startswith("killed.x: the process that read it")
        assert "SIGKILL" in results["killed.x"] and "once.x" not in results


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_workers_too(tmp_path, number, code):
    parent = subprocess.Popen(
        [sys.executable, "-c", SLEEPERS, str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=pathlib.Path(__file__).parent.parent,
        start_new_session=True,
    )
    while len(said := [p.read_text() for p in tmp_path.iterdir()]) < 2 or "" in said:
        assert parent.poll() is None
        time.sleep(0.02)
    pids, held = zip(*map(str.split, said))
    assert held == ("True", "True")  # SIGINT is for the parent
    if number == signal.SIGINT:  # a terminal sends it to all processes
        os.killpg(parent.pid, number)
    else:
        parent.send_signal(number)
    _, errors = parent.communicate(timeout=60)
    assert parent.returncode == code
    assert len(errors.splitlines()) == 1 and "Traceback" not in errors
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


def read_bytes(path):
    with open(path, "rb") as file:
        return sum(map(len, decompress.read_pieces(file)))


@pytest.mark.parametrize("workers", [1, 2])
def test_progress_is_in_bytes_while_a_file_is_read(tmp_path, monkeypatch, workers):
    """Each file adds its size once; results come while others are still read."""
    sizes, bars = [300_000, 0, 50_000], []

    class Bar(reading._Bar):
        def __init__(self, *arguments):
            self.steps = []
            bars.append(self)
            super().__init__(*arguments)

        def advance(self, i, size):
            self.steps.append((i, min(size, self._left[i])))
            super().advance(i, size)

    monkeypatch.setattr(reading, "_Bar", Bar)
    monkeypatch.setattr(reading, "_TELL_S", 0.0)
    tasks = []
    for i, size in enumerate(sizes):
        (tmp_path / str(i)).write_bytes(bytes(size))
        tasks.append(reading.Task(read_bytes, tmp_path / str(i), str(i)))
    kept = []

    def on_result(task, result):
        kept.append(task.file)
        return -result

    results = reading.read_all(tasks, workers, on_result)
    assert results == [-size for size in sizes] and sorted(kept) == ["0", "1", "2"]
    (bar,) = bars
    for i, size in enumerate(sizes):
        assert sum(step for j, step in bar.steps if i == j) == size
    assert max(step for _, step in bar.steps) <= 1 << 17 or workers > 1
    assert len([1 for i, step in bar.steps if i == 0 and step]) > 1
