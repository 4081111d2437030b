"""The batches that break losses, all of one shape: one compilation serves all."""

from typing import NamedTuple

import numpy as np

B, E, CLASSES = 12, 4, 12
# Classes of four, four, three and one row, in no order.
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 3, 0, 1, 2])
MASKED = (2, 3, 9)
# What the embeddings are multiplied by: within these the value must be finite as well.
FINITE = (1e-12, 1e-6, 1e6, 1e15)
BEYOND = (1e-30, 1e20, 1e30, 3e37)
# What may stand in a row that is left out, and what a row that counts must not hold.
GARBAGE = (np.nan, np.inf, 3e38)
BROKEN = {"a row of NaN": np.nan, "a row of inf": np.inf}
COLLAPSE = (1e-1, 1e-2, 1e-3, 1e-4, 1e-6)


class Batch(NamedTuple):
    x: np.ndarray  # [B, E]
    labels: np.ndarray  # [B]
    where: np.ndarray  # [B] bool


def all_batches(seed=0, cube=False, proxies=None):
    """Name -> `Batch`.

    Args:
      cube: embeddings in [0, 1], through a sigmoid.
      proxies: `[N, E]`, rows that embeddings may be equal to.
    """
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(B, E))
    turn = np.linalg.qr(rng.normal(size=(E, E)))[0]
    order = rng.permutation(B)
    new_name = rng.permutation(CLASSES)
    every = np.ones(B, bool)
    some = ~np.isin(np.arange(B), MASKED)
    none = np.zeros(B, bool)

    def repeat(*rows):
        return np.resize(np.array(rows), (B, E))

    def first(number):
        return np.arange(B) < number

    out = {
        "base": (base, LABELS, every),
        "permuted": (base[order], LABELS[order], every),
        "renamed": (base, new_name[LABELS], every),
        "rotated": (base @ turn, LABELS, every),
        "translated": (base + np.array([1.0, -2.0, 0.5, 3.0]), LABELS, every),
        "scaled": (3.0 * base, LABELS, every),
        "one class": (base, 0 * LABELS, every),
        "all different": (base, np.arange(B), every),
        "all equal": (repeat(base[0]), LABELS, every),
        "two places": (repeat(base[0], base[1]), np.arange(B) % 2, every),
        "two places, mixed": (repeat(base[0], base[1]), np.arange(B) // 2 % 2, every),
        "antipodal": (repeat(base[0], -base[0]), np.arange(B) % 2, every),
        "antipodal, mixed": (repeat(base[0], -base[0]), np.arange(B) // 2 % 2, every),
        "all zero": (0 * base, LABELS, every),
        "a zero row": (np.where(first(1)[:, None], 0, base), LABELS, every),
        "a duplicate": (base[[0, 0, 2, 0, *range(4, B)]], LABELS, every),
        "equal coordinates": (repeat(np.ones(E), 2 * np.ones(E)), LABELS, every),
        "no row counts": (base, LABELS, none),
        "one row counts": (base, LABELS, first(1)),
        "two rows of two classes": (base, LABELS, first(2)),
        "two rows of a class": (base, 0 * LABELS, first(2)),
        "garbage where not counted": (base, LABELS, some),
        **{name: (base, LABELS, every) for name in BROKEN},
    }  # fmt: skip
    if proxies is not None:
        out["equal to proxies"] = (np.resize(proxies, (B, E)), LABELS, every)
        out["opposite to proxies"] = (-np.resize(proxies, (B, E)), LABELS, every)
    for size in (*FINITE, *BEYOND):
        out[f"times {size:g}"] = (size * base, LABELS, every)
    for size in COLLAPSE:
        out[f"collapse {size:g}"] = (base[:1] + size * base[::-1], LABELS, every)
    for i in range(3):
        x, labels = rng.normal(size=(B, E)), rng.integers(0, 4, B)
        out[f"random {i}"] = (x, labels, every)
    if cube:
        out = {k: (_sigmoid(x), labels, where) for k, (x, labels, where) in out.items()}
    out = {k: Batch(x.copy(), y.astype(np.int32), w) for k, (x, y, w) in out.items()}
    out["garbage where not counted"].x[list(MASKED)] = np.array(GARBAGE)[:, None]
    for name, number in BROKEN.items():
        out[name].x[5, 1] = number
    return out


def nudged(batch, directions, size):
    """The batch moved by +size and -size along each of `[K, B, E]`: a list of 2 K."""
    steps = [sign * size * d for d in directions for sign in (1, -1)]
    return [batch._replace(x=batch.x + step) for step in steps]


def stack(batches):
    """`Batch` of arrays `[G, B, ...]`."""
    return Batch(*(np.stack(part) for part in zip(*batches)))


def _sigmoid(x):
    return 1 / (1 + np.exp(-np.clip(x, -500, 500)))
