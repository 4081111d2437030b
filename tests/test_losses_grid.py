"""Every registered loss through the grid of `losses.check`, and against its paper."""

import functools
import inspect
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from siamjax.losses import (
    LOSSES,
    Stateful,
    check,
    edge_cases,
    measurements,
    over_devices,
    resolve,
    stateful,
    tuples,
)
from siamjax.losses.edge_cases import Batch
from tests import references

# One of each kind: exact counts, softmax, a loop over positives, weights, a ring.
FIVE = ("triplet", "ntxent", "smooth_ap", "proxy_anchor", "memory")
# Exact counts, and a loop over positives: quickly for these, with --slow for all.
CURVED = ("triplet", "smooth_ap")
VARIANTS = (
    "triplet:margin=soft,scale=5",
    "triplet:swap=True",
    "triplet:mining=hard",
    "triplet:mining=semihard",
    "triplet:mining=semihard_set",
    "triplet:mining=easy_positive_semihard",
    "triplet:mining=distance_weighted",
    "triplet:distance=manhattan",
    "triplet:distance=l3",
    "contrastive:distance=l1.5,power=1.5",
    "contrastive:distance=linf",
    "triplet:reduce=class",
    "contrastive:distance=cosine,pos_margin=1.0,neg_margin=0.2",
    "lossless:beta=5",
    "infonce:symmetric=True",
    "prototypical:shots=1",
    "margin:per_class=True",
    "margin:mining=distance_weighted",
    "arcface:centers=3",
    "mined:by=hardest",
    "mined:by=pair_margin",
    "memory:loss=(ntxent)",
    "0.5*triplet+0.1*koleo+cosface",
)


measured = functools.cache(measurements.measure)


def two_of_each_module():
    """The first and the last loss of each module, which share their code."""
    modules = {}
    for name, loss in LOSSES.items():
        modules.setdefault(inspect.unwrap(loss).__module__, []).append(name)
    return {name for names in modules.values() for name in (names[0], names[-1])}


# All losses go through the grid with --slow; quickly these and those of FIVE do.
QUICK = two_of_each_module() | set(FIVE) | set(CURVED)
PAPER = ("base", "a duplicate", "random 0", "random 1", "random 2")


def check_paper(name, state, batches, values):
    """The values are those of the slow loop, in float64."""
    weights = {k: np.asarray(v, float) for k, v in state.get("params", {}).items()}
    for which, value in values.items():
        batch = batches[which]
        wanted = references.LOSSES[name](batch.x, batch.labels.tolist(), weights)
        assert value == pytest.approx(wanted, rel=1e-9, abs=1e-12), which


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in sorted(LOSSES)
    ],
)
def test_the_grid_and_the_paper(name):
    """The paper on unsorted, unbalanced labels, with singletons, in float64."""
    m = measured(name)
    grid = check.GRID | (check.LONG if name in FIVE else {})
    if name not in CURVED:
        grid.pop("second derivatives", None)
    results = {name: run_check(m) for name, run_check in grid.items()}
    assert {k: r for k, r in results.items() if r[0] == "FAIL"} == {}
    values = {which: m.double.value[which] for which in PAPER}
    check_paper(name, m.state, m.batches, values)


@pytest.mark.parametrize("name", sorted(set(LOSSES) - QUICK))
def test_the_paper_and_finite_gradients(name):
    """What the grid proves first, without the rest of it."""
    loss = resolve(name)
    state = loss.init(jax.random.key(0), edge_cases.CLASSES, edge_cases.E)
    tables = [
        p
        for p in jax.tree.leaves(state.get("params"))
        if p.ndim == 2 and p.shape[1] == edge_cases.E
    ]
    batches = edge_cases.all_batches(
        cube=name in measurements.CUBE,
        proxies=np.asarray(tables[0]) if tables else None,
    )
    with jax.enable_x64(True):
        ((value, slope, _),) = measurements.evaluate_all(
            loss, state, [list(batches.values())], jnp.float64
        )
    values = dict(zip(batches, value))
    check_paper(name, state, batches, {which: values[which] for which in PAPER})
    finite = [np.isfinite(b.x).all() for b in batches.values()]
    assert np.isfinite(slope[np.array(finite)]).all()


def test_every_loss_has_a_reference_and_known_invariances():
    assert set(references.LOSSES) == set(LOSSES) == set(check.INVARIANT)


@pytest.mark.slow
@pytest.mark.parametrize("spec", sorted(set(LOSSES) - set(FIVE)))
def test_half_precision_of_every_loss(spec):
    assert check.half_precision(measured(spec))[0] == "pass"


@pytest.mark.slow
@pytest.mark.parametrize("spec", sorted(set(LOSSES) - set(CURVED)))
def test_second_derivatives_of_every_loss(spec):
    assert check.second_derivatives(measured(spec))[0] == "pass"


