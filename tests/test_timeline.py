"""The cheapest path of windows, all at once and window by window."""

import itertools

import numpy as np

from siamjax.identification import timeline


def cheapest(costs, penalty, start):
    """All paths are tried."""
    n, states = costs.shape
    paths = np.array(list(itertools.product(range(states), repeat=n)))
    total = costs[np.arange(n), paths].sum(1) + penalty * (np.diff(paths) != 0).sum(1)
    total += start[paths[:, 0]]
    return paths[total.argmin()]


def test_window_by_window_the_path_is_the_cheapest_of_all_so_far():
    rng = np.random.default_rng(0)
    for _ in range(20):
        costs, penalty, start = rng.random((7, 3)), rng.random(), rng.random(3)
        decoder = timeline.Decoder(start, penalty)
        before: list[int] = []
        for i, row in enumerate(costs):
            changed = decoder.add(row)
            path = decoder.path()
            np.testing.assert_array_equal(
                path, cheapest(costs[: i + 1], penalty, start)
            )
            np.testing.assert_array_equal(path[:changed], before[:changed])
            before = path
        np.testing.assert_array_equal(timeline.decode(costs, penalty, start), path)


def test_all_at_once_the_path_is_that_of_window_by_window_also_where_costs_tie():
    rng = np.random.default_rng(2)
    for penalty in (0.0, 1.0, 2.5):
        costs = rng.integers(0, 3, (200, 4)).astype(float)
        decoder = timeline.Decoder(np.zeros(4), penalty)
        for row in costs:
            decoder.add(row)
        path = timeline.decode(costs, penalty)
        np.testing.assert_array_equal(path, decoder.path())
        assert len(np.unique(path)) > 1


def test_no_later_window_changes_what_is_settled():
    rng = np.random.default_rng(1)
    most = 0
    for _ in range(20):
        costs = rng.random((30, 4))
        decoder = timeline.Decoder(np.zeros(4), 0.6)
        final = timeline.decode(costs, 0.6)
        for i, row in enumerate(costs):
            decoder.add(row)
            settled = decoder.settled()
            most = max(most, settled)
            np.testing.assert_array_equal(decoder.path()[:settled], final[:settled])
            assert settled <= i + 1
    assert most > 20
