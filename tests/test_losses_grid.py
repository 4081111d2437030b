"""Every registered loss through the grid of `losses.check`, and against its paper."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from siamjax.losses import LOSSES, check, edge_cases, resolve
from siamjax.losses.edge_cases import Batch
from tests import reference

# One of each kind: exact counts, softmax, a loop over positives, weights, a ring.
FIVE = ("triplet", "ntxent", "smooth_ap", "proxy_anchor", "memory")
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


measured = functools.cache(check.measure)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_the_grid_and_the_paper(name):
    """The paper on unsorted, unbalanced labels, with singletons, in float64."""
    m = measured(name)
    grid = check.GRID | (check.LONG if name in FIVE else {})
    results = {name: run_check(m) for name, run_check in grid.items()}
    assert {k: r for k, r in results.items() if r[0] == "FAIL"} == {}
    state = {k: np.asarray(v, float) for k, v in m.state.get("params", {}).items()}
    for which in ("base", "a duplicate", "random 0", "random 1", "random 2"):
        batch = m.batches[which]
        wanted = reference.LOSSES[name](batch.x, batch.labels.tolist(), state)
        assert m.double.value[which] == pytest.approx(wanted, rel=1e-9, abs=1e-12), (
            which
        )


def test_every_loss_has_a_reference_and_known_invariances():
    assert set(reference.LOSSES) == set(LOSSES) == set(check.INVARIANT)


@pytest.mark.slow
@pytest.mark.parametrize("spec", sorted(set(LOSSES) - set(FIVE)))
def test_half_precision_of_every_loss(spec):
    assert check.half_precision(measured(spec))[0] == "pass"


@pytest.mark.slow
@pytest.mark.parametrize("spec", VARIANTS)
def test_the_grid_on_other_settings(spec):
    results = {r.check: r for r in check.run_grid(spec)}
    results.pop("invariances")  # those of the default
    if "memory" in spec or "distance_weighted" in spec:
        results.pop("finite differences")  # a part is held constant, or drawn anew
        results.pop("rows left out")
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
    run = jax.jit(lambda b: check.evaluate(loss, state, b), in_shardings=(rows,))
    return jax.tree.map(np.asarray, run(batch))


def agree_on_devices(spec):
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, on_devices(spec, 1), on_devices(spec, 8))


@pytest.mark.parametrize("spec", FIVE)
def test_p8_one_device_and_eight_agree(spec):
    agree_on_devices(spec)


@pytest.mark.slow
@pytest.mark.parametrize("spec", sorted(set(LOSSES) - set(FIVE)))
def test_p8_one_device_and_eight_agree_on_every_loss(spec):
    agree_on_devices(spec)


def agree_without_jit(spec):
    """Op by op, of one batch alone, as compiled with all batches at once."""
    m = measured(spec)
    batch = m.batches["random 0"]._replace(x=np.float32(m.batches["random 0"].x))
    value, (slope, _) = check.evaluate(m.loss, m.state, batch)
    assert float(value) == pytest.approx(m.single.value["random 0"], rel=1e-5)
    assert check.relative_error(slope, m.single.slope["random 0"]) <= 1e-5


def test_without_jit_the_same():
    agree_without_jit("contrastive")


@pytest.mark.slow
@pytest.mark.parametrize("spec", sorted(set(LOSSES) - {"contrastive"}))
def test_without_jit_every_loss_is_the_same(spec):
    agree_without_jit(spec)


def test_the_grid_catches_a_naive_loss():
    """A loss as one writes it at first fails where it should."""
    import sys
    import types

    def naive(embeddings, labels, *, where=None):
        gap = embeddings[:, None] - embeddings[None]
        d = jnp.sqrt(jnp.sum(gap**2, -1))
        return jnp.where(labels[:, None] == labels[None], d, -d).mean()

    module = types.ModuleType("a_users_module")
    module.naive = naive
    sys.modules["a_users_module"] = module
    try:
        results = {r.check: r for r in check.run_grid("a_users_module.naive")}
    finally:
        del sys.modules["a_users_module"]
    failed = {name for name, r in results.items() if r.verdict == "FAIL"}
    assert failed >= {"finite", "nothing to learn from", "rows left out"}
    assert "translated" in results["invariances"].detail
    assert "scaled" not in results["invariances"].detail
