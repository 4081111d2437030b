"""Metrics against tables by hand, plain loops, all orders of what ties, and peers."""

import itertools
import json
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from siamjax import metrics
from siamjax.metrics import queries, rankings, verification
from siamjax.types import UsageError

STORED = json.loads(
    (pathlib.Path(__file__).parent / "metric_values.json").read_text(encoding="utf-8")
)
MUSGRAVE = ("precision@1", "precision@r", "map@r")
ALL = (
    *MUSGRAVE,
    *("hit_rate@1", "hit_rate@2", "hit_rate@4", "relevant_share@3", "precision@4"),
    *("map", "map@2", "map@5", "mrr", "mrr@2", "ndcg", "ndcg@r", "ndcg@3"),
)


def mean_scores(points, labels, captures=None, names=MUSGRAVE):
    """Means over the queries that have a score."""
    scores = metrics.score_queries(points, labels, names, groups=captures)
    return [metrics.average(scores[name]) for name in names]


def score_one(distances, relevant, names):
    scores = metrics.score_distances(
        np.array([distances], float), np.array([relevant], bool), names
    )
    return [scores[name][0] for name in names]


def query_scores(relevant, r=10):
    """One query at 0 with neighbours at 1, 2, 3, ...; R right ones among them."""
    same = np.zeros(40, bool)
    same[np.array(relevant) - 1] = True
    unfilled = r - len(relevant)
    if unfilled:
        same[-unfilled:] = True  # the others are beyond the R-th place
    return score_one(np.arange(1.0, 41.0), same, MUSGRAVE)


@pytest.mark.parametrize(
    "relevant, want",
    [([1], 0.10), ([1, 10], 0.12), ([1, 2], 0.20), (range(1, 11), 1.0)],
)
def test_map_at_r_by_hand(relevant, want):
    first, r_precision, map_at_r = query_scores(list(relevant))
    assert first == 1.0
    assert r_precision == pytest.approx(len(relevant) / 10)
    assert map_at_r == pytest.approx(want)


def test_scores_by_hand():
    """Relevant rows at places 2, 3 and 6 of 7."""
    wanted = {
        "hit_rate@1": 0,
        "hit_rate@2": 1,
        "precision@5": 2 / 5,
        "relevant_share@5": 2 / 3,
        "map": (1 / 2 + 2 / 3 + 3 / 6) / 3,
        "map@5": (1 / 2 + 2 / 3) / 3,
        "map@2": (1 / 2) / 2,
        "mrr": 1 / 2,
        "mrr@1": 0,
        "ndcg@2": (1 / np.log2(3)) / (1 + 1 / np.log2(3)),
    }
    scores = score_one(range(1, 8), [0, 1, 1, 0, 0, 1, 0], list(wanted))
    np.testing.assert_allclose(scores, list(wanted.values()))


def plain(points, labels, own):
    """The definitions, as loops; no ties."""
    scores = []
    for i in range(len(points)):
        others = [j for j in range(len(points)) if own[j] != own[i]]
        r = sum(labels[j] == labels[i] for j in others)
        if not r:
            continue
        order = sorted(others, key=lambda j: np.linalg.norm(points[j] - points[i]))
        scores.append(plain_scores([labels[j] == labels[i] for j in order]))
    return np.mean(scores, 0)


def plain_scores(right):
    """`ALL` of one ranking, by their definitions."""
    right = np.array(right)
    r, place = right.sum(), np.arange(1, len(right) + 1)
    precision, gain = np.cumsum(right) / place, 1 / np.log2(1 + place)

    def score(text):
        name, _, cut = text.partition("@")
        k = dict(r=r).get(cut) or int(cut or len(right))
        top = right[:k]
        return {
            "hit_rate": top.any(),
            "precision": top.sum() / k,
            "relevant_share": top.sum() / r,
            "map": (top * precision[:k]).sum() / min(k, r),
            "mrr": (top / place[:k]).max(),
            "ndcg": (top * gain[:k]).sum() / gain[: min(k, r)].sum(),
        }[name]

    return [score(name) for name in ALL]


@pytest.mark.parametrize("by_capture", [False, True])
def test_against_loops(by_capture, monkeypatch):
    monkeypatch.setattr(queries, "_BLOCK", 7 * 60)  # several chunks
    rng = np.random.default_rng(0)
    labels, captures = rng.integers(0, 4, 60), rng.integers(0, 15, 60)
    points = rng.normal(size=(4, 3))[labels] + rng.normal(size=(60, 3))
    got = mean_scores(points, labels, captures if by_capture else None, ALL)
    want = plain(points, labels, captures if by_capture else np.arange(60))
    np.testing.assert_allclose(got, want)


