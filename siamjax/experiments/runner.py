"""Runs the cells of an experiment on several processes, and keeps each result.

A cell is a dict of plain values that says everything about one piece of work. Its
result is one line of a JSON Lines file, so a run that was cut goes on where it was.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import logging
import multiprocessing
import os
import pathlib
import signal
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from multiprocessing import connection
from typing import IO, Any, NamedTuple

from siamjax import files, processes
from siamjax.types import Interrupted, SiamjaxError, UsageError

_LOG = logging.getLogger(__name__)

SAY_EVERY_S = 10.0  # a line of progress at most so often
STOPPED = "stopped, what is done is kept: the same command goes on"
REMEDY = "delete the damaged line, and its cell is run again"


class Failed(NamedTuple):
    """Stands in place of a result that there is not."""

    reason: str  # one line
    usage: bool = False  # the user's mistake, which other cells would repeat


def run(
    work: Callable[[dict[str, Any]], Any],
    cells: Sequence[Mapping[str, Any]],
    path: str | os.PathLike,
    *,
    workers: int = 1,
    cell_s: float | None = None,
) -> list[Any]:
    """Results of all cells, in their order; cells that have a row are not run again.

    Args:
      work: `work(cell) -> result`, which JSON can hold. Worker processes import it, so
        it is a function of a module, or a `functools.partial` of one.
      cells: dicts of what JSON can hold, each different.
      path: file of rows `dict(cell, result, seconds)`; a last row that was cut is
        dropped.
      workers: processes, each with one thread and one core; 1 is this process itself.
      cell_s: how long a cell takes, for an estimate of the cost where no row tells it.
    Raises:
      UsageError: another process runs on the file, or `work` raised it.
      SiamjaxError: some cells failed, or workers died. All other cells were run.
      Interrupted: by Ctrl-C or SIGTERM.
    """
    one_thread()
    keys = [key(cell) for cell in cells]
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _opened(path) as file:
        rows = read(path)
        done = {key(row["cell"]): row["result"] for row in rows}
        todo = [cell for cell, name in zip(cells, keys) if name not in done]
        failures = []
        if todo:
            if rows:
                cell_s = sum(row["seconds"] for row in rows) / len(rows)
            minutes = (cell_s or 0.0) * len(todo) / max(workers, 1) / 60
            cost = f", about {minutes:.0f} min" if cell_s else ""
            _LOG.info("%d cells, %d to run%s", len(cells), len(todo), cost)
        started = said = time.monotonic()
        results = unordered(_timed(work), todo, workers=min(workers, len(todo)))
        try:
            for count, (index, outcome) in enumerate(results, 1):
                if isinstance(outcome, Failed):
                    failures.append(outcome)
                    _LOG.warning("cell %s: %s", json.dumps(todo[index]), outcome.reason)
                    if outcome.usage:
                        raise UsageError(outcome.reason)
                    continue
                result, seconds = outcome
                row = dict(cell=todo[index], result=result, seconds=round(seconds, 3))
                line = json.dumps(row, default=_plain)
                file.write(f"{line}\n".encode())
                files.sync(file)
                done[key(todo[index])] = json.loads(line)["result"]
                now = time.monotonic()
                if now - said > SAY_EVERY_S or count == len(todo):
                    left_s = (now - started) / count * (len(todo) - count)
                    _LOG.info(
                        "%d of %d cells done, about %.0f min left",
                        len(done.keys() & set(keys)),
                        len(cells),
                        left_s / 60,
                    )
                    said = now
        except KeyboardInterrupt:
            raise Interrupted(STOPPED, 130) from None
        finally:
            results.close()
    if failures:
        raise SiamjaxError(
            f"{len(failures)} of {len(todo)} cells failed, the first: "
            f"{failures[0].reason}; the same command runs them again"
        )
    return [done[name] for name in keys]


def read(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The rows `dict(cell, result, seconds)` of a file; none where there is no file.

    Raises:
      files.Damaged: a row is no JSON; a last row that was cut is left out.
    """
    path = pathlib.Path(path)
    if not path.exists():
        return []
    with files.parsing(path, REMEDY):
        lines = path.read_bytes().split(b"\n")[:-1]
        rows = [json.loads(line) for line in lines if line]
        return [
            dict(cell=row["cell"], result=row["result"], seconds=row["seconds"])
            for row in rows
        ]


def key(cell: Mapping[str, Any]) -> str:
    """The same text for the same cell, whatever the order of its fields."""
    return json.dumps(cell, sort_keys=True, default=_plain)


