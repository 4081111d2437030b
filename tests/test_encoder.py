import ast
import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from configs import default
from siamjax.config import from_dict
from siamjax.models import encoder, norm
from siamjax.types import UsageError

B, T, F = 8, 6, 5
HEADS = dict(
    view=dict(dim=3, norm="sigmoid", features="match"),
    match=dict(dim=4, norm="unit", features="live", statistics_weight=0.5),
)


PLAIN_HEAD = dict(loss="triplet", weight=1.0, features="live", statistics_weight=0.0)


def build(heads=HEADS, **fields):
    """The model of these heads and fields of `config.encoder`, compiled once."""
    return _build(repr((heads, fields)))


@functools.cache
def _build(settings):
    heads, fields = ast.literal_eval(settings)
    config = default.get_config()
    config.encoder.update(dict(hidden=(7,), momentum=0.9, clip=0.0) | fields)
    config.heads = {name: PLAIN_HEAD | head for name, head in heads.items()}
    typed = from_dict(config)
    model = encoder.build_encoder(typed.encoder, typed.heads, features=F)
    return model._replace(
        init=jax.jit(model.init), apply=jax.jit(model.apply, static_argnames="train")
    )


def windows(seed=0):
    shape = (B, T, F)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


LENGTHS = np.array([6, 1, 3, 5, 2, 4, 6, 1], np.int32)


def uneven(points):
    """A scalar with a different slope for each coordinate of `[B, E]`."""
    return (points**2 * (1 + jnp.arange(points.shape[1]))[None]).sum()


def trained(model, steps=2):
    """Parameters, and statistics that have moved."""
    params, stats = model.init(jax.random.key(0))
    for step in range(steps):
        _, stats = model.apply(params, windows(step), LENGTHS, stats, train=True)
    return params, stats


