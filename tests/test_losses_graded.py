"""Similarities in place of labels, label sets, a guide, hard negatives of one's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from siamjax import losses
from siamjax.losses import check, measurements
from siamjax.types import UsageError
from tests import reference, references

RNG = np.random.default_rng(8)
X = RNG.normal(size=(7, 4)).astype(np.float32)
LABELS = np.array([0, 0, 1, 1, 2, 2, 3])
# Five grades, so that many pairs tie.
SIMILARITY = np.float32(RNG.integers(0, 5, (7, 7)) / 4)
PAIRS = np.array([(i, j) for i in range(7) for j in range(7) if i != j])
GRADED = ("soft_supcon", "cosine_regression", "cosent", "angle")


def test_a_matrix_of_similarities():
    """As the paper; in float32 as in float64, with second derivatives; of a row that
    does not count neither the row nor its similarities."""
    with_nan = SIMILARITY.copy()
    with_nan[6], with_nan[:, 6] = np.nan, np.nan
    where = np.arange(7) != 6

    def values_and_slopes(x):
        return {
            name: jax.value_and_grad(loss)(x, LABELS, similarity=with_nan, where=where)
            for name, loss in ((name, losses.LOSSES[name]) for name in GRADED)
        }

    def with_second_derivatives(x):
        return jax.jvp(values_and_slopes, (x,), (jnp.ones_like(x),))

    def compiled(function, x):
        return jax.jit(function).lower(x).compile(measurements.FAST_COMPILATION)

    single = compiled(values_and_slopes, X)(X)
    x, step = np.float64(X), 1e-4
    with jax.enable_x64(True):
        run = compiled(with_second_derivatives, x)
        answers = jax.device_get([run(x), run(x + step), run(x - step)])
    (double, change), (above, _), (below, _) = answers
    for name in GRADED:
        rows = np.float64(X[:6])
        wanted = references.LOSSES[name](rows, LABELS[:6], similarity=SIMILARITY)
        value, slope = double[name]
        difference = (above[name][1] - below[name][1]) / (2 * step)
        assert float(value) == pytest.approx(wanted, rel=1e-9), name
        assert float(single[name][0]) == pytest.approx(wanted, rel=1e-5), name
        assert check.relative_error(single[name][1], slope) < 1e-5, name
        assert check.relative_error(change[name][1], difference) < 1e-5, name
        assert not np.any(slope[6])


@pytest.mark.parametrize("name", ["cosine_regression", "cosent", "angle"])
def test_explicit_pairs_with_similarities(name):
    """All pairs by their indices, and padding, give what the matrix gives."""
    pairs = np.concatenate([PAIRS, [[-1, -1]]])
    given = np.append(SIMILARITY[tuple(PAIRS.T)], np.nan)
    loss = jax.jit(losses.LOSSES[name])
    value = loss(X, 0 * LABELS, pairs=pairs, similarity=given)
    wanted = references.LOSSES[name](X, LABELS, similarity=SIMILARITY)
    assert float(value) == pytest.approx(wanted, rel=1e-5)


def test_similarities_that_do_not_fit_are_refused_and_make_nan():
    loss = losses.cosine_regression
    with pytest.raises(UsageError, match=r"similarity must be an array \[7, 7\], one"):
        loss(X, LABELS, similarity=SIMILARITY[:5])
    with pytest.raises(UsageError, match=r"similarity must be an array \[42\]"):
        loss(X, LABELS, similarity=SIMILARITY, pairs=PAIRS)
    wrong = SIMILARITY.copy()
    wrong[2, 3] = np.inf
    assert np.isnan(loss(X, LABELS, similarity=wrong))


def test_jaccard_of_label_sets():
    sets = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 0], [1, 1, 0]])
    wanted = [[1, 1 / 3, 0, 1], [1 / 3, 1, 0, 1 / 3], [0] * 4, [1, 1 / 3, 0, 1]]
    np.testing.assert_allclose(losses.jaccard(sets), wanted, rtol=1e-6)
    similarity = losses.jaccard(sets)
    value = losses.soft_supcon(X[:4], LABELS[:4], similarity=similarity, threshold=0.5)
    wanted = references.LOSSES["soft_supcon"](
        X[:4], LABELS[:4], similarity=np.array(similarity), threshold=0.5
    )
    assert float(value) == pytest.approx(wanted, rel=1e-5)


def test_a_guide_leaves_out_false_negatives():
    guide = RNG.normal(size=(7, 3)).astype(np.float32)
    gist = jax.jit(
        lambda guide, where: losses.gist(X, LABELS, guide=guide, where=where)
    )
    value = gist(guide, np.ones(7, bool))
    wanted = references.LOSSES["gist"](X, LABELS, guide=guide)
    assert float(value) == pytest.approx(wanted, rel=1e-5)
    assert wanted != pytest.approx(references.LOSSES["gist"](X, LABELS), rel=1e-2)
    guide[0, 0] = np.nan
    assert np.isnan(gist(guide, np.ones(7, bool)))
    assert np.isfinite(gist(guide, np.arange(7) != 0))


def test_hard_negatives_of_ones_own():
    """Every anchor against all positives and all hard negatives of other classes."""
    triplets = np.array([[0, 1, 2], [2, 3, 6], [4, 5, 0], [-1, -1, -1]])
    value = losses.infonce(X, LABELS, triplets=triplets, temperature=0.5)
    terms = []
    for a, p, _ in triplets[:3]:
        away = [q for _, q, _ in triplets[:3] if q != p]
        away += [n for _, _, n in triplets[:3] if LABELS[n] != LABELS[a]]
        logits = [reference.cosine(X[a], X[j]) / 0.5 for j in (p, *away)]
        terms.append(reference.cross_entropy(logits, 0))
    assert float(value) == pytest.approx(np.mean(terms), rel=1e-5)
    with pytest.raises(UsageError, match="pairs or triplets, not both"):
        losses.infonce(X, LABELS, triplets=triplets, pairs=triplets[:, :2])
