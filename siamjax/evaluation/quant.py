"""QUANT: quantiles of intervals of a series, as features without learning.

Dempster, Schmidt, Webb, "QUANT: a minimalist interval method for time series
classification", DMKD 2024. Among the best features for classifiers of whole series.
"""

import numpy as np

DEPTH = 6  # how often a series is halved at most, counted from the whole series
# An interval of n values has n / VALUES_PER_QUANTILE quantiles.
VALUES_PER_QUANTILE = 4
# Values over which first differences are smoothed.
SMOOTHED = 5


def quant_features(series: np.ndarray) -> np.ndarray:
    """Features `[N, Q]` of series: quantiles of intervals in four representations.

    The representations are the series, its smoothed first differences, its second
    differences, and the amplitudes of its Fourier transform. Each is cut into 1, 2, 4,
    ... intervals, and into the same intervals shifted by half. An interval of m values
    gives 1 + (m - 1) // 4 quantiles from minimum to maximum, every second one minus the
    mean; a short one gives its median.

    Args:
      series: `[N, T, F]`.
    Returns:
      `[N, Q]` float64; Q depends on T and F.
    """
    x = np.swapaxes(np.asarray(series, np.float64), 1, 2)  # [N, F, T]
    first = np.diff(x)
    if first.shape[-1]:
        first = _smooth(first)
    parts = [
        _interval_quantiles(values)
        for values in (x, first, np.diff(x, 2), np.abs(np.fft.rfft(x)))
        if values.shape[-1]
    ]
    features = np.concatenate(parts, -1)
    return features.reshape(len(x), features.shape[1] * features.shape[2])


def _smooth(values):
    """Moving means over `SMOOTHED` values; the ends are repeated."""
    padding = [(0, 0), (0, 0), (SMOOTHED // 2, SMOOTHED // 2)]
    padded = np.pad(values, padding, mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, SMOOTHED, -1).mean(-1)


def _interval_quantiles(values):
    """`[N, F, T] -> [N, F, Q]`."""
    pieces = [values[..., a:b] for a, b in cut_intervals(values.shape[-1])]
    return np.concatenate([_quantiles(piece) for piece in pieces], -1)


def cut_intervals(length: int) -> list[tuple[int, int]]:
    """Begin and end of all intervals of a series, the whole series first."""
    intervals = []
    for level in range(min(DEPTH, int(np.log2(length)) + 1)):
        edges = np.linspace(0, length, 2**level + 1).astype(int)
        halved = list(zip(edges[:-1].tolist(), edges[1:].tolist()))
        intervals += halved
        size = np.sort(np.diff(edges))[(len(edges) - 2) // 2]  # the lower median
        if level and size > 1:
            shift = int(np.ceil(size / 2))
            intervals += [(a + shift, b + shift) for a, b in halved[:-1]]
    return intervals


def _quantiles(values):
    """`[N, F, m] -> [N, F, quantiles]` of one interval."""
    count = 1 + (values.shape[-1] - 1) // VALUES_PER_QUANTILE
    if count == 1:
        return np.median(values, -1, keepdims=True)
    values = np.sort(values, -1)
    place = np.linspace(0, values.shape[-1] - 1, count)
    below = place.astype(int)
    above = np.minimum(below + 1, values.shape[-1] - 1)
    share = place - below
    quantiles = (1 - share) * values[..., below] + share * values[..., above]
    quantiles[..., 1::2] -= values.mean(-1, keepdims=True)
    return quantiles
