"""Draws the windows of each batch from (seed, step): the sampler has no other state.

A batch has P recorded conditions and M made-up ones. Each has K windows, one after the
other: row `k` belongs to group `k // K`. Made-up groups take mostly normal windows.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from siamjax import checks, streams
from siamjax.types import Windows

# Probability that a made-up group starts from normal windows. The others start from
# windows of a random condition.
FROM_NORMAL = 0.7
# The number of the normal condition, which is the first one.
_NORMAL = 0


class SamplingTable(NamedTuple):
    """Rows of windows, sorted by pool, condition and capture.

    One batch is drawn from one pool: all windows of the split, or those of one session.
    """

    rows: jax.Array  # [N] int32, those of the split first
    first: jax.Array  # [pools, C, captures] int32, the place of the first row of each
    windows: jax.Array  # [pools, C, captures] int32, how many rows each has
    captures: jax.Array  # [pools, C] int32, how many captures are real
    classes: jax.Array  # [pools, C] int32, condition of each group; padded ones last
    normal: jax.Array  # [pools] int32, which group is normal; -1: none


class BatchShape(NamedTuple):
    """How many groups a batch has, and how many windows each group has."""

    conditions: int  # P
    made_up: int  # M
    per_condition: int  # K

    @property
    def size(self) -> int:
        return (self.conditions + self.made_up) * self.per_condition


def sampling_table(
    windows: Windows,
    chosen: np.ndarray,
    *,
    conditions: int,
    batch_from: str = "all",
) -> SamplingTable:
    """The `SamplingTable` of a split's windows.

    Its shape depends on the data set, not on the split, so that one compiled program
    works for all splits of a data set.

    Args:
      windows: `types.Windows` of the data set.
      chosen: `[N]` bool, the windows of the split. TRANSITIONAL and RECOVERING windows
        are left out.
      conditions: how many conditions the data set has.
      batch_from: `all`, or `one_session`: each batch comes from a single session.
    """
    checks.require(
        batch_from in ("all", "one_session"),
        f"config.batch.batch_from is {batch_from!r}: set 'all' or 'one_session'",
    )
    real = windows.condition >= 0
    rows = np.flatnonzero(chosen & real)
    condition, session = windows.condition[rows], windows.session[rows]
    pool = np.zeros(len(rows), np.int64)
    if batch_from == "one_session":
        pool = np.unique(session, return_inverse=True)[1]
    pools = int(pool.max(initial=0)) + 1
    shape = (pools, conditions, int(windows.session.max(initial=0)) + 1)
    key = np.ravel_multi_index((pool, condition, session), shape)
    order = np.argsort(key, kind="stable")
    groups, begin, count = np.unique(key[order], return_index=True, return_counts=True)
    most = _most_captures(windows.condition[real], windows.session[real], shape)
    sorted_rows = np.zeros(int(real.sum()), np.int32)
    sorted_rows[: len(rows)] = rows[order]
    first, counts = np.zeros((2, pools, conditions, most), np.int32)
    classes = np.full((pools, conditions), -1, np.int32)
    captures = np.zeros((pools, conditions), np.int32)
    for p, c, first_row, number in zip(
        *np.unravel_index(groups, shape)[:2], begin, count
    ):
        if c not in classes[p]:
            classes[p, (classes[p] >= 0).sum()] = c
        g = int(np.argmax(classes[p] == c))
        first[p, g, captures[p, g]] = first_row
        counts[p, g, captures[p, g]] = number
        captures[p, g] += 1
    is_normal = np.pad(classes == _NORMAL, ((0, 0), (0, 1)))
    normal_group = np.where(is_normal.any(1), is_normal.argmax(1), -1)
    arrays = (sorted_rows, first, counts, captures, classes, normal_group)
    return SamplingTable(*(jnp.asarray(array, jnp.int32) for array in arrays))


def check_shape(table: SamplingTable, shape: BatchShape, devices: int = 1) -> None:
    """Raises UsageError where a batch of this shape cannot be drawn from the table.

    Also where its windows cannot be divided equally among the devices.
    """
    fewest = int((np.asarray(table.classes) >= 0).sum(1).min(initial=10**9))
    checks.require(
        fewest > 0,
        "the training split has no window: lower config.data.baseline_s, or add "
        "captures",
    )
    checks.require(
        shape.conditions <= fewest,
        f"config.batch.conditions is {shape.conditions}, the training split has only "
        f"{fewest}: lower it or add captures",
    )
    checks.require(
        min(shape.conditions, shape.per_condition) >= 1 and shape.made_up >= 0,
        "config.batch.conditions and per_condition must be at least 1, made_up at "
        f"least 0: they are {shape.conditions}, {shape.per_condition}, {shape.made_up}",
    )
    checks.require(
        shape.size % devices == 0,
        f"a batch of {shape.size} windows ((conditions + made_up) * per_condition of "
        f"config.batch) cannot be divided equally among {devices} devices",
    )


def batch_rows(
    seed: Any, step: Any, table: SamplingTable, shape: BatchShape
) -> tuple[jax.Array, jax.Array]:
    """Draws the rows of batch `step`: a condition, then a capture, then a window.

    Each is drawn uniformly.

    Args:
      seed, step: the batch depends on these alone; host and device give the same bits.
      table: the split's `SamplingTable`.
      shape: of the batch, B = (P + M) * K.
    Returns:
      rows `[B]` int32 into the split's windows, and labels `[B]` int32: the condition
      of the recorded groups and -1 - g for made-up group g.
    """
    p, m, k = shape
    classes, normal = table.classes.shape[1], table.normal
    # One draw for all random numbers: each more draw adds 0.1 s of compilation.
    key = streams.stream(seed, streams.BATCH, step)
    chance = jax.random.uniform(key, (1 + classes + 2 * m + 2 * shape.size,))
    parts = np.cumsum([1, classes, m, m, shape.size])
    of_pool, of_class, of_made, of_normal, of_capture, of_window = jnp.split(
        chance, parts
    )
    pool = _below(of_pool[0], table.classes.shape[0])
    present = table.classes[pool]  # [C]
    # The P conditions with the largest random numbers: drawn without replacement.
    recorded = jnp.argsort(-jnp.where(present >= 0, of_class, -1.0))[:p]
    anything = _below(of_made, (present >= 0).sum())
    from_normal = (of_normal < FROM_NORMAL) & (normal[pool] >= 0)
    group = jnp.concatenate([recorded, jnp.where(from_normal, normal[pool], anything)])
    group = jnp.repeat(group, k)  # [B]
    capture = _below(of_capture, table.captures[pool][group])
    window = _below(of_window, table.windows[pool][group, capture])
    labels = jnp.concatenate([present[recorded], -1 - jnp.arange(m, dtype=jnp.int32)])
    place = table.first[pool][group, capture] + window
    return table.rows[place], jnp.repeat(labels, k)


def draw_pairs(key: jax.Array, labels: Any, count: int, *, similar: Any) -> jax.Array:
    """Draws pairs `[count, 2]` of rows of a batch, as a classical pair generator does.

    A pair has one condition with probability `similar`, else two. A row without such a
    partner is paired with itself; losses leave such a pair out.
    """
    keys = jax.random.split(key, 3)
    first = jax.random.randint(keys[0], (count,), 0, labels.shape[0])
    wants_same = jax.random.uniform(keys[1], (count,)) < similar
    same = labels[first][:, None] == labels[None, :]
    partners = jnp.where(wants_same[:, None], same & _not_self(first, labels), ~same)
    return jnp.stack([first, _draw_column(keys[2], partners, first)], 1)


def draw_triplets(key: jax.Array, labels: Any, count: int) -> jax.Array:
    """Draws triplets `[count, 3]` of rows of a batch: anchor, positive, negative.

    Where an anchor has no positive or no negative, its own row is put there; losses
    leave such a triplet out.
    """
    keys = jax.random.split(key, 3)
    anchor = jax.random.randint(keys[0], (count,), 0, labels.shape[0])
    same = labels[anchor][:, None] == labels[None, :]
    positive = _draw_column(keys[1], same & _not_self(anchor, labels), anchor)
    return jnp.stack([anchor, positive, _draw_column(keys[2], ~same, anchor)], 1)


def branch_of_rows(labels: Any) -> jax.Array:
    """Branch `[B]` of each row, as in a Siamese network with a pass for each branch.

    0: anchors, 1: positives, 2: negatives. The branches see different populations, as
    with generators that take anchors from the most common condition. Rows of the lowest
    label (normal, unless the batch has made-up groups) are anchors and positives, rows
    of the second lowest are all three, all other rows are negatives.
    """
    row = jnp.arange(labels.shape[0])
    lowest = labels.min()
    second = jnp.where(labels == lowest, labels.max(), labels).min()
    branch = jnp.where(labels == second, row % 3, 2)
    return jnp.where(labels == lowest, row % 2, branch)


def draw_branch_triplets(key: jax.Array, labels: Any, count: int) -> jax.Array:
    """As `draw_triplets`, but each row is of its branch, see `branch_of_rows`."""
    keys, branch = jax.random.split(key, 3), branch_of_rows(labels)
    anchors, positives, negatives = (
        jnp.broadcast_to(branch == i, (count, labels.shape[0])) for i in range(3)
    )
    anchor = _draw_column(keys[0], anchors, jnp.zeros(count, jnp.int32))
    same = labels[anchor][:, None] == labels[None, :]
    positive = _draw_column(keys[1], same & positives, anchor)
    return jnp.stack([anchor, positive, _draw_column(keys[2], negatives, anchor)], 1)


def gather_windows(counts: Any, windows: Windows, rows: Any, length: int) -> jax.Array:
    """Cuts the counts `[B, T, F]` of windows from those of all sessions, on the device.

    Args:
      counts: `[S, bins, F]` of all sessions.
      windows: `types.Windows` of the data set.
      rows: `[B]` int, which of the windows.
      length: T.
    """

    def cut(session, start):
        begin = (session, start, jnp.zeros_like(start))
        return jax.lax.dynamic_slice(counts, begin, (1, length, counts.shape[2]))[0]

    return jax.vmap(cut)(windows.session[rows], windows.start[rows])


def _most_captures(condition, session, shape):
    """The largest number of captures that a condition has windows in."""
    pairs = np.unique(condition.astype(np.int64) * shape[2] + session)
    return int(np.bincount(pairs // shape[2]).max(initial=0))


def _below(chance, limit):
    """Integers in [0, limit) from uniform numbers, elementwise."""
    return jnp.minimum((chance * limit).astype(jnp.int32), limit - 1)


def _not_self(rows, labels):
    return jnp.arange(labels.shape[0])[None, :] != rows[:, None]


def _draw_column(key, mask, fallback):
    """A random True column `[N]` of each row of `mask [N, B]`, or `fallback`."""
    chance = jnp.where(mask, jax.random.uniform(key, mask.shape), -1.0)
    return jnp.where(mask.any(1), chance.argmax(1), fallback).astype(jnp.int32)
