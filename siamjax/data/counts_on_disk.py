"""Counts of a data set beyond memory: shards on disk, of which batches are read ahead.

The rows of all sessions, one for each bin, stand one after the other in files of at
most `SHARD_BYTES`; a session may begin in one file and end in another. While the device
computes the steps of one chunk of batches, threads read the windows of the next.
"""

import concurrent.futures
import contextlib
import hashlib
import json
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

import siamjax
from siamjax import files
from siamjax.data import sampler
from siamjax.types import UsageError, Windows

# The windows of so many steps are read together, or of fewer that have at most so many
# bytes. A program ends with its chunk, and before at each pause of the training, as
# one that computes from memory does. On a GPU the start of a program takes as long as
# several steps, so a chunk of a few steps is slow.
CHUNK_STEPS = 128
CHUNK_BYTES = 128 << 20
# So many chunks are read ahead, by as many threads.
AHEAD = 2
# Where an array on a CPU must begin so that JAX does not copy it, in bytes.
ALIGNMENT = 64
# The largest file.
SHARD_BYTES = 1 << 30
REMEDY = "remove the folder, and it is written again"
_INDEX = "index.json"


class Chunk(NamedTuple):
    """The counts of the windows of some steps."""

    first: Any  # [] int32, the first step
    windows: Any  # [steps, B, T, F], divided over the devices along B


class ChunkReader(NamedTuple):
    """Reads the chunks of a training."""

    steps: int  # of a chunk
    draw: Callable[[int], Windows]  # [steps, B], those of the chunk of this number
    read: Callable[[int], Chunk]  # of this number, 0 for the first steps


