"""What no loss can judge is NaN or refused: rows, params, indices, labels.

That a row of NaN is seen by every loss, and a row left out by none, is in the grid.
"""

import functools
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from siamjax.losses import LOSSES, References, Stateful, resolve, stateful
from siamjax.types import UsageError

B, E, CLASSES = 8, 4, 3
LABELS = np.array([0, 1, 0, 2, 1, 0, 2, 1], np.int32)
X = np.random.default_rng(5).normal(size=(B, E)).astype(np.float32)
BATCH = References(X, LABELS, anchor_rows=np.arange(B))


def with_row(x, row, number):
    x = x.copy()
    x[row] = number
    return x


@pytest.fixture
def module():
    """A user's losses that hide a NaN: one plain, one with weights and a memory."""
    user_module = types.ModuleType("a_users_hiding_losses")

    def plain(embeddings, labels):
        return jnp.nan_to_num(embeddings, posinf=0, neginf=0).sum()

    @stateful
    def weighted():
        def init(key, classes, dim):
            return dict(params=dict(w=jnp.ones(dim)), memory=dict(last=jnp.zeros(dim)))

        def apply(state, embeddings, labels, *, where=None):
            total = plain(embeddings * state["params"]["w"][None], labels)
            return total, {**state, "memory": dict(last=embeddings[-1])}

        return Stateful(init, apply)

    @stateful
    def classified():
        def init(key, classes, dim):
            return dict(params=dict(bias=jnp.zeros((dim, 2 * classes))), memory={})

        def apply(state, embeddings, labels):
            return (embeddings @ state["params"]["bias"]).sum(), state

        return Stateful(init, apply)

    @stateful
    def untraceable():
        def init(key, classes, dim):
            seed = int(jax.random.bits(key, (), np.uint8))
            return dict(params=dict(w=np.full((classes, dim), float(seed))), memory={})

        return classified()._replace(
            init=init,
            apply=lambda state, embeddings, labels: (embeddings.sum(), state),
        )

    user_module.plain, user_module.weighted = plain, weighted
    user_module.classified, user_module.untraceable = classified, untraceable
    sys.modules[user_module.__name__] = user_module
    yield user_module
    del sys.modules[user_module.__name__]


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_ones_own_loss_cannot_hide_a_row_that_is_not_finite(module, number):
    broken = with_row(X, 3, number)
    for name in ("plain", "weighted"):
        loss = resolve(f"{module.__name__}.{name}")
        state = loss.init(jax.random.key(0), CLASSES, E)
        assert np.isfinite(loss.apply(state, X, LABELS)[0])
        assert np.isnan(loss.apply(state, broken, LABELS)[0])
    where = np.arange(B) != 3
    value, new = loss.apply(state, broken, LABELS, where=where)
    assert np.isfinite(value)
    np.testing.assert_array_equal(new["memory"]["last"], X[-1])


@pytest.mark.parametrize("name", ["center", "memory:size=8"])
def test_a_bad_batch_leaves_the_memory_as_it_was(name):
    loss = resolve(name)
    apply = jax.jit(loss.apply)
    state = loss.init(jax.random.key(0), CLASSES, E)
    _, state = apply(state, X, LABELS)
    value, after = apply(state, with_row(X, 2, np.nan), LABELS)
    assert np.isnan(value)
    jax.tree.map(np.testing.assert_array_equal, after, state)
    once, again = apply(after, X, LABELS), apply(state, X, LABELS)
    jax.tree.map(np.testing.assert_array_equal, once, again)
    assert np.isfinite(once[0])


@pytest.mark.parametrize("name", ["proxy_anchor", "weighted_l1"])
def test_params_that_are_not_finite_are_seen(name):
    loss = resolve(name)
    state = loss.init(jax.random.key(0), CLASSES, E)
    run = jax.jit(lambda params: loss.apply({**state, "params": params}, X, LABELS)[0])
    assert np.isfinite(run(state["params"]))
    for which, weights in state["params"].items():
        broken = jnp.asarray(weights).at[(0,) * weights.ndim].set(np.inf)
        assert np.isnan(run({**state["params"], which: broken})), which


@pytest.mark.parametrize("name", ["contrastive", "covariance"])
def test_a_finite_batch_is_judged_bit_by_bit_as_without_the_guard(name):
    guarded, wanted = (
        jax.jit(jax.value_and_grad(lambda x, f=f: f(x, LABELS)))(X)
        for f in (LOSSES[name], LOSSES[name].__wrapped__)
    )
    jax.tree.map(np.testing.assert_array_equal, guarded, wanted)


