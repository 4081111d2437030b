"""Samplers: functions of (seed, step), even draws, and the memory of hard classes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from siamjax import losses, samplers
from siamjax.types import UsageError

# Classes 3, 5, 9, 12, 20 and 31 have 1, 2, 4, 8, 3 and 5 rows, in no order.
LABELS = np.random.default_rng(0).permutation(
    np.repeat([3, 5, 9, 12, 20, 31], [1, 2, 4, 8, 3, 5])
)
TABLE = samplers.class_table(LABELS)
STEPS = np.arange(600)


def many(sample):
    """A sampler of a step, for all `STEPS` in one program."""
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(sample))(STEPS))


def groups_of(labels):
    group = {3: 7, 5: 7, 9: 7, 12: 8, 20: 8, 31: 2}
    return np.vectorize(group.__getitem__)(labels)


def test_balanced_batches():
    draw = functools.partial(
        samplers.balanced_rows, 4, table=TABLE, classes=3, per_class=4
    )
    rows, labels = many(draw)
    np.testing.assert_array_equal(LABELS[rows], labels)
    for batch_rows, batch in zip(rows.reshape(-1, 3, 4), labels.reshape(-1, 3, 4)):
        assert (batch == batch[:, :1]).all() and len(set(batch[:, 0])) == 3
        for members, label in zip(batch_rows, batch[:, 0]):
            size = (LABELS == label).sum()
            assert len(set(members)) == min(size, 4)
            count = np.unique(members, return_counts=True)[1]
            assert count.max() - count.min() <= 1
    share = np.bincount(labels.ravel()) / labels.size
    np.testing.assert_allclose(share[np.unique(LABELS)], 1 / 6, atol=0.02)
    # The same bits one by one, also without jit and on another device.
    for step in (0, 17):
        np.testing.assert_array_equal(rows[step], draw(step)[0])
    with jax.default_device(jax.devices()[3]):
        np.testing.assert_array_equal(rows[17], jax.jit(draw)(17)[0])
    other = samplers.balanced_rows(5, 17, TABLE, classes=3, per_class=4)[0]
    assert not np.array_equal(rows[17], other)
    assert not np.array_equal(rows[17], rows[18])


def test_rows_that_are_left_out_are_not_drawn():
    where = LABELS != 12
    where[np.flatnonzero(LABELS == 9)[:2]] = False
    table = samplers.class_table(LABELS, where)
    draw = functools.partial(samplers.balanced_rows, 0, classes=5, per_class=2)
    rows, labels = many(lambda step: draw(step, table=table))
    assert where[rows].all() and set(np.unique(labels)) == {3, 5, 9, 20, 31}
    assert set(rows.ravel()) == set(np.flatnonzero(where))


def test_hierarchical_batches_come_from_few_groups():
    hierarchy = samplers.class_hierarchy(LABELS, groups_of(LABELS))
    draw = functools.partial(
        samplers.hierarchical_rows, 0, groups=2, classes=2, per_class=3
    )
    rows, labels = many(lambda step: draw(step, hierarchy=hierarchy))
    np.testing.assert_array_equal(LABELS[rows], labels)
    groups = groups_of(labels).reshape(-1, 2, 6)
    assert (groups == groups[:, :, :1]).all()
    # Group 2 has a single class: it is not drawn.
    assert {tuple(sorted(batch[:, 0])) for batch in groups} == {(7, 8)}
    of_seven = labels[groups_of(labels) == 7]
    share = np.unique(of_seven, return_counts=True)[1] / len(of_seven)
    np.testing.assert_allclose(share, 1 / 3, atol=0.04)


def test_an_epoch_has_every_row_once():
    draw = functools.partial(samplers.epoch_rows, 0, number=len(LABELS), size=5)
    rows = many(draw)
    epochs = rows.reshape(-1, 20)  # 23 rows: four batches of five
    assert all(len(set(epoch)) == 20 for epoch in epochs.tolist())
    assert len({tuple(sorted(epoch)) for epoch in epochs.tolist()}) > 100


def test_fixed_triplets_are_triplets():
    triplets = np.asarray(samplers.fixed_triplets(1, TABLE, 2000))
    a, p, n = triplets.T
    assert (LABELS[a] == LABELS[p]).all() and (a != p).all()
    assert (LABELS[a] != LABELS[n]).all()
    assert 3 not in LABELS[a] and 3 in LABELS[n]  # one row has no positive
    share = np.unique(LABELS[a], return_counts=True)[1] / 2000
    np.testing.assert_allclose(share, 1 / 5, atol=0.03)
    of_nine = a[LABELS[a] == 9]
    share = np.unique(of_nine, return_counts=True)[1] / len(of_nine)
    np.testing.assert_allclose(share, 1 / 4, atol=0.07)
    np.testing.assert_array_equal(triplets, samplers.fixed_triplets(1, TABLE, 2000))


def test_rows_by_weight():
    weights = samplers.row_weights(LABELS, 0.5)
    draw = functools.partial(samplers.weighted_rows, 0, weights=weights, size=40)
    drawn = LABELS[many(draw)].ravel()
    names, count = np.unique(LABELS, return_counts=True)
    wanted = np.sqrt(count) / np.sqrt(count).sum()
    share = np.array([(drawn == name).mean() for name in names])
    np.testing.assert_allclose(share, wanted, atol=0.01)
    one = samplers.weighted_rows(0, 0, jnp.float32([0, 0, 3, 0]), size=50)
    assert set(np.asarray(one).tolist()) == {2}
    # Sums of float32 are not monotone.
    weights = np.random.default_rng(0).uniform(size=100_000)
    weights[::2] = 0
    rows = np.asarray(samplers.weighted_rows(0, 0, weights, size=500_000))
    assert (rows % 2 == 1).all()
    for power, classes in ((0.0, np.ones(6)), (1.0, count)):
        total = [samplers.row_weights(LABELS, power)[LABELS == n].sum() for n in names]
        np.testing.assert_allclose(total, classes)


def test_mined_tuples_are_weights():
    mined = losses.Mined(jnp.array([[0, 2, 3], [0, 1, 3], [-1, -1, -1]]), jnp.int32(2))
    np.testing.assert_array_equal(
        samplers.tuple_counts(mined.rows, 5), [2.0, 1, 1, 2, 0]
    )


def remembered():
    """Classes 3, 5, 9 are near each other, 12 and 20 are, 31 was never seen."""
    angle = {3: 0.0, 5: 0.1, 9: 0.25, 12: 3.0, 20: 3.2}
    labels = np.array([*angle, *angle])
    x = np.array([[np.cos(angle[k]), np.sin(angle[k])] for k in labels])
    memory = samplers.class_memory(TABLE, 2)
    return samplers.remember(memory, TABLE, 5 * x, labels)


def test_the_memory_moves_towards_the_batch():
    memory = remembered()
    assert list(np.asarray(memory.seen)) == [True] * 5 + [False]
    np.testing.assert_allclose(memory.centers[0], [1, 0], atol=1e-6)
    # A NaN, an unknown label and an absent class change nothing.
    x = np.float32([[0, 3], [0, np.nan], [1, 1]])
    after = samplers.remember(memory, TABLE, x, np.array([3, 5, 4]), decay=0.8)
    np.testing.assert_allclose(after.centers[0], [0.8, 0.2], atol=1e-6)
    np.testing.assert_array_equal(after.centers[1:], memory.centers[1:])
    np.testing.assert_array_equal(after.seen, memory.seen)


def test_hard_classes_are_near_each_other():
    memory = remembered()
    draw = jax.jit(
        lambda step, hard: samplers.hard_class_rows(
            0, step, TABLE, memory, classes=3, per_class=2, hard=hard
        )
    )
    draws = jax.vmap(draw, (0, None))
    rows, labels = map(np.asarray, draws(STEPS, 1.0))
    np.testing.assert_array_equal(LABELS[rows], labels)
    chosen = labels.reshape(-1, 3, 2)[:, :, 0]
    assert all(len(set(batch)) == 3 for batch in chosen.tolist())
    by_first = {
        first: {frozenset(b) for b in chosen.tolist() if b[0] == first}
        for first in np.unique(LABELS)
    }
    near = frozenset({3, 5, 9})
    assert by_first[3] == by_first[5] == by_first[9] == {near}
    # From 12 and 20 on, the third one is the nearest of the others: 9.
    assert by_first[12] == by_first[20] == {frozenset({12, 20, 9})}
    # 31 has no center: the second class is drawn evenly, the third by its center.
    assert {31, 3, 5} in by_first[31] and {31, 12, 20} in by_first[31]
    first = np.bincount(chosen[:, 0])[np.unique(LABELS)] / 600
    np.testing.assert_allclose(first, 1 / 6, atol=0.05)
    _, labels = map(np.asarray, draws(STEPS, 0.0))
    share = np.bincount(labels.ravel())[np.unique(LABELS)] / labels.size
    np.testing.assert_allclose(share, 1 / 6, atol=0.03)


HIERARCHY = samplers.class_hierarchy(LABELS, groups_of(LABELS))


def balanced(seed, step):
    return samplers.balanced_rows(seed, step, TABLE, classes=2, per_class=1)


def remember(labels, E=2, decay=0.9):
    memory = samplers.class_memory(TABLE, 2)
    x = np.ones((len(LABELS), E))
    return samplers.remember(memory, TABLE, x, labels, decay=decay)


def hard_rows(memory=None, hard=0.5):
    memory = samplers.class_memory(TABLE, 2) if memory is None else memory
    return samplers.hard_class_rows(
        0, 0, TABLE, memory, classes=2, per_class=1, hard=hard
    )


def weighted(weights):
    return samplers.weighted_rows(0, 0, weights, size=4)


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: samplers.class_table(LABELS.astype(float)), "integers"),
        (lambda: samplers.class_table(LABELS, np.zeros(23, bool)), "no row"),
        (lambda: samplers.class_table(LABELS, np.zeros(3, bool)), "one for each row"),
        (lambda: samplers.class_table(LABELS + 2**40), "32 bits"),
        (lambda: samplers.class_hierarchy(LABELS, np.arange(23)), "several groups"),
        (
            lambda: samplers.balanced_rows(0, 0, TABLE, classes=7, per_class=1),
            "classes is 7",
        ),
        (
            lambda: samplers.hierarchical_rows(
                0, 0, HIERARCHY, groups=3, classes=2, per_class=1
            ),
            "2 groups have 2 classes",
        ),
        (lambda: samplers.class_table(LABELS, np.arange(23)), "where has the number 2"),
        (lambda: balanced(2**32 + 5, 0), "seed is 4294967301"),
        (lambda: balanced(0, 1.5), "step is 1.5"),
        (lambda: balanced(0, -1), "step is -1"),
        (lambda: balanced(0, jnp.float32(3)), "step is float32"),
        (
            lambda: samplers.balanced_rows(0, 0, TABLE, classes=2.0, per_class=1),
            "give whole numbers",
        ),
        (lambda: remember(LABELS[:1]), "labels must be"),
        (lambda: remember(LABELS, E=3), "3 coordinates, the memory 2"),
        (lambda: remember(LABELS, decay=1.5), "decay is 1.5"),
        (lambda: hard_rows(hard=2), "hard is 2"),
        (lambda: hard_rows(memory=(1, 2)), "memory is of another table"),
        (lambda: weighted([0, 0.0]), "no row to draw"),
        (lambda: weighted([1, -1]), "must not be negative"),
        (lambda: weighted([1, np.nan]), "finite"),
        (lambda: weighted([3e38, 3e38]), "finite"),
        (lambda: weighted([[1, 2]]), r"must be \[N\] numbers"),
        (lambda: samplers.weighted_rows(0, 0, [1], size=0), "size is 0"),
        (lambda: samplers.fixed_triplets(0, TABLE, -1), "number is -1"),
        (lambda: samplers.epoch_rows(0, 0, 4, size=5), "1 to 4"),
        (lambda: samplers.row_weights(LABELS, 2.0), "power is 2.0"),
        (
            lambda: samplers.fixed_triplets(0, samplers.class_table(np.arange(4)), 2),
            "no triplet",
        ),
    ],
)
def test_what_does_not_fit_gets_a_sentence(call, says):
    with pytest.raises(UsageError, match=says):
        call()