class StoredCounts:
    """Counts `[S, bins, F]` float32 on disk, of which parts are read.

    `counts[session, begin:end]` are the counts `[bins, F]` of some bins of a session;
    `np.asarray(counts)` are all of them, padded with 0. Files are read and not mapped:
    what was read does not count as memory of the process.

    Attributes:
      bins: `[S]` int64, how many each session has.
      shape: `(S, the most bins, F)`.
    """

    def __init__(
        self, folder: str | os.PathLike, bins: Sequence[int], columns: int
    ) -> None:
        """Opens what `open_counts` wrote.

        Args:
          folder: of the files.
          bins: how many each session has, S of them.
          columns: F.
        Raises:
          files.Damaged: a file is missing, is of other counts or has another size.
        """
        self._folder = pathlib.Path(folder)
        self._rows = _read_index(self._folder / _INDEX, bins, columns)
        self.bins = np.array(bins, np.int64)
        self.shape = (len(self.bins), int(self.bins.max(initial=0)), columns)
        self._first = np.cumsum(self.bins) - self.bins  # [S], the row of its first bin
        self._row_bytes = 4 * columns
        self._shards = []
        total = int(self.bins.sum())
        for number in range(-(-total // self._rows)):
            path = shard_path(self._folder, number)
            rows = min(self._rows, total - number * self._rows)
            if not path.is_file() or path.stat().st_size != rows * self._row_bytes:
                raise files.Damaged(f"{path} is missing or was cut: {REMEDY}")
            self._shards.append(open(path, "rb", buffering=0))

    def __len__(self) -> int:
        return len(self.bins)

    def __getitem__(self, place: tuple[int, slice]) -> np.ndarray:
        session, chosen = place
        begin, end, _ = chosen.indices(int(self.bins[session]))
        part = np.empty((max(end - begin, 0), self.shape[2]), np.float32)
        self._read(int(self._first[session]) + begin, part)
        return part

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        everything = np.zeros(self.shape, np.float32)
        for session, bins in enumerate(self.bins):
            everything[session, :bins] = self[session, :]
        return everything.astype(dtype or np.float32, copy=False)

    def session(self, index: int) -> "SessionCounts":
        """The counts of one session, which are read by slices of bins."""
        return SessionCounts(self, index)

    def read_windows(self, windows: Windows, length: int) -> np.ndarray:
        """The counts `[..., T, F]` of windows `[...]`; the arrays of them are alike."""
        rows = self._first[windows.session] + windows.start
        cut = _empty_aligned((*rows.shape, length, self.shape[2]))
        shards, places = np.divmod(rows.ravel(), self._rows)
        handles = [self._shards[number].fileno() for number in shards.tolist()]
        starts, size = (places * self._row_bytes).tolist(), length * self._row_bytes
        if hasattr(os, "posix_fadvise"):  # all at once: the system reads many together
            for handle, start in zip(handles, starts):
                os.posix_fadvise(handle, start, size, os.POSIX_FADV_WILLNEED)
        view = memoryview(cut.reshape(-1)).cast("B")
        for i, (handle, start) in enumerate(zip(handles, starts)):
            part = view[i * size : (i + 1) * size]
            if os.preadv(handle, (part,), start) < size:  # it goes on in the next file
                row = int(rows.ravel()[i])
                self._read(row, cut.reshape(-1, length, self.shape[2])[i])
        return cut

    def _read(self, row, part):
        """Reads rows from the place `row` on into `part [n, F]`."""
        done = 0
        while done < len(part):
            number, place = divmod(row + done, self._rows)
            count = min(len(part) - done, self._rows - place)
            view = memoryview(part[done : done + count]).cast("B")
            start = place * self._row_bytes
            while view:
                size = os.preadv(self._shards[number].fileno(), [view], start)
                if not size:
                    raise files.Damaged(
                        f"{self._shards[number].name} was cut: {REMEDY}"
                    )
                view, start = view[size:], start + size
            done += count


class SessionCounts:
    """Counts `[bins, F]` of one session on disk: `counts[begin:end]` reads some bins.

    Attributes:
      shape: `(bins, F)`.
    """

    def __init__(self, counts: StoredCounts, session: int) -> None:
        self._counts, self._session = counts, session
        self.shape = (int(counts.bins[session]), counts.shape[2])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, chosen: slice) -> np.ndarray:
        return self._counts[self._session, chosen]


def _empty_aligned(shape):
    """An array that JAX uses on a CPU as it is; others it copies."""
    size = 4 * math.prod(shape)
    room = np.empty(size + ALIGNMENT, np.uint8)
    begin = -room.ctypes.data % ALIGNMENT
    return room[begin : begin + size].view(np.float32).reshape(shape)


def open_counts(
    folder: str | os.PathLike,
    facts: dict[str, Any],
    bins: Sequence[int],
    columns: int,
    count: Callable[[int], Iterable[np.ndarray]],
) -> StoredCounts:
    """The counts of a data set, which are written if they are not there.

    They are in a folder whose name is a hash of what decides the content. It is
    written as a whole or not at all. One block of one session is in memory at a time.

    Args:
      folder: of the folder, created if need be.
      facts: what decides the counts.
      bins: how many each session has, S of them.
      columns: F.
      count: gives the counts `[n, F]` of a session by its index, block by block.
    Raises:
      UsageError: the folder cannot be written.
    """
    bins = list(map(int, bins))
    known = [siamjax.__version__, facts, bins, columns]
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
    path = pathlib.Path(folder) / f"{digest[:32]}.counts"
    if not path.exists():
        # Of several processes on a machine, one writes and the others wait for it. The
        # lock comes first: a check of one removes folders that another one needs.
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(files.locked(folder, wait=True))
                files.check_writable(path)
            except (OSError, UsageError) as error:
                reason = getattr(error, "strerror", None) or error
                raise UsageError(f"config.data.counts_dir={folder}: {reason}") from None
            if not path.exists():
                with files.replacing_folder(path) as beside:
                    _write(beside, bins, columns, count)
    return StoredCounts(path, bins, columns)


def shard_path(folder: pathlib.Path, number: int) -> pathlib.Path:
    """The file of a shard: rows of little-endian float32."""
    return folder / f"{number:05}.f32"


def _read_index(path, bins, columns):
    """How many rows a shard has."""
    if not path.is_file():
        raise files.Damaged(f"{path} is missing: {REMEDY}")
    with files.parsing(path, REMEDY):
        index = json.loads(path.read_bytes())
        if (index["bins"], index["columns"]) != (list(bins), columns):
            raise ValueError("it is of other counts")
        rows = int(index["rows_of_shard"])
        if rows < 1:
            raise ValueError("rows_of_shard is less than 1")
        return rows


def _write(folder, bins, columns, count):
    rows_of_shard = max(SHARD_BYTES // (4 * columns), 1)
    blocks = (block for session in range(len(bins)) for block in count(session))
    number, room = -1, 0
    with contextlib.ExitStack() as stack:
        for block in blocks:
            block = np.ascontiguousarray(block, "<f4")
            while len(block):
                if not room:
                    number, room = number + 1, rows_of_shard
                    stack.close()
                    path = shard_path(folder, number)
                    file = stack.enter_context(files.open_file(path, "wb"))
                with files.naming_file(path):
                    file.write(block[:room].data)
                block, room = block[room:], max(room - len(block), 0)
    index = dict(bins=bins, columns=columns, rows_of_shard=rows_of_shard)
    files.write_json(folder / _INDEX, index)


def make_chunk_reader(
    counts: StoredCounts,
    windows: Windows,
    seed: int,
    table: sampler.SamplingTable,
    *,
    shape: sampler.BatchShape,
    length: int,
    sharding: Sharding,
) -> ChunkReader:
    """Gives what reads the chunks of a training.

    The windows are those that `sampler.batch_rows` draws, to the bit. Each process
    reads only the windows of its own devices.

    Args:
      counts: of the data set.
      windows: of the data set.
      seed: of the batches.
      table: of the split.
      shape: of a batch.
      length: T.
      sharding: of the windows `[steps, B, T, F]` of a chunk.
    """
    of_step = 4 * shape.size * length * counts.shape[2]
    in_chunk = min(max(CHUNK_BYTES // of_step, 1), CHUNK_STEPS)
    host = jax.local_devices(backend="cpu")[0]
    table = jax.device_put(jax.device_get(table), host)

    @jax.jit
    def draw_rows(first):
        steps = first + jnp.arange(in_chunk)
        rows = jax.vmap(lambda step: sampler.batch_rows(seed, step, table, shape)[0])
        return rows(steps)

    def draw(number):
        first = jax.device_put(np.int32(number * in_chunk), host)
        rows = np.asarray(draw_rows(first))
        return Windows(*(column[rows] for column in windows))

    def read(number):
        drawn = draw(number)
        cut = jax.make_array_from_callback(
            (*drawn.start.shape, length, counts.shape[2]),
            sharding,
            lambda index: counts.read_windows(
                Windows(*(column[index[:2]] for column in drawn)), length
            ),
        )
        return Chunk(np.int32(number * in_chunk), cut)

    return ChunkReader(in_chunk, draw, read)


@contextlib.contextmanager
def reading_ahead(reader: ChunkReader, end: int) -> Iterator[Callable[[int], Chunk]]:
    """Gives a function of a step that returns the `Chunk` with its windows.

    Threads read the chunks behind it meanwhile, up to that of the last step, `end` - 1.
    """
    with concurrent.futures.ThreadPoolExecutor(AHEAD) as pool:
        waiting: dict[int, concurrent.futures.Future] = {}

        def chunk_of(step):
            number = step // reader.steps
            for other in [n for n in waiting if n < number]:
                del waiting[other]
            last = max(number, min(number + AHEAD, (end - 1) // reader.steps))
            for n in range(number, last + 1):
                if n not in waiting:
                    waiting[n] = pool.submit(reader.read, n)
            return waiting[number].result()

        try:
            yield chunk_of
        finally:
            pool.shutdown(cancel_futures=True)