def test_a_row_left_out_has_no_gradient_beside_a_bad_one():
    x, where = with_row(with_row(X, 2, np.nan), 5, np.inf), np.arange(B) != 5
    run = jax.value_and_grad(lambda x: LOSSES["zero_mean"](x, LABELS, where=where))
    value, slope = jax.jit(run)(x)
    assert np.isnan(value)
    assert (slope[5] == 0).all()


def test_references_are_looked_at_too():
    """A NaN among those that count, and among those that do not."""
    loss = jax.jit(
        lambda x, others: LOSSES["contrastive"](x, LABELS, references=others)
    )
    clean = BATCH._replace(where=np.arange(B) != 6)
    dirty = clean._replace(embeddings=with_row(X, 6, np.nan))
    assert float(loss(X, dirty)) == float(loss(X, clean)) != 0
    assert np.isnan(loss(X, clean._replace(embeddings=with_row(X, 1, np.inf))))


def test_references_say_whether_the_anchors_are_among_them():
    """As the batch itself, they would make each anchor its own positive."""
    loss = LOSSES["supcon"]
    with pytest.raises(
        UsageError, match=r"anchor_rows is missing: give anchor_rows=-1"
    ):
        loss(X, LABELS, references=References(X, LABELS))
    with pytest.raises(
        UsageError, match=r"References.anchor_rows has the index 8.* 8 rows"
    ):
        loss(X, LABELS, references=BATCH._replace(anchor_rows=np.arange(1, B + 1)))
    traced = jax.jit(
        lambda rows: loss(X, LABELS, references=BATCH._replace(anchor_rows=rows))
    )
    plain = float(jax.jit(lambda x: loss(x, LABELS))(X))
    assert float(traced(np.arange(B))) == pytest.approx(plain, rel=1e-6)
    assert float(traced(np.full(B, -1))) != pytest.approx(plain, rel=1e-3)
    assert np.isnan(traced(np.arange(1, B + 1)))


@pytest.mark.parametrize("index", [B, 99, -2, -B, 2**40])
@pytest.mark.parametrize(
    ("name", "kind"), [("contrastive", "pairs"), ("triplet", "triplets")]
)
def test_an_index_outside_the_batch_is_refused(name, kind, index):
    """It used to be read as the last row, and one below -1 as padding."""
    rows = dict(pairs=[[0, 2], [0, index]], triplets=[[0, 2, 1], [0, 2, index]])[kind]
    for given in (rows, np.array(rows)):
        with pytest.raises(
            UsageError, match=f"{kind} has the index {index}, but there"
        ):
            LOSSES[name](X, LABELS, **{kind: given})


@pytest.mark.parametrize(
    ("name", "kind"), [("contrastive", "pairs"), ("triplet", "triplets")]
)
def test_a_traced_index_outside_the_batch_is_nan(name, kind):
    width = dict(pairs=2, triplets=3)[kind]
    loss = jax.jit(lambda index: LOSSES[name](X, LABELS, **{kind: index}))
    rows = np.array([[0, 2, 1], [2, 5, 3]])[:, :width]
    for last, fine in ((7, True), (-1, True), (8, False), (-2, False)):
        rows[1, -1] = last
        assert bool(np.isfinite(loss(rows))) == fine, last


@pytest.mark.parametrize(
    ("name", "kind", "alone"),
    [
        ("contrastive", "pairs", [[4, 4]]),
        ("weighted_l1", "pairs", [[4, 4]]),
        ("triplet:reduce=all", "triplets", [[4, 4, 0], [4, 1, 4]]),
    ],
)
def test_an_anchor_beside_itself_is_no_pair(name, kind, alone):
    """As `data.sampler` gives an anchor that has no partner."""
    loss, right = resolve(name), dict(pairs=[[0, 2], [1, 3]], triplets=[[0, 2, 1]])
    state = loss.init(jax.random.key(0), CLASSES, E)
    run = jax.jit(lambda index: loss.apply(state, X, LABELS, **{kind: index})[0])
    padding = np.full_like(alone, -1)
    wanted, given, nothing = (
        run(np.concatenate(parts))
        for parts in ((right[kind], padding), (right[kind], alone), (alone, padding))
    )
    assert float(given) == float(wanted) > 0
    assert float(nothing) == 0


