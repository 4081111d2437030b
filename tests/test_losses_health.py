"""What health says, against numpy; masks and tuples against loops."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siamjax.losses import health, tuples

B, E = 8, 3
HEALTH = jax.jit(lambda x, y, w: health(x, y, w, margin=0.3, sigmoid=True))
MASKS = jax.jit(lambda y, w: tuples.pair_masks(y, y, w, w, None))
FIRST = jax.jit(tuples.first_pairs)
rows = st.tuples(
    st.lists(st.integers(-1, 3), min_size=B, max_size=B),
    st.lists(st.booleans(), min_size=B, max_size=B),
)


@settings(max_examples=40, deadline=None)
@given(rows)
def test_masks_and_first_pairs_are_what_a_loop_finds(batch):
    labels, where = (np.array(part) for part in batch)
    pos, neg = MASKS(labels, where)
    for i in range(B):
        for j in range(B):
            counted = where[i] and where[j]
            same = labels[i] == labels[j]
            assert pos[i, j] == (counted and same and i != j)
            assert neg[i, j] == (counted and not same)
    pairs = {tuple(pair) for pair in np.asarray(FIRST(labels, where)) if pair[0] >= 0}
    wanted = set()
    for c in set(labels[where]):
        of_class = np.flatnonzero(where & (labels == c))
        wanted |= {tuple(of_class[:2])} if len(of_class) > 1 else set()
    assert pairs == wanted


@settings(max_examples=25, deadline=None)
@given(rows, st.integers(0, 2**31))
def test_health_is_what_numpy_finds(batch, seed):
    labels, where = (np.array(part) for part in batch)
    x = np.random.default_rng(seed).uniform(size=(B, E)).astype(np.float32)
    numbers = {k: float(v) for k, v in HEALTH(x, labels, where).items()}
    d = np.linalg.norm(x[:, None] - x[None], axis=2).astype(np.float64)
    kept = [i for i in range(B) if where[i]]
    triplets = itertools.permutations(kept, 3)
    triplets = [t for t in triplets if labels[t[0]] == labels[t[1]] != labels[t[2]]]
    costs = [d[a, p] - d[a, n] + 0.3 for a, p, n in triplets]
    active = [c for c in costs if c > 0]
    near = dict(rel=1e-4, abs=1e-5)
    assert numbers["triplets"] == len(costs)
    assert numbers["active_share"] == pytest.approx(
        len(active) / max(len(costs), 1), **near
    )
    assert numbers["mean_all"] == pytest.approx(
        sum(active) / max(len(costs), 1), **near
    )
    assert numbers["mean_active"] == pytest.approx(
        sum(active) / max(len(active), 1), **near
    )
    pairs = [d[i, j] for i in kept for j in kept if i != j]
    assert numbers["mean_distance"] == pytest.approx(
        np.mean(pairs) if pairs else 0, **near
    )
    pos = sorted(
        d[i, j] for i in kept for j in kept if i != j and labels[i] == labels[j]
    )
    median = pos[int(np.ceil(0.5 * len(pos))) - 1] if pos else 0
    assert numbers["pos_50"] == pytest.approx(median, **near)
    saturated = np.abs(x[kept] - 0.5) > 0.48
    assert numbers["saturated"] == pytest.approx(
        saturated.mean() if kept else 0, abs=1e-6
    )
    hard = hardest(d, labels, kept)
    assert numbers["hardest_pos"] == pytest.approx(hard[0], **near)
    assert numbers["hardest_neg"] == pytest.approx(hard[1], **near)
    assert numbers["semihard_share"] == pytest.approx(
        np.mean([0 < c < 0.3 for c in costs]) if costs else 0, abs=1e-6
    )
    if len(kept) > E:
        values = np.linalg.eigvalsh(np.cov(x[kept].T))
        share = values / values.sum()
        rank = np.exp(-np.sum(share * np.log(share)))
        assert numbers["effective_rank"] == pytest.approx(rank, rel=1e-3)


def hardest(d, labels, kept):
    """Means over anchors with both kinds: of the farthest p, of the nearest n."""
    distances = []
    for a in kept:
        p = [d[a, j] for j in kept if j != a and labels[j] == labels[a]]
        n = [d[a, j] for j in kept if labels[j] != labels[a]]
        distances += [(max(p), min(n))] if p and n else []
    return np.mean(distances, 0) if distances else (0.0, 0.0)


def test_health_has_no_gradient_and_half_precision_is_single():
    x, labels = np.ones((4, 2), np.float32), np.array([0, 0, 1, 1])
    run = jax.jit(lambda x: health(x, labels))
    slope = jax.grad(lambda x: sum(run(x).values()))(x)
    assert (slope == 0).all()
    half = run(jnp.asarray(x, jnp.bfloat16))
    assert all(v.dtype == jnp.float32 for v in half.values())


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf])
def test_health_counts_rows_that_are_not_finite_and_reads_the_others(garbage):
    """The other numbers are as without those rows; a masked row is not counted."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(B, E)).astype(np.float32)
    labels, every = np.arange(B) % 2, np.ones(B, bool)
    dirty = x.copy()
    dirty[[1, 6], [0, 2]] = garbage
    clean = np.isfinite(dirty).all(1)
    wanted = HEALTH(x, labels, clean)
    assert float(wanted["not_finite"]) == 0
    for where, number in ((every, 2), (clean, 0), (np.arange(B) != 1, 1)):
        numbers = dict(HEALTH(dirty, labels, where))
        assert float(numbers["not_finite"]) == number
        others = {**numbers, "not_finite": wanted["not_finite"]}
        jax.tree.map(np.testing.assert_array_equal, others, dict(wanted))
    nothing = dict(HEALTH(np.full_like(x, garbage), labels, every))
    assert float(nothing.pop("not_finite")) == B
    assert np.isnan(list(nothing.values())).all()  # zeros would look calm
    uncounted = HEALTH(np.full_like(x, garbage), labels, ~every)
    assert {float(v) for v in uncounted.values()} == {0.0}


@pytest.mark.parametrize("size", [1e-30, 1e30, 1e38])
def test_health_of_huge_and_tiny_rows_is_no_collapse(size):
    x = np.random.default_rng(0).uniform(size=(B, E)) * size
    numbers = HEALTH(x.astype(np.float32), np.arange(B) % 2, np.ones(B, bool))
    assert float(numbers["not_finite"]) == float(numbers["collapsed"]) == 0
    assert not np.isnan(list(numbers.values())).any()  # a sum of 1e38 may overflow
