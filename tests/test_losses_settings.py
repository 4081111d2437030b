"""Other settings than the defaults, and other rows than the batch, as in the papers."""

import functools
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from siamjax import losses
from siamjax.losses import LOSSES, Reduction, References, reductions, resolve
from siamjax.types import UsageError
from tests import reference, references

E, CLASSES = 5, 4
RNG = np.random.default_rng(11)
LABELS = np.array([2, 0, 1, 0, 2, 1, 0, 3, 0, 1, 0, 2, 0, 0])
X = RNG.normal(size=(len(LABELS), E))
QUERIES = np.array([0, 3, 4, 7, 9])
GALLERY = np.setdiff1d(np.arange(len(LABELS)), QUERIES)


def value(spec, x, labels, references=None):
    """`(value, params)` of a loss in float64, with its initial params."""
    loss = resolve(spec)
    with jax.enable_x64(True):
        state = loss.init(jax.random.key(0), CLASSES, E)
        state = jax.tree.map(lambda a: a.astype(jnp.float64), state)
        given = {} if references is None else dict(references=references)
        loss_value = jax.jit(functools.partial(loss.apply, state))(x, labels, **given)[
            0
        ]
    return float(loss_value), state.get("params", {})


SETTINGS = {
    "triplet:mining=semihard": dict(mining="semihard"),
    "triplet:mining=easy_positive_semihard,margin=0.7": dict(
        mining="easy_positive_semihard", margin=0.7
    ),
    "triplet:margin=soft,scale=5,reduce=all": dict(
        margin="soft", scale=5, reduce_by="all"
    ),
    "triplet:margin=soft,soft_margin=0.7,mining=hard": dict(
        margin="soft", soft_margin=0.7, mining="hard"
    ),
    "triplet:distance=manhattan,margin=2.0,reduce=anchor": dict(
        distance=reference.manhattan, margin=2.0, reduce_by="anchor"
    ),
    "triplet:reduce=class": dict(reduce_by="class"),
    "triplet:reduce=sum": dict(reduce_by="sum"),
    "contrastive:pos_margin=0.3,neg_margin=2.5,power=1,reduce=class": dict(
        pos_margin=0.3, neg_margin=2.5, power=1, reduce_by="class"
    ),
    "contrastive:distance=cosine,pos_margin=0.9,neg_margin=0.1": dict(
        distance=reference.cosine, pos_margin=0.9, neg_margin=0.1, sign=-1
    ),
    "snr:regulariser=0.1": dict(regulariser=0.1),
    "infonce:symmetric=True": dict(symmetric=True),
    "prototypical:shots=1": dict(shots=1),
    "prototypical:shots=2": dict(shots=2),
    "multi_similarity:epsilon=None,alpha=8,base=0.3": dict(
        epsilon=None, alpha=8, base=0.3
    ),
    "smooth_ap:count_self=True,temperature=0.1": dict(count_self=True, temperature=0.1),
    "ranked_list:pos_scale=2.0,balance=0.3": dict(pos_scale=2.0, balance=0.3),
    "margin:per_class=True,nu=0.1": dict(per_class=True, nu=0.1),
    "soft_triple:centers=2,tau=0.5": dict(centers=2, tau=0.5),
    "arcface:margin=60,centers=3": dict(margin=60, centers=3),
    "sphereface:margin=3": dict(margin=3),
    "hard_contrastive:prior=0.3,hardness=0.0": dict(prior=0.3, hardness=0.0),
    "potential_field:centers=1,power=2.0,delta=0.7": dict(
        centers=1, power=2.0, delta=0.7
    ),
    "manifold:proxies=3,passing=0.5,context=0.2,margin=0.1": dict(
        passing=0.5, context=0.2, margin=0.1
    ),
    "large_margin_softmax:margin=1": dict(margin=1),
    "adaface:margin=0.6,rate=1.0,concentration=0.9": dict(margin=0.6, rate=1.0, h=0.9),
    "magface:low_norm=0.5,high_norm=4.0,low_margin=5.0": dict(
        low_norm=0.5, high_norm=4.0, low_margin=5.0
    ),
    "curricularface:rate=0.5,margin=70.0": dict(rate=0.5, margin=70.0),
    "decoupled:sigma=0.5": dict(sigma=0.5),
    "recall_at_k:ks=(1,3),temperature=0.1,rank_temperature=0.5": dict(
        ks=(1, 3), temperature=0.1, rank_temperature=0.5
    ),
    "sup_ap:temperature=0.1,slope=20.0,delta=0.3": dict(
        temperature=0.1, slope=20.0, delta=0.3
    ),
    "pnp:form=O": dict(form="O"),
    "pnp:form=Ds": dict(form="Ds"),
    "pnp:form=Iu": dict(form="Iu"),
    "pnp:form=Ib,b=3.0": dict(form="Ib", b=3.0),
    "pnp:alpha=4.0": dict(alpha=4.0),
    "contextual:neighbours=6,epsilon=0.2": dict(neighbours=6, epsilon=0.2),
    "alignment:power=3": dict(power=3),
    "robust_infonce:robustness=0.1,density=0.2,temperature=0.2": dict(
        robustness=0.1, density=0.2, temperature=0.2
    ),
}


