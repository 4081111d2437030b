"""Every range that is declared is one of its loss, and any of its values works."""

import jax
import numpy as np
import pytest

from siamjax.losses import LOSSES, edge_cases, regularisers, resolve, search
from siamjax.losses.search import SEARCH, Range

# Losses that stand beside another one, or around it.
BESIDE = {name for name in LOSSES if hasattr(regularisers, name)}
BESIDE |= {"center", "memory", "mined", "matryoshka", "alignment", "negative_cosine"}
BESIDE |= {"threshold_consistent", "orthogonal_projection", "global_orthogonal"}
BESIDE |= {"anti_collapse", "ring", "regular_weights"}


def test_every_loss_that_trains_alone_has_an_entry():
    assert {key.partition(":")[0] for key in SEARCH} == set(LOSSES) - BESIDE


def ends(found):
    return found[:2] if isinstance(found, Range) else (found[0], found[-1])


@pytest.mark.parametrize("spec", SEARCH)
def test_the_corners_are_losses(spec):
    """Names, types, and margins that make sense together, both ends of all."""
    ranges = search.space(spec)
    assert ranges == SEARCH[spec]
    x, labels = np.ones((6, 4), np.float32), np.arange(6) // 2
    for side in (0, 1):
        values = {key: ends(span)[side] for key, span in ranges.items()}
        loss = resolve(search.fill(spec, values))
        assert {key: loss.hyper[key] for key in values} == values
        state = loss.init(jax.random.key(0), edge_cases.CLASSES, 4)
        draws = dict(key=jax.random.key(0))
        # Margins are checked when traced.
        jax.eval_shape(loss.apply, state, x, labels, **draws)


@pytest.mark.parametrize("spec", SEARCH)
def test_defaults_are_inside(spec):
    for key, span in SEARCH[spec].items():
        default = resolve(spec).hyper[key]
        if isinstance(span, Range):
            assert span.low < span.high
            assert not (span.log and span.low <= 0)
            assert default is None or span.low <= default <= span.high
        else:
            assert default in span


# Tuned on CUB, Cars and SOP: powerful-benchmarker, configs of the paper's results.
OPTIMA = {
    "triplet": dict(margin=(0.096, 0.119, 0.045)),
    "ntxent": dict(temperature=(0.0091, 0.0219, 0.0002)),
    "contrastive": dict(pos_margin=(0.265, 0.285), neg_margin=(0.384, 0.541, 0.513)),
    "multi_similarity": dict(
        alpha=(0.01, 14.35, 8.49), beta=(50.6, 75.8, 57.4), base=(0.56, 0.66, 0.41)
    ),
    "cosface": dict(margin=(0.62, 0.43, 0.34), scale=(100, 161, 100)),
    "fastap": dict(bins=(17, 27, 16)),
}


def test_the_optima_of_the_reality_check_are_inside():
    for spec, of_hyper in OPTIMA.items():
        for key, values in of_hyper.items():
            span = SEARCH[spec][key]
            assert all(span.low <= value <= span.high for value in values)


def test_what_the_text_sets_is_not_free():
    assert set(search.space("triplet:mining=hard")) == {"margin"}
    assert set(search.space("triplet:margin=soft,mining=hard")) == {"scale"}
    assert search.space("koleo") == {}
    assert search.fill("triplet:mining=hard", {"margin": 0.3}) == (
        "triplet:mining=hard,margin=0.3"
    )
    assert search.fill("triplet", {}) == "triplet"


def test_a_sum_names_the_parts():
    spec = "0.5*ntxent+triplet:mining=all+0.1*koleo"
    assert set(search.space(spec)) == {"0.temperature", "1.margin"}
    loss = resolve(search.fill(spec, {"0.temperature": 0.2, "1.margin": 0.7}))
    assert loss.hyper["0.weight"] == 0.5
    assert (loss.hyper["0.temperature"], loss.hyper["1.margin"]) == (0.2, 0.7)


def mine(embeddings, labels, *, beta=2.0):
    return beta * embeddings.sum()


mine.search = dict(beta=Range(1.0, 9.0))


def test_ones_own_loss_declares_its_own():
    assert search.space(f"{__name__}.mine") == mine.search
    assert search.undeclared(f"{__name__}.mine") == {}


def silent(
    embeddings, labels, *, where=None, reach=0.5, power: float = 2, shift=0.0, hard=True
):
    return reach * embeddings.sum() ** power + shift


def test_a_loss_that_declares_none_is_searched_around_its_defaults():
    spec, reach = f"{__name__}.silent", Range(0.05, 5.0, log=True)
    want = dict(reach=reach, power=Range(0.2, 20.0, log=True))
    assert search.space(spec) == search.undeclared(spec) == want
    assert set(search.undeclared(f"{spec}:power=2.0")) == {"reach"}
    assert set(search.undeclared(f"triplet+0.5*{spec}")) == {"1.reach", "1.power"}
    assert search.undeclared("triplet") == search.undeclared("koleo") == {}
