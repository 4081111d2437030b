"""Batches that break losses, all of one shape, so that one compilation is enough."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from siamjax.losses.annotations import Array

B, E, CLASSES = 12, 4, 12
# Classes of four, four, three and one row, in no order.
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 3, 0, 1, 2])
MASKED = (2, 3, 9)
# Factors of the embeddings: with `FINITE` the value must be finite, with `BEYOND` it
# may be infinite, but not NaN.
FINITE = (1e-12, 1e-6, 1e6, 1e15)
BEYOND = (1e-30, 1e20, 1e30, 3e37)
# What a row that does not count may hold, and what a row that counts must not hold.
GARBAGE = (np.nan, np.inf, 3e38)
BROKEN = {"a row of NaN": np.nan, "a row of inf": np.inf}
COLLAPSE = (1e-1, 1e-2, 1e-3, 1e-4, 1e-6)


class Batch(NamedTuple):
    x: Array  # [B, E]
    labels: Array  # [B]
    where: Array  # [B] bool


def all_batches(
    seed: int = 0, cube: bool = False, proxies: np.ndarray | None = None
) -> dict[str, Batch]:
    """Name -> `Batch`.

    Args:
      seed: of all random numbers.
      cube: embeddings in [0, 1], through a sigmoid.
      proxies: `[N, E]`, adds batches of rows that equal these, and their opposites.
    """
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(B, E))
    rotation = np.linalg.qr(rng.normal(size=(E, E)))[0]
    order = rng.permutation(B)
    new_name = rng.permutation(CLASSES)
    all_rows, no_row = np.ones(B, bool), np.zeros(B, bool)
    not_masked = ~np.isin(np.arange(B), MASKED)
    places, mixed = (base[0], base[1]), np.arange(B) // 2 % 2

    def repeat(*rows):
        return np.resize(np.array(rows), (B, E))

    def first(number):
        return np.arange(B) < number

    rows = {
        "base": (base, LABELS, all_rows),
        "permuted": (base[order], LABELS[order], all_rows),
        "renamed": (base, new_name[LABELS], all_rows),
        "rotated": (base @ rotation, LABELS, all_rows),
        "translated": (base + np.array([1.0, -2.0, 0.5, 3.0]), LABELS, all_rows),
        "scaled": (3.0 * base, LABELS, all_rows),
        "one class": (base, 0 * LABELS, all_rows),
        "all different": (base, np.arange(B), all_rows),
        "all equal": (repeat(base[0]), LABELS, all_rows),
        "two places": (repeat(*places), np.arange(B) % 2, all_rows),
        "two places, mixed": (repeat(*places), mixed, all_rows),
        "antipodal": (repeat(base[0], -base[0]), np.arange(B) % 2, all_rows),
        "antipodal, mixed": (repeat(base[0], -base[0]), mixed, all_rows),
        "all zero": (0 * base, LABELS, all_rows),
        "a zero row": (np.where(first(1)[:, None], 0, base), LABELS, all_rows),
        "a duplicate": (base[[0, 0, 2, 0, *range(4, B)]], LABELS, all_rows),
        "equal coordinates": (repeat(np.ones(E), 2 * np.ones(E)), LABELS, all_rows),
        "no row counts": (base, LABELS, no_row),
        "one row counts": (base, LABELS, first(1)),
        "two rows of two classes": (base, LABELS, first(2)),
        "two rows of a class": (base, 0 * LABELS, first(2)),
        "garbage where not counted": (base, LABELS, not_masked),
        **{name: (base, LABELS, all_rows) for name in BROKEN},
    }
    if proxies is not None:
        rows["equal to proxies"] = (np.resize(proxies, (B, E)), LABELS, all_rows)
        rows["opposite to proxies"] = (-np.resize(proxies, (B, E)), LABELS, all_rows)
    for size in (*FINITE, *BEYOND):
        rows[f"times {size:g}"] = (size * base, LABELS, all_rows)
    for size in COLLAPSE:
        rows[f"collapse {size:g}"] = (base[:1] + size * base[::-1], LABELS, all_rows)
    for i in range(3):
        x, labels = rng.normal(size=(B, E)), rng.integers(0, 4, B)
        rows[f"random {i}"] = (x, labels, all_rows)
    batches = {}
    for name, (x, labels, where) in rows.items():
        x = _sigmoid(x) if cube else x.copy()
        if name == "garbage where not counted":
            x[list(MASKED)] = np.array(GARBAGE)[:, None]
        if name in BROKEN:
            x[5, 1] = BROKEN[name]
        batches[name] = Batch(x, labels.astype(np.int32), where)
    return batches


def nudged(batch: Batch, directions: np.ndarray, size: float) -> list[Batch]:
    """The batch moved by +size and -size along each of `[K, B, E]`: 2 K batches."""
    steps = [sign * size * d for d in directions for sign in (1, -1)]
    return [batch._replace(x=batch.x + step) for step in steps]


def stack(batches: Sequence[Batch]) -> Batch:
    """`Batch` of arrays `[G, B, ...]`."""
    return Batch(*(np.stack(part) for part in zip(*batches)))


def _sigmoid(x):
    return 1 / (1 + np.exp(-np.clip(x, -500, 500)))