def digest(cell: Mapping[str, Any] | str) -> str:
    """A short name for a cell, or for any text, to name a file by."""
    text = cell if isinstance(cell, str) else key(cell)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def unordered(
    work: Callable[[Any], Any], cells: Sequence[Any], *, workers: int
) -> Generator[tuple[int, Any], None, None]:
    """Yields `(index, work(cell))` of each cell, in the order in which they get done.

    In place of what an exception ended stands `Failed`, and so it does for the cell
    that a worker died of. Other workers go on. Where none is left, the cells that
    nobody began have failed, too.

    Args:
      work: see `run`.
      cells: what can be sent to another process.
      workers: processes; 1 is this process itself, in which nothing is caught but
        exceptions.
    Raises:
      KeyboardInterrupt: by Ctrl-C or SIGTERM; all workers have ended by then.
    """
    if workers <= 1:
        with interrupted_by_sigterm():
            for index, cell in enumerate(cells):
                yield index, _outcome(work, cell)
        return
    waiting = iter(enumerate(cells))
    with interrupted_by_sigterm(), contextlib.ExitStack() as stack:
        crew = [_Worker(work, i) for i in range(min(workers, len(cells)))]
        stack.callback(_end, crew)
        for worker in crew:
            worker.start()
            worker.give(next(waiting, None))
        last = "no worker began"
        while alive := {end: w for w in crew if w.alive for end in w.ends()}:
            for worker in {alive[end] for end in connection.wait(list(alive))}:
                for index, outcome in worker.answers():
                    if not worker.alive:
                        last = outcome.reason
                        _LOG.warning("a worker process ended: %s", last)
                    yield index, outcome
                if worker.alive and worker.index is None:
                    worker.give(next(waiting, None))
        for index, _ in waiting:
            yield index, Failed(f"no worker is left: {last}")


class _Worker:
    """A process that does one cell at a time, as its parent has it."""

    def __init__(self, work, number):
        context = multiprocessing.get_context("spawn")  # JAX cannot be forked
        self._ours, self._its = context.Pipe()
        arguments = work, number, self._its
        self._process = context.Process(target=_serve, args=arguments)
        self.alive = False
        self.index = None  # of the cell that it does

    def start(self):
        """Begins the process; one that dies while it begins is seen as any other."""
        self.alive = True
        with contextlib.suppress(BrokenPipeError):
            self._process.start()
        self._its.close()  # or the end of the process would not show in the pipe

    def give(self, numbered):
        """Sends `(index, cell)`; None: there is no more, so it ends."""
        self.index = None if numbered is None else numbered[0]
        with contextlib.suppress(OSError):  # it is dead, as `answers` will find
            self._ours.send(numbered)

    def ends(self):
        """What becomes ready when it has an answer or is dead."""
        started = self._process.pid is not None
        return [self._ours, self._process.sentinel] if started else [self._ours]

    def answers(self):
        """`[(index, outcome)]`: what it did, or that it died at it."""
        try:
            if self._ours.poll():
                index, outcome = self._ours.recv()
                self.index = None
                return [(index, outcome)]
        except (EOFError, OSError):
            pass
        self.alive = False
        index, self.index = self.index, None
        if self._process.pid is not None:
            self._process.join()
        if index is None:
            return []
        return [(index, Failed(f"its worker {self._death()}"))]

    def _death(self):
        code = self._process.exitcode if self._process.pid is not None else None
        if code is not None and code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return (
            f"died with exit code {code}" if code is not None else "died at its start"
        )

    def end(self):
        """Asks it to end."""
        if self._process.pid is not None:
            self._process.terminate()

    def join(self):
        """Waits until it has ended."""
        if self._process.pid is not None:
            self._process.join()
        self._ours.close()


def _end(crew):
    """Ends all workers, those that are at work by an interrupt."""
    for worker in crew:
        worker.end()
    for worker in crew:
        worker.join()


def _serve(work, number, pipe):
    """What a worker process does."""
    processes.end_with_parent()
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[number % len(cores)]})
    log = logging.getLogger("siamjax")
    log.setLevel(logging.INFO)
    log.addHandler(logging.StreamHandler())
    log.propagate = False
    with interrupted_by_sigterm():
        try:
            while (numbered := pipe.recv()) is not None:
                index, cell = numbered
                pipe.send((index, _outcome(work, cell)))
        except (KeyboardInterrupt, Interrupted, EOFError, BrokenPipeError):
            sys.exit(130)


def _outcome(work, cell):
    """What `work` gave, or `Failed`."""
    try:
        return work(cell)
    except Interrupted:
        raise
    except (SiamjaxError, OSError) as error:
        return Failed(_line(error), usage=isinstance(error, UsageError))
    except Exception as error:
        _LOG.error("%s", traceback.format_exc())
        return Failed(f"{type(error).__name__}: {_line(error)}")


def _line(error):
    return " ".join(str(error).split())[:500]


def _timed(work):
    return functools.partial(_time, work)


def _time(work, cell):
    """`(result, seconds)`."""
    started = time.monotonic()
    return work(cell), time.monotonic() - started


def _plain(array):
    """NumPy's arrays and numbers as JSON has them."""
    return array.tolist()


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[IO[bytes]]:
    """The file of rows, open to append to and locked; a row that was cut is removed."""
    with files.open_file(path, "a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"{path} is in use by another process: wait for it, or give another "
                "folder"
            ) from None
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        yield file


def one_thread() -> None:
    """One thread for what XLA computes on a CPU, here and in processes begun later.

    How many there are changes the order of sums, and so the bits: a cell is to be the
    same whatever number of workers and cores. It has effect before JAX starts.
    """
    os.environ["NPROC"] = "1"  # the size of XLA's pool
    os.environ["OMP_NUM_THREADS"] = "1"


@contextlib.contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt inside, as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number, _):
    raise KeyboardInterrupt
