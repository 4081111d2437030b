"""Counts of a data set beyond memory: a file, of which batches are read ahead.

The file holds `[S, bins, F]` float32 and is memory-mapped. While the device computes
the steps of one chunk of batches, a thread reads the windows of the next.
"""

import concurrent.futures
import contextlib
import hashlib
import json
import mmap
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import siamjax
from siamjax import files
from siamjax.data import sampler
from siamjax.types import UsageError, Windows

# Steps whose windows are read together.
CHUNK_STEPS = 16


class Chunk(NamedTuple):
    """The counts of the windows of some steps, on the device."""

    first: Any  # [] int32, the first step
    windows: Any  # [CHUNK_STEPS, B, T, F]


def open_counts(
    folder: str | os.PathLike,
    facts: dict[str, Any],
    lengths: Sequence[int],
    columns: int,
    count: Callable[[int], np.ndarray],
) -> np.ndarray:
    """The memory-mapped counts `[S, bins, F]` of a data set, padded with 0.

    The file is written if it is not there. Its name is a hash of what decides its
    content. Only one session is in memory at a time.

    Args:
      folder: of the file, created if need be.
      facts: what decides the counts.
      lengths: at least as many bins as each session has, S of them.
      columns: F.
      count: gives the counts `[bins, F]` of a session by its index.
    Raises:
      UsageError: the folder cannot be written.
    """
    known = [siamjax.__version__, facts, list(map(int, lengths)), columns]
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
    path = pathlib.Path(folder) / f"{digest[:32]}.counts"
    shape = (len(lengths), max(lengths), columns)
    if not path.exists():
        try:
            files.check_writable(path)
        except UsageError as error:
            raise UsageError(f"config.data.counts_dir={folder}: {error}") from None
        with files.replacing(path) as beside:
            _write(beside, shape, count)
    return map_counts(path, shape)


def map_counts(path: str | os.PathLike, shape: tuple[int, int, int]) -> np.ndarray:
    """The memory-mapped counts of a file that `open_counts` wrote."""
    counts = np.memmap(path, np.float32, "r", shape=shape)
    # Windows are read in random order: reading ahead would read what is not used.
    counts._mmap.madvise(mmap.MADV_RANDOM)  # type: ignore[attr-defined]
    return counts


def _write(path, shape, count):
    """Writes the counts of all sessions; padding takes no room on the disk."""
    _, bins, columns = shape
    with open(path, "wb") as file:
        file.truncate(4 * np.prod(shape, dtype=np.int64))
        for i in range(shape[0]):
            file.seek(4 * i * bins * columns)
            file.write(np.ascontiguousarray(count(i), np.float32).data)


def gather_windows(
    counts: np.ndarray, windows: Windows, rows: np.ndarray, length: int
) -> np.ndarray:
    """`sampler.gather_windows` on the host: `[..., T, F]` of rows `[...]`."""
    sessions, bins, columns = counts.shape
    first = windows.session[rows].astype(np.int64) * bins + windows.start[rows]
    _ask_for(counts, first.ravel(), length)
    places = first[..., None] + np.arange(length)
    return counts.reshape(sessions * bins, columns)[places]


def _ask_for(counts, first, length):
    """Asks the system for the pages of all windows at once; it reads many together."""
    mapped = getattr(counts, "_mmap", None)
    if mapped is None:
        return
    row = 4 * counts.shape[2]
    for begin in (first * row).tolist():
        start = begin - begin % mmap.PAGESIZE
        mapped.madvise(mmap.MADV_WILLNEED, start, begin + length * row - start)


@contextlib.contextmanager
def reading_ahead(
    counts: np.ndarray,
    windows: Windows,
    seed: int,
    table: sampler.SamplingTable,
    *,
    shape: sampler.BatchShape,
    length: int,
    place: Callable[[Chunk], Chunk],
) -> Iterator[Callable[[int], Chunk]]:
    """Gives a function of a step that returns the `Chunk` with its windows.

    A thread reads the chunk behind it meanwhile. The windows are those that
    `sampler.batch_rows` draws, to the bit.

    Args:
      counts: `[S, bins, F]`, see `map_counts`.
      windows: of the data set.
      seed: of the batches.
      table: of the split.
      shape: of a batch.
      length: T.
      place: puts a chunk on the devices.
    """
    host = jax.local_devices(backend="cpu")[0]
    table = jax.device_put(jax.device_get(table), host)

    @jax.jit
    def draw(first):
        steps = first + jnp.arange(CHUNK_STEPS)
        rows = jax.vmap(lambda step: sampler.batch_rows(seed, step, table, shape)[0])
        return rows(steps)

    def read(number):
        first = np.int32(number * CHUNK_STEPS)
        rows = np.asarray(draw(jax.device_put(first, host)))
        return place(Chunk(first, gather_windows(counts, windows, rows, length)))

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting: dict[int, concurrent.futures.Future] = {}

        def chunk_of(step):
            number = step // CHUNK_STEPS
            for other in [n for n in waiting if n < number]:
                del waiting[other]
            for n in (number, number + 1):
                if n not in waiting:
                    waiting[n] = pool.submit(partial(read, n))
            return waiting[number].result()

        try:
            yield chunk_of
        finally:
            pool.shutdown(cancel_futures=True)
