"""Which window of a condition becomes its example."""

import numpy as np

from siamjax.identification import enrol


def test_the_mean_distance_counts_each_capture_alike_in_blocks(monkeypatch):
    monkeypatch.setattr(enrol, "_BLOCK", 3)
    rng = np.random.default_rng(0)
    points, captures = rng.normal(size=(20, 4)), np.repeat([3, 5, 9], [2, 5, 13])
    want = [
        np.mean(
            [
                np.linalg.norm(points[captures == c] - point, axis=1).mean()
                for c in (3, 5, 9)
            ]
        )
        for point in points
    ]
    np.testing.assert_allclose(enrol.mean_distance(points, captures), want)
    rows = np.array([4, 1, 19, 7])
    got = enrol.mean_distance(points, captures, rows)
    np.testing.assert_allclose(got, np.array(want)[rows])
