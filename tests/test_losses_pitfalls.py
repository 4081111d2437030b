"""What other libraries stumble over, by the numbers of docs/losses/index.md.

The grid of `losses.check` runs every loss through most of them; here they are by name.
"""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from siamjax.losses import LOSSES, check, health, measurements, registry, resolve
from siamjax.types import UsageError
from tests import references

E, CLASSES = 4, 3
LABELS = np.array([0, 1, 0, 2, 1, 0, 2, 1], np.int32)
X = np.random.default_rng(5).normal(size=(8, E)).astype(np.float32)
HEALTH = jax.jit(health)
TRIPLET = jax.jit(LOSSES["triplet"], static_argnames="reduce")


def evaluator(spec, **data):
    """`run(x, labels, where)` -> value and its gradient, vmapped over batches."""
    loss = resolve(spec)
    state = loss.init(jax.random.key(0), CLASSES, E)

    def run(x, labels, where):
        def value(x):
            return loss.apply(state, x, labels, where=where, **data)[0]

        return jax.value_and_grad(value)(x)

    return jax.jit(jax.vmap(run)), state


@pytest.mark.parametrize("spec", ["tuplet_margin", "arcface", "histogram", "snr"])
def test_p1_duplicates_zeros_and_antipodes(spec):
    """There: NaN gradients of the first two, a crash of the third, inf of the last."""
    run, state = evaluator(spec)
    duplicate, zero, opposite, on_centers = X.copy(), X.copy(), X.copy(), X.copy()
    duplicate[2], zero[0], opposite[2], opposite[1] = X[0], 0, -X[0], -X[0]
    if "weights" in state.get("params", {}):
        on_centers = np.asarray(state["params"]["weights"])[
            LABELS
        ]  # rows on their centers
    given = np.stack(
        [duplicate, zero, opposite, on_centers, -on_centers, np.tile(X[0], (8, 1))]
    )
    every = np.ones((6, 8), bool)
    value, slope = run(given, np.tile(LABELS, (6, 1)), every)
    assert np.isfinite(value).all()
    assert np.isfinite(slope).all()


@pytest.mark.parametrize(
    "spec",
    ["ntxent", "supcon", "nca", "triplet", "triplet:mining=hard", "generalized_lifted"],
)
def test_p2_nothing_to_learn_from_is_exactly_0(spec):
    """All different, and one row. One class as well, but for losses that pull alone."""
    run, _ = evaluator(spec)
    labels = np.stack([np.arange(8), LABELS, np.zeros(8, int)])
    where = np.ones((3, 8), bool)
    where[1] = np.arange(8) == 3
    value, slope = run(np.stack([X] * 3), labels, where)
    count = 2 if spec == "supcon" else 3  # log P for one class
    assert (value[:count] == 0).all()
    assert (slope[:count] == 0).all()


@pytest.mark.parametrize("name", ["ntxent", "supcon", "normalized_softmax"])
def test_p4_low_temperatures_do_not_saturate(name):
    """Value and gradient in float32 down to 1e-4, where optax has NaN and the oracle a
    dead pair; and the value as the brute force."""

    state = resolve(name).init(jax.random.key(0), CLASSES, E)

    def run(x, t):
        loss = LOSSES[name]
        if name == "normalized_softmax":
            configured = loss(temperature=t)
            return jax.value_and_grad(lambda x: configured.apply(state, x, LABELS)[0])(
                x
            )
        return jax.value_and_grad(lambda x: loss(x, LABELS, temperature=t))(x)

    single = jax.jit(lambda t: run(jnp.asarray(X), t))
    with jax.enable_x64(True):
        double = jax.jit(lambda t: run(jnp.asarray(np.float64(X)), t))
        wanted = {t: double(np.float64(t)) for t in (0.1, 0.01, 1e-3, 1e-4)}
    for t, (value, slope) in wanted.items():
        got, got_slope = single(np.float32(t))
        assert float(got) == pytest.approx(float(value), rel=1e-5)
        assert check.relative_error(got_slope, slope) < 1e-5 + 1e-7 / t
        assert np.linalg.norm(slope) > 0
        if name != "normalized_softmax":
            brute = references.LOSSES[name](
                np.float64(X), LABELS.tolist(), temperature=t
            )
            assert float(value) == pytest.approx(brute, rel=1e-9)


