"""Recall over cells by hand, and differences in pairs."""

import numpy as np
import pytest

from siamjax.evaluation import cross_fit, one_shot
from siamjax.types import Windows


def row(method, condition, capture, recall, role="novel"):
    return cross_fit.Row(800, 1, method, condition, capture, role, recall)


def test_a_pair_is_the_mean_of_its_cells_and_a_condition_that_of_its_captures():
    rows = [
        row("match", "delay", "a", 1.0),
        row("match", "delay", "a", 0.5),
        row("match", "delay", "b", 0.25),
        row("match", "blocked", "c", 1.0),
    ]
    of = cross_fit.tabulate(rows)["novel"]["match"]
    np.testing.assert_array_equal(of.right, [[0, 0.75], [0, 0.25], [1, 0]])
    np.testing.assert_array_equal(of.judged, [[0, 1], [0, 1], [1, 0]])
    np.testing.assert_array_equal(cross_fit.by_condition(of), [1.0, 0.5])


def test_known_and_novel_are_apart_and_methods_share_their_pairs():
    rows = [
        row("match", "delay", "a", 1.0),
        row("match", "delay", "b", 0.0),
        row("simple", "delay", "a", 0.5),
        row("match", "delay", "a", 0.9, "known"),
    ]
    found = cross_fit.tabulate(rows)
    assert set(found) == {"novel", "known"}
    for table in found["novel"].values():
        np.testing.assert_array_equal(table.judged, [[1.0]])
    np.testing.assert_array_equal(found["novel"]["match"].right, [[1.0]])
    np.testing.assert_array_equal(found["known"]["match"].right, [[0.9]])


def test_what_the_baseline_masters_counts_as_equal():
    rows = [
        row(method, condition, f"{condition} {i}", recall)
        for method, of in dict(
            match=dict(blocked=0.9, delay=0.8), simple=dict(blocked=0.99, delay=0.6)
        ).items()
        for condition, recall in of.items()
        for i in range(8)
    ]
    of = cross_fit.tabulate(rows)["novel"]
    got = cross_fit.subtract(of["match"], of["simple"])
    assert got.value == pytest.approx((0.0 + 0.2) / 2)
    assert got.low > 0 and got.captures == 16
    assert cross_fit.subtract(
        of["match"], of["simple"], tied=1.1
    ).value == pytest.approx((-0.09 + 0.2) / 2)


def test_rows_hold_what_one_shot_counted():
    rng = np.random.default_rng(0)
    condition, session = np.repeat([0, 1], 12), np.repeat(np.arange(6), 4)
    windows = Windows(session, np.zeros(24, int), condition)
    judged = one_shot.recognise(rng.normal(size=(24, 3)), condition, session, draws=30)
    got = cross_fit.make_rows(
        judged,
        windows=windows,
        names=("normal", "delay"),
        sessions=tuple("abcdef"),
        novel=("delay",),
        step=7,
        shots=1,
        method="match",
    )
    assert [(r.condition, r.capture, r.role) for r in got] == [
        *(("normal", s, "known") for s in "abc"),
        *(("delay", s, "novel") for s in "def"),
    ]
    for r, s in zip(got, range(6)):
        assert r.recall == pytest.approx(np.nanmean(judged.hits[:, session == s]), 1e-4)


def test_an_answer_is_settled_when_it_stays_right():
    right = np.array(
        [
            [0, 1, 0, 1, 1, 1, 1, 1],
            [1] * 8,
            [0] * 8,
            [0, 0, 0, 0, 0, 1, 1, 1],
            [np.nan, 1, 1, 1, 1, 0, 0, 0],
        ]
    )
    got = cross_fit.settling_times(right, np.arange(1.0, 9.0), 4)
    np.testing.assert_array_equal(got, [4.0, 1.0, np.inf, np.inf, 2.0])
