"""Arrays of the state in less room, without a change of any number."""

from collections.abc import Mapping

import numpy as np


def pack_counts(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Counts `[n, F]` of which most columns hold small whole numbers, as bytes."""
    with np.errstate(invalid="ignore"):  # NaN and large numbers, which are not equal
        small = counts.astype(np.uint8)
    is_small = (small == counts).all(0)
    return dict(
        is_small=is_small, small=small[:, is_small], others=counts[:, ~is_small]
    )


def unpack_counts(packed: Mapping[str, np.ndarray]) -> np.ndarray:
    """The counts of `pack_counts`.

    Raises:
      ValueError, KeyError: it has another form.
    """
    is_small, small, others = packed["is_small"], packed["small"], packed["others"]
    counts = np.empty((len(small), len(is_small)), others.dtype)
    counts[:, is_small], counts[:, ~is_small] = small, others
    return counts