@pytest.mark.parametrize(("error", "verdict"), [(0, "pass"), (1e-3, "FAIL")])
def test_second_derivatives_of_a_held_loss_agree_with_one_another(
    monkeypatch, error, verdict
):
    """Differences of the gradient see the held part move: they are left out."""
    direction, rng = np.ones((4, 3)), np.random.default_rng(5)
    product = rng.normal(size=(len(measurements.CURVED), 4, 3))
    products = {
        "forward over reverse": product,
        "reverse over reverse": product * (1 + error),
        "forward over forward": product.sum((1, 2)),
        "differences": product + 1,
    }
    monkeypatch.setattr(measurements, "has_custom_vjp", lambda _: False)
    monkeypatch.setattr(measurements, "second_order", lambda _: (direction, products))
    circle = types.SimpleNamespace(loss=resolve("circle"))
    assert check.second_derivatives(circle)[0] == verdict


@pytest.mark.slow
@pytest.mark.parametrize("spec", VARIANTS)
def test_the_grid_on_other_settings(spec):
    grid = check.GRID | {"second derivatives": check.second_derivatives}
    m = measurements.measure(spec)
    results = {name: check.Result(name, *run(m)) for name, run in grid.items()}
    results.pop("invariances")  # those of the default
    if "memory" in spec:
        results.pop("finite differences")  # the references are held constant
    assert [r for r in results.values() if r.verdict == "FAIL"] == []


def on_devices(spec, number):
    """Value, gradient and gradient of params with the rows spread over devices."""
    loss, rng = resolve(spec), np.random.default_rng(4)
    x = rng.normal(size=(16, 4)).astype(np.float32)
    labels = rng.integers(0, 4, 16).astype(np.int32)
    state = loss.init(jax.random.key(0), edge_cases.CLASSES, 4)
    mesh = Mesh(np.array(jax.devices()[:number]), ("data",))
    rows = NamedSharding(mesh, PartitionSpec("data"))
    batch = Batch(x, labels, np.arange(16) != 5)
    run = jax.jit(lambda b: measurements.evaluate(loss, state, b), in_shardings=(rows,))
    with jax.set_mesh(mesh):
        return jax.tree.map(np.asarray, run(batch))


def agree_on_devices(spec):
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, on_devices(spec, 1), on_devices(spec, 8))


@pytest.mark.parametrize("spec", (*FIVE, "contextual"))
def test_p8_one_device_and_eight_agree(spec):
    agree_on_devices(spec)


def test_products_and_inverses_on_devices_have_derivatives_in_both_modes():
    a, b, *rest = np.random.default_rng(4).normal(size=(4, 16, 16))
    direction = tuple(rest)

    @jax.jit
    def derivatives(a, b, direction):
        def value(a, b):
            product = over_devices.multiply(a, b)
            product = over_devices.multiply_transposed(product, b)
            symmetric = jnp.eye(len(a)) + over_devices.multiply_transposed(a, a) / 9
            return ((product + over_devices.invert(symmetric)) ** 2).mean()

        slope = jax.jvp(value, (a, b), direction)[1]
        return slope, jax.jvp(jax.grad(value, (0, 1)), (a, b), direction)

    with jax.enable_x64(True):
        expected = jax.tree.map(np.asarray, derivatives(a, b, direction))
        mesh = Mesh(np.array(jax.devices()[:8]), ("data",))
        with jax.set_mesh(mesh):
            rows = NamedSharding(mesh, PartitionSpec("data"))
            results = derivatives(*jax.device_put((a, b, direction), rows))
            results = jax.tree.map(np.asarray, results)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-9)
    jax.tree.map(close, results, expected)
    slope, (gradients, _) = results
    close(slope, sum((g * d).sum() for g, d in zip(gradients, direction)))


@pytest.mark.slow
@pytest.mark.parametrize("spec", sorted(set(LOSSES) - {*FIVE, "contextual"}))
def test_p8_one_device_and_eight_agree_on_every_loss(spec):
    agree_on_devices(spec)


def agree_without_jit(spec):
    """Op by op, of one batch alone, as compiled with all batches at once."""
    m = measured(spec)
    batch = m.batches["random 0"]._replace(x=np.float32(m.batches["random 0"].x))
    value, (slope, _) = measurements.evaluate(m.loss, m.state, batch)
    assert float(value) == pytest.approx(m.single.value["random 0"], rel=1e-5)
    assert check.relative_error(slope, m.single.slope["random 0"]) <= 1e-5


def test_without_jit_the_same():
    agree_without_jit("contrastive")


@pytest.mark.slow
@pytest.mark.parametrize("spec", sorted(set(LOSSES) - {"contrastive"}))
def test_without_jit_every_loss_is_the_same(spec):
    agree_without_jit(spec)


