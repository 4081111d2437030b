"""From text to loss: what is taken, what is refused with a line that helps."""

import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from siamjax.losses import Stateful, resolve, stateful
from siamjax.types import UsageError

X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
LABELS = np.array([0, 0, 1, 1, 2, 2], np.int32)


@pytest.fixture(autouse=True)
def module():
    """A user's module with a plain loss, one with weights, and what is no loss."""
    user_module = types.ModuleType("a_users_losses")

    def plain(embeddings, labels, *, where=None, beta: float = 2.0, name="mean"):
        return beta * jnp.abs(embeddings).mean()

    @stateful
    def weighted(*, size=3):
        def init(key, classes, dim):
            return dict(params=dict(w=jnp.ones((size, dim))), memory={})

        def apply(state, embeddings, labels, *, where=None):
            return (embeddings @ state["params"]["w"].T).sum(), state

        return Stateful(init, apply)

    @stateful
    def required(size, per_class):
        return weighted(size=size)._replace(per_class=per_class)

    def unmarked(*, size=3):
        return weighted(size=size)

    def unmarked_with_two(size, per_class):
        return weighted(size=size)

    user_module.plain, user_module.weighted, user_module.number = plain, weighted, 3
    user_module.required, user_module.unmarked = required, unmarked
    user_module.unmarked_with_two = unmarked_with_two
    user_module.needs = lambda embeddings, labels, *, beta: embeddings.sum()
    sys.modules["a_users_losses"] = user_module
    yield user_module
    del sys.modules["a_users_losses"]


def test_ones_own_loss_by_its_import_path():
    loss = resolve("a_users_losses.plain:beta=3")
    assert loss.hyper == dict(beta=3, name="mean")
    value, state = loss.apply({}, X, LABELS, where=None)
    assert float(value) == pytest.approx(3 * np.abs(X).mean(), rel=1e-6)
    assert state == {}


def test_ones_own_loss_with_weights():
    loss = resolve("a_users_losses.weighted:size=2")
    state = loss.init(jax.random.key(0), 3, 3)
    assert state["params"]["w"].shape == (2, 3)
    value, _ = loss.apply(state, X, LABELS)
    assert float(value) == pytest.approx(2 * X.sum(), rel=1e-5)


def test_a_marked_factory_may_have_required_arguments():
    """Two of them have the form of a loss: the mark tells them apart."""
    loss = resolve("a_users_losses.required:size=2,per_class=False")
    assert loss.hyper == dict(size=2, per_class=False)
    assert loss.init(jax.random.key(0), 3, 3)["params"]["w"].shape == (2, 3)
    assert not loss.per_class
    with pytest.raises(UsageError, match=r"mark it with @siamjax\.losses\.stateful"):
        resolve("a_users_losses.unmarked_with_two").apply({}, X, LABELS)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("triplett", "did you mean triplet?"),
        ("triplet:margn=1", "did you mean margin?"),
        ("triplet:margin", "'margin' is not key=value"),
        ("triplet:swap=1", "swap=1 must be True or False"),
        ("triplet:margin=[1]", "margin=[1] must be a number or soft"),
        ("triplet:key=3", "has no key"),
        ("x*triplet", "'x' before * is not a number"),
        ("0.5*triplet+koleoo", "did you mean koleo?"),
        ("no_such_module.loss", "there is no module no_such_module"),
        ("a_users_losses.plane", "did you mean plain?"),
        ("a_users_losses.number", "has no function number"),
        ("a_users_losses.plain:beta=three", "beta=three must be a number"),
        ("a_users_losses.needs", "needs beta"),
        ("a_users_losses.required", "needs size"),
        ("a_users_losses.unmarked", "mark it with @siamjax.losses.stateful"),
        ("triplet:mining=hrad", "mining=hrad must be all, semihard_set, semihard, h"),
        ("triplet:mining=hrad", "did you mean hard?"),
        ("supcon:distance=l0.5", "dot or l<p> with p >= 1"),
        ("memory:loss=(koleo)", "takes no references"),
        ("", "the text '' names no loss: write a name such as triplet"),
        ("triplet+", "names no loss"),
        ("nan*triplet", "the weight nan before * is not finite"),
        ("triplet:margin=1,margin=2", "has margin twice, 1 and 2: give it once"),
        ("triplet:margin=1e999", "margin=inf must be a number or soft"),
        ("fastap:bins=10.0", "bins=10.0 must be a whole number"),
        ("triplet(margin=0.2)", "is no name of a loss: write name:key=value,key="),
        (None, "a loss must be a text such as triplet:margin=0.2, got None"),
    ],
)
def test_what_is_refused(spec, says):
    with pytest.raises(UsageError) as error:
        resolve(spec)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_whole_number_is_taken_where_a_float_is_meant():
    """As it is: x**2 and x**2.0 are two programs, and the first is the faster one."""
    assert resolve("contrastive:power=1").hyper["power"] == 1
    assert isinstance(resolve("contrastive:power=1").hyper["power"], int)


@pytest.mark.parametrize(
    ("spec", "values", "says"),
    [
        ("triplet", {"margn": 1.0}, "has no margn, did you mean margin?"),
        ("triplet+koleo", {"margin": 1.0}, "write 0.margin for the first of them"),
    ],
)
def test_values_of_no_setting_are_refused(spec, values, says):
    with pytest.raises(UsageError, match=says):
        resolve(spec, values)


def test_a_sum_is_the_weighted_sum():
    parts = [resolve(s) for s in ("contrastive:power=1", "koleo", "center")]
    total = resolve("0.5*contrastive:power=1+1e-1*koleo+center")

    @jax.jit  # one compilation for all
    def values(key):
        states = [p.init(k, 3, 3) for p, k in zip(parts, jax.random.split(key, 3))]
        terms = [p.apply(s, X, LABELS)[0] for p, s in zip(parts, states)]
        return total.apply(total.init(key, 3, 3), X, LABELS)[0], jnp.stack(terms)

    value, terms = values(jax.random.key(0))
    assert float(value) == pytest.approx(np.dot([0.5, 0.1, 1.0], terms), rel=1e-5)
    assert total.hyper["0.power"] == 1
    assert total.hyper["1.weight"] == 0.1
    assert total.per_class


def test_each_part_of_a_sum_draws_by_itself():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(24, 3)).astype(np.float32)
    labels = np.repeat(np.arange(4), 6)
    mined = "triplet:mining=distance_weighted"
    alone, twice = resolve(mined), resolve(f"{mined}+{mined}")
    key = jax.random.key(0)
    of_one, of_two = jax.jit(
        lambda x: [loss.apply({}, x, labels, key=key)[0] for loss in (alone, twice)]
    )(x)
    assert float(of_two) != pytest.approx(2 * float(of_one), rel=1e-6)


def test_a_loss_inside_a_loss_keeps_its_settings():
    loss = resolve("memory:loss=(contrastive:power=1,neg_margin=0.5),size=32")
    assert loss.hyper["loss"] == "contrastive:power=1,neg_margin=0.5"
    assert loss.hyper["size"] == 32


def test_tuples_that_a_loss_would_not_read_are_refused():
    with pytest.raises(UsageError, match="supcon takes no pairs"):
        resolve("supcon").apply({}, X, LABELS, pairs=np.array([[0, 1]]))
    with pytest.raises(UsageError, match=r"they must be \[N, 2\]"):
        resolve("contrastive").apply({}, X, LABELS, pairs=np.array([[0, 1, 2]]))
    with pytest.raises(UsageError, match=r"labels must be \[6\], one"):
        resolve("supcon").apply({}, X, LABELS[:4])
