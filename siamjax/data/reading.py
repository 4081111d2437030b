"""Reads many files in several processes; the others go on where one is killed."""

import collections
import contextlib
import functools
import itertools
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from tqdm import tqdm

from siamjax.capture import decompress, parts
from siamjax.types import SiamjaxError

# A worker tells how far it is not more often than this.
_TELL_S = 0.2
# Where results are taken in order, each process reads at most this many files ahead.
_AHEAD = 2
# Files that are together smaller than this are read before a process has started.
_SMALL = 2**22


class Task(NamedTuple):
    """A file to read."""

    read: Callable[..., Any]  # of a module: other processes must find it
    path: str | os.PathLike  # of a file, or `parts.Parts`
    file: str  # its name in messages


class Failure(NamedTuple):
    """In place of the content of a file that could not be read."""

    line: str  # the name of the file, and why
    temporary: bool  # it may succeed another time: the system refused it


class _Worker(NamedTuple):
    process: Any
    connection: Any


class _Killed(NamedTuple):
    """In place of a result: the process that read the file was killed."""

    exit_code: int  # as `Process.exitcode`: -9 for signal 9


class _Progress(NamedTuple):
    """Before a result: how much more of a file was read."""

    size: int  # in bytes


class _Bar:
    """Shows in a terminal how many bytes of all files were read, and the time left."""

    def __init__(self, tasks, bar):
        self._left, self._bar = [parts.size_of(task.path) for task in tasks], bar
        bar.reset(sum(self._left))

    def advance(self, i, size):
        size = min(size, self._left[i])  # the beginning of a table is read twice
        self._left[i] -= size
        self._bar.update(size)

    def finish(self, i):
        self.advance(i, self._left[i])


def read_all(
    tasks: Sequence[Task],
    workers: int | None = None,
    on_result: Callable[[Task, Any], Any] = lambda task, result: result,
) -> list[Any]:
    """The result of `read(path)` of each task, in order, or a `Failure`.

    A file whose process was killed is read again alone after all others: a system that
    has no memory left kills a process that could succeed alone.

    Args:
      tasks: what to read.
      workers: number of processes, by default one for each core; 1: reads in this one.
      on_result: is called with each result as soon as it is there, and gives what is
        used in its place; not called with failures.
    """
    results: list[Any] = [None] * len(tasks)

    def take(i, result):
        failed = isinstance(result, (Failure, _Killed))
        results[i] = result if failed else on_result(tasks[i], result)

    with tqdm(total=0, unit="B", unit_scale=True, disable=None) as shown:
        bar = _Bar(tasks, shown)
        if workers == 1 or len(tasks) <= 1:
            done = _in_this_process(tasks, bar)
        else:
            count = workers or len(os.sched_getaffinity(0))
            done = _in_processes(tasks, count, bar)
        with contextlib.closing(done):
            for i, result in itertools.chain.from_iterable(done):
                take(i, result)
                bar.finish(i)
        for i, result in enumerate(results):
            if isinstance(result, _Killed):
                take(i, _read_again(tasks[i]))
    return [_or_failure(task, result) for task, result in zip(tasks, results)]


def read_in_order(
    tasks: Sequence[Task], workers: int | None = None
) -> Iterator[list[Any]]:
    """Yields what `read_all` gives, in order, as lists of the results that are ready.

    Only a few files are read before their turn, so that memory does not grow with their
    number. No bar is shown.

    Args:
      tasks: what to read.
      workers: see `read_all`; by default few bytes are read in this process.
    """
    few = workers is None and sum(parts.size_of(task.path) for task in tasks) < _SMALL
    count = workers or len(os.sched_getaffinity(0))
    ready: dict[int, Any] = {}
    turn = 0
    bar = _Bar(tasks, tqdm(disable=True))
    if few or count == 1 or len(tasks) <= 1:
        done = _in_this_process(tasks, bar)
    else:
        done = _in_processes(tasks, count, bar, lambda i: i < turn + _AHEAD * count)
    with contextlib.closing(done):
        for results in done:
            ready |= results
            batch = []
            while turn in ready:
                result = ready.pop(turn)
                if isinstance(result, _Killed):
                    result = _or_failure(tasks[turn], _read_again(tasks[turn]))
                batch.append(result)
                turn += 1
            if batch:
                yield batch


