"""Index arrays of miners: the peer's choices, loops, fixed sizes and even draws."""

import json
import pathlib

import jax
import numpy as np
import pytest

from siamjax import losses
from siamjax.losses import measurements
from siamjax.types import UsageError

STORED = json.loads(
    (pathlib.Path(__file__).parent / "miner_values.json").read_text(encoding="utf-8")
)
X, LABELS = np.float32(STORED["x"]), np.array(STORED["labels"])
SIZE = 700


def mine_all(x, labels):
    """All that the tests look at, as one program: name -> `Mined`, masks or a loss."""
    batch = losses.measure_pairs(x, labels)
    cosine = losses.measure_pairs(x, labels, distance="cosine")
    squared = losses.measure_pairs(x, labels, distance="squared")
    results = dict(batch=batch, ranked=losses.ranked_pairs(*batch, (1, 2), (2, 4)))
    pair_masks = dict(
        multi_similarity=losses.multi_similarity_pairs(*cosine, 0.1),
        margin=losses.margin_pairs(*batch, 0.5, 1.1),
        hardest=losses.hardest_pairs(*batch, 0.3),
    )
    for name in STORED["mined"]:
        kind, *words = name.split()
        if kind == "gap":
            mined = losses.triplets_by_gap(*batch, words[0], 0.3, size=SIZE)
        elif kind == "angle":
            mined = losses.triplets_by_angle(*squared, 35.0, size=SIZE)
        elif kind == "anchor":
            ranges = dict(pos_range=(0.2, 1.2), neg_range=(0.9, 9.0))
            given = ranges if words[2:] else {}
            masks = losses.anchor_pairs(*batch, *words[:2], **given)
            mined = losses.to_pairs(*masks, size=SIZE)
        else:
            mined = losses.to_pairs(*pair_masks[kind], size=SIZE)
        results[name] = mined
    results["next"] = losses.column_triplets(
        losses.next_negative(*batch), batch.pos, size=99
    )
    results["every"] = losses.to_triplets(batch.pos, batch.neg, size=SIZE)
    results["first"] = losses.to_triplets(batch.pos, batch.neg, size=20)
    key = jax.random.key(1)
    results["spread"] = losses.pairs_by_histogram(*batch, key=key, bins=10, per_bin=7)
    hard = losses.to_triplets(*losses.anchor_pairs(*batch, "hard", "hard"), size=12)
    results["loss of rows"] = losses.triplet(x, labels, triplets=hard.rows)
    results["loss"] = losses.triplet(x, labels, mining="hard")
    return results


@pytest.fixture(scope="module")
def mine():
    """`mine_all`, compiled in a third of the usual time."""
    return jax.jit(mine_all).lower(X, LABELS).compile(measurements.FAST_COMPILATION)


@pytest.fixture(scope="module")
def results(mine):
    return mine(X, LABELS)


def to_set(mined):
    """The tuples of `Mined`, which have no others behind the padding."""
    rows = np.asarray(mined.rows)
    kept = rows[rows[:, 0] >= 0]
    assert (rows[len(kept) :] == -1).all() and rows.dtype == np.int32
    assert len(kept) == min(int(mined.number), len(rows))
    tuples = sorted(map(tuple, kept.tolist()))
    assert len(tuples) == len(set(tuples))
    return tuples


@pytest.mark.parametrize("name", STORED["mined"])
def test_what_pytorch_metric_learning_chooses(name, results):
    mined, wanted = to_set(results[name]), sorted(map(tuple, STORED["mined"][name]))
    assert wanted
    if name == "hardest":
        # A share that ends between (a, b) and (b, a), which tie: there one is chosen.
        assert set(wanted) <= set(mined) <= {*wanted, *((b, a) for a, b in wanted)}
    else:
        assert mined == wanted


def test_ranks_leave_out_the_hardest(results):
    pos, neg = map(np.asarray, results["ranked"])
    cost = np.asarray(results["batch"].cost)
    for a in range(len(X)):
        p, n = (
            np.flatnonzero(results["batch"].pos[a]),
            np.flatnonzero(results["batch"].neg[a]),
        )
        far_first, near_first = p[np.argsort(-cost[a, p])], n[np.argsort(cost[a, n])]
        assert set(np.flatnonzero(pos[a])) == set(far_first[:2])
        assert set(np.flatnonzero(neg[a])) == set(near_first[1:4])


def test_one_negative_for_each_pair(results):
    cost, pos, neg = map(np.asarray, results["batch"])
    wanted = [
        (a, p, min(farther, key=lambda n: cost[a, n]))
        for a, p in zip(*np.nonzero(pos))
        for farther in [np.flatnonzero(neg[a] & (cost[a] > cost[a, p]))]
        if len(farther)
    ]
    assert to_set(results["next"]) == sorted(map(tuple, np.array(wanted).tolist()))


