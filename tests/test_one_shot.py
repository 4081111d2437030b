"""One-shot recall against a slow count of the same draws; its invariances."""

import numpy as np
import pytest

from siamjax.evaluation import one_shot
from siamjax.types import UsageError


def windows(seed=0, classes=4, captures=12, each=4, dims=5, noise=0.7):
    """Points with an offset of each capture; a capture holds class 0 and one other."""
    rng = np.random.default_rng(seed)
    capture = np.repeat(np.arange(captures), 2 * each)
    condition = np.where(
        np.arange(len(capture)) % (2 * each) < each, 0, 1 + capture % (classes - 1)
    )
    centre, offset = rng.normal(size=(classes, dims)), rng.normal(size=(captures, dims))
    points = centre[condition] + 0.5 * offset[capture]
    return points + noise * rng.normal(size=points.shape), condition, capture


@pytest.mark.parametrize("shots", [1, 3])
def test_recall_is_the_count_of_right_windows(shots):
    points, condition, capture = windows()
    got = one_shot.recognise(points, condition, capture, shots=shots, draws=20, seed=3)
    sets = one_shot.draw_examples(
        condition, capture, range(4), shots=shots, draws=20, seed=3
    )
    right, judged = np.zeros(4), np.zeros(4)
    confusion = np.zeros((4, 4))
    for chosen in sets:
        used = {capture[row] for rows in chosen for row in rows}
        for i in range(len(points)):
            if capture[i] in used:
                continue
            far = [
                min(np.linalg.norm(points[i] - points[row]) for row in rows)
                for rows in chosen
            ]
            right[condition[i]] += np.argmin(far) == condition[i]
            judged[condition[i]] += 1
            confusion[condition[i], np.argmin(far)] += 1
    np.testing.assert_allclose(got.recall, right / judged)
    np.testing.assert_allclose(got.confusion, confusion / judged[:, None])
    assert got.mean == pytest.approx(np.mean(right / judged))
    assert 0.3 < got.mean < 1.0


def test_a_capture_that_gives_an_example_is_not_judged():
    points, condition, capture = windows()
    got = one_shot.recognise(points, condition, capture, draws=30, seed=1)
    sets = one_shot.draw_examples(
        condition, capture, range(4), shots=1, draws=30, seed=1
    )
    for hits, chosen in zip(got.hits, sets):
        used = np.isin(capture, capture[np.concatenate(chosen)])
        np.testing.assert_array_equal(np.isnan(hits), used)


def test_captures_are_drawn_before_windows():
    condition = np.zeros(102, int)
    capture = np.array([0] * 100 + [1, 2])
    sets = one_shot.draw_examples(condition, capture, [0], shots=1, draws=600, seed=0)
    share = np.bincount(capture[[s[0][0] for s in sets]], minlength=3) / 600
    np.testing.assert_allclose(share, 1 / 3, atol=0.06)


def test_one_capture_stays_to_be_judged_and_few_windows_are_said():
    condition, capture = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 2, 3, 3])
    got = one_shot.recognise(np.eye(6), condition, capture, shots=5, draws=40)
    assert np.isfinite(got.recall).all()
    np.testing.assert_array_equal(got.examples, [1, 1])


def test_a_condition_of_one_capture_is_not_judged():
    points, condition, capture = windows()
    only = (condition != 3) | (capture == 2)
    got = one_shot.recognise(points[only], condition[only], capture[only], draws=20)
    assert np.isnan(got.recall[3]) and np.isfinite(got.recall[:3]).all()
    assert got.mean == pytest.approx(got.recall[:3].mean())


@pytest.mark.parametrize("value", [0.0, 1.0, -1e20])
def test_collapse_is_chance(value):
    _, condition, capture = windows()
    points = np.full((len(condition), 3), value, np.float32)
    got = one_shot.recognise(points, condition, capture, draws=10)
    np.testing.assert_allclose(got.recall, 0.25)
    np.testing.assert_allclose(got.capture_recall, 0.25)
    np.testing.assert_allclose(got.confusion, 0.25)


def test_a_tie_gives_its_share():
    # Class 1 lies exactly upon class 0: each of their windows is a toss between two.
    condition, capture = np.tile([0, 0, 1, 1, 2, 2], 3), np.repeat(np.arange(3), 6)
    points = np.where(condition == 2, 5.0, 1.0)[:, None]
    wide = capture + 3 * condition  # no capture holds two conditions
    got = one_shot.recognise(points, condition, wide, draws=10)
    np.testing.assert_allclose(got.recall, [0.5, 0.5, 1.0])


def test_storage_order_scale_and_turns_do_not_matter():
    points, condition, capture = windows(dims=3)
    want = one_shot.recognise(points, condition, capture, draws=10)
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    got = one_shot.recognise(1e6 + 1e3 * points @ turn, condition, capture, draws=10)
    np.testing.assert_array_equal(got.hits, want.hits)