@pytest.mark.parametrize(
    ("spec", "brute"),
    [
        ("hard_contrastive:temperature=0.01", dict(temperature=0.01)),
        ("anti_collapse:epsilon=0.0001", dict(epsilon=1e-4)),
        ("robust_infonce:temperature=0.01,robustness=1", None),  # it is cut
        ("spectral_contrastive:distance=dot", None),
    ],
)
def test_p4_sharp_settings_are_finite(spec, brute):
    """Where terms of float32 overflow, or its matrices are not positive definite."""
    run, _ = evaluator(spec)
    equal, far = np.tile(X[:1], (8, 1)), X * np.float32(1e18)
    batches = np.stack([X, equal, X[[0, 1, 0, 1] * 2], far])
    value, slope = run(batches, np.stack([LABELS] * 4), np.ones((4, 8), bool))
    assert np.isfinite(value).all()
    assert np.isfinite(slope).all()
    if brute is not None:
        wanted = references.LOSSES[spec.partition(":")[0]](
            np.float64(X), LABELS.tolist(), **brute
        )
        assert float(value[0]) == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.parametrize("spec", ["center", "memory:loss=(ntxent),size=16", "margin"])
def test_p7_state_is_an_input_and_an_output(spec):
    """Two steps under jit, each with a gradient; the same two again are the same."""
    loss = resolve(spec)

    @jax.jit
    def step(state, x):
        def value(x):
            return loss.apply(state, x, LABELS)

        (loss_value, state), slope = jax.value_and_grad(value, has_aux=True)(x)
        return state, loss_value, slope

    def two():
        state = loss.init(jax.random.key(0), CLASSES, E)
        first, *_ = step(state, X)
        second, value, slope = step(first, X + 1)
        assert jax.tree.structure(second) == jax.tree.structure(state)
        return first, second, value, slope

    once, again = two(), two()
    jax.tree.map(np.testing.assert_array_equal, once, again)
    assert np.isfinite(once[-1]).all()
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), *once[:2])
    assert any(jax.tree.leaves(moved)) == (spec != "margin")


def test_p10_the_soft_margin_at_1e4():
    """log(1 + exp(1e4)) as written is inf in float32, and its gradient NaN."""
    x = jnp.array([[0.0], [1e4], [1.0]])
    value, slope = jax.jit(
        jax.value_and_grad(
            lambda x: LOSSES["triplet"](
                x, np.array([0, 0, 1]), margin="soft", reduce="sum"
            )
        )
    )(x)
    # Anchor 0: 1e4 - 1. Anchor 1: 1e4 - 9999 = 1, and log(1 + e) of it.
    assert float(value) == pytest.approx(9999 + math.log(1 + math.e), rel=1e-6)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_p11_half_precision_is_computed_in_single(dtype):
    """Rows whose squares overflow float16, and its masks' constants would."""
    x = jnp.asarray(300 * X, dtype)
    names = ("contrastive", "triplet", "supcon")
    run = jax.jit(lambda x: [LOSSES[name](x, LABELS) for name in names])
    for half, single in zip(run(x), run(x.astype("float32"))):
        assert float(half) == pytest.approx(float(single), rel=1e-6)
    slope = jax.jit(jax.grad(lambda x: LOSSES["triplet"](x, LABELS)))(x)
    assert slope.dtype == dtype
    assert np.isfinite(slope.astype("float32")).all()


@pytest.mark.parametrize("mining", ["all", "hard", "semihard", "easy_positive"])
def test_p12_what_does_not_count_may_be_nan(mining):
    """A mask that multiplies keeps NaN; these select."""
    run, _ = evaluator(f"triplet:mining={mining}")
    where = np.arange(8) < 6
    dirty = np.where(where[:, None], X, np.nan).astype(np.float32)
    value, slope = run(
        np.stack([X, dirty]), np.stack([LABELS] * 2), np.stack([where] * 2)
    )
    assert value[0] == value[1] != 0
    np.testing.assert_array_equal(slope[0], slope[1])
    assert (slope[:, 6:] == 0).all()


