"""Batches: a function of (seed, step), balanced, the same on any number of devices."""

import functools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siamjax.data import sampler
from siamjax.types import RECOVERING, TRANSITIONAL, UsageError, Windows


def make_windows():
    """Sessions 0-3 normal (5, 1, 1, 1 windows), 4-5 condition 1, 6 has 0 and 2."""
    session = [0] * 5 + [1, 2, 3] + [4] * 3 + [5] * 2 + [6] * 4
    condition = [0] * 8 + [1] * 5 + [0, 2, 2, TRANSITIONAL]
    start = np.arange(len(session), dtype=np.int32)
    return Windows(np.array(session, np.int32), start, np.array(condition, np.int32))


EVERY = np.ones(17, bool)
SHAPE = sampler.BatchShape(conditions=2, made_up=3, per_condition=4)


# One compiled program serves all tests with tables and batches of one shape.
@functools.partial(jax.jit, static_argnums=2)
def _draw(steps, table, shape):
    return jax.vmap(lambda step: sampler.batch_rows(0, step, table, shape))(steps)


def draw(table, shape=SHAPE):
    """Rows and labels `[3000, B]` of the first batches."""
    rows, labels = _draw(np.arange(3000), table, shape)
    return np.asarray(rows), np.asarray(labels)


draw_pairs = jax.jit(sampler.draw_pairs, static_argnums=2)
draw_triplets = jax.jit(sampler.draw_triplets, static_argnums=2)


def test_rows_are_of_their_label_and_never_transitional():
    windows = make_windows()
    rows, labels = draw(sampler.sampling_table(windows, EVERY, conditions=3))
    assert rows.shape == (3000, SHAPE.size)
    recorded = labels >= 0
    np.testing.assert_array_equal(windows.condition[rows][recorded], labels[recorded])
    assert not np.isin(windows.condition[rows], (TRANSITIONAL, RECOVERING)).any()
    for batch in labels:
        values, counts = np.unique(batch, return_counts=True)
        assert len(values) == 5 and (counts == 4).all()
    np.testing.assert_array_equal(np.unique(labels[labels < 0]), [-3, -2, -1])


def test_captures_of_a_condition_are_balanced_however_many_windows_they_have():
    windows = make_windows()
    rows, labels = draw(sampler.sampling_table(windows, EVERY, conditions=3))
    sessions = windows.session[rows][labels == 0]
    share = np.array([(sessions == s).mean() for s in (0, 1, 2, 3, 6)])
    np.testing.assert_allclose(share, 0.2, atol=0.02)


def test_a_batch_is_a_function_of_seed_and_step():
    table = sampler.sampling_table(make_windows(), EVERY, conditions=3)
    compiled = jax.jit(lambda *of: sampler.batch_rows(*of, table, SHAPE)[0])
    among_others = draw(table)[0][7]
    np.testing.assert_array_equal(among_others, compiled(0, 7))
    assert not np.array_equal(among_others, compiled(0, 8))
    assert not np.array_equal(among_others, compiled(1, 7))


def test_one_session_batches_come_from_one_session():
    windows = make_windows()
    table = sampler.sampling_table(
        windows, EVERY, conditions=3, batch_from="one_session"
    )
    shape = sampler.BatchShape(1, 1, 4)
    rows, labels = draw(table, shape)
    assert all(len(set(windows.session[batch])) == 1 for batch in rows)
    assert {s for batch in rows for s in windows.session[batch]} == set(range(7))
    recorded = labels >= 0
    np.testing.assert_array_equal(windows.condition[rows][recorded], labels[recorded])


@pytest.mark.parametrize(
    ("shape", "devices", "says"),
    [
        (sampler.BatchShape(9, 0, 4), 1, "config.batch.conditions is 9"),
        (sampler.BatchShape(2, 1, 3), 8, "cannot be divided equally among 8"),
        (sampler.BatchShape(2, 1, 0), 1, "at least 1"),
    ],
)
def test_a_batch_that_cannot_be_is_refused(shape, devices, says):
    with pytest.raises(UsageError, match=says):
        sampler.check_shape(
            sampler.sampling_table(make_windows(), EVERY, conditions=3), shape, devices
        )


def test_a_table_holds_the_chosen_windows_in_a_shape_of_the_data_set():
    windows = make_windows()
    chosen = windows.session < 5
    table = sampler.sampling_table(windows, chosen, conditions=3)
    whole = sampler.sampling_table(windows, EVERY, conditions=3)
    assert [x.shape for x in table] == [x.shape for x in whole]
    rows, _ = draw(table)
    assert chosen[rows].all()


def test_an_empty_split_and_an_unknown_pool_are_refused():
    nothing = Windows(*(np.zeros(0, np.int32) for _ in range(3)))
    with pytest.raises(UsageError, match="no window"):
        sampler.check_shape(
            sampler.sampling_table(nothing, EVERY[:0], conditions=3), SHAPE
        )
    with pytest.raises(UsageError, match="batch_from"):
        sampler.sampling_table(make_windows(), EVERY, conditions=3, batch_from="each")


@settings(max_examples=30, deadline=None)
@given(
    # Few lengths: each one is compiled.
    st.sampled_from([1, 2, 12]).flatmap(
        lambda n: st.lists(st.integers(0, 3), min_size=n, max_size=n)
    ),
    st.integers(0, 100),
)
def test_pairs_and_triplets_are_what_they_say(labels, seed):
    labels, key = np.array(labels), jax.random.key(seed)
    a, p, n = np.asarray(draw_triplets(key, labels, 16)).T
    assert ((labels[a] == labels[p]) & ((labels[a] != labels[n]) | (n == a))).all()
    alone = np.array([(labels == x).sum() == 1 for x in labels])
    assert ((p != a) | alone[a]).all()
    i, j = np.asarray(draw_pairs(key, labels, 16, similar=1.0)).T
    assert (labels[i] == labels[j]).all() and ((i != j) | alone[i]).all()
    i, j = np.asarray(draw_pairs(key, labels, 16, similar=0.0)).T
    one_class = len(set(labels.tolist())) == 1
    assert ((labels[i] != labels[j]) | one_class).all()


def test_the_share_of_similar_pairs_is_the_one_asked():
    labels = np.arange(40) % 4
    i, j = np.asarray(draw_pairs(jax.random.key(0), labels, 4000, similar=0.3)).T
    assert abs((labels[i] == labels[j]).mean() - 0.3) < 0.03


def test_gather_cuts_what_numpy_cuts():
    counts = np.random.default_rng(0).normal(size=(7, 30, 3)).astype(np.float32)
    windows, rows = make_windows(), np.array([0, 4, 12, 12])
    got = jax.jit(sampler.gather_windows, static_argnums=3)(counts, windows, rows, 5)
    want = [
        counts[windows.session[r], windows.start[r] : windows.start[r] + 5]
        for r in rows
    ]
    np.testing.assert_array_equal(got, want)


def test_branch_triplets_come_from_their_branches():
    labels = np.repeat([3, 0, 7, 1], 6)
    branch = np.asarray(sampler.branch_of_rows(labels))
    some, mixed, others = [0, 1] * 3, [0, 1, 2] * 2, [2] * 6
    np.testing.assert_array_equal(branch, others + some + others + mixed)
    drawn = np.asarray(sampler.draw_branch_triplets(jax.random.key(0), labels, 200))
    np.testing.assert_array_equal(branch[drawn], np.tile([0, 1, 2], (200, 1)))
    assert (labels[drawn[:, 0]] == labels[drawn[:, 1]]).all()
    assert len(np.unique(drawn[:, 0])) == 5 and len(np.unique(drawn[:, 2])) == 14
