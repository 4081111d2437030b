"""Runs the cells of an experiment on several processes, and keeps each result.

A cell is a dict of plain values that says everything about one piece of work. Its
result is one line of a JSON Lines file, so a run that was cut off goes on from there.
"""

import contextlib
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

LOG_EVERY_S = 10.0  # the least time between two lines of progress
STOPPED = "stopped, what is done is kept: the same command goes on"
REMEDY = "delete the damaged line, and its cell is run again"


class Failed(NamedTuple):
    """Takes the place of the result of a cell that failed."""

    reason: str  # one line
    usage: bool = False  # a `UsageError`, which other cells would repeat


def run_cells(
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
      cells: dicts that JSON can hold, all different.
      path: file of rows `dict(cell, result, seconds)`; a last row that was cut off is
        dropped. A run that fails before its first row leaves neither the file nor
        the folders that it made.
      workers: processes, each with one thread and one core; 1 is this process itself.
      cell_s: how long a cell takes, to estimate the time as long as there is no row.
    Raises:
      UsageError: another process runs on the file, or `work` raised it.
      SiamjaxError: some cells failed, or workers died. All other cells were run.
      Interrupted: by Ctrl-C or SIGTERM.
    """
    use_one_thread()
    keys = [cell_key(cell) for cell in cells]
    with files.appending(path) as file:
        _drop_cut_row(file)
        rows = read_rows(path)
        done = {cell_key(row["cell"]): row["result"] for row in rows}
        todo = [cell for cell, name in zip(cells, keys) if name not in done]
        failures = []
        if todo:
            if rows:
                cell_s = sum(row["seconds"] for row in rows) / len(rows)
            minutes = (cell_s or 0.0) * len(todo) / max(workers, 1) / 60
            cost = f", about {minutes:.0f} min" if cell_s else ""
            _LOG.info("%d cells, %d to run%s", len(cells), len(todo), cost)
        started = logged = time.monotonic()
        results = run_unordered(
            functools.partial(_time, work), todo, workers=min(workers, len(todo))
        )
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
                done[cell_key(todo[index])] = json.loads(line)["result"]
                time_s = time.monotonic()
                if time_s - logged > LOG_EVERY_S or count == len(todo):
                    left_s = (time_s - started) / count * (len(todo) - count)
                    _LOG.info(
                        "%d of %d cells done, about %.0f min left",
                        len(done.keys() & set(keys)),
                        len(cells),
                        left_s / 60,
                    )
                    logged = time_s
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


def read_rows(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The rows `dict(cell, result, seconds)` of a file; none where there is no file.

    Raises:
      files.Damaged: a row is no such dict. A last row that was cut off is left out.
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


def cell_key(cell: Mapping[str, Any]) -> str:
    """The same text for the same cell, whatever the order of its fields."""
    return json.dumps(cell, sort_keys=True, default=_plain)


def digest(cell: Mapping[str, Any] | str) -> str:
    """A short text for a cell or for any text, to use in the name of a file."""
    text = cell if isinstance(cell, str) else cell_key(cell)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def run_unordered(
    work: Callable[[Any], Any], cells: Sequence[Any], *, workers: int
) -> Generator[tuple[int, Any], None, None]:
    """Yields `(index, work(cell))` of each cell, in the order in which they get done.

    A cell whose work raises an exception, or whose worker dies, gives `Failed`; other
    workers go on. If no worker is left, each cell that was not begun gives `Failed`.

    Args:
      work: see `run_cells`.
      cells: what can be sent to another process.
      workers: processes; 1 is this process itself, which a cell may kill.
    Raises:
      KeyboardInterrupt: by Ctrl-C or SIGTERM, after all workers have ended.
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
        reason = "no worker began"
        while alive := {end: w for w in crew if w.alive for end in w.ends()}:
            for worker in {alive[end] for end in connection.wait(list(alive))}:
                for index, outcome in worker.answers():
                    if not worker.alive:
                        reason = outcome.reason
                        _LOG.warning("a worker process ended: %s", reason)
                    yield index, outcome
                if worker.alive and worker.index is None:
                    worker.give(next(waiting, None))
        for index, _ in waiting:
            yield index, Failed(f"no worker is left: {reason}")


class _Worker:
    """A worker process that does one cell at a time, as seen from its parent."""

    def __init__(self, work, number):
        context = multiprocessing.get_context("spawn")  # JAX cannot be forked
        self._ours, self._its = context.Pipe()
        arguments = work, number, self._its
        self._process = context.Process(target=_serve, args=arguments)
        self.alive = False
        self.index = None  # of the cell that it does

    def start(self):
        """Starts the process; if it dies at its start, `answers` says so later."""
        self.alive = True
        with contextlib.suppress(BrokenPipeError):
            self._process.start()
        self._its.close()  # while it is open here, the pipe hides the process's end

    def give(self, numbered):
        """Sends `(index, cell)`; None: there are no more cells, so the process ends."""
        self.index = None if numbered is None else numbered[0]
        with contextlib.suppress(OSError):  # it is dead: `answers` will say so
            self._ours.send(numbered)

    def ends(self):
        """What `connection.wait` reports when it has an answer or is dead."""
        started = self._process.pid is not None
        return [self._ours, self._process.sentinel] if started else [self._ours]

    def answers(self):
        """`[(index, outcome)]` of its cell, `Failed` if it died; [] without one."""
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
        """Sends it SIGTERM."""
        if self._process.pid is not None:
            self._process.terminate()

    def join(self):
        """Waits until it has ended."""
        if self._process.pid is not None:
            self._process.join()
        self._ours.close()


def _end(crew):
    """Ends all workers, also those that are in the middle of a cell."""
    for worker in crew:
        worker.end()
    for worker in crew:
        worker.join()


def _serve(work, number, pipe):
    """What a worker process runs, on one core."""
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
    """What `work` gives for a cell, or `Failed`."""
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


def _time(work, cell):
    """`(result, seconds)` of a cell."""
    started = time.monotonic()
    return work(cell), time.monotonic() - started


def _plain(array):
    """An array or number of NumPy as plain lists and numbers, for JSON."""
    return array.tolist()


def _drop_cut_row(file: IO[bytes]) -> None:
    """Removes the last row of an open file of rows if it was cut off."""
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)


def use_one_thread() -> None:
    """Lets XLA use one thread on a CPU, in this process and in those it starts.

    The number of threads changes the order of sums, and so the last bits. With one, the
    result of a cell does not depend on workers and cores. Call it before JAX starts.
    """
    os.environ["NPROC"] = "1"  # the size of XLA's pool
    os.environ["OMP_NUM_THREADS"] = "1"


@contextlib.contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Inside, SIGTERM raises KeyboardInterrupt, as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number, _):
    raise KeyboardInterrupt