@pytest.mark.parametrize(
    "normalise, pooling, bidirectional, hidden",
    [
        ("none", "mean_max", False, (7,)),
        ("batch", "mean_max", True, (7,)),
        ("batch", "last", True, (7, 6)),
        ("layer", "last", False, (7, 6)),
        ("layer", "attention", True, (7,)),
    ],
)
def test_a_point_is_the_same_alone_in_a_batch_and_padded(
    normalise, pooling, bidirectional, hidden
):
    model = build(
        norm=normalise, pooling=pooling, bidirectional=bidirectional, hidden=hidden
    )
    params, stats = trained(model)
    final = model.finalise(stats)
    x = windows(3)
    together = model.apply(params, x, LENGTHS, final, train=False)
    padding = np.arange(T + 3)[None, :, None] >= LENGTHS[:, None, None]
    longer = np.where(padding, np.nan, np.pad(x, [(0, 0), (0, 3), (0, 0)]))
    padded = model.apply(params, longer, LENGTHS, final, train=False)
    for name, points in together.items():
        np.testing.assert_allclose(padded[name], points, atol=1e-6)
        for row in (1, 4):
            length = LENGTHS[row : row + 1]
            window = x[row : row + 1, : length[0]]
            alone = model.apply(params, window, length, final, train=False)
            np.testing.assert_allclose(alone[name][0], points[row], atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean_max", "last", "attention"])
def test_padding_never_enters_training(pooling):
    model = build(norm="batch", pooling=pooling, bidirectional=True)
    params, stats = model.init(jax.random.key(0))
    padding = np.arange(T)[None, :, None] >= LENGTHS[:, None, None]

    def loss(params, x):
        points, moved = model.apply(params, x, LENGTHS, stats, train=True)
        return sum(uneven(p) for p in points.values()), moved

    slope = jax.jit(jax.value_and_grad(loss, has_aux=True))
    fills = np.float32(0), np.float32(np.nan)
    results = [slope(params, np.where(padding, fill, windows())) for fill in fills]
    for a, b in zip(jax.tree.leaves(results[0]), jax.tree.leaves(results[1])):
        assert np.isfinite(a).all()
        np.testing.assert_array_equal(a, b)


def test_heads_have_their_norms():
    points = build(HEADS | dict(free=dict(dim=2, norm="none")))
    params, stats = points.init(jax.random.key(0))
    out, _ = points.apply(params, windows(), LENGTHS, stats, train=True)
    np.testing.assert_allclose(np.linalg.norm(out["match"], axis=-1), 1, rtol=1e-5)
    assert (out["view"] > 0).all() and (out["view"] < 1).all()
    assert {name: p.shape for name, p in out.items()} == dict(
        match=(B, 4), view=(B, 3), free=(B, 2)
    )


@pytest.mark.parametrize("row", [[0, 0, 0], [1e-30] * 3, [1e-19, 0, 0], [1e15] * 3])
def test_unit_has_a_finite_gradient_everywhere(row):
    x = np.array([row], np.float32)
    value, gradient = jax.value_and_grad(lambda x: uneven(encoder.to_unit_length(x)))(x)
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_unit_hides_no_nan():
    x = jnp.array([[jnp.nan, 1.0], [3.0, 4.0]])
    np.testing.assert_allclose(encoder.to_unit_length(x), [[np.nan] * 2, [0.6, 0.8]])


@pytest.mark.parametrize("features", ["stopped", "match"])
def test_a_stopped_head_moves_nothing_but_itself(features):
    model = build(HEADS | dict(view=dict(HEADS["view"], features=features)))
    params, stats = model.init(jax.random.key(0))

    def slope(head):
        def loss(params):
            points, _ = model.apply(params, windows(), LENGTHS, stats, train=True)
            return uneven(points[head])

        slopes = jax.grad(loss)(params)
        return {k: max(np.abs(g).max() for g in v.values()) for k, v in slopes.items()}

    view, match = slope("view"), slope("match")
    assert view["lstm_0"] == view["match"] == 0 and view["view"] > 0
    assert match["lstm_0"] > 0 and match["view"] == 0


def test_statistics_of_the_wrong_kind_are_an_error_at_once():
    model = build(norm="batch")
    params, stats = model.init(jax.random.key(0))
    final = model.finalise(stats)
    with pytest.raises(UsageError, match=r"was given TrainStats.*encoder.finalise"):
        model.apply(params, windows(), LENGTHS, stats, train=False)
    with pytest.raises(UsageError, match=r"was given FinalStats.*running statistics"):
        model.apply(params, windows(), LENGTHS, final, train=True)
    with pytest.raises(TypeError, match="train"):
        model.apply(params, windows(), LENGTHS, stats)
    with pytest.raises(UsageError, match=r"must be \[B, T, 5\], not \[8, 6, 4\]"):
        model.apply(params, windows()[:, :, :4], LENGTHS, final, train=False)


@pytest.mark.parametrize(
    "fields, said",
    [
        (dict(hidden=()), "config.encoder.hidden is \\(\\): .* at least 1 item"),
        (dict(pooling="mean"), "config.encoder.pooling is 'mean': .*mean_max"),
        (dict(norm="group"), "config.encoder.norm is 'group'"),
        (dict(heads={}), "config.heads is empty"),
        (dict(heads=dict(a=dict(dim=0, norm="unit"))), "config.heads.a.dim is 0"),
        (dict(heads=dict(a=dict(dim=2, norm="l2"))), "config.heads.a.norm is 'l2'"),
        (
            dict(heads=dict(a=dict(dim=2, norm="unit", statistics_weight=-1.0))),
            "heads.a.statistics_weight is -1",
        ),
        (
            dict(heads=dict(HEADS, a=dict(dim=2, norm="none", features="view"))),
            "heads.a.features is 'view': it is one of live, stopped, match",
        ),
        (dict(clip=-1.0), "config.encoder.clip is -1"),
    ],
)
def test_a_wrong_field_is_named(fields, said):
    with pytest.raises(UsageError, match=said):
        build(**fields)


def test_beside_the_learnt_point_stand_statistics_of_the_real_bins():
    heads = dict(
        a=dict(dim=4, norm="unit", statistics_weight=1.5), b=dict(dim=3, norm="sigmoid")
    )
    model = build(heads)
    points = dict(a=np.ones((B, 4), np.float32), b=np.ones((B, 3), np.float32))
    padding = np.arange(T)[None, :, None] >= LENGTHS[:, None, None]
    x = np.where(padding, np.nan, windows())
    out = jax.jit(model.add_statistics)(points, x, LENGTHS)
    np.testing.assert_array_equal(out["b"], points["b"])
    np.testing.assert_array_equal(out["a"][:, :4], points["a"])
    real = [one[:n].astype(np.float64) for one, n in zip(windows(), LENGTHS)]
    want = np.array([np.concatenate([one.mean(0), one.std(0)]) for one in real])
    want *= 1.5 / np.linalg.norm(want, axis=1, keepdims=True)
    np.testing.assert_allclose(out["a"][:, 4:], want, rtol=1e-4, atol=1e-5)
    still = model.add_statistics(points, np.zeros_like(x), LENGTHS)
    np.testing.assert_array_equal(still["a"][:, 4:], 0)


def test_a_head_may_read_the_point_of_another_with_what_is_beside_it():
    model = build()
    params, stats = model.init(jax.random.key(0))
    out, _ = model.apply(params, windows(), LENGTHS, stats, train=True)
    read = np.asarray(
        model.add_statistics(out, windows(), LENGTHS)["match"], np.float64
    )
    assert read.shape == (B, 4 + 2 * F)
    kernel, bias = (np.asarray(params["view"][name]) for name in ("kernel", "bias"))
    logits = read @ kernel + bias[None]
    np.testing.assert_allclose(out["view"], 1 / (1 + np.exp(-logits)), atol=1e-5)


def test_the_lstm_sees_no_more_than_its_clip():
    model, free = build(clip=1.0), build(clip=0.0)
    params, stats = model.init(jax.random.key(0))
    far = np.where(np.abs(windows()) > 1, 7 * windows(), windows())
    near = np.clip(windows(), -1, 1)
    of = [
        each.apply(params, x, LENGTHS, stats, train=True)[0]["match"]
        for each, x in ((model, windows()), (model, far), (free, near))
    ]
    np.testing.assert_array_equal(of[0], of[1])
    np.testing.assert_allclose(of[0], of[2], atol=1e-6)


def descend(model, lengths):
    """`(params, stats, x, steps) -> (params, stats)`: the compiled loop in small."""

    def loss(params, stats, x):
        points, stats = model.apply(params, x, lengths, stats, train=True)
        return uneven(points["match"]), stats

    def body(_, carry):
        params, stats, x = carry
        slopes, stats = jax.grad(loss, has_aux=True)(params, stats, x)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, slopes), stats, x

    def run(params, stats, x, steps):
        return jax.lax.fori_loop(0, steps, body, (params, stats, x))[:2]

    return run