@pytest.mark.parametrize("spec", SETTINGS)
def test_other_settings_are_as_in_the_paper(spec):
    loss_value, state = value(spec, X, LABELS)
    name = spec.partition(":")[0]
    state = {k: np.asarray(v) for k, v in state.items()}
    wanted = references.LOSSES[name](X, LABELS.tolist(), state, **SETTINGS[spec])
    assert loss_value == pytest.approx(wanted, rel=1e-9)


def test_lossless_as_it_was():
    x = 1 / (1 + np.exp(-X))
    loss_value, _ = value("lossless:form=original,beta=6", x, LABELS)
    wanted = reference.lossless(x, LABELS.tolist(), beta=6, epsilon=1e-8)
    assert loss_value == pytest.approx(wanted, rel=1e-9)


def crossed(labels):
    """Queries have positives and negatives in the gallery, and the gallery none."""
    return [
        (
            [j for j in GALLERY if labels[j] == label],
            [j for j in GALLERY if labels[j] != label],
        )
        if i in QUERIES
        else ([], [])
        for i, label in enumerate(labels)
    ]


def crossed_and_within(labels):
    """The same, and rows of the gallery have negatives there."""
    return [
        (pos, [j for j in GALLERY if labels[j] != labels[i]] if i in GALLERY else neg)
        for i, (pos, neg) in enumerate(crossed(labels))
    ]


@pytest.mark.parametrize(
    "name", sorted(n for n in LOSSES if "references" in resolve(n).uses)
)
def test_p5_queries_against_a_gallery(name, monkeypatch):
    """Anchors and references are other rows, of another number."""
    gallery = References(X[GALLERY], LABELS[GALLERY], anchor_rows=-1)
    loss_value, state = value(name, X[QUERIES], LABELS[QUERIES], gallery)
    # It looks at the negatives of both rows of a pair.
    sides = crossed_and_within if name == "lifted" else crossed
    monkeypatch.setattr(reference, "sides", sides)
    state = {k: np.asarray(v) for k, v in state.items()}
    wanted = references.LOSSES[name](X, LABELS.tolist(), state)
    assert loss_value != 0
    assert loss_value == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("distance", ["euclidean", "snr"])
def test_p5_lifted_takes_the_batch_as_references(distance):
    itself = References(X, LABELS, anchor_rows=np.arange(len(X)))
    spec = f"lifted:distance={distance}"
    wanted, _ = value(spec, X, LABELS)
    assert value(spec, X, LABELS, itself)[0] == pytest.approx(wanted, rel=1e-9)


