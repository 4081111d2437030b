"""Losses about a loss: against a memory of past batches, or of mined pairs alone."""

import jax
import jax.numpy as jnp

from siamjax.losses import mining, tuples
from siamjax.losses.distances import check_sides
from siamjax.losses.distances import distance as kind_of
from siamjax.losses.guard import guarded
from siamjax.losses.registry import Stateful, resolve
from siamjax.types import UsageError


@guarded
def memory(*, loss="contrastive", size=1024, start=0):
    """A loss whose anchors meet the rows of past batches, the present one among them.

    The batch enters a ring of `size` rows, then each of its rows is an anchor against
    the ring, except against itself. Rows in the ring pass no gradient. Add the plain
    loss for the paper's form: `contrastive+memory:loss=(contrastive)`.

    Args:
      loss: the text of a loss that takes references, in parentheses.
      size: rows in the ring, at least a batch.
      start: batches before the past counts; until then the batch meets itself only.
    Returns:
      `Stateful`, with the loss's params, and as memory the ring. Rows that do not count
      enter as empty.
    Reference: Wang et al. (XBM), CVPR 2020.
    """
    inner = _inner(loss)

    def init(key, classes, dim):
        state = inner.init(key, classes, dim)
        ring = dict(
            embeddings=jnp.zeros((size, dim)),
            labels=jnp.zeros(size, jnp.int32),
            filled=jnp.zeros(size, bool),
            batches=jnp.zeros((), jnp.int32),
            next=jnp.zeros((), jnp.int32),
        )
        rest = state.get("memory", {})
        return dict(params=state.get("params", {}), memory=dict(ring=ring, loss=rest))

    def apply(state, embeddings, labels, *, where=None, key=None):
        rows = len(labels)
        if rows > size:
            raise UsageError(f"memory: size={size} is less than a batch of {rows}")
        ring = state["memory"]["ring"]
        at = (ring["next"] + jnp.arange(rows)) % size
        counts = tuples.counting(labels, where)
        x = jax.lax.stop_gradient(tuples.keep(embeddings, counts))
        ring = dict(
            embeddings=ring["embeddings"]
            .at[at]
            .set(x.astype(ring["embeddings"].dtype)),
            labels=ring["labels"].at[at].set(labels.astype(jnp.int32)),
            filled=ring["filled"].at[at].set(counts),
            batches=ring["batches"] + 1,
            next=(ring["next"] + rows) % size,
        )
        present = jnp.zeros(size, bool).at[at].set(True)
        used = ring["filled"] & (present | (ring["batches"] > start))
        references = tuples.References(ring["embeddings"], ring["labels"], used, own=at)
        own = dict(params=state["params"], memory=state["memory"]["loss"])
        value, own = inner.apply(
            own, embeddings, labels, where=where, references=references, key=key
        )
        kept = dict(ring=ring, loss=own.get("memory", {}))
        return value, {**state, "memory": kept}

    return Stateful(init, apply, inner.per_class)


MINERS = ("multi_similarity", "pair_margin", "hardest")


@guarded
def mined(
    *,
    loss="contrastive",
    by="multi_similarity",
    distance="cosine",
    epsilon=0.1,
    pos_limit=0.8,
    neg_limit=0.2,
    share=0.5,
):
    """A loss on the pairs that a miner leaves.

    By, with D the distance (or minus the similarity):
      multi_similarity: p no epsilon nearer than the nearest n, n no epsilon farther
        than the farthest p.
      pair_margin: p with D > pos_limit, n with D < neg_limit (a similarity the other
        way).
      hardest: of all positive pairs the share with the largest D, of all negative pairs
        the share with the smallest.

    Args:
      loss: the text of a loss that takes references, in parentheses.
      by: as above.
      distance: that the miner sees; see `distances`.
      epsilon, pos_limit, neg_limit: in its unit.
      share: in (0, 1].
    Returns:
      `Stateful`, with the loss's params and memory.
    Reference: Wang et al. (multi-similarity), CVPR 2019; Yuan et al. (hard-aware
      cascade), ICCV 2017.
    """
    inner, kind = _inner(loss), kind_of(distance)
    if by not in MINERS:
        raise UsageError(f"by={by} is not known: one of {', '.join(MINERS)}")
    if not 0 < share <= 1:
        raise UsageError(f"share={share} must be in (0, 1]")
    if by == "pair_margin":
        check_sides(kind, pos_limit=pos_limit, neg_limit=neg_limit)

    def init(key, classes, dim):
        return inner.init(key, classes, dim)

    def apply(state, embeddings, labels, *, where=None, key=None):
        batch = tuples.pairs(embeddings, labels, where)
        cost = jax.lax.stop_gradient(kind.cost(kind.matrix(batch.x, batch.x)))
        if by == "multi_similarity":
            pos, neg = mining.multi_similarity(cost, batch.pos, batch.neg, epsilon)
        elif by == "pair_margin":
            near, far = kind.cost(pos_limit), kind.cost(neg_limit)
            pos, neg = mining.pair_margin(cost, batch.pos, batch.neg, near, far)
        else:
            pos, neg = mining.hardest(cost, batch.pos, batch.neg, share)
        references = tuples.References(
            embeddings, labels, where, own=jnp.arange(len(labels)), allowed=pos | neg
        )
        return inner.apply(
            state, embeddings, labels, where=where, references=references, key=key
        )

    return Stateful(init, apply, inner.per_class)


def _inner(loss):
    inner = resolve(loss)
    if "references" not in inner.uses:
        raise UsageError(f"loss {loss} takes no references, so it cannot be wrapped")
    return inner
