"""Which rows form pairs and triplets: static masks, or explicit index arrays."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from siamjax import checks
from siamjax.losses.annotations import Array
from siamjax.types import UsageError


class References(NamedTuple):
    """Rows that anchors are compared with, in place of the batch itself.

    `anchor_rows` is required. An anchor that is among the references, but whose row
    there is not given, would be its own positive at distance 0.
    """

    embeddings: Array  # [R, E]
    labels: Array  # [R] int
    where: Array | None = None  # [R] bool, the rows that count
    allowed: Array | None = None  # [B, R] bool, the pairs that count
    anchor_rows: Array | int | None = None  # [B] int, each anchor's row here; -1: none


class Pairs(NamedTuple):
    """All pairs of anchor and reference, A = B anchors and R references."""

    x: jax.Array  # [A, E] anchors, at least float32; 0 where not counted
    y: jax.Array  # [R, E] references; x itself without references
    pos: jax.Array  # [A, R] bool, one class, not the anchor itself
    neg: jax.Array  # [A, R] bool, two classes


def all_pairs(
    embeddings: Array,
    labels: Array,
    where: Array | None = None,
    references: References | None = None,
) -> Pairs:
    """Checks a batch and gives its `Pairs`.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      references: `References` to compare with; the batch itself by default.
    Raises:
      UsageError: shapes or types do not fit, or `References.anchor_rows` is missing.
    """
    counted = checks.check_batch(embeddings, labels, where)
    x = zero_uncounted(embeddings, counted)
    if references is None:
        return Pairs(x, x, *pair_masks(labels, labels, counted, counted, None))
    (y, others, others_counted, allowed, anchor_rows), _ = check_references(
        references, embeddings
    )
    anchor_rows = jnp.broadcast_to(anchor_rows, labels.shape)
    y = zero_uncounted(y, others_counted).astype(x.dtype)
    pos, neg = pair_masks(labels, others, counted, others_counted, anchor_rows)
    if allowed is not None:
        pos, neg = pos & allowed, neg & allowed
    return Pairs(x, y, pos, neg)


def check_references(
    references: Any, embeddings: Array
) -> tuple[Any, jax.Array | bool]:
    """Checks references for anchors `[B, E]`.

    Returns:
      `References` of JAX arrays, with a mask `where`; and whether a traced index or
      mask has a number that is not allowed, a `[]` bool.
    Raises:
      UsageError: they are no `References`, shapes or types do not fit, `anchor_rows` is
        missing, or a number is not allowed.
    """
    if not isinstance(references, References):
        raise UsageError(
            f"references must be References, got {type(references).__name__}: give "
            "losses.References(embeddings, labels, anchor_rows=...)"
        )
    x, labels, where, allowed, anchor_rows = references
    counted = checks.check_batch(x, labels, where, owner="References.")
    if x.shape[1:] != embeddings.shape[1:]:
        raise UsageError(
            f"references have the shape {list(x.shape)}, embeddings "
            f"{list(embeddings.shape)}: both must have the same number of coordinates"
        )
    bad: jax.Array | bool = False
    if where is not None:
        _, bad = checks.check_mask("References.where", where, labels.shape)
    if allowed is not None:
        shape = (len(embeddings), len(x))
        allowed, wrong = checks.check_mask("References.allowed", allowed, shape)
        bad = bad | wrong
    if anchor_rows is None:
        raise UsageError(
            "References.anchor_rows is missing: give anchor_rows=-1 if no anchor is "
            "among the references, anchor_rows=jnp.arange(B) if they are the batch "
            "itself, or else for each anchor its row in the references or -1"
        )
    anchor_rows, outside = checks.check_row_numbers(
        "References.anchor_rows", anchor_rows, len(labels)
    )
    if anchor_rows.shape not in ((), (len(embeddings),)):
        raise UsageError(
            f"References.anchor_rows has the shape {list(anchor_rows.shape)}: it must "
            f"be one integer, or [{len(embeddings)}], one for each anchor"
        )
    labels = jnp.asarray(labels)
    return References(x, labels, counted, allowed, anchor_rows), bad | outside


def check_similarity(
    data: dict[str, Any], counted: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Checks the similarities among the data of a loss.

    Args:
      data: with checked `references` or `pairs`, if there are any.
      counted: `[B]` bool, the anchors that count.
    Returns:
      The similarities, 0 for pairs that do not count; and whether one of a pair that
      counts is not finite, a `[]` bool.
    Raises:
      UsageError: they are no real numbers, or not one for each pair.
    """
    similarity, pairs = data["similarity"], data.get("pairs")
    references = data.get("references")
    if pairs is not None:
        valid = jnp.all(pairs >= 0, 1) & jnp.all(counted[jnp.maximum(pairs, 0)], 1)
    else:
        others = counted if references is None else references.where
        valid = counted[:, None] & others[None]
    shape, kind = valid.shape, "pair" if pairs is not None else "anchor and reference"
    given = getattr(similarity, "shape", None)
    if given != shape:
        given = type(similarity).__name__ if given is None else list(given)
        raise UsageError(
            f"similarity must be an array {list(shape)}, one number for each {kind}; "
            f"got {given}"
        )
    similarity = jnp.asarray(similarity)
    if jnp.issubdtype(similarity.dtype, jnp.complexfloating):
        raise UsageError(f"similarity must be real numbers, got {similarity.dtype}")
    similarity = similarity.astype(computed_in(similarity.dtype))
    bad = jnp.any(valid & ~jnp.isfinite(similarity))
    return jnp.where(valid, similarity, 0), bad