def test_what_does_not_fit_is_counted_and_a_key_draws_evenly(results):
    everything, first = to_set(results["every"]), results["first"]
    _, pos, neg = results["batch"]
    assert to_set(first) == everything[:20] and int(first.number) == len(everything)

    @jax.jit
    @jax.vmap
    def draw(key):
        return losses.to_triplets(pos, neg, size=20, key=key).rows

    drawn = np.asarray(draw(jax.random.split(jax.random.key(0), 400)))
    assert len(set(map(tuple, drawn[0].tolist()))) == 20
    flat = drawn.reshape(-1, 3) @ [144, 12, 1]
    assert set(flat) <= set(np.array(everything) @ [144, 12, 1])
    count = np.unique(flat, return_counts=True)[1]
    wanted = 400 * 20 / len(everything)
    assert len(count) == len(everything) and abs(count / wanted - 1).max() < 0.6


def test_a_histogram_is_flat(results):
    cost, pos, neg = map(np.asarray, results["batch"])
    rows = np.asarray(results["spread"].rows)
    for half, mask in ((rows[:70], pos), (rows[70:], neg)):
        kept = half[half[:, 0] >= 0]
        values, drawn = cost[mask], cost[kept[:, 0], kept[:, 1]]
        assert mask[kept[:, 0], kept[:, 1]].all()
        edges = np.linspace(values.min(), values.max(), 11)
        filled = np.histogram(values, edges)[0] > 0
        np.testing.assert_array_equal(np.histogram(drawn, edges)[0], 7 * filled)
    assert int(results["spread"].number) == (rows[:, 0] >= 0).sum()


@pytest.mark.parametrize("labels", [np.arange(12), np.zeros(12, np.int64)])
def test_nothing_to_mine_gives_padding_and_a_loss_of_zero(labels, mine):
    results = mine(X, labels)
    for name in ("gap all", "angle", "anchor hard semihard", "next", "every"):
        assert to_set(results[name]) == []
    assert float(results["loss of rows"]) == 0
    drawn = np.asarray(results["spread"].rows).reshape(2, 70, 2)
    has_pairs = (drawn >= 0).any((1, 2))
    assert list(has_pairs) == [labels[1] == 0, labels[1] != 0]


@pytest.mark.parametrize("key", [None, jax.random.key(0)])
def test_an_empty_batch_gives_padding(key):
    @jax.jit
    def mine_all(x):
        cost, pos, neg = losses.measure_pairs(x, LABELS[:0])
        return [
            losses.to_pairs(pos, neg, size=3, key=key),
            losses.triplets_by_gap(cost, pos, neg, "all", 0.1, size=3, key=key),
            losses.pairs_by_histogram(cost, pos, neg, key=jax.random.key(0), bins=2),
        ]

    for rows, number in mine_all(X[:0]):
        assert (np.asarray(rows) == -1).all() and len(rows) and number == 0


def test_equal_rows_have_one_bin(mine):
    results = mine(np.ones_like(X), LABELS)
    rows = np.asarray(results["spread"].rows)
    assert (rows[:, 0] >= 0).sum() == 2 * 7
    assert to_set(results["gap hard"]) == to_set(results["every"])


def test_a_loss_takes_what_was_mined(results):
    """Batch-hard triplets as indices give the loss that mines them itself."""
    value, wanted = float(results["loss of rows"]), float(results["loss"])
    assert value == pytest.approx(wanted, rel=1e-6) and value > 0


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda m: losses.triplets_by_gap(*m, "hrad", 0.1, size=2), "kind=hrad"),
        (lambda m: losses.triplets_by_angle(*m, 90, size=2), r"\[0, 90\)"),
        (
            lambda m: losses.triplets_by_angle(m[0][:3], *m[1:], 20, size=2),
            r"\[B, B\]",
        ),
        (lambda m: losses.anchor_pairs(*m, "all", "semihard"), "easy or hard"),
        (lambda m: losses.anchor_pairs(*m, "best", "hard"), "positive=best"),
        (lambda m: losses.hardest_pairs(*m, 1.5), r"share=1.5 must be in \(0, 1\]"),
        (lambda m: losses.ranked_pairs(*m, (3, 1), (1, 1)), r"pos_ranks=\(3, 1\)"),
        (lambda m: losses.margin_pairs(m[0], m[1][:1], m[2], 1, 1), "of one shape"),
        (lambda m: losses.margin_pairs(m[0], 1 * m[1], m[2], 1, 1), "pos is int32"),
        (lambda m: losses.next_negative(m[0] > 0, *m[1:]), "cost must hold floats"),
        (lambda m: losses.to_pairs(*m[1:], size=0), "size is 0"),
        (lambda m: losses.to_pairs(*m[1:], size=2, key=0), "one JAX key"),
        (
            lambda m: losses.pairs_by_histogram(*m, key=jax.random.key(0), bins=0),
            "bins is 0",
        ),
    ],
)
def test_what_does_not_fit_gets_a_sentence(call, says, results):
    with pytest.raises(UsageError, match=says):
        call(results["batch"])