def test_a_capture_is_right_when_most_of_its_windows_are():
    # Of the second condition's captures, one has 2 of 3 windows at the other's place.
    points = np.array([[0.0], [0.0], [9.0], [9.0], [9.0], [9.0], [0.0], [0.0]])
    condition = np.array([0, 0, 1, 1, 1, 1, 1, 1])
    capture = np.array([0, 1, 2, 2, 2, 3, 3, 3])
    got = one_shot.recognise(points, condition, capture, draws=200)
    by_pair = dict(zip(zip(got.pair_condition, got.pair_capture), got.capture_hits.T))
    assert np.nanmean(by_pair[1, 2]) > 0.25
    judged = by_pair[1, 3][np.isfinite(by_pair[1, 3])]
    np.testing.assert_array_equal(judged, 0.0)


def test_windows_outside_the_classes_take_no_part():
    points, condition, capture = windows()
    want = one_shot.recognise(
        points[condition < 3], condition[condition < 3], capture[condition < 3]
    )
    got = one_shot.recognise(points, np.where(condition == 3, -1, condition), capture)
    np.testing.assert_array_equal(got.recall, want.recall)
    assert np.isnan(got.hits[:, condition == 3]).all()


def test_wrong_input_is_a_clear_line():
    points, condition, capture = windows()
    points[3] = np.nan
    with pytest.raises(UsageError, match="1 of 96 points are not finite"):
        one_shot.recognise(points, condition, capture)
    with pytest.raises(UsageError, match=r"conditions must be \[96\] integers"):
        one_shot.recognise(points, condition.astype(float), capture)
    with pytest.raises(UsageError, match="condition 9 has no window"):
        one_shot.recognise(np.ones((96, 2)), condition, capture, classes=[0, 9])
    with pytest.raises(UsageError, match="no condition"):
        one_shot.recognise(np.ones((0, 2)), condition[:0], capture[:0])


def test_with_a_library_examples_come_from_it_and_all_else_is_judged():
    points, condition, capture = windows(captures=6)
    library = capture < 3  # captures hold two conditions each
    library[condition == 3] = capture[condition == 3] == 2
    got = one_shot.recognise(points, condition, capture, draws=30, library=library)
    assert np.isnan(got.hits[:, library]).all()
    assert np.isfinite(got.hits[:, ~library]).all()
    sets = one_shot.draw_examples(
        condition, capture, got.classes, shots=1, draws=30, seed=0, library=library
    )
    assert all(library[rows].all() for chosen in sets for rows in chosen)
    # Points of the library that are wrong everywhere make all of it wrong.
    moved = points.copy()
    moved[library] = moved[library] + 1e3 * (condition[library] == 0)[:, None]
    away = one_shot.recognise(moved, condition, capture, draws=30, library=library)
    assert away.recall[0] == 0.0


def test_a_condition_outside_the_library_gives_examples_and_keeps_a_capture():
    points, condition, _ = windows(captures=6)
    capture = np.arange(len(condition)) // 4  # no capture holds two conditions
    library = capture == np.unique(capture[condition == 2])[0]
    got = one_shot.recognise(points, condition, capture, draws=30, library=library)
    assert got.classes.tolist() == [0, 1, 2, 3]
    assert np.isnan(got.hits[:, library]).all() and np.isfinite(got.recall).all()
    assert np.isfinite(got.hits[:, (condition == 2) & ~library]).all()
    sets = one_shot.draw_examples(
        condition, capture, got.classes, shots=9, draws=3, seed=0, library=library
    )
    for chosen in sets:
        for c, rows in enumerate(chosen):
            assert (condition[rows] == c).all() and library[rows].all() == (c == 2)
            left = set(capture[(condition == c) & ~library]) - set(capture[rows])
            assert left


def test_windows_compared_in_blocks_have_the_same_votes(monkeypatch):
    rng = np.random.default_rng(0)
    points = rng.integers(0, 3, (60, 4)).astype(float)  # many ties
    conditions, captures = rng.integers(0, 3, 60), rng.integers(0, 9, 60)
    whole = one_shot.recognise(points, conditions, captures, shots=2, draws=20)
    assert len(np.unique(whole.hits[np.isfinite(whole.hits)])) > 2
    monkeypatch.setattr(one_shot, "_COPIED", 7 * 4)  # seven windows
    monkeypatch.setattr(one_shot, "_BLOCK", 60 * 6 * 3)  # three draws
    in_blocks = one_shot.recognise(points, conditions, captures, shots=2, draws=20)
    for x, y in zip(whole, in_blocks):
        np.testing.assert_array_equal(x, y)