@pytest.mark.parametrize("hits", [(1, 3, 4), (1, 4, 5), (0, 2, 3), (4,), (1, 2, 3)])
def test_ties_give_the_mean_over_all_orders(hits):
    distances = np.array([1.0, 2.0, 2.0, 2.0, 3.0, 3.0])
    same = np.isin(np.arange(6), hits)
    scores = [
        plain_scores(same[[0, *middle, *end]])
        for middle in itertools.permutations([1, 2, 3])
        for end in itertools.permutations([4, 5])
    ]
    np.testing.assert_allclose(score_one(distances, same, ALL), np.mean(scores, 0))
    # Alone, so that only the first places are sorted.
    alone = [score_one(distances, same, [name])[0] for name in ALL]
    np.testing.assert_allclose(alone, np.mean(scores, 0))


def test_collapse_is_chance():
    labels = np.repeat(np.arange(5), 9)  # sorted: storage order would score high
    names = ("precision@1", "precision@r", "hit_rate@2", "mrr")
    scores = mean_scores(np.ones((45, 4), np.float32), labels, names=names)
    two = 1 - 36 / 44 * 35 / 43
    np.testing.assert_allclose(scores[:3], [8 / 44, 8 / 44, two])
    assert 8 / 44 < scores[3] < 8 * 8 / 44


def test_labels_beyond_the_floats_do_not_merge():
    labels = np.repeat(2**24 + np.arange(20), 2)
    points = np.repeat(np.arange(20.0), 2)[:, None]
    scores = metrics.score_queries(points, labels, MUSGRAVE)
    np.testing.assert_array_equal(list(scores.values()), np.ones((3, 40)))


@pytest.mark.parametrize("n", [0, 1, 5])
def test_without_a_pair_there_is_no_score(n):
    scores = metrics.score_queries(np.ones((n, 2)), np.arange(n), ALL)
    assert all(score.shape == (n,) for score in scores.values())
    assert np.isnan(list(scores.values())).all()
    assert np.isnan(metrics.average(scores["map"]))
    assert np.isnan(metrics.average(scores["map"], by=np.arange(n)))


def test_one_class_is_perfect_and_duplicates_are_found():
    one_class = metrics.score_queries(np.eye(5), np.zeros(5, int), ALL)
    # Four relevant rows, and nothing else: only the cuts beyond them are lower.
    assert {name for name in ALL if metrics.average(one_class[name]) < 1} == {
        "relevant_share@3"
    }
    pairs = np.repeat(np.random.default_rng(0).normal(size=(6, 3)), 2, 0)
    assert mean_scores(pairs, np.repeat(np.arange(6), 2), names=["map"]) == [1.0]


def test_as_pytorch_metric_learning_has_it():
    """Over queries, and over classes as readouts of a comparison are."""
    points = np.array(STORED["points"], np.float32)
    labels = np.array(STORED["labels"])
    got = mean_scores(points, labels)
    np.testing.assert_allclose(got, STORED["queries"], rtol=1e-6)
    by_query = metrics.score_queries(points, labels, MUSGRAVE)
    by_class = [metrics.average(by_query[name], by=labels) for name in MUSGRAVE]
    np.testing.assert_allclose(by_class, STORED["classes"], rtol=1e-6)


PEER_NAMES = {
    "precision_at_1": "precision@1",
    "r_precision": "precision@r",
    "mean_average_precision_at_r": "map@r",
    "mean_average_precision": "map",
    "mean_reciprocal_rank": "mrr",
}


@pytest.mark.parametrize("where", ["apart", "among"])
def test_a_gallery_as_pytorch_metric_learning_has_it(where):
    points = np.array(STORED["points"], np.float32)
    labels = np.array(STORED["labels"])
    gallery = (
        metrics.Gallery(points[12:], labels[12:], query_rows=-1)
        if where == "apart"
        else metrics.Gallery(points, labels, query_rows=np.arange(12))
    )
    names = list(PEER_NAMES.values())
    scores = metrics.score_queries(points[:12], labels[:12], names, gallery=gallery)
    for peer, name in PEER_NAMES.items():
        wanted = STORED["galleries"][where][peer]
        assert metrics.average(scores[name]) == pytest.approx(wanted, rel=1e-6)