def computed_in(dtype: DTypeLike) -> jnp.dtype:
    """The type in which a loss of numbers of a type is computed."""
    return jnp.dtype(jnp.float64 if dtype == jnp.float64 else jnp.float32)


def zero_uncounted(embeddings: Array, where: Array) -> jax.Array:
    """Rows that count, in float32 or wider; 0 for other rows, whatever they hold."""
    x = embeddings.astype(computed_in(embeddings.dtype))
    return jnp.where(where[:, None], x, jnp.zeros_like(x))


def finite_rows(embeddings: Array) -> jax.Array:
    """`[B]` bool: the rows of `[B, E]` without a NaN and without an infinity."""
    return jnp.isfinite(embeddings).all(1)


def pair_masks(
    labels: Array,
    others: Array,
    where: Array,
    others_where: Array,
    anchor_rows: Array | None,
) -> tuple[Any, Any]:
    """`pos, neg` `[A, R]` bool; anchor_rows None: the anchors are the references."""
    same = labels[:, None] == others[None]
    column = jnp.arange(len(others))
    anchor_rows = column if anchor_rows is None else anchor_rows
    counted = where[:, None] & others_where[None]
    not_itself = anchor_rows[:, None] != column[None]
    return counted & same & not_itself, counted & ~same


def counted_rows(labels: Array, where: Array | None) -> jax.Array:
    """`[B]` bool: the rows that count, all by default."""
    if where is None:
        return jnp.ones(labels.shape, bool)
    return jnp.asarray(where).astype(bool)


def checked_rows(
    embeddings: Array, labels: Array, where: Array | None
) -> tuple[jax.Array, jax.Array]:
    """Checks a batch; gives its rows `[B, E]` in float32 or wider, 0 where they do not
    count, and which count, `[B]` bool."""
    counted = checks.check_batch(embeddings, labels, where)
    return zero_uncounted(embeddings, counted), counted


def first_pairs(labels: Array, where: Array) -> jax.Array:
    """`[B // 2, 2]` int: the first two rows of each class; -1, -1 is padding."""
    rows = jnp.lexsort((labels, ~where))  # those that count first, by class
    row_labels, counted = labels[rows], where[rows]
    same_as_next = (row_labels[1:] == row_labels[:-1]) & counted[1:] & counted[:-1]
    same_as_before = jnp.concatenate([jnp.zeros(1, bool), same_as_next[:-1]])
    first = same_as_next & ~same_as_before[: len(same_as_next)]
    place = jnp.nonzero(first, size=len(labels) // 2, fill_value=-1)[0]
    pairs = jnp.stack([rows[place], rows[place + 1]], 1)
    return jnp.where((place >= 0)[:, None], pairs, -1)


def gather_tuples(
    embeddings: Array,
    labels: Array,
    where: Array | None,
    index: Array,
    kind: Literal["pairs", "triplets"],
) -> tuple[list[jax.Array], list[jax.Array], jax.Array]:
    """Rows of explicit pairs or triplets.

    Args:
      embeddings: `[B, E]` float.
      labels: `[B]` int.
      where: `[B]` bool, the rows that count; all by default.
      index: `[N, 2]` or `[N, 3]` int, the anchor first. A tuple with an index of -1 is
        padding. A tuple that has its anchor twice does not count.
      kind: which of the two, for the text of an error.
    Returns:
      A list of `[N, E]` rows, a list of `[N]` labels, and `[N]` bool, the tuples that
      count.
    Raises:
      UsageError: `index` has another shape.
    """
    counted = checks.check_batch(embeddings, labels, where)
    size = {"pairs": 2, "triplets": 3}[kind]
    if index.ndim != 2 or index.shape[1] != size:
        raise UsageError(
            f"{kind} have the shape {list(index.shape)}: they must be [N, {size}], "
            f"{size} numbers of rows each"
        )
    x, labels = zero_uncounted(embeddings, counted), jnp.asarray(labels)
    columns = [jnp.maximum(i, 0) for i in index.T]
    valid = jnp.all(index >= 0, 1) & jnp.all(index[:, 1:] != index[:, :1], 1)
    valid = valid & jnp.all(jnp.stack([counted[i] for i in columns]), 0)
    return [x[i] for i in columns], [labels[i] for i in columns], valid


def paired_rows(
    embeddings: Array, labels: Array, where: Array | None, pairs: Array | None
) -> tuple[list[jax.Array], list[jax.Array], jax.Array]:
    """`gather_tuples` of the given pairs `[N, 2]`, or of the `first_pairs`."""
    if pairs is None:
        pairs = first_pairs(labels, counted_rows(labels, where))
    return gather_tuples(embeddings, labels, where, pairs, "pairs")


def two_views(first: Array, second: Array) -> tuple[jax.Array, jax.Array]:
    """Two views of N examples as a batch: example i is the class i, with two rows.

    Args:
      first, second: `[N, E]` float, row i of both is of one example.
    Returns:
      Embeddings `[2 N, E]` and labels `[2 N]`, for any loss: `ntxent(*two_views(a, b))`
      is SimCLR's loss.
    Raises:
      UsageError: the shapes differ.
    """
    if first.shape != second.shape or first.ndim != 2:
        raise UsageError(
            f"two views have the shapes {list(first.shape)} and {list(second.shape)}: "
            "both must be [N, E], row i of both of one example"
        )
    labels = jnp.arange(len(first), dtype=jnp.int32)
    return jnp.concatenate([first, second]), jnp.concatenate([labels, labels])