@pytest.fixture
def module():
    user_module = types.ModuleType("a_users_module")
    sys.modules["a_users_module"] = user_module
    yield user_module
    del sys.modules["a_users_module"]


def run_steps(module, name, apply):
    """The result of the check `steps` of a loss with a queue of 16 rows."""

    @stateful
    def loss():
        def init(key, classes, dim):
            queue = dict(rows=jnp.zeros((16, dim)), next=jnp.zeros((), jnp.int32))
            return dict(params={}, memory=queue)

        return Stateful(init, apply, per_class=False)

    setattr(module, name, loss)
    result = check.steps(measurements.measure(f"a_users_module.{name}"))
    return result


def fill(queue, x):
    place = (queue["next"] + jnp.arange(len(x))) % 16
    rows = queue["rows"].at[place].set(jax.lax.stop_gradient(x).astype(jnp.float32))
    return dict(rows=rows, next=(queue["next"] + len(x)) % 16)


def from_rows(x, rows):
    return jnp.abs(x).sum() + jnp.abs(x @ rows.T).sum()


def test_the_grid_sees_a_queue_that_is_nan_from_the_second_step(module):
    """The mean of the old rows is 0 / 0 only once the queue has moved."""

    def apply(state, embeddings, labels, *, where=None):
        queue, x = state["memory"], tuples.checked_rows(embeddings, labels, where)[0]
        share = jnp.where(queue["next"] > 0, jnp.nan, 1.0)
        value = from_rows(x, queue["rows"]) * share
        return value, {**state, "memory": fill(queue, x)}

    verdict, detail = run_steps(module, "queue", apply)
    assert verdict == "FAIL"
    assert "value or gradient not finite at step 2" in detail


def test_the_grid_sees_a_memory_that_is_nan(module):
    def apply(state, embeddings, labels, *, where=None):
        queue, x = state["memory"], tuples.checked_rows(embeddings, labels, where)[0]
        norms = jnp.linalg.norm(x, axis=1)[:, None]  # a row of zeros: 0 / 0
        return from_rows(x, 0 * queue["rows"]), {
            **state,
            "memory": fill(queue, x / norms),
        }

    verdict, detail = run_steps(module, "memory", apply)
    assert verdict == "FAIL"
    assert "memory.rows not finite at step" in detail


@pytest.mark.parametrize(
    ("after", "says"),
    [
        (lambda state: {}, "the returned state has no memory.next"),
        (lambda state: {**state, "extra": jnp.zeros(2)}, "has extra, init gives none"),
        (
            lambda state: jax.tree.map(lambda a: a.astype(jnp.float32), state),
            "memory.next becomes float32[], it was int32[]",
        ),
    ],
)
def test_the_grid_sees_a_loss_that_drops_its_state(module, after, says):
    def apply(state, embeddings, labels, *, where=None):
        return jnp.abs(embeddings).sum(), after(state)

    verdict, detail = run_steps(module, "dropped", apply)
    assert verdict == "FAIL"
    assert says in detail


def test_a_loss_that_draws_is_compared_in_the_mean(module):
    """A good one passes; one that counts left-out rows in its mean does not."""

    def noise(embeddings, labels, where, key):
        x, counted = tuples.checked_rows(embeddings, labels, where)
        kept = jax.random.bernoulli(key, 0.5, labels.shape)
        return jnp.where(kept & counted, jnp.sum(x * x, 1), 0).sum(), counted

    def good(embeddings, labels, *, where=None, key=None):
        total, counted = noise(embeddings, labels, where, key)
        return total / jnp.maximum(counted.sum(), 1)

    def wrong(embeddings, labels, *, where=None, key=None):
        return noise(embeddings, labels, where, key)[0] / len(labels)

    module.good, module.wrong = good, wrong
    verdicts = {}
    for name in ("good", "wrong"):
        measured = measurements.measure(f"a_users_module.{name}")
        verdicts[name], detail = check.rows_left_out(measured)
        assert check.invariances(measured)[0] == "pass"
    assert verdicts == dict(good="pass", wrong="FAIL")
    assert "mean value off by" in detail


def test_the_grid_catches_a_naive_loss(module):
    """A loss as one writes it at first fails where it should."""

    def naive(embeddings, labels, *, where=None):
        gap = embeddings[:, None] - embeddings[None]
        d = jnp.sqrt(jnp.sum(gap**2, -1))
        return jnp.where(labels[:, None] == labels[None], d, -d).mean()

    module.naive = naive
    results = {r.check: r for r in check.run_grid("a_users_module.naive")}
    failed = {name for name, r in results.items() if r.verdict == "FAIL"}
    assert failed >= {"finite", "nothing to learn from", "rows left out"}
    assert "translated" in results["invariances"].detail
    assert "scaled" not in results["invariances"].detail
