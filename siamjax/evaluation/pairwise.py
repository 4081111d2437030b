"""Distances between all pairs of points, with NumPy (in training: `losses.distances`).

`distances` is exact: 0 for equal points, and no pair depends on another. `fast_squared`
is one matrix product, which rounds: in float64 equal points are some 1e-16 of their
squared norms apart.
"""

import numpy as np

# Numbers in memory at once: 64 MB of float64.
_BLOCK = 2**23


def distances(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Euclidean distances `[..., N, M]`, in the precision of the points.

    Args:
      points: `[..., N, E]`.
      others: `[..., M, E]`.
    """
    return np.sqrt(squared(points, others))


def squared(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances `[..., N, M]`; see `distances`."""
    points, others = np.asarray(points), np.asarray(others)
    rows = max(1, _BLOCK // max(1, others.size))
    blocks = [
        ((points[..., i : i + rows, None, :] - others[..., None, :, :]) ** 2).sum(-1)
        for i in range(0, max(1, points.shape[-2]), rows)
    ]
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, -2)


def fast_squared(
    points: np.ndarray, others: np.ndarray, others_norms: np.ndarray | None = None
) -> np.ndarray:
    """Squared Euclidean distances `[N, M]` of points `[N, E]` and `[M, E]`, rounded.

    Subtract a common centre first: a large offset makes the rounding worse.

    Args:
      points, others: see above.
      others_norms: `[M]` of `squared_norms`, where they are known.
    """
    if others_norms is None:
        others_norms = squared_norms(others)
    d2 = squared_norms(points)[:, None] - 2 * points @ others.T + others_norms
    return np.maximum(d2, 0.0)


def squared_norms(points: np.ndarray) -> np.ndarray:
    """`[N]` squared lengths of points `[N, E]`."""
    return (points * points).sum(-1)