# Rows a, p, n in the unit cube, and what the blog's expression gives in float32.
LOSSLESS = {
    "p in the opposite corner": ([[0, 0, 0], [1, 1, 1], [1, 1, 1]], 18.42, 6.7e7),
    "n on a": ([[0, 0, 0], [0, 0, 0], [0, 0, 0]], 18.42, 0.0),
    "n near a": ([[0.5] * 3, [0.5] * 3, [0.5 + 1.7e-4] * 3], 18.42, 11500.0),
    "outside the cube": ([[0, 0, 0], [2, 0, 0], [1, 0, 0]], math.nan, math.nan),
}


def lossless_of_triplet(form, x):
    """Value and gradient for rows a, p, n."""
    labels, index = np.array([0, 0, 1]), np.array([[0, 1, 2]])
    return jax.value_and_grad(
        lambda x: LOSSES["lossless"](x, labels, triplets=index, form=form)
    )(x)


safe_lossless = jax.jit(functools.partial(lossless_of_triplet, "safe"))


@pytest.mark.parametrize("point", LOSSLESS)
def test_p14_hazards_of_the_lossless_triplet(point):
    """The original is as bad as they say, to the digit; the safe form is finite, and
    pushes with 2 / |a - n| until d_n / E is the float32 eps."""
    rows, wanted, steepest = LOSSLESS[point]
    x = jnp.array(rows, jnp.float32)
    # Op by op: as one program the compiler changes the constant that it depends on.
    old, old_slope = lossless_of_triplet("original", x)
    safe, slope = safe_lossless(x)
    assert float(old) == pytest.approx(wanted, rel=1e-3, nan_ok=True)
    if point != "outside the cube":
        assert np.abs(old_slope).max() == pytest.approx(steepest, rel=0.02)
    assert np.isfinite(safe)
    assert np.isfinite(slope).all()
    if point == "n on a":
        assert (slope == 0).all()
    else:
        assert 0 < np.abs(slope).max() < 1e8


def test_p15_a_collapse_is_flagged():
    """The loss sits at the margin, which looks like a plateau; health says why."""
    rng = np.random.default_rng(0)
    together = 1 + 1e-4 * rng.normal(size=X.shape).astype(np.float32)
    for x, collapsed in ((X, 0), (together, 1), (np.ones_like(X), 1)):
        numbers = HEALTH(x, LABELS)
        assert float(numbers["collapsed"]) == collapsed
    assert float(numbers["mean_distance"]) == float(numbers["effective_rank"]) == 0
    loss = TRIPLET(together, LABELS, reduce="active")  # its margin is 0.2
    assert float(loss) == pytest.approx(0.2, rel=1e-2)


def test_p16_beside_the_active_mean_stand_its_share_and_the_other_mean():
    """The share of active terms, 26 of 72 and then 18, and both means."""
    centers = np.float32([[0, 0, 0, 0], [3, 0, 0, 0], [3, 0.15, 0, 0]])[LABELS]
    before, after = (HEALTH(centers + s * X, LABELS) for s in (2.0, 0.01))
    assert float(after["mean_all"]) < 0.5 * float(before["mean_all"])
    assert float(before["active_share"]) == pytest.approx(26 / 72)
    assert float(after["active_share"]) == pytest.approx(18 / 72)
    for numbers, spread in ((before, 2.0), (after, 0.01)):
        for how in ("all", "active"):
            loss = TRIPLET(centers + spread * X, LABELS, reduce=how)
            assert float(numbers[f"mean_{how}"]) == pytest.approx(float(loss), rel=1e-5)


# In floats of B x B: what a pair loss and its gradient need beside their input.
MOST = 14


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_p17_memory_is_quadratic(name):
    """XLA's own account at B = 4096, E = 128: there are 7.5e9 triplets in 8 classes."""
    specs = dict(memory="memory:size=4096", matryoshka="matryoshka:halvings=2")
    loss = resolve(specs.get(name, name))
    run, _ = measurements.compile_loss(
        loss, 4096, 128, 8, options=measurements.FAST_COMPILATION
    )
    assert measurements.temporary_bytes(run) <= MOST * 4 * 4096**2