def test_rankings_as_torchmetrics_and_ties_as_scikit_learn():
    stored = STORED["rankings"]
    relevant = np.array(stored["relevant"])
    for key, wanted in (("distances", stored["scores"]), ("rounded", stored["ties"])):
        distances = np.array(stored[key])
        scores = metrics.score_distances(distances, relevant, list(wanted))
        for name, values in wanted.items():
            np.testing.assert_allclose(scores[name], values, rtol=1e-5, err_msg=name)


def test_a_gallery_of_the_queries_themselves_and_some_queries_of_all():
    points = np.array(STORED["points"], np.float32)
    labels = np.array(STORED["labels"])
    of_all = metrics.score_queries(points, labels, ALL, groups=labels // 2)
    rows = np.flatnonzero(labels >= 3)
    gallery = metrics.Gallery(points, labels, rows, labels // 2)
    got = metrics.score_queries(
        jnp.asarray(points[rows]),
        labels[rows],
        ALL,
        gallery=gallery,
        groups=labels[rows] // 2,
    )
    for name in ALL:
        np.testing.assert_array_equal(got[name], of_all[name][rows])


@pytest.mark.parametrize(
    "distance, places", [("cosine", (3, 4)), ("dot", (3, 4)), ("euclidean", (2, 3))]
)
def test_distances_of_a_ranking(distance, places):
    """The right row (1, 0) ties with (0, 1); (9, 1) is far by Euclid alone."""
    x = np.array([[1.0, 0.0], [9.0, 1.0], [0.0, 1.0], [1.0, 0.9], [0.0, 0.0]])
    gallery = metrics.Gallery(x, np.array([1, 0, 0, 0, 0]), query_rows=-1)
    queried = np.array([[2.0, 2.0]]), np.array([1])
    scores = metrics.score_queries(
        *queried, ["mrr"], gallery=gallery, distance=distance
    )
    assert scores["mrr"][0] == pytest.approx(np.mean([1 / place for place in places]))


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_sizes_whose_squares_are_no_floats_do_not_matter(size):
    labels, points = np.arange(12) % 3, np.random.default_rng(0).normal(size=(12, 4))
    assert mean_scores(size * points, labels) == mean_scores(points, labels)
    pairs = metrics.draw_pair_distances(size * points, labels)
    wanted = metrics.draw_pair_distances(points, labels)
    np.testing.assert_allclose(pairs.genuine / size, wanted.genuine)


@pytest.mark.parametrize("distance", ["euclidean", "dot"])
def test_a_row_far_from_all_others_changes_no_score_of_theirs(distance):
    """The difference that counts as a tie is not that of the largest row."""
    labels = np.repeat(np.arange(5), 8)
    points = np.random.default_rng(0).uniform(size=(40, 4)) + labels[:, None] / 4
    far = np.vstack([points, np.full(4, -1e9)])
    scores, wanted = (
        metrics.score_queries(x, np.append(labels, 9)[: len(x)], ALL, distance=distance)
        for x in (far, points)
    )
    for name in ALL:
        np.testing.assert_allclose(scores[name][:40], wanted[name], err_msg=name)
    assert 0.1 < metrics.average(wanted["map@r"]) < 1


@pytest.mark.parametrize(
    "arguments, says",
    [
        (dict(names=["recall@1"]), "means two things"),
        (dict(names=["map@0"]), "whole number"),
        (dict(names=["mrr@r"]), "mrr allows"),
        (dict(names=["precision"]), "precision allows"),
        (dict(names=["f1"]), "no score 'f1'"),
        (dict(names="map"), r"list of names, \['map'\]"),
        (dict(gallery=np.ones((2, 2))), "must be a Gallery, got ndarray"),
        (dict(labels=np.zeros(3)), "integers"),
        (dict(labels=np.zeros(2, int)), r"\[3\] integers"),
        (dict(embeddings=np.full((3, 2), np.nan)), "3 of 3 rows of embeddings"),
        (dict(embeddings=np.zeros(3)), r"\[N, E\]"),
        (dict(groups=np.zeros(2, int)), "groups"),
        (dict(distance="manhattan"), "euclidean, cosine, dot"),
        (dict(gallery=metrics.Gallery(np.eye(3), np.arange(3), -1)), "coordinates"),
        (dict(gallery=metrics.Gallery(np.ones((2, 2)), np.arange(2), 2)), "2 rows"),
        (
            dict(
                gallery=metrics.Gallery(np.ones((2, 2)), np.arange(2), -1),
                groups=np.arange(3),
            ),
            "both groups",
        ),
    ],
)
def test_what_does_not_fit_gets_a_sentence(arguments, says):
    given = dict(embeddings=np.ones((3, 2)), labels=np.zeros(3, int), names=["map"])
    with pytest.raises(UsageError, match=says):
        metrics.score_queries(**{**given, **arguments})


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda x, y: metrics.score_distances(x, x > 0, ["map"], tie=-1), "tie is -1"),
        (lambda x, y: metrics.score_distances(x * 1j, x > 0, ["map"]), "complex128"),
        (lambda x, y: metrics.k_means(x, 2.5), "clusters is 2.5"),
        (lambda x, y: metrics.k_means(x, 4), "whole number from 1 to 3"),
        (lambda x, y: metrics.k_means(x, 2, starts=0), "starts is 0"),
        (lambda x, y: metrics.draw_pair_distances(x, y, most=0), "most is 0"),
    ],
)
def test_numbers_that_do_not_fit_get_a_sentence(call, says):
    with pytest.raises(UsageError, match=says):
        call(np.eye(3), np.arange(3))