def test_indices_are_integers():
    with pytest.raises(UsageError, match="pairs must be integers, got float"):
        LOSSES["contrastive"](X, LABELS, pairs=np.array([[0.0, 1.0]]))


@pytest.mark.parametrize("add", [2**32, -(2**40), 2**31 - 1])
def test_p21_labels_that_do_not_fit_32_bits_are_refused(add):
    """Under jit 1 and 1 + 2^32 were one class; as constants of a program, too."""
    labels = LABELS.astype(np.int64)
    labels[1:] += add
    says = rf"labels go from {labels.min()} to {labels.max()}: they must fit 32 bits"
    with pytest.raises(UsageError, match=says):
        LOSSES["contrastive"](X, labels)
    with pytest.raises(UsageError, match=says):
        jax.jit(lambda x: resolve("contrastive").apply({}, x, labels))(X)


def test_labels_of_64_bits_that_fit_are_read_as_32():
    loss = LOSSES["zero_mean"]
    assert float(loss(X, LABELS.astype(np.int64))) == float(loss(X, LABELS))


def test_numpy_labels_can_be_constants_of_a_program():
    """`infonce` indexes them with what is traced."""
    constant = jax.jit(lambda x: LOSSES["infonce"](x, LABELS))
    assert float(constant(X)) == float(jax.jit(LOSSES["infonce"])(X, LABELS)) > 0


def test_numpy_masks_can_be_constants_of_a_program():
    """`infonce` and explicit pairs index them with what is traced; that failed."""
    where, pairs = np.arange(B) != 3, np.array([[0, 2], [1, 4]])
    program = jax.jit(lambda x: LOSSES["infonce"](x, LABELS, where=where))
    two = jax.jit(lambda x, p: LOSSES["contrastive"](x, LABELS, where=where, pairs=p))
    assert float(program(X)) > 0
    assert float(two(X, pairs)) > 0


def test_smooth_ap_that_counts_the_anchor_takes_no_references():
    """It used to take reference i for a positive of anchor i, of any label."""
    with pytest.raises(UsageError, match=r"count_self=True .* takes no references"):
        LOSSES["smooth_ap"](X, LABELS, references=BATCH, count_self=True)


@pytest.mark.parametrize(
    ("x", "labels", "where", "says"),
    [
        (X[0], LABELS, None, r"embeddings have the shape \[4\]: they must be \[B, E\]"),
        (X.tolist(), LABELS, None, "embeddings must be a NumPy or JAX array, got list"),
        (X.astype(str), LABELS, None, "embeddings must be real numbers, got <U"),
        (X, LABELS[:4], None, r"labels have the shape \[4\].* must be \[8\], one int"),
        (X, LABELS.tolist(), None, r"got list: give numpy.asarray\(labels\)"),
        (X, X[:, 0], None, "labels must be integers, got float32: 1.2 and 1.4 would"),
        (X, LABELS.astype(str), None, "labels must be integers, got <U.*: number the"),
        (X, LABELS, np.ones(3), r"where has the shape \[3\]: it must be \[8\], one b"),
        (X, LABELS, LABELS, "where has the number 2: it must hold bools, or 0 and 1"),
        (X, LABELS, jnp.full(B, np.nan), "where has the number nan"),
        (X, LABELS, [True] * B, "where must be a NumPy or JAX array, got list"),
    ],
)
def test_what_is_refused_is_said_in_plain_words(x, labels, where, says):
    with pytest.raises(UsageError, match=says):
        LOSSES["triplet"](x, labels, where=where)


@pytest.mark.parametrize(
    ("references", "says"),
    [
        ((X, LABELS), r"must be References, got tuple: give losses.References\("),
        (BATCH._replace(labels=LABELS.tolist()), "References.labels must be a NumPy"),
        (BATCH._replace(where=LABELS), "References.where has the number 2"),
        (BATCH._replace(allowed=LABELS), r"allowed has the shape \[8\]: .* \[8, 8\]"),
        (BATCH._replace(anchor_rows=[0, 1]), r"anchor_rows has the shape \[2\]: it"),
        (References(X[:, :2], LABELS, anchor_rows=-1), "same number of coordinates"),
    ],
)
def test_references_that_do_not_fit_are_refused(references, says):
    with pytest.raises(UsageError, match=says):
        LOSSES["supcon"](X, LABELS, references=references)


