import numpy as np
import pytest

from siamjax.evaluation import quant


def slow_features(series):
    """QUANT of one series `[T]` after the paper, value by value."""
    smoothed = np.diff(series)
    padded = [smoothed[0]] * 2 + smoothed.tolist() + [smoothed[-1]] * 2
    smoothed = np.array([np.mean(padded[i : i + 5]) for i in range(len(smoothed))])
    frequencies = np.arange(len(series) // 2 + 1)
    waves = np.exp(
        -2j * np.pi * np.outer(frequencies, np.arange(len(series))) / len(series)
    )
    features = []
    for values in (series, smoothed, np.diff(series, 2), abs(waves @ series)):
        for begin, end in quant.cut_intervals(len(values)):
            piece = values[begin:end]
            count = 1 + (len(piece) - 1) // 4
            if count == 1:
                features.append(np.median(piece))
                continue
            for i, share in enumerate(np.linspace(0, 1, count)):
                features.append(np.quantile(piece, share) - (i % 2) * piece.mean())
    return np.array(features)


@pytest.mark.parametrize("length", [4, 5, 16, 32, 33])
def test_the_features_are_those_of_a_slow_loop(length):
    series = np.random.default_rng(length).normal(size=(2, length, 3))
    expected = [
        np.concatenate([slow_features(column) for column in window.T])
        for window in series
    ]
    np.testing.assert_allclose(quant.quant_features(series), expected, atol=1e-9)


def test_intervals_by_hand():
    halves = [(0, 8), (0, 4), (4, 8), (2, 6)]
    quarters = [(0, 2), (2, 4), (4, 6), (6, 8), (1, 3), (3, 5), (5, 7)]
    eighths = [(i, i + 1) for i in range(8)]
    assert quant.cut_intervals(8) == halves + quarters + eighths


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_short_or_constant_series_has_finite_features(length):
    features = quant.quant_features(np.ones((2, length, 1)))
    assert features.shape[0] == 2
    assert np.isfinite(features).all()
    assert quant.quant_features(np.ones((0, length, 1))).shape == (0, features.shape[1])