def test_p5_swap_takes_no_references():
    """The oracle's swap with a memory reads the wrong distances: 0.71 for 0.76."""
    with pytest.raises(UsageError, match="swap needs"):
        gallery = References(X, LABELS, anchor_rows=np.arange(4))
        value("triplet:swap=True", X[:4], LABELS[:4], gallery)


def test_explicit_pairs_and_triplets_are_those_of_all():
    """Every pair or triplet by its indices, and padding, give what mining all gives."""
    rows = range(len(LABELS))
    pairs = [(i, j) for i in rows for j in rows if i != j]
    positives = [(a, p) for a, p in pairs if LABELS[a] == LABELS[p]]
    triplets = [(a, p, n) for a, p in positives for n in rows if LABELS[a] != LABELS[n]]
    kinds = dict.fromkeys(("contrastive", "snr", "manhattan_lstm", "weighted_l1"), 2)
    kinds |= dict.fromkeys(("triplet", "lossless"), 3)
    losses = {name: resolve(name) for name in kinds}
    padded = {
        width: np.concatenate([index, np.full((3, width), -1)])
        for width, index in ((2, pairs), (3, triplets))
    }

    @jax.jit  # one compilation for all
    def values(x, padded):
        results = {}
        for name, width in kinds.items():
            loss, rows = losses[name], jax.nn.sigmoid(x) if name == "lossless" else x
            state = loss.init(jax.random.key(0), CLASSES, E)
            tuples = {{2: "pairs", 3: "triplets"}[width]: padded[width]}
            mined = loss.apply(state, rows, LABELS)[0]
            results[name] = mined, loss.apply(state, rows, LABELS, **tuples)[0]
        return results

    for name, (mined, given) in values(np.float32(X), padded).items():
        assert mined != 0, name
        assert float(given) == pytest.approx(float(mined), rel=2e-5), name


def test_reductions_by_hand():
    """Three anchors of classes 0, 0, 1 with terms (1, 0, 3), (2), none."""
    costs = jnp.array([[1.0, 0, 3], [2, 0, 0], [0, 0, 0]])
    valid = jnp.array([[True, True, True], [True, False, False], [False] * 3])
    terms = reductions.sum_terms(costs, valid)
    labels = jnp.array([0, 0, 1])
    by_anchor = (4 / 3 + 2) / 2
    wanted = dict(sum=6, all=6 / 4, active=6 / 3, anchor=by_anchor)
    wanted["class"] = by_anchor
    wanted |= {"divisor(4)": 6 / 4, "threshold(0.5,2.5)": (1 + 2) / 2}
    wanted["class_weights(2.0,7.0)"] = 2 * 6 / 4
    assert {how for how in wanted if "(" not in how} | {"none"} == set(
        get_args(get_args(Reduction)[0])
    )
    for how, number in wanted.items():
        loss = reductions.reduce_costs(costs, valid, how, labels)
        assert float(loss) == pytest.approx(number), how
    rows = reductions.reduce_terms(terms, "none", labels)
    np.testing.assert_allclose(rows, [4 / 3, 2, 0], rtol=1e-6)
    assert np.isnan(reductions.reduce_terms(terms, "class_weights(1)", 1 + labels))
    # Were the second anchor of the other class, each class would count alike.
    more = reductions.sum_terms(
        jnp.array([[1.0], [2.0], [6.0]]), jnp.ones((3, 1), bool)
    )
    by_class = reductions.reduce_terms(more, "class", labels)
    assert float(by_class) == pytest.approx((1.5 + 6) / 2)
    none = reductions.sum_terms(costs, jnp.zeros((3, 3), bool))
    assert all(float(reductions.reduce_terms(none, how, labels)) == 0 for how in wanted)
    for how in ("average", "divisor(0)", "threshold(2,1)", "class_weights(1,-1)"):
        with pytest.raises(UsageError, match="active, all, anchor, class, sum"):
            reductions.reduce_terms(terms, how)
    with pytest.raises(UsageError, match="needs each term, but lossless adds"):
        LOSSES["lossless"](X, LABELS, reduce="threshold(0,1)")
    assert losses.threshold(0, 1.5) == "threshold(0.0,1.5)"
    assert losses.class_weights(1, 2) == "class_weights(1.0,2.0)"
    with pytest.raises(UsageError, match="n above 0"):
        losses.divisor(-1)


