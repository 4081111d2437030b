"""Reads many files in several processes; the others go on where one is killed."""

import collections
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from siamjax.types import SiamjaxError


class Task(NamedTuple):
    """A file to read."""

    read: Callable[[Path], Any]  # of a module: other processes must find it
    path: Path
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


def read_all(tasks: Sequence[Task], workers: int | None = None) -> list[Any]:
    """The result of `read(path)` of each task, in order, or a `Failure`.

    A file whose process was killed is read again alone after all others: a system that
    has no memory left kills a process that could succeed alone.

    Args:
      tasks: what to read.
      workers: number of processes, by default one for each core; 1: reads in this one.
    """
    results = [None] * len(tasks)
    with tqdm(total=len(tasks), unit=" captures", disable=None) as bar:
        if workers == 1 or len(tasks) <= 1:
            done = ((i, try_read(*task)) for i, task in enumerate(tasks))
        else:
            done = _in_processes(tasks, workers or len(os.sched_getaffinity(0)))
        with contextlib.closing(done):
            for i, result in done:
                results[i] = result
                bar.update()
    for i, result in enumerate(results):
        if isinstance(result, _Killed):
            with contextlib.closing(_in_processes([tasks[i]], 1)) as done:
                _, results[i] = next(done)
    return [
        _of_killed(task, result) if isinstance(result, _Killed) else result
        for task, result in zip(tasks, results)
    ]


def try_read(read: Callable[[Path], Any], path: Path, file: str) -> Any:
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


def _of_killed(task, killed):
    code = killed.exit_code
    how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
    return Failure(
        f"{task.file}: the process that read it was killed twice ({how}): "
        "is there enough memory?",
        temporary=True,
    )


def _in_processes(tasks, count):
    """Yields `(index, result)` in the order in which they are ready.

    The processes end with the generator. Unlike a pool of `concurrent.futures`, it
    knows which file a killed process was reading, goes on, and can end processes.
    """
    waiting = collections.deque(enumerate(tasks))
    idle, busy = [], {}  # workers; connection of a worker -> (worker, index)
    try:
        while waiting or busy:
            while waiting and len(busy) < count:
                worker = idle.pop() if idle else _start()
                index, task = waiting.popleft()
                busy[worker.connection] = worker, index
                with contextlib.suppress(OSError):  # it was killed: recv reports it
                    worker.connection.send(task)
            for connection in multiprocessing.connection.wait(list(busy)):
                worker, index = busy.pop(connection)
                idle.append(worker)
                try:
                    result = connection.recv()
                except (EOFError, OSError):
                    idle.remove(worker)
                    worker.process.join()
                    result = _Killed(worker.process.exitcode)
                yield index, result
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
    process = context.Process(target=_serve, args=(other_end,), daemon=True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    other_end.close()  # so that the connection closes when the process ends
    return _Worker(process, connection)


def _serve(connection):
    """Reads files until the other end of the connection is closed."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            task = connection.recv()
            result = try_read(*task)
            try:
                connection.send(result)
            except MemoryError:  # it comes before a byte is sent
                connection.send(_no_memory(task.file))
