"""Miners against loops over all rows, by indices; no partner that does not exist."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from siamjax.losses import mining, resolve, triplet_sums, tuples
from siamjax.losses.order_statistics import quantiles
from siamjax.losses.positives_loop import sum_over_positives, value_at
from siamjax.types import UsageError

B = 9
ALL = jax.jit(
    lambda d, p, n, m: (
        triplet_sums.hinge_sums(jnp.where(p, d + m, d), p, n),
        triplet_sums.semihard_sums(d, m, p, n),
        [mining.triplet_gaps(how, d, p, n) for how in mining.TRIPLET_MINERS],
        mining.multi_similarity_pairs(d, p, n, m),
        mining.hardest_pairs(d, p, n, 0.5),
    )
)

QUANTILE = jax.jit(lambda values, mask, share: quantiles(values, mask, share[None])[0])

batches = st.tuples(
    st.lists(st.integers(0, 3), min_size=B, max_size=B),
    st.lists(st.booleans(), min_size=B, max_size=B),
    st.integers(0, 2**31),
    st.booleans(),
)


def draw(batch):
    """Distances (with many ties where rough), and the masks of a batch."""
    labels, where, seed, rough = batch
    rng = np.random.default_rng(seed)
    d = rng.integers(0, 5, (B, B)) / 4 if rough else rng.uniform(size=(B, B))
    labels, where = np.array(labels), np.array(where)
    pos, neg = tuples.pair_masks(labels, labels, where, where, None)
    return np.float32(d), np.asarray(pos), np.asarray(neg)


@settings(max_examples=60, deadline=None)
@given(batches)
def test_p3_miners_find_what_a_loop_finds(batch):
    d, pos, neg = draw(batch)
    margin = np.float32(0.25)
    hinge, band, chosen, similar, hardest = ALL(d, pos, neg, margin)
    chosen = dict(zip(mining.TRIPLET_MINERS, chosen))
    for i in range(B):
        p, n = d[i][pos[i]], d[i][neg[i]]
        gap = p[:, None] - n[None] + margin
        assert hinge[0][i] == pytest.approx(gap[gap > 0].sum(), abs=1e-5)
        assert hinge[1][i] == (gap > 0).sum()
        inside = (p[:, None] < n[None]) & (gap > 0)
        assert band[0][i] == pytest.approx(gap[inside].sum(), abs=1e-5)
        assert band[1][i] == inside.sum()
        has_both = len(p) > 0 and len(n) > 0
        semihard = [min(n[n > v], default=max(n, default=0)) for v in p]
        wanted = {
            "hard": [p.max() - n.min()] if has_both else [],
            "easy_positive": [p.min() - n.min()] if has_both else [],
            "semihard": [v - s for v, s in zip(p, semihard)] if has_both else [],
            "easy_positive_semihard": (
                [p.min() - semihard[int(p.argmin())]] if has_both else []
            ),
        }
        for how, (picked, valid) in chosen.items():
            picked, valid = np.atleast_1d(picked[i]), np.atleast_1d(valid[i])
            np.testing.assert_allclose(picked[valid], wanted[how], atol=1e-6)
            assert (picked[~valid] == 0).all()
        keep_p = [has_both and v + margin > n.min() for v in p]
        keep_n = [has_both and v - margin < p.max() for v in n]
        np.testing.assert_array_equal(similar[0][i][pos[i]], keep_p)
        np.testing.assert_array_equal(similar[1][i][neg[i]], keep_n)
        assert not np.any(similar[0][i] & ~pos[i])
        assert not np.any(similar[1][i] & ~neg[i])
    for kept, mask, sign in ((hardest[0], pos, -1), (hardest[1], neg, 1)):
        values = np.sort(sign * d[mask])
        number = int(np.ceil(0.5 * len(values)))
        bound = values[number - 1] if number else -np.inf
        np.testing.assert_array_equal(kept, mask & (sign * d <= bound + 1e-7))


@jax.jit
@jax.value_and_grad
def fast_sum(d, pos, neg):
    def term(picked, d, neg):
        gap = jnp.where(
            neg & picked.any(1)[:, None], value_at(picked, d)[:, None] - d, 0
        )
        return jnp.sum(jnp.tanh(gap), 1)

    return sum_over_positives(term, pos, d, neg).sum()


@jax.jit
@jax.value_and_grad
def slow_sum(d, pos, neg):
    gap = jnp.tanh(d[:, :, None] - d[:, None, :])
    return jnp.sum(jnp.where(pos[:, :, None] & neg[:, None, :], gap, 0))


@settings(max_examples=30, deadline=None)
@given(batches)
def test_the_sum_over_positives_is_a_loop(batch):
    d, pos, neg = draw(batch)
    for a, b in zip(fast_sum(d, pos, neg), slow_sum(d, pos, neg)):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_p26_semi_hard_is_farther_than_the_positive_and_within_the_margin():
    """D(a, p) < D(a, n) < D(a, p) + margin: on a line, by hand."""
    x = np.float32([[0.0], [1.0], [0.5], [1.1], [1.4], [3.0]])
    labels = np.array([0, 0, 1, 2, 3, 4])
    only = np.array([True, True, True, True, True, True])
    loss = resolve("triplet:mining=semihard_set,margin=0.5")
    # Anchor 0, positive 1 (1.0): 1.1 and 1.4 are semi-hard. Anchor 1, positive 0 (1.0):
    # 2.0 away is easy, 0.5, 0.1 and 0.4 are hard. So (0.4 + 0.1) / 2.
    value = jax.jit(loss.apply)({}, x, labels, where=only)[0]
    assert float(value) == pytest.approx((0.4 + 0.1) / 2, rel=1e-5)


def test_distance_weighted_draws_as_wu_says():
    """Chi-square of 40000 draws against weights that numpy computes."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 4)) + 1
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    labels = np.array([0, 0, 1, 1, 1, 1, 1, 1])
    batch = tuples.all_pairs(jnp.float32(x), labels)
    keys = jax.random.split(jax.random.key(0), 40000)
    draw = jax.jit(
        jax.vmap(lambda key: mining.distance_weighted_negatives(batch, key)[0][0, 1])
    )
    draws = draw(keys)
    d = np.maximum(np.linalg.norm(x[0] - x, axis=1), 0.5)
    density = d**2 * (1 - d**2 / 4) ** 0.5
    weight = np.where((labels == 1) & (d <= 1.4), 1 / density, 0)
    seen = np.bincount(draws, minlength=8)
    assert (seen[weight == 0] == 0).all()
    wanted = 40000 * weight / weight.sum()
    likely = weight > 0
    assert likely.sum() > 3
    assert stats.chisquare(seen[likely], wanted[likely]).pvalue > 1e-3


