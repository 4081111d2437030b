"""Many files read by several processes: a file that ends one does not harm the rest."""

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

    read: Callable[[Path], Any]  # a function of a module, for other processes to find
    path: Path
    file: str  # how lines name it


class Failure(NamedTuple):
    """In place of what a file holds."""

    line: str  # why it was not read; it names the file
    temporary: bool  # the system refused it: it may be read another time


class _Worker(NamedTuple):
    process: Any
    connection: Any


class _Killed(NamedTuple):
    """In place of a result: the process that read the file has ended."""

    exit_code: int  # as `Process.exitcode` has it: -9 for signal 9


def read_all(tasks: Sequence[Task], workers: int | None = None) -> list[Any]:
    """For each task, in order, what `read(path)` gives, or a `Failure`.

    A file whose process was killed is read again, alone, when the others are done: a
    system without memory kills a process that might have had enough alone.

    Args:
      tasks: what to read.
      workers: processes, by default one a core; 1 reads in this process.
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
    """What `read(path)` gives, or a `Failure`."""
    try:
        return read(path)
    except SiamjaxError as error:
        temporary = isinstance(error.__cause__, (OSError, MemoryError))
        return Failure(str(error).replace(str(path), file), temporary)
    except OSError as error:
        return Failure(f"{file}: {error.strerror or error}", temporary=True)
    except MemoryError:
        return _no_memory(file)
    except Exception as error:  # whatever it is, the other files are read
        place = traceback.extract_tb(error.__traceback__)[-1]
        return Failure(
            f"{file}: {type(error).__name__} at {os.path.basename(place.filename)}:"
            f"{place.lineno}: {error}: a defect of siamjax, please report it",
            temporary=False,
        )


def _no_memory(file):
    return Failure(f"{file}: not enough memory to read it", temporary=True)


def _of_killed(task, killed):
    code = killed.exit_code
    how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
    return Failure(
        f"{task.file}: the process that read it was ended twice ({how}): "
        "is there enough memory?",
        temporary=True,
    )


def _in_processes(tasks, count):
    """Yields `(index, result)` as they come; the processes end with the generator.

    Unlike a pool of `concurrent.futures`, it knows which file a killed process read,
    goes on without it, and can end its processes.
    """
    waiting = collections.deque(enumerate(tasks))
    idle, at_work = [], {}  # workers; worker's connection -> (worker, index)
    try:
        while waiting or at_work:
            while waiting and len(at_work) < count:
                worker = idle.pop() if idle else _start()
                index, task = waiting.popleft()
                at_work[worker.connection] = worker, index
                with contextlib.suppress(OSError):  # it was killed: recv says so
                    worker.connection.send(task)
            for connection in multiprocessing.connection.wait(list(at_work)):
                worker, index = at_work.pop(connection)
                idle.append(worker)
                try:
                    result = connection.recv()
                except (EOFError, OSError):
                    idle.remove(worker)
                    worker.process.join()
                    result = _Killed(worker.process.exitcode)
                yield index, result
    finally:
        for process, connection in idle + [worker for worker, _ in at_work.values()]:
            process.terminate()
            process.join()
            connection.close()


def _start():
    """A worker that waits for tasks.

    Its process is a fresh one: a forked one could inherit a lock without the thread
    that holds it. Ctrl-C goes to all processes of a terminal, and is for this one.
    """
    context = multiprocessing.get_context("spawn")
    connection, other_end = context.Pipe()
    process = context.Process(target=_serve, args=(other_end,), daemon=True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    other_end.close()  # so that the end of the process is the end of the connection
    return _Worker(process, connection)


def _serve(connection):
    """Reads files until the other end of the connection is closed."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            task = connection.recv()
            result = try_read(*task)
            try:
                connection.send(result)
            except MemoryError:  # before a byte was sent
                connection.send(_no_memory(task.file))
