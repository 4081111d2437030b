"""A batch is a function of (seed, step): nothing of the sampler is saved or shared.

A batch has P recorded conditions and M made-up ones, each with K windows that stand
side by side: row `k` belongs to group `k // K`. The made-up groups take mostly normal
windows.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from siamjax import checks, streams
from siamjax.types import Windows

# Share of the made-up groups that start from normal windows, not from any.
FROM_NORMAL = 0.7


class SamplingTable(NamedTuple):
    """Rows of windows by pool, condition and capture, padded, with counts.

    A pool is what one batch is drawn from: all of the split, or one session.
    """

    rows: jax.Array  # [pools, C, captures, windows] int32
    windows: jax.Array  # [pools, C, captures] int32, how many of the rows are real
    captures: jax.Array  # [pools, C] int32, how many captures are real
    classes: jax.Array  # [pools, C] int32, condition of each group; padded ones last
    normal: jax.Array  # [pools] int32, which group is normal; -1: none


class BatchShape(NamedTuple):
    """What a batch is made of."""

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
    normal: int = 0,
    batch_from: str = "all",
) -> SamplingTable:
    """The `Table` of a split's windows.

    Its shape depends on the data set, not on the split: one compiled program serves all
    splits of it.

    Args:
      windows: `types.Windows` of the data set.
      chosen: `[N]` bool, those of the split; TRANSITIONAL and RECOVERING ones are left
        out.
      conditions: how many there are.
      normal: the condition that is normal.
      batch_from: `all`, or `one_session`: each batch comes from a single session.
    """
    checks.require(
        batch_from in ("all", "one_session"),
        f"config.batch.batch_from is {batch_from!r}: it is 'all' or 'one_session'",
    )
    real = windows.condition >= 0
    chosen = chosen & real
    sessions = np.unique(windows.session[chosen])
    pools = (
        [sessions] if batch_from == "all" else np.split(sessions, len(sessions) or 1)
    )
    groups = [
        _grouped(windows, chosen & np.isin(windows.session, pool)) for pool in pools
    ]
    captures = (
        max(len(v) for v in _grouped(windows, real).values()) if real.any() else 0
    )
    length = int(np.bincount(windows.session[real]).max(initial=0))
    rows = np.zeros((len(groups), conditions, captures, length), np.int32)
    counts = np.zeros((len(groups), conditions, captures), np.int32)
    classes = np.full((len(groups), conditions), -1, np.int32)
    for g, by_condition in enumerate(groups):
        for c, (condition, of) in enumerate(sorted(by_condition.items())):
            classes[g, c] = condition
            for s, found in enumerate(of):
                rows[g, c, s, : len(found)] = found
                counts[g, c, s] = len(found)
    is_normal = np.pad(classes == normal, ((0, 0), (0, 1)))
    at = np.where(is_normal.any(1), is_normal.argmax(1), -1)
    arrays = (rows, counts, (counts > 0).sum(2), classes, at)
    return SamplingTable(*(jnp.asarray(array, jnp.int32) for array in arrays))


def check_shape(table: SamplingTable, shape: BatchShape, devices: int = 1) -> None:
    """Raises where the batch cannot be drawn from the table, or not be divided."""
    fewest = int((np.asarray(table.classes) >= 0).sum(1).min(initial=10**9))
    checks.require(
        fewest > 0,
        "the training split has no window: lower config.data.baseline_s, add captures",
    )
    checks.require(
        shape.conditions <= fewest,
        f"config.batch.conditions is {shape.conditions}, the training split has "
        f"{fewest}: lower it or add captures",
    )
    checks.require(
        min(shape.conditions, shape.per_condition) >= 1 and shape.made_up >= 0,
        "config.batch.conditions, per_condition must be at least 1, made_up at least 0",
    )
    checks.require(
        shape.size % devices == 0,
        f"a batch of {shape.size} windows ((conditions + made_up) * per_condition of "
        f"config.batch) does not divide by {devices} devices",
    )


def batch_rows(
    seed: Any, step: Any, table: SamplingTable, shape: BatchShape
) -> tuple[jax.Array, jax.Array]:
    """Rows of batch `step`: condition first, then capture, then window, each uniformly.

    Args:
      seed, step: what the batch is a function of; the same bits on host and device.
      table: the split's `Table`.
      shape: `Shape` of the batch, B = (P + M) * K.
    Returns:
      rows `[B]` int32 into the split's windows, and labels `[B]` int32: the condition
      of the recorded groups and -1 - g for made-up group g.
    """
    p, m, k = shape
    classes, normal = table.classes.shape[1], table.normal
    # One draw for all: each further one is a tenth of a second of compilation.
    key = streams.stream(seed, streams.BATCH, step)
    chance = jax.random.uniform(key, (1 + classes + 2 * m + 2 * shape.size,))
    parts = np.cumsum([1, classes, m, m, shape.size])
    of_pool, of_class, of_made, of_normal, of_capture, of_window = jnp.split(
        chance, parts
    )
    pool = _below(of_pool[0], table.rows.shape[0])
    here = table.classes[pool]  # [C]
    # The P largest of one random number per real condition: without replacement.
    recorded = jnp.argsort(-jnp.where(here >= 0, of_class, -1.0))[:p]
    anything = _below(of_made, (here >= 0).sum())
    from_normal = (of_normal < FROM_NORMAL) & (normal[pool] >= 0)
    group = jnp.concatenate([recorded, jnp.where(from_normal, normal[pool], anything)])
    group = jnp.repeat(group, k)  # [B]
    capture = _below(of_capture, table.captures[pool][group])
    window = _below(of_window, table.windows[pool][group, capture])
    labels = jnp.concatenate([here[recorded], -1 - jnp.arange(m, dtype=jnp.int32)])
    return table.rows[pool][group, capture, window], jnp.repeat(labels, k)


def draw_pairs(
    key: jax.Array, labels: Any, count: int, *, similar: Any = 0.5
) -> jax.Array:
    """Explicit pairs `[count, 2]` of rows of a batch, the classical generator.

    A share `similar` of them is of one condition. Where a row has no partner of the
    kind asked, it is paired with itself, which no loss counts.
    """
    keys = jax.random.split(key, 3)
    first = jax.random.randint(keys[0], (count,), 0, labels.shape[0])
    same = jax.random.uniform(keys[1], (count,)) < similar
    other = labels[first][:, None] == labels[None, :]
    other = jnp.where(same[:, None], other & _not_self(first, labels), ~other)
    return jnp.stack([first, _any_of(keys[2], other, first)], 1)


def draw_triplets(key: jax.Array, labels: Any, count: int) -> jax.Array:
    """Explicit triplets `[count, 3]` of rows of a batch: anchor, positive, negative.

    Where an anchor has no positive or no negative, it stands in its place itself, and
    no loss counts the triplet.
    """
    keys = jax.random.split(key, 3)
    anchor = jax.random.randint(keys[0], (count,), 0, labels.shape[0])
    same = labels[anchor][:, None] == labels[None, :]
    positive = _any_of(keys[1], same & _not_self(anchor, labels), anchor)
    return jnp.stack([anchor, positive, _any_of(keys[2], ~same, anchor)], 1)


def branch_of_rows(labels: Any) -> jax.Array:
    """Branch `[B]` of each row of a classical Siamese network.

    0 are anchors, 1 positives, 2 negatives: three different populations, as in
    generators that start from the common condition. The lowest label (normal, where
    nothing is made up) has anchors and positives alone, the next one all three, the
    others negatives.
    """
    row = jnp.arange(labels.shape[0])
    lowest = labels.min()
    next_one = jnp.where(labels == lowest, labels.max(), labels).min()
    few = jnp.where(labels == next_one, row % 3, 2)
    return jnp.where(labels == lowest, row % 2, few)


def draw_branch_triplets(key: jax.Array, labels: Any, count: int) -> jax.Array:
    """`triplets` whose rows come from the branches they are for."""
    keys, branch = jax.random.split(key, 3), branch_of_rows(labels)
    anchors, positives, negatives = (
        jnp.broadcast_to(branch == i, (count, labels.shape[0])) for i in range(3)
    )
    anchor = _any_of(keys[0], anchors, jnp.zeros(count, jnp.int32))
    same = labels[anchor][:, None] == labels[None, :]
    positive = _any_of(keys[1], same & positives, anchor)
    return jnp.stack([anchor, positive, _any_of(keys[2], negatives, anchor)], 1)


def gather_windows(counts: Any, windows: Windows, rows: Any, length: int) -> jax.Array:
    """Counts `[B, T, F]` of windows, cut from the sessions' counts `[S, bins, F]`.

    Args:
      counts: all sessions', on the device once.
      windows: `types.Windows` of the split.
      rows: `[B]` into them.
      length: T.
    """

    def cut(session, start):
        begin = (session, start, jnp.zeros_like(start))
        return jax.lax.dynamic_slice(counts, begin, (1, length, counts.shape[2]))[0]

    return jax.vmap(cut)(windows.session[rows], windows.start[rows])


def _grouped(windows, inside):
    """`{condition: [rows of each capture, ...]}` of the windows inside a mask."""
    found = {}
    for row in np.flatnonzero(inside):
        of = found.setdefault(int(windows.condition[row]), {})
        of.setdefault(int(windows.session[row]), []).append(row)
    return {condition: list(of.values()) for condition, of in found.items()}


def _below(chance, limit):
    """Integers in [0, limit) from uniform numbers, elementwise."""
    return jnp.minimum((chance * limit).astype(jnp.int32), limit - 1)


def _not_self(rows, labels):
    return jnp.arange(labels.shape[0])[None, :] != rows[:, None]


def _any_of(key, mask, fallback):
    """A random True column `[N]` of each row of `mask [N, B]`, else the fallback."""
    chance = jnp.where(mask, jax.random.uniform(key, mask.shape), -1.0)
    return jnp.where(mask.any(1), chance.argmax(1), fallback).astype(jnp.int32)