def test_a_threshold_at_0_leaves_the_active_terms():
    shares = ("threshold(0.0,1e9)", "active")
    kept, active = jax.jit(
        lambda x: [LOSSES["triplet"](x, LABELS, reduce=how) for how in shares]
    )(np.float32(X))
    assert float(kept) == pytest.approx(float(active), rel=1e-6)


# Settings that one may learn; quickly for those that had no gradient.
LEARNT = {"triplet:mining=semihard_set": ("margin",), "triplet:margin=soft": ("scale",)}
LEARNT_TOO = {
    "contrastive:power=1.5,neg_margin=4.0": ("pos_margin", "neg_margin", "power"),
    "lossless:beta=4.0,epsilon=0.3": ("beta", "epsilon"),
    "angular": ("angle",),
    "tuplet_margin": ("margin", "scale"),
    "arcface": ("margin", "scale"),
    "margin:nu=0.1": ("margin", "boundary", "nu"),
    "sigmoid_pairs": ("scale", "bias"),
    "soft_triple": ("tau", "gamma", "margin"),
}


@pytest.mark.parametrize(
    "learnt", [LEARNT, pytest.param(LEARNT_TOO, marks=pytest.mark.slow)]
)
def test_settings_have_the_gradient_of_finite_differences(learnt):
    """The margin of `semihard_set` had none, the scale of the soft margin raised."""
    step, settings = 1e-6, [(s, n) for s, names in learnt.items() for n in names]

    def value(number, spec, name, x):
        loss = resolve(spec, {name: number})
        state = loss.init(jax.random.key(0), CLASSES, E)
        rows = jax.nn.sigmoid(x) if spec.startswith("lossless") else x
        return loss.apply(state, rows, LABELS)[0]

    def difference(number, *where):
        above, below = (value(number + s, *where) for s in (step, -step))
        return (above - below) / (2 * step)

    @jax.jit  # one compilation for all
    def slopes(x, numbers):
        pairs = zip(numbers, settings)
        return [
            (jax.grad(value)(number, *where, x), difference(number, *where, x))
            for number, where in pairs
        ]

    numbers = [float(resolve(spec).hyper[name] or 0.5) for spec, name in settings]
    with jax.enable_x64(True):
        answers = slopes(jnp.asarray(X), [jnp.float64(v) for v in numbers])
    for where, (slope, wanted) in zip(settings, answers):
        assert float(slope) == pytest.approx(float(wanted), rel=1e-4, abs=1e-7), where
        assert float(slope) != 0, where


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (dict(power=0.5), "power=0.5 must be at least 1"),
        (dict(neg_margin=[1.0]), r"neg_margin=\[1.0\] must be a number"),
        (
            dict(neg_margin=np.ones(3)),
            r"neg_margin=an array of shape \[3\] must be a num",
        ),
        (dict(power="2"), "power=2 must be a number"),
        (dict(neg_margin=None), "neg_margin=None must be a number"),
        (dict(neg_margin=True), "neg_margin=True must be a number"),
    ],
)
def test_a_call_with_what_is_no_number_is_refused(settings, says):
    with pytest.raises(UsageError, match=says):
        LOSSES["contrastive"](X, LABELS, **settings)


def test_numbers_of_any_type_are_numbers():
    wanted = float(LOSSES["multi_similarity"](X, LABELS, alpha=1.0, epsilon=1.0))
    for one in (1, np.float32(1), np.int64(1), np.ones(()), jnp.ones(())):
        loss = LOSSES["multi_similarity"](X, LABELS, alpha=one, epsilon=one)
        assert float(loss) == wanted
    assert resolve("multi_similarity:epsilon=1").hyper["epsilon"] == 1


