"""Losses around another loss: against a memory of past batches, or on mined pairs."""

import inspect

import jax
import jax.numpy as jnp

from siamjax.losses import distances, mining, tuples
from siamjax.losses.annotations import (
    Count,
    Distance,
    NotNegative,
    PairMiner,
    ShareAboveNone,
    Size,
    WeightRegulariser,
    check_choice,
)
from siamjax.losses.guard import Stateful, stateful, without_reduction
from siamjax.losses.registry import resolve
from siamjax.losses.tuples import References
from siamjax.types import UsageError


@without_reduction(
    "give it to the loss inside, as in memory:loss=(contrastive:reduce=none)"
)
@stateful
def memory(
    *,
    loss: str = "contrastive",
    size: Size = 1024,
    start: Count = 0,
) -> Stateful:
    """A loss of the batch against the rows of past batches and its own rows.

    The batch enters a ring of `size` rows. Then each row of the batch is an anchor, and
    all other rows of the ring are its references. Rows in the ring pass no gradient.
    The paper adds the plain loss: `contrastive+memory:loss=(contrastive)`.

    With the mask `enqueue` only its rows enter the ring, and all other rows are the
    anchors: keys of an averaged network and queries of the trained one (MoCo).

    Args:
      loss: the text of a loss that takes references, in parentheses.
      size: rows in the ring, at least a batch.
      start: in the first `start` batches the references are the batch alone.
    Returns:
      `Stateful`, with the loss's params, and the ring as memory. Rows that do not count
      stay empty in it.
    Reference: Wang et al. (XBM), CVPR 2020; He et al. (MoCo), CVPR 2020, for enqueue.
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
        memory = dict(ring=ring, loss=state.get("memory", {}))
        return dict(params=state.get("params", {}), memory=memory)

    def apply(state, embeddings, labels, *, where=None, enqueue=None, key=None):
        rows = len(labels)
        if rows > size:
            raise UsageError(f"memory: size={size} is less than a batch of {rows} rows")
        ring = state["memory"]["ring"]
        entering, entered = jnp.arange(rows), rows
        if enqueue is not None:
            entering, entered = jnp.cumsum(enqueue) - 1, jnp.sum(enqueue)
        place = (ring["next"] + entering) % size
        if enqueue is not None:
            place = jnp.where(enqueue, place, size)  # out of the ring: dropped
        counted = tuples.counted_rows(labels, where)
        x = jax.lax.stop_gradient(tuples.zero_uncounted(embeddings, counted))
        x = x.astype(ring["embeddings"].dtype)
        ring = dict(
            embeddings=ring["embeddings"].at[place].set(x, mode="drop"),
            labels=ring["labels"].at[place].set(labels.astype(jnp.int32), mode="drop"),
            filled=ring["filled"].at[place].set(counted, mode="drop"),
            batches=ring["batches"] + 1,
            next=(ring["next"] + entered).astype(jnp.int32) % size,
        )
        present = jnp.zeros(size, bool).at[place].set(True, mode="drop")
        used = ring["filled"] & (present | (ring["batches"] > start))
        if enqueue is not None:
            where, place = counted & ~enqueue, -1
        references = References(
            ring["embeddings"], ring["labels"], used, anchor_rows=place
        )
        inner_state = dict(params=state["params"], memory=state["memory"]["loss"])
        value, inner_state = inner.apply(
            inner_state, embeddings, labels, where=where, references=references, key=key
        )
        memory = dict(ring=ring, loss=inner_state.get("memory", {}))
        return value, {**state, "memory": memory}

    return Stateful(init, apply, inner.per_class)


@without_reduction(
    "give it to the loss inside, as in mined:loss=(contrastive:reduce=none)"
)
@stateful
def mined(
    *,
    loss: str = "contrastive",
    by: PairMiner = "multi_similarity",
    distance: Distance = "cosine",
    epsilon: NotNegative = 0.1,
    pos_limit: float = 0.8,
    neg_limit: float = 0.2,
    share: ShareAboveNone = 0.5,
) -> Stateful:
    """A loss on the pairs that a miner chooses.

    `by` names the miner; D is the distance (or minus the similarity):
      multi_similarity: p with D > least D of a negative - epsilon, n with D < largest D
        of a positive + epsilon.
      pair_margin: p farther than pos_limit, n nearer than neg_limit; with a similarity
        s these are p with s < pos_limit, n with s > neg_limit.
      hardest: of all positive pairs the share with the largest D, of all negative pairs
        the share with the smallest D.

    Args:
      loss: the text of a loss that takes references, in parentheses.
      by: as above.
      distance: the miner's; see `distances`.
      epsilon: in the unit of the distance, for multi_similarity.
      pos_limit, neg_limit: in the unit of the distance, for pair_margin.
      share: in (0, 1], for hardest.
    Returns:
      `Stateful`, with the loss's params and memory.
    Reference: Wang et al. (multi-similarity), CVPR 2019; Yuan et al. (hard-aware
      cascade), ICCV 2017.
    """
    inner, measure = _inner(loss), distances.by_name(distance)
    check_choice("by", by, PairMiner)
    if by == "pair_margin":
        distances.check_sides(measure, pos_limit=pos_limit, neg_limit=neg_limit)

    def apply(state, embeddings, labels, *, where=None, key=None):
        batch = tuples.all_pairs(embeddings, labels, where)
        cost = jax.lax.stop_gradient(measure.cost(measure.matrix(batch.x, batch.x)))
        masks = batch.pos, batch.neg
        if by == "multi_similarity":
            pos, neg = mining.multi_similarity_pairs(cost, *masks, epsilon)
        elif by == "pair_margin":
            near, far = measure.cost(pos_limit), measure.cost(neg_limit)
            pos, neg = mining.margin_pairs(cost, *masks, near, far)
        else:
            pos, neg = mining.hardest_pairs(cost, *masks, share)
        itself, allowed = jnp.arange(len(labels)), pos | neg
        references = References(embeddings, labels, where, allowed, anchor_rows=itself)
        return inner.apply(
            state, embeddings, labels, where=where, references=references, key=key
        )

    return Stateful(inner.init, apply, inner.per_class)


@without_reduction(
    "give it to the loss inside, as in matryoshka:loss=(supcon:reduce=none)"
)
@stateful
def matryoshka(
    *,
    loss: str = "supcon",
    halvings: Count = 3,
    unit_rows: bool = True,
) -> Stateful:
    """A loss of the first E, E/2, E/4, ... coordinates, so that each prefix is useful.

      total = sum over sizes m of loss(first m coordinates)

    Args:
      loss: the text of any loss, in parentheses.
      halvings: how often E is halved; 3: E, E/2, E/4 and E/8. A size is at least 1, and
        one that comes twice counts once. Time and memory grow with their number.
      unit_rows: each prefix is divided by its norm.
    Returns:
      `Stateful`, with a list of the loss's params and memory, one for each size. It
      takes the data that the loss takes.
    Reference: Kusupati et al. (Matryoshka), NeurIPS 2022, eq. 1, all weights 1.
    """
    inner = resolve(loss)

    def sizes(dim):
        return sorted({max(dim >> n, 1) for n in range(halvings + 1)}, reverse=True)

    def init(key, classes, dim):
        parts = sizes(dim)
        keys = jax.random.split(key, len(parts))
        states = [inner.init(k, classes, m) for k, m in zip(keys, parts)]
        if not any(states):
            return {}
        return {p: [s.get(p, {}) for s in states] for p in ("params", "memory")}

    def apply(state, embeddings, labels, *, key=None, references=None, **data):
        parts = sizes(embeddings.shape[1])
        counted = tuples.counted_rows(labels, data.get("where"))
        x, total, memory = tuples.zero_uncounted(embeddings, counted), 0.0, []
        keys = [None] * len(parts) if key is None else jax.random.split(key, len(parts))
        for i, (size, part_key) in enumerate(zip(parts, keys)):
            rows = references
            if references is not None:
                y = tuples.zero_uncounted(references.embeddings, references.where)
                rows = references._replace(embeddings=prefix(y, size))
            part = {name: state[name][i] for name in state}
            value, part = inner.apply(
                part, prefix(x, size), labels, key=part_key, references=rows, **data
            )
            total, memory = total + value, [*memory, part.get("memory", {})]
        return total, state and {**state, "memory": memory}

    def prefix(x, size):
        return distances.unit(x[:, :size]) if unit_rows else x[:, :size]

    return Stateful(init, _with_data(apply, inner.uses), inner.per_class)


@without_reduction(
    "give it to the loss inside, as in regular_weights:loss=(cosface:reduce=class)"
)
@stateful
def regular_weights(
    *,
    loss: str = "cosface",
    by: WeightRegulariser = "center_invariant",
    weight: NotNegative = 0.1,
) -> Stateful:
    """A loss, and a penalty on its class weights or proxies w_k.

      total = loss + weight * mean over k of
        center_invariant: 1/4 * (|w_k|² - mean of |w|²)², all norms alike
        regular_face: the largest cosine of w_k to another, all far apart
        norm: |w_k|², all short

    Args:
      loss: the text of a loss with weights or proxies `[C, E]`, in parentheses.
      by: as above.
      weight: of the penalty.
    Returns:
      `Stateful`, with the loss's params and memory.
    Raises:
      UsageError: the loss has no weights `[C, E]`, or has `reduce=none`.
    Reference: Wu et al. (center invariant), ACM MM workshops 2017; Zhao et al.
      (RegularFace), CVPR 2019.
    """
    check_choice("by", by, WeightRegulariser)
    inner = resolve(loss)
    shapes = jax.eval_shape(lambda: inner.init(jax.random.key(0), 3, 2))
    if not any(leaf.ndim == 2 for leaf in jax.tree.leaves(shapes.get("params"))):
        raise UsageError(
            f"regular_weights: loss {loss} has no class weights or proxies; give one "
            "such as cosface or proxy_anchor"
        )

    if "none" in {v for k, v in inner.hyper.items() if k.endswith("reduce")}:
        raise UsageError(
            f"regular_weights: loss {loss} has reduce=none, but the penalty is of the "
            "weights and of no row: leave reduce=none out"
        )

    def apply(state, embeddings, labels, **data):
        value, state = inner.apply(state, embeddings, labels, **data)
        for w in jax.tree.leaves(state["params"]):
            if w.ndim == 2:
                value = value + weight * penalty(w.astype(value.dtype))
        return value, state

    def penalty(w):
        square = jnp.sum(w * w, 1)
        if by == "norm":
            return square.mean()
        if by == "center_invariant":
            return jnp.mean((square - square.mean()) ** 2) / 4
        itself = jnp.eye(len(w), dtype=bool)
        others = jnp.where(itself, -1, distances.cosine(w, w))
        return others.max(1).mean() if len(w) > 1 else jnp.zeros((), w.dtype)

    return Stateful(inner.init, _with_data(apply, inner.uses), inner.per_class)


def _with_data(apply, uses):
    """`apply`, with a signature that names the data which it takes."""
    kinds = inspect.Parameter
    names = [
        kinds(name, kinds.POSITIONAL_OR_KEYWORD)
        for name in ("state", "embeddings", "labels")
    ]
    names += [kinds(name, kinds.KEYWORD_ONLY, default=None) for name in sorted(uses)]
    apply.__signature__ = inspect.Signature(names)
    return apply


def _inner(loss):
    inner = resolve(loss)
    if "references" not in inner.uses:
        raise UsageError(
            f"loss {loss} takes no references, so no loss can be built around it"
        )
    return inner
