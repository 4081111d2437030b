"""Several processes that train one run together, on one host or on many.

Each process runs the same program on its share of every batch. Only the first one reads
and writes the folder of the run: the others get what it read by `from_first`. So the
folder need not be shared by the hosts; the prepared data must be on each of them.

If a process fails or is lost, the others cannot go on. Each ends with one line, and the
same command, started again on all hosts, goes on from the last checkpoint.
"""

import atexit
import contextlib
import ctypes
import hashlib
import json
import logging
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from siamjax.types import Interrupted, SiamjaxError, UsageError

_LOG = logging.getLogger("siamjax")
T = TypeVar("T")

# How long processes wait for each other: to start, until one is taken for lost, to end.
CONNECT_S, LOST_S, LEAVE_S = 300, 60, 10
# How long the others wait while the first process alone works after the training.
EVALUATION_S = 24 * 3600
# Errors of a collective operation begin with a status of gRPC.
_STATUSES = (
    *("UNKNOWN", "UNAVAILABLE", "INTERNAL", "ABORTED", "CANCELLED"),
    *("DEADLINE_EXCEEDED", "FAILED_PRECONDITION", "DATA_LOSS"),
)


class Address(NamedTuple):
    """Where this process stands among all; None: the cluster says it."""

    coordinator: str | None = None  # HOST:PORT of the first process
    processes: int | None = None
    process: int | None = None  # 0 is the first


@contextlib.contextmanager
def connected(address: Address, *, debug: bool = False) -> Iterator[None]:
    """Connects this process with the others; at the end waits until all are done.

    What JAX's libraries print is hidden, since they print pages when a process is lost.
    The processes that are not the first log only errors.

    Args:
      address: of this process.
      debug: show what JAX's libraries print.
    Raises:
      UsageError: no cluster was detected and the address is not complete.
      SiamjaxError: the others cannot be reached, or one of them failed.
    """
    with contextlib.nullcontext() if debug else _quiet_libraries():
        last_words = [_unreachable(address)]
        handler = _replace_abort(last_words)
        _initialize(address)
        last_words[0] = _lost()
        if not is_first():
            _LOG.setLevel(logging.ERROR)
        try:
            yield
            wait_for_first()
            _disconnect()
        except Interrupted:  # all of them stop at the same step
            _disconnect()
            raise
        except BaseException as error:
            # JAX would wait for the others, which do not come, and then abort.
            last_words[0] = ""  # the error says it
            atexit.register(_leave, 2 if isinstance(error, UsageError) else 1)
            if _is_of_collective(error):
                raise SiamjaxError(_lost()) from error
            raise
        del handler  # it must live until here


def is_first() -> bool:
    """Whether this process reads and writes the files of the run."""
    return jax.process_index() == 0


def on_first(
    manager: Callable[[], contextlib.AbstractContextManager[T]],
) -> contextlib.AbstractContextManager[T | None]:
    """The context of `manager()` in the first process, and of None in the others."""
    return manager() if is_first() else contextlib.nullcontext()


def from_first(make: Callable[[], T]) -> T:
    """What `make()` gives in the first process, in all of them; it runs only there.

    With several processes, arrays come as NumPy arrays. All processes must call it.
    """
    if jax.process_count() == 1:
        return make()
    data = pickle.dumps(jax.device_get(make())) if is_first() else b""
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
    # Sizes are powers of 2, so that few programs are compiled.
    padded = np.zeros(1 << max(size - 1, 1).bit_length(), np.uint8)
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    return pickle.loads(multihost_utils.broadcast_one_to_all(padded)[:size].tobytes())


def most_of(number: int) -> int:
    """The largest number that a process gives; all processes must call it."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.process_allgather(np.int32(number)).max())


def check_same(facts: Mapping[str, Any]) -> None:
    """Refuses a process whose facts differ from those of the first one.

    Args:
      facts: name -> value that JSON can hold.
    Raises:
      UsageError: in each process that differs.
    """
    first = from_first(lambda: {name: _hash(fact) for name, fact in facts.items()})
    other = [name for name, fact in facts.items() if _hash(fact) != first[name]]
    if other:
        raise UsageError(
            f"process {jax.process_index()} differs from the first one in its "
            f"{' and '.join(other)}: give all processes the same"
        )


def wait_for_first() -> None:
    """Waits until the first process is done with what it does alone."""
    if jax.process_count() > 1:
        from orbax.checkpoint import multihost

        everyone = set(range(jax.process_count()))
        multihost.sync_global_processes(
            "siamjax_done", timeout=EVALUATION_S, processes=everyone
        )


def _hash(fact):
    return hashlib.sha256(json.dumps(fact, sort_keys=True).encode()).hexdigest()


def _initialize(address):
    # It would take SIGTERM for itself: the loop saves and stops all processes.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            address.coordinator,
            address.processes,
            address.process,
            initialization_timeout=CONNECT_S,
            heartbeat_timeout_seconds=LOST_S,
            shutdown_timeout_seconds=LEAVE_S,
        )
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"these processes cannot be connected ({error}): give all of "
            "--coordinator_address, --num_processes and --process_id, or start them "
            "with --distributed on a cluster that JAX knows (TPU, SLURM, Open MPI, "
            "Kubernetes)"
        ) from error
    except RuntimeError as error:
        raise SiamjaxError(_unreachable(address)) from error


def _unreachable(address):
    where = address.coordinator or "the address that the cluster gives"
    return (
        f"not all processes met at {where} within {CONNECT_S} s: start all of them, "
        "each with the same --coordinator_address, which is that of the first one"
    )


def _lost():
    return (
        f"process {jax.process_index()} of {jax.process_count()} ends, since another "
        "one failed or cannot be reached: start the same command again on all hosts, "
        "and the run goes on from its last checkpoint"
    )


def _is_of_collective(error):
    """Whether an error is of XLA's: another process ended in the midst of a step."""
    if isinstance(error, jax.errors.JaxRuntimeError):
        return True
    return type(error) is ValueError and str(error).startswith(_STATUSES)


def _replace_abort(last_words):
    """Ends the process with one line where JAX's service would abort it.

    The service calls `abort` in a thread of its own as soon as it loses a process.

    Args:
      last_words: of one text, which may change; empty: the process said why it ends.

    Returns:
      The handler, which must not be collected.
    """

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def handler(number):
        if last_words[0]:
            line = f"siamjax train: {last_words[0]}\n"
            os.write(sys.stderr.fileno(), line.encode())
        os._exit(1)

    ctypes.CDLL(None).signal(signal.SIGABRT, handler)
    return handler


def _disconnect():
    jax.distributed.shutdown()
    signal.signal(signal.SIGABRT, signal.SIG_DFL)


def _leave(code):
    """Ends the process without JAX's farewell to the other processes."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextlib.contextmanager
def _quiet_libraries():
    """Sends what is not printed by Python to nowhere; after an error until the end."""
    before = sys.stdout, sys.stderr
    kept = []
    with open(os.devnull, "wb") as nowhere:
        for name, number in (("stdout", 1), ("stderr", 2)):
            kept.append(os.dup(number))
            stream = os.fdopen(
                os.dup(number), "w", buffering=1, errors="backslashreplace"
            )
            setattr(sys, name, stream)
            os.dup2(nowhere.fileno(), number)
    yield
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    sys.stdout, sys.stderr = before
    for number, handle in enumerate(kept, 1):
        os.dup2(handle, number)