def test_the_same_on_one_device_and_on_eight():
    model = build(norm="batch", bidirectional=True, pooling="attention")
    start, run = model.init(jax.random.key(0)), jax.jit(descend(model, LENGTHS))
    want = run(*start, windows(), 3)
    mesh = Mesh(np.array(jax.devices()), ("data",))
    x = jax.device_put(windows(), NamedSharding(mesh, PartitionSpec("data")))
    got = run(*start, x, 3)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    norm.assert_moved(got[1], 3)


def test_seeds_side_by_side_are_each_seed_alone():
    model = build(norm="batch")
    keys, run = jax.random.split(jax.random.key(0), 3), descend(model, LENGTHS)

    def whole(key):
        return run(*model.init(key), windows(), 3)

    together = jax.jit(jax.vmap(whole))(keys)
    alone = jax.jit(whole)(keys[1])
    for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone)):
        np.testing.assert_allclose(a[1], b, rtol=1e-4, atol=1e-6)


def test_lowers_for_accelerators():
    model = build(norm="batch", bidirectional=True, pooling="attention", hidden=(8, 8))
    params, stats = model.init(jax.random.key(0))
    run = jax.jit(descend(model, LENGTHS))
    platforms = ("cuda", "tpu")
    lowered = jax.export.export(run, platforms=platforms)(params, stats, windows(), 3)
    assert lowered.platforms == platforms