def test_distance_weighted_never_draws_what_is_no_negative():
    """Also where no negative is within reach, and for an anchor that has none."""
    x = jnp.float32([[1, 0], [1, 0.1], [-1, 0], [-1, 0.1], [0, 1]])
    labels = np.array([0, 0, 1, 1, 1])
    where = np.array([True, True, True, True, False])
    batch = tuples.all_pairs(x, labels, where)
    draw_negatives = jax.jit(jax.vmap(mining.distance_weighted_negatives, (None, 0)))
    keys = jax.random.split(jax.random.key(0), 20)
    for rows, valid in zip(*draw_negatives(batch, keys)):
        np.testing.assert_array_equal(valid, batch.pos)
        assert np.asarray(batch.neg)[np.arange(5)[:, None], rows][valid].all()
    single_class = tuples.all_pairs(x, np.zeros(5, int))
    assert not draw_negatives(single_class, keys)[1].any()


def test_a_miner_that_draws_needs_a_key():
    with pytest.raises(UsageError, match="key"):
        resolve("triplet:mining=distance_weighted").apply({}, np.eye(4), np.arange(4))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.0, 1.0))
def test_quantiles_are_order_statistics(seed, share):
    rng = np.random.default_rng(seed)
    values, mask = np.float32(rng.normal(size=(6, 7))), rng.uniform(size=(6, 7)) < 0.4
    got = float(QUANTILE(values, mask, np.float32(share)))
    kept = np.sort(values[mask])
    if not len(kept):
        assert got == 0
        return
    wanted = kept[max(int(np.ceil(np.float32(share) * len(kept))) - 1, 0)]
    assert got == pytest.approx(wanted, abs=1e-6)


def test_counts_of_keys_that_tie_or_are_negative_or_minus_zero():
    key = np.float32([[-1.0, -0.0, 0.0, 2.0, -3.0, 0.0]])
    pos = np.array([[True, False, True, False, False, False]])
    neg = np.array([[False, True, False, True, True, False]])
    count = jax.jit(triplet_sums.signed_counts, static_argnums=3)
    counts = count(key, pos, neg, False)
    # -1 beats -3; 0 beats -3 and ties with -0.
    np.testing.assert_array_equal(counts, [[1, 0, 1, 0, -2, 0]])
    ties = count(key, pos, neg, True)
    np.testing.assert_array_equal(ties, [[1, -1, 2, 0, -2, 0]])