def test_a_cut_beyond_all_rows_is_the_whole_ranking():
    x, labels = np.random.default_rng(0).normal(size=(6, 2)), np.arange(6) % 2
    scores = metrics.score_queries(x, labels, ["map", f"map@{10**20}"])
    np.testing.assert_allclose(scores[f"map@{10**20}"], scores["map"])


CLUSTER_SCORES = (
    metrics.normalized_mutual_information,
    metrics.adjusted_mutual_information,
    metrics.adjusted_rand_index,
    metrics.pair_f1,
    metrics.purity,
)


def test_clusterings_as_scikit_learn_has_them():
    for stored in STORED["clusterings"]:
        arguments = np.array(stored.pop("labels")), np.array(stored.pop("clusters"))
        for name, wanted in stored.items():
            assert getattr(metrics, name)(*arguments) == pytest.approx(
                wanted, abs=1e-10
            )


def test_clusters_by_hand():
    labels, clusters = np.array([7, 7, 7, -1, -1, -1]), np.array([0, 0, 1, 1, 2, 2])
    # Pairs: 6 of one class, 3 of one cluster, 2 of both. Most common: 2, 1, 2.
    assert metrics.pair_f1(labels, clusters) == pytest.approx(2 * 2 / 9)
    assert metrics.purity(labels, clusters) == pytest.approx(5 / 6)
    names = np.array([4, 9, 2])
    for score in CLUSTER_SCORES:
        assert score(labels, labels + 3) == pytest.approx(1)
        assert score(labels, names[clusters]) == pytest.approx(score(labels, clusters))
        assert np.isnan(score(labels[:0], clusters[:0]))
    # One class in one cluster is right; a single row has no pair.
    for score in set(CLUSTER_SCORES) - {metrics.pair_f1}:
        assert score(np.array([3]), np.array([5])) == 1
    assert np.isnan(metrics.pair_f1(np.array([3]), np.array([5])))
    # Not above 1 by rounding.
    one_to_one = np.array([0, 3, 2, 2, 1]), np.array([3, 0, 1, 1, 2])
    assert metrics.adjusted_mutual_information(*one_to_one) == 1
    # All rows in one cluster say nothing about two classes.
    for score in CLUSTER_SCORES[:3]:
        assert score(labels, np.zeros(6, int)) == pytest.approx(0, abs=1e-9)


def test_k_means_finds_groups_that_stand_apart():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 4
    points = 10 * np.eye(4)[labels] + rng.normal(size=(60, 4))
    found = metrics.k_means(points, 4)
    assert metrics.adjusted_rand_index(labels, found) == 1
    np.testing.assert_array_equal(found, metrics.k_means(points, 4))
    assert set(metrics.k_means(np.ones((3, 2)), 3)) <= {0, 1, 2}
    with pytest.raises(UsageError, match="from 1 to 60"):
        metrics.k_means(points, 61)


