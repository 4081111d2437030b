"""Two views without classes: pairs by position, targets of another network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from siamjax import losses
from siamjax.types import UsageError
from tests import reference, references

RNG = np.random.default_rng(5)
FIRST, SECOND = RNG.normal(size=(2, 5, 3)).astype(np.float32)


def test_two_views_are_classes_of_two_rows():
    """SimCLR's loss on them: each row against its other view and all other rows."""
    x, labels = losses.two_views(FIRST, SECOND)
    s = np.array([[reference.cosine(a, b) / 0.1 for b in x] for a in x])
    wanted = 0.0
    for i in range(10):
        others = [s[i, j] for j in range(10) if j != i]
        wanted += (np.log(np.sum(np.exp(others))) - s[i, (i + 5) % 10]) / 10
    assert float(jax.jit(losses.ntxent)(x, labels)) == pytest.approx(wanted, rel=1e-5)
    with pytest.raises(UsageError, match=r"row i of both of one example"):
        losses.two_views(FIRST, SECOND[:4])


def test_pairs_by_position_read_no_labels():
    """Rows that `where` leaves out and padding take their pair with them."""
    x = jnp.concatenate([FIRST, SECOND])
    pairs = np.array([[0, 5], [1, 6], [2, 7], [-1, -1], [3, 8], [4, 9]])
    where = np.arange(10) != 9
    for name in ("vicreg", "barlow_twins"):
        loss = losses.LOSSES[name]
        value = jax.jit(loss)(x, np.zeros(10, int), pairs=pairs, where=where)
        wanted = references.LOSSES[name](
            np.concatenate([FIRST[:4], SECOND[:4]]), [*range(4), *range(4)]
        )
        assert float(value) == pytest.approx(wanted, rel=1e-5), name


def test_targets_of_another_network_pass_no_gradient():
    """BYOL: the mean squared difference of unit predictions and unit targets."""
    targets, labels = losses.two_views(FIRST[::-1], SECOND[::-1])

    def value(x, targets):
        rows = losses.References(targets, labels, anchor_rows=np.arange(10))
        return losses.negative_cosine(x, labels, references=rows)

    x = jnp.concatenate([FIRST, SECOND])
    loss, (slope, of_targets) = jax.jit(jax.value_and_grad(value, (0, 1)))(x, targets)
    units = np.array(reference.unit(x)), np.array(reference.unit(targets))
    byol = np.mean(np.sum((units[0] - np.roll(units[1], 5, 0)) ** 2, 1))
    assert 2 + 2 * float(loss) == pytest.approx(byol, rel=1e-5)
    assert np.any(slope != 0) and not np.any(of_targets)
