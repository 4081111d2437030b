"""Windows of traffic as plain values for pages and pictures."""

import base64
from typing import Any

import numpy as np

# The most columns of a picture. From the fourth on it has only columns whose mean
# deviation in a window is larger than `LEAST`.
COLUMNS, LEAST = 14, 0.05
# The deviation that gets the full colour.
FULL_COLOUR = 3.0


def deviating_columns(z: np.ndarray) -> list[int]:
    """The columns that deviate most in one of the windows `[N, T, F]`, ascending."""
    score = np.abs(z).mean(1).max(0)
    most = np.argsort(-score, kind="stable")[:COLUMNS]
    kept = [f for place, f in enumerate(most) if place < 3 or score[f] > LEAST]
    return sorted(int(f) for f in kept)


def pack_features(z: np.ndarray) -> dict[str, Any]:
    """Features `[T, F]` as signed bytes, scaled so that the largest is 127."""
    largest = max(float(np.abs(z).max()), 1e-9)
    scaled = np.round(z / largest * 127).astype(np.int8)
    return dict(
        largest=largest,
        shape=list(z.shape),
        data=base64.b64encode(scaled.tobytes()).decode(),
    )