def test_counts_do_not_overflow():
    """4096 equal rows in 8 classes: 7.5e9 triplets that each cost the margin."""
    labels = (np.arange(4096) % 8).astype(np.int32)
    run = jax.jit(
        lambda x: (
            LOSSES["triplet"](x, labels, reduce="active"),
            LOSSES["triplet"](x, labels, reduce="sum"),
        )
    )
    mean, total = run(np.ones((4096, 1), np.float32))
    assert float(mean) == pytest.approx(0.2, rel=1e-6)
    assert float(total) == pytest.approx(0.2 * 4096 * 511 * 3584, rel=1e-6)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("contrastive:distance=cosine", "pos_margin=0.0 must be above neg_margin=1.0"),
        ("contrastive:pos_margin=2.0", "small means alike"),
        ("contrastive:distance=cosine,pos_margin=1.5,neg_margin=0", "outside cosine"),
        ("contrastive:pos_margin=-0.1", "outside euclidean"),
        ("triplet:distance=cosine,margin=2.5", "never be kept"),
        ("triplet:margin=hard", "margin=hard must be a number or soft"),
        ("margin:distance=cosine", "boundary=1.2 is outside cosine"),
        ("margin:boundary=-0.5", "boundary=-0.5 is outside euclidean"),
        ("margin:margin=-0.1", "margin=-0.1 must not be negative"),
        ("ranked_list:distance=cosine,margin=3", "outside cosine"),
        ("ranked_list:margin=3", "limit - margin=-0.5 is outside euclidean"),
        ("lifted:distance=cosine,margin=2.5", "differ by less than 2"),
        ("generalized_lifted:distance=cosine,margin=-3", "differ by less than 2"),
        (
            "mined:by=pair_margin,pos_limit=0.2,neg_limit=0.8",
            "pos_limit=0.2 must be above neg_limit=0.8",
        ),
        ("mined:by=hardest,share=0.0", "share=0.0 must be in"),
        ("smooth_ap:temperature=0.0", "temperature=0.0 must be greater than 0"),
        ("ntxent:temperature=-1.0", "temperature=-1.0 must be greater than 0"),
        ("fastap:bins=0", "bins=0 must be"),
        ("contrastive:power=0.5", "power=0.5 must be at least 1"),
        ("multi_similarity:epsilon=-0.1", "epsilon=-0.1 must not be negative"),
        ("mined:epsilon=-0.1", "epsilon=-0.1 must not be negative"),
        ("intra_pair_variance:pos_epsilon=-1", "pos_epsilon=-1 must not be negative"),
        ("ranked_list:balance=2", "balance=2 must be in [0, 1]"),
        ("memory:size=0", "size=0 must be at least 1"),
        ("prototypical:shots=-1", "shots=-1 must not be negative"),
        ("soft_triple:centers=0", "centers=0 must be at least 1"),
        ("variance:epsilon=-1", "epsilon=-1 must be greater than 0"),
        ("saturation:limit=1", "limit=1 must be in [0, 1)"),
        ("angular:angle=90", "angle=90 must be in (0, 90)"),
        ("center:rate=2", "rate=2 must be in [0, 1]"),
        ("magface:low_margin=80,high_margin=20", "low_margin=80 must be at most"),
        ("potential_field:power=20,delta=0.01", "is above 1e30"),
    ],
)
def test_p18_settings_that_make_no_sense_are_refused(spec, says):
    with pytest.raises(UsageError, match=re.escape(says)):
        loss = resolve(spec)
        loss.apply(loss.init(jax.random.key(0), CLASSES, E), X, LABELS)


def test_p19_no_hyper_parameter_is_silent():
    """Defaults too are in `hyper`, which a run prints and saves."""
    loss = resolve("triplet:mining=hard")
    assert loss.hyper == dict(
        margin=0.2,
        scale=1.0,
        soft_margin=0.0,
        mining="hard",
        swap=False,
        distance="euclidean",
        reduce="active",
    )
    for name in LOSSES:
        settings = resolve(name).hyper
        assert not set(settings) & set(registry.DATA), name


def test_p21_labels_are_integers():
    """2^24 and 2^24 + 1 are one float32."""
    x = jnp.array([[0.0], [1.0], [5.0]])
    same = np.array([2**24, 2**24, 2**24 + 1])
    contrastive = jax.jit(LOSSES["contrastive"])
    for labels, wanted in ((same, 1.0), (same + np.arange(3), 0.0)):
        got = contrastive(x, labels)  # pairs of one class are 1 apart
        assert float(got) == pytest.approx(wanted)
    with pytest.raises(UsageError, match="labels must be integers"):
        LOSSES["contrastive"](x, same.astype(np.float32))