def test_a_mask_of_zeros_and_ones_is_one_of_bools():
    """A traced mask with another number makes the value NaN."""
    loss = jax.jit(lambda where: LOSSES["contrastive"](X, LABELS, where=where))
    where = np.arange(B) != 3
    assert float(loss(where.astype(np.int32))) == float(loss(where))
    eager = LOSSES["zero_mean"](X, LABELS, where=where.astype(np.float32))
    assert float(eager) == float(LOSSES["zero_mean"](X, LABELS, where=where))
    assert np.isnan(loss(2 * where))


@pytest.mark.parametrize("key", [0, np.ones(2), jax.random.split(jax.random.key(0))])
@pytest.mark.parametrize("spec", ["koleo", "koleo+zero_mean"])
def test_a_key_is_one_jax_key(spec, key):
    with pytest.raises(UsageError, match="key must be one JAX key, got "):
        resolve(spec).apply({}, X, LABELS, key=key)


PER_CLASS = (
    "center",
    "margin:per_class=True",
    "soft_triple:centers=2",
    "0.1*proxy_anchor+arcface:centers=3",
)


def test_a_label_that_is_no_class_is_refused_or_nan():
    """The value was 0, which looks like a loss that has converged."""
    where, every = np.arange(B) != 3, np.ones(B, bool)
    per_class = [resolve(spec) for spec in PER_CLASS]
    states = [loss.init(jax.random.key(0), CLASSES, E) for loss in per_class]

    @jax.jit  # one compilation for all
    def apply_all(labels, where):
        pairs = zip(per_class, states)
        return [loss.apply(s, X, labels, where=where) for loss, s in pairs]

    wanted = [float(value) for value, _ in apply_all(LABELS, where)]
    assert np.isfinite(wanted).all()
    for wrong in (CLASSES, -1):
        labels = np.where(where, LABELS, wrong).astype(np.int32)
        says = f"labels have {wrong}, but the state of loss .* is for 3 classes: use l"
        for loss, state in zip(per_class, states):
            assert loss.per_class
            with pytest.raises(ValueError, match=says):
                loss.apply(state, X, labels)
        values, after = zip(*apply_all(labels, every))
        assert np.isnan(values).all()
        jax.tree.map(np.testing.assert_array_equal, list(after), states)
        assert [float(value) for value, _ in apply_all(labels, where)] == wanted


def test_a_concrete_label_that_is_no_class_is_refused_in_a_program_too(module):
    """Also where the loss is the user's own."""
    for name in ("proxy_anchor", f"{module.__name__}.classified"):
        loss = resolve(name)
        state = loss.init(jax.random.key(0), CLASSES, E)
        apply = functools.partial(loss.apply, state, labels=LABELS + 2)
        with pytest.raises(UsageError, match="labels have 3, but the state of loss"):
            jax.jit(apply)(X)


def proxies(shape):
    return dict(params=dict(proxies=np.ones(shape, np.float32)), memory={})


@pytest.mark.parametrize(
    ("spec", "state", "says"),
    [
        (
            "proxy_anchor",
            {},
            "the state of loss proxy_anchor has no params.proxies: g",
        ),
        ("proxy_anchor", None, "must be the dict that init or the last apply gave, g"),
        (
            "proxy_anchor",
            proxies((3, 5)),
            r"has the shape \[3, 5\], which does not f",
        ),
        ("proxy_anchor", proxies(3), r"shape \[3\], which .* make the state with init"),
        ("weighted_l1", proxies((3, 4)), "has no params.bias"),
        ("koleo+proxy_anchor", proxies((3, 4)), "params .* must be a list of one part"),
        ("koleo+proxy_anchor", {}, "has no params.proxies"),
    ],
)
def test_a_state_of_another_loss_is_refused(spec, state, says):
    with pytest.raises(UsageError, match=says):
        resolve(spec).apply(state, X, LABELS)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((0, 3, 4), "key must be one JAX key, got int: give jax.random.key"),
        ((jax.random.key(0), 0, 4), "init of loss center got classes=0: give a whole"),
        ((jax.random.key(0), 3, "4"), "got dim='4': give a whole number from 1 on"),
    ],
)
def test_init_says_what_it_takes(arguments, says):
    with pytest.raises(UsageError, match=says):
        resolve("center").init(*arguments)


def test_a_loss_whose_init_cannot_be_traced_works(module):
    loss = resolve(f"{module.__name__}.untraceable")
    state = loss.init(jax.random.key(0), CLASSES, E)
    assert np.isfinite(loss.apply(state, X, LABELS + 9)[0])