def _read_again(task):
    """The result of a task in a process of its own."""
    again = _in_processes([task], 1, _Bar([task], tqdm(disable=True)))
    with contextlib.closing(again):
        ((_, result),) = next(again)
    return result


def _in_this_process(tasks, bar):
    """Yields `[(index, result)]` in order."""
    for i, task in enumerate(tasks):
        with decompress.watching(functools.partial(bar.advance, i)):
            result = try_read(*task)
        yield [(i, result)]


def try_read(read: Callable[..., Any], path: str | os.PathLike, file: str) -> Any:
    """The result of `read(path)`, or a `Failure`."""
    try:
        return read(path)
    except SiamjaxError as error:
        temporary = isinstance(error.__cause__, (OSError, MemoryError))
        return Failure(str(error).replace(str(path), file), temporary)
    except OSError as error:
        return Failure(f"{file}: {error.strerror or error}", temporary=True)
    except MemoryError:
        return _no_memory(file)
    except Exception as error:  # the other files are read whatever it is
        place = traceback.extract_tb(error.__traceback__)[-1]
        return Failure(
            f"{file}: {type(error).__name__} at {os.path.basename(place.filename)}:"
            f"{place.lineno}: {error}: this is a bug of siamjax, please report it",
            temporary=False,
        )


def _no_memory(file):
    return Failure(f"{file}: not enough memory to read it", temporary=True)


def _or_failure(task, result):
    """The result, or the failure of a task whose process was killed again."""
    if not isinstance(result, _Killed):
        return result
    code = result.exit_code
    how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
    return Failure(
        f"{task.file}: the process that read it was killed twice ({how}): "
        "is there enough memory?",
        temporary=True,
    )


def _in_processes(tasks, count, bar, may_start=lambda index: True):
    """Yields lists of `(index, result)` in the order in which they are ready.

    A task is started once `may_start(index)`, in order.

    The processes end with the generator. Unlike a pool of `concurrent.futures`, it
    knows which file a killed process was reading, goes on, and can end processes.
    """
    waiting = collections.deque(enumerate(tasks))
    idle, busy = [], {}  # workers; connection of a worker -> (worker, index)
    try:
        while waiting or busy:
            while waiting and len(busy) < count and may_start(waiting[0][0]):
                worker = idle.pop() if idle else _start()
                index, task = waiting.popleft()
                busy[worker.connection] = worker, index
                with contextlib.suppress(OSError):  # it was killed: recv reports it
                    worker.connection.send(task)
            results = []
            for connection in multiprocessing.connection.wait(list(busy)):
                worker, index = busy[connection]
                try:
                    result = connection.recv()
                except (EOFError, OSError):
                    worker.process.join()
                    result = _Killed(worker.process.exitcode)
                else:
                    if isinstance(result, _Progress):
                        bar.advance(index, result.size)
                        continue
                    idle.append(worker)
                del busy[connection]
                results.append((index, result))
            if results:
                yield results
    finally:
        for process, connection in idle + [worker for worker, _ in busy.values()]:
            process.terminate()
            process.join()
            connection.close()


def _start():
    """Starts a worker, which waits for tasks.

    It is spawned, not forked: a forked process could inherit a lock without the thread
    that holds it. It ignores Ctrl-C, which a terminal sends to all processes: the main
    process ends it.
    """
    context = multiprocessing.get_context("spawn")
    connection, other_end = context.Pipe()
    # The first start of a process would start this one, too, and then let SIGINT in.
    multiprocessing.resource_tracker.ensure_running()
    process = context.Process(target=_serve, args=(other_end,), daemon=True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    other_end.close()  # so that the connection closes when the process ends
    return _Worker(process, connection)


class _Teller:
    """Sends how many bytes were read, not more often than a bar is drawn."""

    def __init__(self, connection):
        self._connection, self._size, self._next_s = connection, 0, 0.0

    def add(self, size):
        self._size += size
        if time.monotonic() >= self._next_s:
            self._connection.send(_Progress(self._size))
            self._size, self._next_s = 0, time.monotonic() + _TELL_S


def _serve(connection):
    """Reads files until the other end of the connection is closed."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            task = connection.recv()
            with decompress.watching(_Teller(connection).add):
                result = try_read(*task)
            try:
                connection.send(result)
            except MemoryError:  # it comes before a byte is sent
                connection.send(_no_memory(task.file))