def test_what_a_program_depends_on_is_not_traced():
    with pytest.raises(UsageError, match="bins is traced: it decides what the program"):
        jax.jit(lambda bins: LOSSES["fastap"](X, LABELS, bins=bins))(10)


def test_gathered_references_work_in_a_shard_map():
    """With the check of what varies over devices: loops started from what does not."""
    specs = ("triplet:margin=soft", "fastap", "manhattan_lstm", "weighted_l1")
    losses = [resolve(spec) for spec in specs]
    mesh, rows = jax.sharding.Mesh(np.array(jax.devices()), ("data",)), len(X) + 2
    x = np.float32(RNG.normal(size=(rows, E)))
    labels = np.arange(rows) % 4
    states = [loss.init(jax.random.key(0), CLASSES, E) for loss in losses]

    def totals(x, labels, references):
        """Sums over anchors: they add up over devices."""
        parts = zip(losses, states)
        values = [
            loss.apply(s, x, labels, references=references)[0] for loss, s in parts
        ]
        return jnp.stack(values) * len(x)

    def local(x, labels):
        gathered = (jax.lax.all_gather(a, "data", tiled=True) for a in (x, labels))
        place = jax.lax.axis_index("data") * len(x) + jnp.arange(len(x))
        values = totals(x, labels, References(*gathered, anchor_rows=place))
        return jax.lax.psum(values, "data")

    def value_and_slope(function, x):
        return function(x), jax.grad(lambda x: function(x).sum())(x)

    data = jax.sharding.PartitionSpec("data")
    spread = jax.shard_map(
        local, mesh=mesh, in_specs=(data, data), out_specs=jax.sharding.PartitionSpec()
    )
    value, slope = jax.jit(lambda x: value_and_slope(lambda x: spread(x, labels), x))(x)
    assert np.isfinite(value).all() and np.isfinite(slope).all()
    by_device = []
    for i in range(8):
        own = slice(2 * i, 2 * i + 2)
        others = References(x, labels, anchor_rows=np.arange(rows)[own])
        by_device.append(jax.jit(totals)(x[own], labels[own], others))
    np.testing.assert_allclose(value, np.sum(by_device, 0), rtol=1e-5)


def test_sub_center_outliers_are_far_from_the_main_center():
    """Class 0 has its main center along x, class 1 along y; the fourth row of class 0
    is nearest to its other center, the last row counts not."""
    weights = np.array([[1.0, 0], [0, 1], [0, -1], [0, 1]])
    x = np.array([[1, 0.1], [1, -0.2], [1, 0.3], [0.1, 1], [0.1, 2], [-1, 0.2]])
    x = np.concatenate([x, [[-1, 0]]])
    labels, where = np.array([0, 0, 0, 0, 1, 1, 0]), np.arange(7) != 6
    outliers = losses.sub_center_outliers(weights, x, labels, 2, where=where)
    assert outliers.tolist() == [False, False, False, True, False, True, False]


def test_penalties_on_class_weights():
    """By hand on the weights of the loss; of a loss without such weights, an error."""
    for by in ("regular_face", "norm"):
        loss_value, state = value(f"regular_weights:by={by},weight=0.5", X, LABELS)
        w = np.asarray(state["weights"])
        cosines = np.array([[reference.cosine(a, b) for b in w] for a in w])
        np.fill_diagonal(cosines, -1)
        nearest, norms = cosines.max(1).mean(), (w * w).sum(1).mean()
        penalty = nearest if by == "regular_face" else norms
        wanted = reference.cosface(X, LABELS, {"weights": w}) + 0.5 * penalty
        assert loss_value == pytest.approx(wanted, rel=1e-9), by
    with pytest.raises(UsageError, match=r"loss \(?triplet\)? has no class weights"):
        resolve("regular_weights:loss=(triplet)")