def test_verification_as_scikit_learn_has_it():
    pairs = np.array(STORED["known"]), np.array(STORED["unknown"])
    stored = STORED["verification"]
    for rate, wanted in zip(stored["rates"], stored["fnmr"]):
        assert metrics.fnmr_at_fmr(*pairs, rate) == pytest.approx(wanted, abs=1e-10)
    assert metrics.auroc(*pairs) == pytest.approx(STORED["auroc"])
    rate = metrics.equal_error_rate(*pairs)
    assert metrics.fnmr_at_fmr(*pairs, rate) == pytest.approx(rate)


def test_verification_by_hand():
    genuine, impostor = np.array([1.0, 2.0, 3.0, 6.0]), np.array([4.0, 5.0, 6.0, 7.0])
    assert metrics.fnmr_at_fmr(genuine, impostor, 0.25) == 1 / 4
    # At 6 a genuine pair ties with an impostor: half of both are accepted.
    assert metrics.fnmr_at_fmr(genuine, impostor, 0.625) == 1 / 8
    assert metrics.fnmr_at_fmr(genuine, impostor, 1.0) == 0
    assert metrics.equal_error_rate(genuine, impostor) == 1 / 4
    assert metrics.auroc(genuine, impostor) == (16 - 2.5) / 16
    assert metrics.decidability(genuine, impostor) == pytest.approx(
        2.5 / np.sqrt((3.5 + 1.25) / 2)
    )
    equal = np.ones(5)
    assert metrics.equal_error_rate(equal, equal) == metrics.auroc(equal, equal) == 0.5
    assert metrics.decidability(equal, equal) == 0
    assert metrics.decidability(equal, 2 * equal) == np.inf
    with pytest.raises(UsageError, match="4 impostor pairs"):
        metrics.fnmr_at_fmr(genuine, impostor, 0.01)
    with pytest.raises(UsageError, match="at least one"):
        metrics.auroc(genuine[:0], impostor)


def test_pairs_are_all_or_evenly_drawn():
    labels, groups = np.array([0, 0, 1, 1, 1, 2]), np.array([0, 0, 0, 1, 2, 2])
    x = np.arange(6.0)[:, None] ** 2
    pairs = metrics.draw_pair_distances(x, labels)
    assert sorted(pairs.genuine) == [1, 5, 7, 12] and len(pairs.impostor) == 11
    apart = metrics.draw_pair_distances(x, labels, groups=groups)
    assert sorted(apart.genuine) == [5, 7, 12] and len(apart.impostor) == 8
    drawn = metrics.draw_pair_distances(x, labels, groups=groups, most=7, seed=1)
    assert all(len(kind) == 7 for kind in drawn)
    assert set(drawn.genuine) <= set(apart.genuine)
    assert set(drawn.impostor) <= set(apart.impostor)
    # The share of each pair is the same.
    rng = np.random.default_rng(0)
    for genuine, number in ((True, 4), (False, 11)):
        a, b = verification._draw(rng, labels, np.arange(6), 20000, genuine)
        same = labels[a] == labels[b]
        assert (same == genuine).all() and (a != b).all()
        low = np.minimum(a, b) * 6 + np.maximum(a, b)
        share = np.unique(low, return_counts=True)[1] / 20000
        np.testing.assert_allclose(share, 1 / number, atol=0.015)
    nothing = verification._draw(rng, np.zeros(3, int), np.zeros(3, int), 9, True)
    assert nothing.shape == (2, 0)


def test_spread_by_hand():
    x = np.array([[3.0, 0, 0], [-3, 0, 0], [0, 1, 0], [0, -1, 0]])
    assert metrics.principal_share(x, 0.9) == pytest.approx(1 / 3)
    assert metrics.principal_share(x, 0.95) == pytest.approx(2 / 3)
    assert np.isnan(metrics.principal_share(np.ones((4, 3))))
    assert np.isnan(metrics.principal_share(np.ones((0, 3))))


def test_a_ranking_that_is_cut_is_the_whole_one_up_to_the_cut():
    rng = np.random.default_rng(0)
    distances, relevant = (
        rng.integers(0, 9, (20, 50)) / 2,
        rng.uniform(size=(20, 50)) < 0.1,
    )
    score = rankings.parse("map@5")
    whole = rankings.expected_score(rankings.rank(distances, relevant, tie=0), score)
    cut = rankings.rank(distances, relevant, depth=5, tie=0)
    np.testing.assert_allclose(rankings.expected_score(cut, score), whole)
    assert len(cut.query) < len(rankings.rank(distances, relevant, tie=0).query)
