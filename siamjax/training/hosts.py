"""Several processes that train or evaluate one run together, on one host or on many.

Each process runs the same program on its share of every batch, or of the sessions. Only
the first one reads and writes the folder of the run: the others get what it read by
`from_first`. So the folder need not be shared by the hosts; the prepared data must be
on each of them. What happens if a process fails is in `connection`.
"""

import contextlib
import hashlib
import io
import itertools
import json
import os
import pickle
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import jax
import numpy as np
from jax.experimental import multihost_utils

from siamjax.types import SiamjaxError, UsageError

T = TypeVar("T")
Item = TypeVar("Item")

# How long processes wait for one that works alone, as long as it shows that it lives. A
# collective operation would give up on a CPU after half an hour.
ALONE_S = 24 * 3600
# What processes send each other goes in pieces of at most so many KiB.
PIECE_KIB = 16 * 1024
# Marks an error of the first process that ends the others, too.
_KNOWN = "known_to_all_processes"


class FailedElsewhere(SiamjaxError):
    """Another process failed, and the first one says why; `code` is the exit code."""

    def __init__(self, process: int, code: int) -> None:
        super().__init__(f"process {process} failed: the first process says why")
        self.code = code


def is_first() -> bool:
    """Whether this process reads and writes the files of the run."""
    return jax.process_index() == 0


def on_first(
    manager: Callable[[], contextlib.AbstractContextManager[T]],
) -> contextlib.AbstractContextManager[T | None]:
    """The context of `manager()` in the first process, and of None in the others."""
    return manager() if is_first() else contextlib.nullcontext()


def everywhere(make: Callable[[], T]) -> T:
    """What `make()` gives in this process, once it is done in all of them.

    If it fails in some of them, all end: the first process raises the error of the
    lowest of these, and each other one raises FailedElsewhere. All processes must call
    it. In `make`, they must not call each other.
    """
    if jax.process_count() == 1:
        return make()
    result, failure = None, None
    try:
        result = make()
    except (SiamjaxError, OSError, MemoryError) as error:
        failure = error
    wait_for_all()
    if most_of(failure is not None):
        _fail_together(failure)
    return cast(T, result)


def from_first(make: Callable[[], T]) -> T:
    """What `make()` gives in the first process, in all of them; it runs only there.

    With several processes, arrays come as NumPy arrays. All processes must call it; if
    `make` fails, all end as with `everywhere`.
    """
    if jax.process_count() == 1:
        return make()
    made = everywhere(lambda: make() if is_first() else None)
    data = _to_bytes(made) if is_first() else b""
    pieces = _send(data, multihost_utils.broadcast_one_to_all)
    return pickle.loads(b"".join(piece.tobytes() for piece in pieces))


def divided(function: Callable[[Item], T], items: Sequence[Item]) -> list[T]:
    """`function(item)` of each item, in their order, in all processes.

    Each process computes every n-th item, and gets the others from the other processes,
    with NumPy arrays. All processes must call it with the same items; if `function`
    fails, all end as with `everywhere`.
    """
    count = jax.process_count()
    if count == 1:
        return [function(item) for item in items]
    share = items[jax.process_index() :: count]
    shares = _gather(everywhere(lambda: [function(item) for item in share]))
    return [shares[i % count][i // count] for i in range(len(items))]


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
      UsageError: a process differs; all end as with `everywhere`.
    """
    first = from_first(lambda: {name: _hash(fact) for name, fact in facts.items()})
    everywhere(lambda: _refuse_other(facts, first))


def _refuse_other(facts, first):
    other = [name for name, fact in facts.items() if _hash(fact) != first[name]]
    if other:
        raise UsageError(
            f"it differs from the first one in its {' and '.join(other)}: give all "
            "processes the same"
        )


def wait_for_all() -> None:
    """Waits until all processes are here; Ctrl-C ends the waiting."""
    if jax.process_count() > 1:
        from orbax.checkpoint import multihost

        everyone = set(range(jax.process_count()))
        name = f"siamjax_{next(_meetings)}"
        interruptible(
            lambda: multihost.sync_global_processes(
                name, timeout=ALONE_S, processes=everyone
            )
        )


_meetings = itertools.count()


def interruptible(wait: Callable[[], None]) -> None:
    """Calls `wait` in a thread, since a signal does not end it."""
    errors: list[BaseException] = []
    done = threading.Event()

    def run():
        try:
            wait()
        except BaseException as error:
            errors.append(error)
        done.set()

    threading.Thread(target=run, daemon=True).start()
    done.wait()
    if errors:
        raise errors[0]


def _fail_together(failure):
    """Raises in all processes where one failed, see `everywhere`."""
    said = failure and (exit_code(failure), str(failure), _of_system(failure))
    process, (code, text, of_system) = next(
        (i, other) for i, other in enumerate(_gather(said)) if other
    )
    if not is_first():
        raise FailedElsewhere(process, code) from failure
    if failure is None:
        place = f"process {process} of {jax.process_count()}"
        kind = UsageError if code == 2 else SiamjaxError
        failure = kind(f"{place}: {text}")
        if of_system is not None:
            number, reason, path = of_system
            failure = OSError(number, reason, f"{place}: {path}")
    setattr(failure, _KNOWN, True)
    raise failure


def _of_system(error):
    """Number, reason and path of an error of the system, for which `siamjax.cli` has a
    remedy; else None."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return error.errno, error.strerror, os.fspath(error.filename)
    return None


def is_known_to_all(error: BaseException) -> bool:
    """Whether all processes raise because of this error, see `everywhere`."""
    return isinstance(error, FailedElsewhere) or hasattr(error, _KNOWN)


def exit_code(error: BaseException) -> int:
    """The exit code for an error, see `siamjax.cli`."""
    if isinstance(error, KeyboardInterrupt):
        return getattr(error, "code", 130)
    return 2 if isinstance(error, UsageError) else 1


def _gather(value):
    """The value of each process, in all of them."""
    pieces = list(_send(_to_bytes(value), multihost_utils.process_allgather))
    rows = np.concatenate(pieces, 1)  # [processes, bytes]
    return [pickle.loads(row.tobytes()) for row in rows]


class _Pickler(pickle.Pickler):
    """Writes arrays of JAX as those of NumPy: other processes have other devices."""

    def reducer_override(self, value):
        if isinstance(value, jax.Array):
            return np.asarray(value).__reduce__()
        return NotImplemented


def _to_bytes(value):
    buffer = io.BytesIO()
    _Pickler(buffer).dump(value)
    return buffer.getvalue()


def _send(data, collective):
    """What a collective operation gives for each piece of the data of this process.

    All processes send as much as the longest of them: zeros follow the data, which
    pickle ignores.
    """
    length_kib = most_of(-(-len(data) // 1024))
    # Sizes are powers of 2, so that few programs are compiled.
    size = 1024 * min(1 << (length_kib - 1).bit_length(), PIECE_KIB)
    for start in range(0, 1024 * length_kib, size):
        piece = np.zeros(size, np.uint8)
        part = np.frombuffer(data[start : start + size], np.uint8)
        piece[: len(part)] = part
        yield collective(piece)


def _hash(fact):
    return hashlib.sha256(json.dumps(fact, sort_keys=True).encode()).hexdigest()
