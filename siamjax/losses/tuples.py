"""Which rows form pairs and triplets: static masks, or explicit index arrays."""

from typing import NamedTuple

import jax.numpy as jnp

from siamjax import checks
from siamjax.losses.precision import single
from siamjax.types import UsageError


class References(NamedTuple):
    """Rows that anchors are compared with, where they are not the batch itself.

    `own` must be given: an anchor that is among the references without its column in
    `own` would be its own positive, at distance 0.
    """

    embeddings: jnp.ndarray  # [R, E]
    labels: jnp.ndarray  # [R] int
    where: jnp.ndarray | None = None  # [R] bool, the rows that count
    allowed: jnp.ndarray | None = None  # [B, R] bool, the pairs that count
    own: jnp.ndarray | int | None = None  # [B] int, the anchor's row here; -1: none


class Pairs(NamedTuple):
    """All pairs of anchor and reference, A = B anchors and R references."""

    x: jnp.ndarray  # [A, E] anchors, at least float32; 0 where not counted
    y: jnp.ndarray  # [R, E] references; x itself without references
    pos: jnp.ndarray  # [A, R] bool, one class, not the anchor itself
    neg: jnp.ndarray  # [A, R] bool, two classes


def pairs(embeddings, labels, where=None, references=None):
    """Checks a batch and gives its `Pairs`.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References` to compare with; the batch itself by default.
    Raises:
      UsageError: shapes or types do not fit, or `References.own` is missing.
    """
    counts = checks.check_batch(embeddings, labels, where)
    x = keep(embeddings, counts)
    if references is None:
        return Pairs(x, x, *masks(labels, labels, counts, counts, None))
    if references.embeddings.shape[1:] != embeddings.shape[1:]:
        raise UsageError(
            f"references have the shape {list(references.embeddings.shape)}, "
            f"embeddings {list(embeddings.shape)}: both must have the same number of "
            "coordinates"
        )
    if references.own is None:
        raise UsageError(
            "References.own is missing: give own=-1 if no anchor is among the "
            "references, own=jnp.arange(B) if they are the batch itself, or else for "
            "each anchor its row in the references or -1"
        )
    others = checks.check_batch(
        references.embeddings, references.labels, references.where
    )
    own = jnp.broadcast_to(jnp.asarray(references.own), labels.shape)
    y = keep(references.embeddings, others).astype(x.dtype)
    pos, neg = masks(labels, references.labels, counts, others, own)
    if references.allowed is not None:
        pos, neg = pos & references.allowed, neg & references.allowed
    return Pairs(x, y, pos, neg)


def keep(embeddings, where):
    """Rows that count, in float32 at least; 0 elsewhere, whatever stood there."""
    x = single(embeddings)
    return jnp.where(where[:, None], x, jnp.zeros_like(x))


def finite_rows(embeddings):
    """`[B]` bool: the rows of `[B, E]` without a NaN and without an infinity."""
    return jnp.isfinite(embeddings).all(1)


def masks(labels, others, where, others_where, own):
    """`pos, neg` `[A, R]` bool; `own` is None where references are the anchors."""
    same = labels[:, None] == others[None]
    column = jnp.arange(len(others))
    own = column if own is None else own
    counts = where[:, None] & others_where[None]
    return counts & same & (own[:, None] != column[None]), counts & ~same


def counting(labels, where):
    """`[B]` bool: the rows that count, all by default."""
    return jnp.ones(labels.shape, bool) if where is None else where.astype(bool)


def known_rows(embeddings, labels, where, classes):
    """Rows `[B, E]` in float32 at least, 0 where they do not count, and which do `[B]`:
    those of a class from 0 to classes - 1."""
    valid = checks.check_batch(embeddings, labels, where)
    valid = valid & (labels >= 0) & (labels < classes)
    return keep(embeddings, valid), valid


def first_pairs(labels, where):
    """`[B // 2, 2]` int: the first two rows of each class; -1, -1 is padding."""
    rows = jnp.lexsort((labels, ~where))  # those that count first, by class
    of_row, counts = labels[rows], where[rows]
    alike = (of_row[1:] == of_row[:-1]) & counts[1:] & counts[:-1]  # with the next
    before = jnp.concatenate([jnp.zeros(1, bool), alike[:-1]])[: len(alike)]
    at = jnp.nonzero(alike & ~before, size=len(labels) // 2, fill_value=-1)[0]
    pairs = jnp.stack([rows[at], rows[at + 1]], 1)
    return jnp.where((at >= 0)[:, None], pairs, -1)


def take(embeddings, labels, where, index, kind):
    """Rows of explicit pairs or triplets.

    Args:
      index: `[N, 2]` or `[N, 3]` int, the anchor first. A tuple with an index of -1 is
        padding; one of an anchor with itself does not count.
    Returns:
      A list of `[N, E]` rows, a list of `[N]` labels, and `[N]` bool, the tuples that
      count.
    """
    counts = checks.check_batch(embeddings, labels, where)
    size = {"pairs": 2, "triplets": 3}[kind]
    if index.ndim != 2 or index.shape[1] != size:
        raise UsageError(
            f"{kind} have the shape {list(index.shape)}: they must be [N, {size}], "
            f"{size} numbers of rows each"
        )
    x, labels = keep(embeddings, counts), jnp.asarray(labels)
    columns = [jnp.maximum(i, 0) for i in index.T]
    valid = jnp.all(index >= 0, 1) & jnp.all(index[:, 1:] != index[:, :1], 1)
    valid = valid & jnp.all(jnp.stack([counts[i] for i in columns]), 0)
    return [x[i] for i in columns], [labels[i] for i in columns], valid
