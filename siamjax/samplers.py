"""Samplers for your own loop: the rows of batch `step`, as a function of (seed, step).

    table = class_table(labels)
    rows, classes = balanced_rows(seed, step, table, classes=8, per_class=4)

None keeps a state of its own, so a run that goes on from a checkpoint sees the same
batches. They work inside `jax.jit`, and give the same rows on every device. What
changes from step to step, the memory of `hard_class_rows`, is an argument.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from siamjax import checks, streams

Array = jax.Array | np.ndarray


class ClassTable(NamedTuple):
    """Rows of a data set by class, padded, with counts."""

    rows: jax.Array  # [C, most rows of a class] int32
    sizes: jax.Array  # [C] int32, how many of them are real
    labels: jax.Array  # [C] int32, ascending


class Hierarchy(NamedTuple):
    """Classes by the group above them, padded, with counts."""

    table: ClassTable
    classes: jax.Array  # [S, most classes of a group] int32, indices into the table
    sizes: jax.Array  # [S] int32, how many of them are real
    labels: jax.Array  # [S] int32, ascending


class ClassMemory(NamedTuple):
    """Where each class of a `ClassTable` was seen last: a running mean of unit rows."""

    centers: jax.Array  # [C, E] float32
    seen: jax.Array  # [C] bool


def class_table(labels: Array, where: Array | None = None) -> ClassTable:
    """The rows of each class.

    Args:
      labels: `[N]` int.
      where: `[N]` bool, the rows that may be drawn; all by default.
    Raises:
      UsageError: labels are no integers, `where` is no mask, or no row may be drawn.
    """
    labels = _check_labels("labels", labels, where)
    chosen = np.arange(len(labels))
    if where is not None:
        mask, _ = checks.check_mask("where", np.asarray(where), labels.shape)
        chosen = np.flatnonzero(mask)
    names, group = np.unique(labels[chosen], return_inverse=True)
    checks.require(
        len(names), "labels have no row that may be drawn: give at least one"
    )
    rows, count = _pad(chosen, group, len(names))
    return ClassTable(*(jnp.asarray(a, jnp.int32) for a in (rows, count, names)))


def class_hierarchy(
    labels: Array, groups: Array, where: Array | None = None
) -> Hierarchy:
    """The classes of each group, such as the models of each make of car.

    Args:
      labels: `[N]` int, the class of each row.
      groups: `[N]` int, the group of each row; all rows of a class have the same.
      where: `[N]` bool, the rows that may be drawn; all by default.
    Raises:
      UsageError: shapes or types do not fit, or a class is in two groups.
    """
    table = class_table(labels, where)
    groups = _check_labels("groups", groups, labels)
    rows, count = np.asarray(table.rows), np.asarray(table.sizes)
    group_of_class = groups[rows[:, 0]]
    real = np.arange(rows.shape[1]) < count[:, None]
    mixed = (real & (groups[rows] != group_of_class[:, None])).any(1)
    checks.require(
        not mixed.any(),
        f"class {np.asarray(table.labels)[mixed][:1].tolist()} is in several groups: "
        "give each class one group",
    )
    names, group = np.unique(group_of_class, return_inverse=True)
    classes, number = _pad(np.arange(len(rows)), group, len(names))
    arrays = (jnp.asarray(a, jnp.int32) for a in (classes, number, names))
    return Hierarchy(table, *arrays)


def balanced_rows(
    seed: Any, step: Any, table: ClassTable, *, classes: int, per_class: int
) -> tuple[jax.Array, jax.Array]:
    """Rows of `classes` classes, `per_class` of each, one class after the other.

    Classes are drawn without replacement; so are the rows of a class that has enough. A
    smaller class gives each row as often as another one, but for one.

    Args:
      seed, step: the batch depends on these alone; int or `[]` int arrays.
      table: of `class_table`.
      classes: at most as many as the table has.
      per_class: rows of each.
    Returns:
      rows `[B]` int32 of the data set and labels `[B]` int32, B = classes * per_class.
    Raises:
      UsageError: a number does not fit the table.
    Reference: `MPerClassSampler` of pytorch-metric-learning; Hermans et al., 2017 (PK).
    """
    _check_numbers(classes, per_class, table.rows.shape[0], "classes", "class_table")
    keys = jax.random.split(_stream(seed, step))
    chosen = _choose(keys[0], jnp.ones(table.sizes.shape, bool), classes)
    return _rows_of(keys[1], table, chosen, per_class)


def hierarchical_rows(
    seed: Any,
    step: Any,
    hierarchy: Hierarchy,
    *,
    groups: int,
    classes: int,
    per_class: int,
) -> tuple[jax.Array, jax.Array]:
    """Rows of `groups` groups, of each `classes` classes, of each `per_class` rows.

    So most negatives of a row are of its own group: look-alikes. Groups with too few
    classes are not drawn.

    Args:
      seed, step: the batch depends on these alone; int or `[]` int arrays.
      hierarchy: of `class_hierarchy`.
      groups, classes, per_class: how many.
    Returns:
      rows `[B]` int32 and labels `[B]` int32, B = groups * classes * per_class.
    Raises:
      UsageError: a number does not fit the hierarchy.
    Reference: Cakir et al. (FastAP), CVPR 2019.
    """
    large_enough = hierarchy.sizes >= classes
    if not isinstance(large_enough, jax.core.Tracer):
        number = int(np.asarray(large_enough).sum())
        checks.require(
            groups <= number,
            f"groups is {groups}, and {number} groups have {classes} classes or more: "
            "lower groups or classes",
        )
    _check_numbers(groups, classes, hierarchy.classes.shape[0], "groups", "hierarchy")
    _check_numbers(classes, per_class, hierarchy.classes.shape[1], "classes", "a group")
    keys = jax.random.split(_stream(seed, step), 3)
    chosen = _choose(keys[0], large_enough, groups)
    column = jnp.arange(hierarchy.classes.shape[1])[None]
    real = column < hierarchy.sizes[chosen][:, None]
    chance = jnp.where(real, jax.random.uniform(keys[1], real.shape), -1.0)
    inside = jnp.argsort(-chance, 1)[:, :classes]
    of_group = jnp.take_along_axis(hierarchy.classes[chosen], inside, 1)
    return _rows_of(keys[2], hierarchy.table, of_group.reshape(-1), per_class)


def class_memory(table: ClassTable, dim: int) -> ClassMemory:
    """An empty `ClassMemory` for embeddings of `dim` coordinates, at least 1."""
    checks.check_sizes(dim=dim)
    number = table.rows.shape[0]
    return ClassMemory(jnp.zeros((number, dim)), jnp.zeros(number, bool))


def remember(
    memory: ClassMemory,
    table: ClassTable,
    embeddings: Array,
    labels: Array,
    *,
    decay: float = 0.9,
) -> ClassMemory:
    """The memory after a batch: the center of each class moves towards its rows.

      center = decay * center + (1 - decay) * mean of the unit rows of the class

    A class that was not seen before gets the mean. Rows that hold a NaN or an infinity,
    and labels that are not in the table, change nothing.

    Args:
      memory: before the batch.
      table: of `class_table`.
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      decay: in [0, 1).
    Raises:
      UsageError: shapes or types do not fit, the memory is of another table, or a known
        decay is beyond [0, 1).
    """
    checks.check_batch(embeddings, labels)
    _check_memory(memory, table)
    checks.require(
        embeddings.shape[1] == memory.centers.shape[1],
        f"embeddings have {embeddings.shape[1]} coordinates, the memory "
        f"{memory.centers.shape[1]}: make it with class_memory(table, "
        f"{embeddings.shape[1]})",
    )
    checks.require(
        not isinstance(decay, int | float) or 0 <= decay < 1,
        f"decay is {decay}: give a number in [0, 1)",
    )
    x = jax.lax.stop_gradient(jnp.asarray(embeddings, memory.centers.dtype))
    finite = jnp.isfinite(x).all(1)
    x = jnp.where(finite[:, None], x, 0)
    largest = jnp.max(jnp.abs(x), 1, keepdims=True, initial=0)
    x = x / jnp.where(largest > 0, largest, 1)
    norm = jnp.sqrt(jnp.sum(x * x, 1, keepdims=True))
    x = x / jnp.where(norm > 0, norm, 1)
    member = (jnp.asarray(labels)[None, :] == table.labels[:, None]) & finite[None]
    member = member.astype(x.dtype)  # [C, B]
    count = member.sum(1)
    mean = (member @ x) / jnp.maximum(count, 1)[:, None]
    moved = jnp.where(
        memory.seen[:, None], decay * memory.centers + (1 - decay) * mean, mean
    )
    present = count > 0
    centers = jnp.where(present[:, None], moved, memory.centers)
    return ClassMemory(centers, memory.seen | present)


def hard_class_rows(
    seed: Any,
    step: Any,
    table: ClassTable,
    memory: ClassMemory,
    *,
    classes: int,
    per_class: int,
    hard: float = 0.5,
) -> tuple[jax.Array, jax.Array]:
    """Rows of classes that the memory finds near each other, `per_class` of each.

    The first class is drawn evenly. Each further one is, with probability `hard`, the
    class whose center is nearest to the center of one that was drawn already, and else
    drawn evenly of the others. A class that was never seen is only drawn evenly.

    Args:
      seed, step: with the memory the batch depends on these alone.
      table: of `class_table`.
      memory: of `remember`.
      classes: at most as many as the table has.
      per_class: rows of each.
      hard: in [0, 1]; 0 is `balanced_rows` with other draws.
    Returns:
      rows `[B]` int32 and labels `[B]` int32, B = classes * per_class.
    Raises:
      UsageError: a number does not fit the table, the memory is of another table, or a
        known `hard` is beyond [0, 1].
    Reference: Sohn (N-pairs), NeurIPS 2016, section 3.2.2 (hard negative class mining).
    """
    _check_numbers(classes, per_class, table.rows.shape[0], "classes", "class_table")
    _check_memory(memory, table)
    checks.require(
        not isinstance(hard, int | float) or 0 <= hard <= 1,
        f"hard is {hard}: give a probability in [0, 1]",
    )
    number = table.rows.shape[0]
    keys = jax.random.split(_stream(seed, step), 3)
    chance = jax.random.uniform(keys[0], (classes, number))
    wants_hard = jax.random.uniform(keys[1], (classes,)) < hard

    def draw(taken, step_draws):
        """Draws one class; `taken` `[C]` bool are those that were drawn before."""
        chance, wants_hard = step_draws
        even = jnp.argmax(jnp.where(taken, -1.0, chance))
        # Squared distances of all centers to those that were taken.
        from_taken = jnp.where((taken & memory.seen)[:, None], squared, jnp.inf).min(0)
        from_taken = jnp.where(taken | ~memory.seen, jnp.inf, from_taken)
        nearest = jnp.argmin(from_taken)
        use_nearest = wants_hard & jnp.isfinite(from_taken[nearest])
        chosen = jnp.where(use_nearest, nearest, even)
        return taken.at[chosen].set(True), chosen

    gap = memory.centers[:, None, :] - memory.centers[None, :, :]
    squared = jnp.sum(gap * gap, 2)
    _, chosen = jax.lax.scan(draw, jnp.zeros(number, bool), (chance, wants_hard))
    return _rows_of(keys[2], table, chosen, per_class)


def epoch_rows(seed: Any, step: Any, number: int, *, size: int) -> jax.Array:
    """`[size]` int32: batch `step` of shuffled epochs; each epoch has every row once.

    The last rows of an epoch that fill no batch are left out.

    Args:
      seed, step: the batch depends on these alone; int or `[]` int arrays.
      number: of rows, N.
      size: of a batch, at most N.
    Raises:
      UsageError: the batch is larger than the data set, or a number does not fit.
    """
    checks.check_sizes(number=number, size=size)
    checks.require(
        size <= number,
        f"size is {size}, and there are {number} rows: give 1 to {number}",
    )
    _check_seed("step", step)
    batches = number // size
    step = jnp.asarray(step)
    key = _stream(seed, step // batches)
    order = jax.random.permutation(key, number)
    start = (step % batches) * size
    return jax.lax.dynamic_slice(order, (start,), (size,)).astype(jnp.int32)


def fixed_triplets(seed: Any, table: ClassTable, number: int) -> jax.Array:
    """`[number, 3]` int32: a fixed set of triplets anchor, positive, negative.

    Two classes are drawn, then the rows: as a study needs where triplets are all that
    is known. Batches of them are `triplets[epoch_rows(seed, step, number, size=...)]`.

    Args:
      seed: the set depends on it alone.
      table: of `class_table`, with two classes at least, one of them with two rows.
      number: of triplets.
    Raises:
      UsageError: the table has no triplet, or `number` is below 1.
    Reference: `FixedSetOfTriplets` of pytorch-metric-learning.
    """
    checks.check_sizes(number=number)
    has_pair = table.sizes >= 2
    if not isinstance(has_pair, jax.core.Tracer):
        checks.require(
            table.rows.shape[0] >= 2 and np.asarray(has_pair).any(),
            "the table has no triplet: give two classes, one of them with two rows",
        )
    keys = jax.random.split(_stream(seed), 4)
    shape = (number, table.rows.shape[0])
    chance = jax.random.uniform(keys[0], shape)
    anchor_class = jnp.argmax(jnp.where(has_pair[None], chance, -1.0), 1)
    is_own = jnp.arange(shape[1])[None] == anchor_class[:, None]
    chance = jax.random.uniform(keys[1], shape)
    other = jnp.argmax(jnp.where(is_own, -1.0, chance), 1)
    draws = jax.random.uniform(keys[2], (3, number))
    anchor = _below(draws[0], table.sizes[anchor_class])
    step = 1 + _below(draws[1], table.sizes[anchor_class] - 1)
    positive = (anchor + step) % table.sizes[anchor_class]
    negative = _below(draws[2], table.sizes[other])
    columns = [(anchor_class, anchor), (anchor_class, positive), (other, negative)]
    return jnp.stack([table.rows[c, place] for c, place in columns], 1)


def weighted_rows(seed: Any, step: Any, weights: Array, *, size: int) -> jax.Array:
    """`[size]` int32: rows drawn with replacement, each by its weight.

    A row of weight 0 is never drawn. The chance of a row is right to about 1e-7, the
    rounding of float32, so with several millions of rows it is only roughly its weight.

    Args:
      seed, step: with the weights the batch depends on these alone.
      weights: `[N]` float, not negative, such as `row_weights` or `tuple_counts` gives;
        at least one above 0.
      size: of the batch.
    Raises:
      UsageError: a number does not fit, or weights that are known are negative, all 0,
        or have no finite sum.
    """
    checks.check_sizes(size=size)
    weights = _check_weights(weights)
    # Sums in another order are not monotone by themselves.
    cumulative = jax.lax.cummax(jnp.cumsum(weights))
    point = jax.random.uniform(_stream(seed, step), (size,)) * cumulative[-1]
    # By rounding, the search may go beyond the last row, or end at one of weight 0.
    place = jnp.arange(weights.shape[0], dtype=jnp.int32)
    last_with_weight = jax.lax.cummax(jnp.where(weights > 0, place, 0))
    rows = jnp.searchsorted(cumulative, point, side="right")
    return last_with_weight[jnp.minimum(rows, weights.shape[0] - 1)]


def row_weights(labels: Array, power: float) -> np.ndarray:
    """`[N]` float: weights with which a class of n rows is drawn as n^power is.

    1: every row alike; 0: every class alike; 1/2: between them.

    Args:
      labels: `[N]` int.
      power: in [0, 1].
    Raises:
      UsageError: labels are no integers, or the power is beyond [0, 1].
    Reference: Kang et al. (decoupling), ICLR 2020, eq. 1.
    """
    checks.require(0 <= power <= 1, f"power is {power}: give a number in [0, 1]")
    labels = _check_labels("labels", labels)
    _, group, count = np.unique(labels, return_inverse=True, return_counts=True)
    return (count ** (power - 1.0))[group]


def tuple_counts(rows: Array, number: int) -> jax.Array:
    """`[number]` float: in how many mined pairs or triplets each row is.

    Args:
      rows: `[M, 2]` or `[M, 3]` int, as a miner gives them; -1 is padding.
      number: of rows.
    Reference: `TuplesToWeightsSampler` of pytorch-metric-learning.
    """
    flat = jnp.asarray(rows).reshape(-1)
    place = jnp.where(flat >= 0, flat, number)
    return jnp.zeros(number + 1).at[place].add(1.0)[:number]


def _rows_of(key, table, chosen, per_class):
    """Rows and labels `[len(chosen) * per_class]` of classes `chosen`."""
    column = jnp.arange(table.rows.shape[1])[None]
    count = table.sizes[chosen][:, None]
    chance = jax.random.uniform(key, (chosen.shape[0], table.rows.shape[1]))
    order = jnp.argsort(-jnp.where(column < count, chance, -1.0), 1)
    place = jnp.arange(per_class)[None] % count
    column = jnp.take_along_axis(order, place, 1)
    rows = jnp.take_along_axis(table.rows[chosen], column, 1)
    return rows.reshape(-1), jnp.repeat(table.labels[chosen], per_class)


def _choose(key, allowed, number):
    """`[number]` int of those that are allowed, without replacement."""
    chance = jnp.where(allowed, jax.random.uniform(key, allowed.shape), -1.0)
    return jnp.argsort(-chance)[:number]


def _below(chance, limit):
    """Integers in [0, limit) from uniform numbers, elementwise."""
    return jnp.minimum((chance * limit).astype(jnp.int32), limit - 1)


def _pad(values, group, number):
    """Values by group `[number, most]`, filled up with 0, and their counts."""
    count = np.bincount(group, minlength=number)
    order = np.argsort(group, kind="stable")
    place = np.arange(len(group)) - np.repeat(np.cumsum(count) - count, count)
    padded = np.zeros((number, count.max(initial=0)), np.int64)
    padded[group[order], place] = values[order]
    return padded, count


def _check_labels(name, labels, like=None):
    labels = np.asarray(labels)
    shape = labels.shape if like is None else np.shape(like)
    checks.require(
        labels.ndim == 1 and labels.shape == shape and labels.dtype.kind in "iu",
        f"{name} are {labels.dtype} {list(labels.shape)}: they must be [N] integers, "
        "one for each row",
    )
    low, high = labels.min(initial=0), labels.max(initial=0)
    checks.require(
        checks.INT32.min <= low and high <= checks.INT32.max,
        f"{name} go from {low} to {high}: they must fit 32 bits; "
        f"{checks.NUMBER_CLASSES}",
    )
    return labels


def _stream(seed, step=0):
    """The key of a batch."""
    _check_seed("seed", seed)
    _check_seed("step", step)
    return streams.stream(seed, streams.ROWS, step)


def _check_seed(name, value):
    """JAX would cut a larger number to 32 bits, so that two steps would be one."""
    if isinstance(value, jax.Array):
        known, fits = value.dtype, jnp.issubdtype(value.dtype, jnp.integer)
    else:
        known = value
        fits = checks.is_integer(value) and 0 <= value <= np.iinfo(np.uint32).max
    checks.require(fits, f"{name} is {known}: give an integer from 0 to 2^32 - 1")


def _check_memory(memory, table):
    checks.require(
        isinstance(memory, ClassMemory) and memory.seen.shape == table.sizes.shape,
        "the memory is of another table: make it with class_memory(table, dim)",
    )


def _check_weights(weights):
    """Weights `[N]` in float32."""
    if not isinstance(weights, jax.core.Tracer):
        weights = np.asarray(weights)
        given = f"weights are {weights.dtype} {list(weights.shape)}"
        checks.require(
            weights.ndim == 1 and len(weights) and weights.dtype.kind in "fiub",
            f"{given}: they must be [N] numbers, one for each row",
        )
        with np.errstate(over="ignore"):
            weights = weights.astype(np.float32)
            total = weights.sum()
        checks.require(
            (weights >= 0).all() and 0 < total < np.inf,
            "weights must not be negative, and their sum in float32 must be finite and "
            "above 0: else there is no row to draw",
        )
    return jnp.asarray(weights, jnp.float32)


def _check_numbers(number, each, most, name, owner):
    whole = checks.is_integer(number) and checks.is_integer(each)
    checks.require(
        whole and 1 <= number <= most and each >= 1,
        f"{name} is {number} with {each} of each, and {owner} has {most}: give whole "
        f"numbers, 1 to {most} and at least 1 of each",
    )
