"""`reduce="none"`: one loss for each row, of every loss that has rows."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from siamjax.losses import LOSSES, References, guard, resolve
from siamjax.types import UsageError
from tests import reference, reference_rankings, reference_spread
from tests.reference import euclidean, mean, sides

RNG = np.random.default_rng(7)
B, E, CLASSES = 10, 4, 4
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 3, 0])
X = RNG.uniform(0, 1, (B, E)).astype(np.float32)
LEFT_OUT = 4
WHERE = np.arange(B) != LEFT_OUT
COUNTED = X[WHERE].astype(float), LABELS[WHERE].tolist()
WITH_REDUCTION = {
    name for name, f in LOSSES.items() if "reduce" in inspect.signature(f).parameters
}
# The term of a row depends on others that it is not compared with: on a mean or a norm
# over the batch, on its neighbours, on the pairs that are formed.
OF_THE_BATCH = {
    "adaface",
    "contextual",
    "curricularface",
    "decoupled",
    "dynamic_soft_margin",
    "elasticface",
    "gist",
    "infonce",
    "intra_pair_variance",
    "koleo",
    "lossless",
    "manifold",
    "npairs",
    "potential_field",
    "prototypical",
    "proxy_anchor",
}
# One of each kind: two means, weighted counts, a sum over pairs, a penalty, a memory.
QUICK = {
    "center",
    "cosface",
    "margin",
    "ring",
    "roadmap",
    "sigmoid_pairs",
    "soft_triple",
    "spectral_contrastive",
    "supcon",
    "threshold_consistent",
    "triplet",
    "weighted_l1",
    "zero_mean",
}


def initial_state(loss):
    return loss.init(jax.random.key(0), CLASSES, E)


def row_losses(name, x):
    """The loss of each row, and that of each row as the only anchor."""
    rows_loss, loss = (resolve(f"{name}:reduce={how}") for how in ("none", "all"))
    state = initial_state(loss)

    def alone(row):
        if "references" not in loss.uses:
            only = WHERE & (jnp.arange(B) == row)
            return loss.apply(state, x, LABELS, where=only)[0]
        others = References(x, LABELS, WHERE, anchor_rows=row[None])
        x_row, label, counts = (jnp.asarray(a)[row][None] for a in (x, LABELS, WHERE))
        return loss.apply(state, x_row, label, where=counts, references=others)[0]

    rows = rows_loss.apply(state, x, LABELS, where=WHERE)[0]
    return rows, jax.vmap(alone)(jnp.arange(B))


@pytest.mark.parametrize(
    "names",
    [QUICK, pytest.param(WITH_REDUCTION - OF_THE_BATCH, marks=pytest.mark.slow)],
    ids=["quick", "all"],
)
def test_the_loss_of_a_row_is_that_of_the_row_as_the_only_anchor(names):
    results = jax.jit(lambda x: {name: row_losses(name, x) for name in names})(X)
    for name, (rows, alone) in results.items():
        assert rows.shape == (B,) and rows[LEFT_OUT] == 0, name
        assert np.ptp(np.delete(rows, LEFT_OUT)) > 0, name
        if name == "soft_triple":
            alone = np.where(WHERE, alone, 0)  # its penalty does not need a row
        np.testing.assert_allclose(rows, alone, 2e-5, 1e-6, err_msg=name)


def at_counted(values):
    rows = np.zeros(B)
    rows[WHERE] = values
    return rows


def test_the_loss_of_each_row_of_losses_of_the_whole_batch():
    """Against plain loops; their mean is the loss by default."""
    proxies = {
        name: initial_state(resolve(name))["params"]
        for name in ("manifold", "potential_field", "proxy_anchor")
    }
    pull, push = reference.proxy_anchor_sides(*COUNTED, proxies["proxy_anchor"])
    points = reference_spread.potential_field_points(
        *COUNTED, proxies["potential_field"]
    )
    wanted = dict(
        koleo=at_counted(reference.koleo_rows(*COUNTED)),
        manifold=at_counted(
            reference_spread.manifold_rows(*COUNTED, proxies["manifold"])
        ),
        contextual=at_counted(reference_rankings.contextual_rows(*COUNTED)),
        proxy_anchor=np.add(pull, push),  # every class is in the batch
        potential_field=np.append(at_counted(points[: B - 1]), points[B - 1 :]),
    )

    @jax.jit
    def values(x):
        specs = {name: (f"{name}:reduce=none", name) for name in wanted}
        return {
            name: [
                loss.apply(initial_state(loss), x, LABELS, where=WHERE)[0]
                for loss in map(resolve, both)
            ]
            for name, both in specs.items()
        }

    for name, (rows, default) in values(X).items():
        np.testing.assert_allclose(rows, wanted[name], 1e-4, 1e-5, err_msg=name)
        terms = rows[rows != 0] if name != "proxy_anchor" else rows
        assert float(default) == pytest.approx(float(terms.mean()), rel=1e-5), name


def test_the_reductions_of_terms_that_count_several_times():
    """Those of `margin`: a positive counts once for each negative."""
    terms = []
    for i, (pos, neg) in enumerate(sides(COUNTED[1])):
        x = COUNTED[0]
        pulls = [max(0, euclidean(x[i], x[p]) - 1.0) for p in pos for _ in neg]
        pushes = [max(0, 1.4 - euclidean(x[i], x[n])) for n in neg for _ in pos]
        terms.append(pulls + pushes)
    flat = [term for row in terms for term in row]
    wanted = dict(
        active=mean(t for t in flat if t > 0),
        all=mean(flat),
        sum=sum(flat),
        anchor=mean(mean(row) for row in terms if row),
    )
    wanted["threshold(0.5,0.9)"] = mean(t for t in flat if 0.5 < t < 0.9)
    specs = {how: f"margin:nu=0.5,reduce={how}" for how in wanted}

    @jax.jit
    def values(x):
        return {
            how: loss.apply(initial_state(loss), x, LABELS, where=WHERE)[0]
            for how, loss in ((how, resolve(spec)) for how, spec in specs.items())
        }

    for how, loss in values(X).items():
        # nu times the boundary is no term: it is added once.
        assert float(loss) == pytest.approx(wanted[how] + 0.5 * 1.2, rel=1e-5), how


def test_a_penalty_is_added_to_each_row_that_has_terms():
    loss, plain = (resolve(f"snr:regulariser={r},reduce=none") for r in (0.5, 0))
    rows, plain_rows = jax.jit(
        lambda x: [spec.apply({}, x, LABELS, where=WHERE)[0] for spec in (loss, plain)]
    )(X)
    penalty = 0.5 * mean(abs(row.sum()) for row in COUNTED[0])
    np.testing.assert_allclose(rows, plain_rows + penalty * WHERE, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(set(LOSSES) - WITH_REDUCTION))
def test_a_loss_without_rows_says_why(name):
    why = guard.why_no_reduction(LOSSES[name])
    message = f"loss {name} takes no reduce: {why}"
    arguments = () if guard.is_stateful(LOSSES[name]) else (X, LABELS)
    with pytest.raises(UsageError) as error:
        LOSSES[name](*arguments, reduce="none")
    assert str(error.value) == message
    with pytest.raises(UsageError) as error:
        resolve(f"{name}:reduce=none")
    assert str(error.value) == message
    if "as in " in why:
        resolve(why.partition("as in ")[2])


def test_a_sum_needs_values_of_one_shape():
    both = resolve("triplet:reduce=none+2*koleo:reduce=none")

    @jax.jit
    def values(x):
        names = ("triplet", "koleo")
        parts = [LOSSES[name](x, LABELS, reduce="none") for name in names]
        return both.apply({}, x, LABELS)[0], parts

    rows, parts = values(X)
    np.testing.assert_allclose(rows, parts[0] + 2 * parts[1], rtol=1e-6)
    with pytest.raises(UsageError, match=r"has the shape \[10\], loss koleo \[\]"):
        jax.eval_shape(
            lambda x: resolve("triplet:reduce=none+2*koleo").apply({}, x, LABELS), X
        )


def test_a_sum_of_losses_with_other_anchors_says_so():
    loss = resolve("triplet:reduce=none+proxy_anchor:reduce=none")
    with pytest.raises(UsageError, match=r"\[10\], .* \[4\]: their anchors differ"):
        jax.eval_shape(lambda x: loss.apply(initial_state(loss), x, LABELS), X)


def test_a_penalty_on_weights_is_of_no_row():
    with pytest.raises(UsageError, match="leave reduce=none out"):
        resolve("regular_weights:loss=(cosface:reduce=none)")
