"""Miners of the library, computed by siamjax: their `mine`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import torch
from pytorch_metric_learning.utils import loss_and_miner_utils as lmu

from scripts.peer.bridge import NoCounterpart, to_jax
from scripts.peer.counterparts import distance_text
from scripts.peer.losses import normalise
from siamjax import losses


@functools.partial(jax.jit, static_argnames=("is_batch", "distance", "unit"))
def measure(x, y, labels, ref_labels, *, is_batch, distance, unit):
    """`losses.measure_pairs` of rows, or of rows and references."""
    references = None
    if not is_batch:
        y = normalise(y, unit)
        references = losses.References(y, ref_labels, anchor_rows=-1)
    x = normalise(x, unit)
    return losses.measure_pairs(x, labels, references=references, distance=distance)


def measured(self, embeddings, labels, ref_emb, ref_labels):
    """Cost, positives and negatives by a miner's distance."""
    distance, unit = distance_text(self.distance)
    arrays = [to_jax(a) for a in (embeddings, ref_emb, labels, ref_labels)]
    is_batch = ref_emb is embeddings
    return measure(*arrays, is_batch=is_batch, distance=distance, unit=unit)


def to_cost(self, value):
    return -value if self.distance.is_inverted else value


# A choice is compiled once for its settings, which are plain numbers and texts.
_compiled = functools.cache(
    lambda choose, settings: jax.jit(functools.partial(choose, **dict(settings)))
)


def choose_pairs(choose, batch, **settings):
    """Pairs that a function of cost, pos and neg chooses, as tensors a1, p, a2, n."""
    masks = _compiled(choose, tuple(settings.items()))(*batch)
    pos, neg = (np.asarray(mask) for mask in masks)
    return tuple(torch.tensor(c) for c in (*np.nonzero(pos), *np.nonzero(neg)))


def choose_triplets(choose, batch, **settings):
    """Triplets that a function of cost, pos and neg chooses, as tensors a, p, n."""
    settings["size"] = batch[0].shape[0] * batch[0].shape[1] ** 2
    return triplet_columns(_compiled(choose, tuple(settings.items()))(*batch))


def triplet_columns(mined):
    rows = np.array(mined.rows[: int(mined.number)], np.int64)
    return tuple(torch.tensor(column) for column in rows.T)


def mine_triplet_margin(self, *batch):
    return choose_triplets(
        losses.triplets_by_gap,
        measured(self, *batch),
        kind=self.type_of_triplets,
        margin=self.margin,
    )


def mine_easy_hard(self, *batch):
    settings = dict(positive=self.pos_strategy, negative=self.neg_strategy)
    for name in ("pos", "neg"):
        low_high = getattr(self, f"allowed_{name}_range")
        if low_high is not None:
            ends = sorted(to_cost(self, value) for value in low_high)
            settings[f"{name}_range"] = tuple(ends)
    return choose_pairs(losses.anchor_pairs, measured(self, *batch), **settings)


def mine_batch_hard(self, *batch):
    a, p, _, n = choose_pairs(
        losses.anchor_pairs,
        measured(self, *batch),
        positive="hard",
        negative="hard",
    )
    return a, p, n


def mine_angular(self, embeddings, labels, ref_emb, ref_labels):
    if ref_emb is not embeddings:
        raise NoCounterpart("angles to references")
    x, ids = to_jax(embeddings), to_jax(labels)
    squared = measure(x, x, ids, ids, is_batch=True, distance="squared", unit=0)
    degrees = float(np.degrees(self.angle))
    return choose_triplets(losses.triplets_by_angle, squared, angle=degrees)


def mine_multi_similarity(self, *batch):
    return choose_pairs(
        losses.multi_similarity_pairs, measured(self, *batch), epsilon=self.epsilon
    )


def mine_pair_margin(self, *batch):
    near, far = to_cost(self, self.pos_margin), to_cost(self, self.neg_margin)
    return choose_pairs(losses.margin_pairs, measured(self, *batch), near=near, far=far)


def mine_hardest(self, *batch):
    if self.was_set_externally:
        return mine_hardest_of_list(self, *batch)
    return choose_pairs(
        losses.hardest_pairs, measured(self, *batch), share=self.filter_percentage
    )


def mine_hardest_of_list(self, embeddings, labels, ref_emb, ref_labels):
    """The hardest of the pairs that another miner gave."""
    others = None if ref_emb is embeddings else ref_labels
    indices = (self.a1, self.p, self.a2, self.n)
    a1, p, a2, n = lmu.convert_to_pairs(indices, labels, others)
    cost, pos, neg = measured(self, embeddings, labels, ref_emb, ref_labels)
    listed = np.zeros((2, *cost.shape), bool)
    listed[0, a1, p] = True
    listed[1, a2, n] = True
    batch = cost, pos & listed[0], neg & listed[1]
    return choose_pairs(losses.hardest_pairs, batch, share=self.filter_percentage)


def mine_histogram(self, *batch):
    cost, pos, neg = measured(self, *batch)
    nothing, columns = jnp.zeros_like(pos), []
    for pos_part, neg_part, number in (
        (pos, nothing, self.pos_per_bin),
        (nothing, neg, self.neg_per_bin),
    ):
        settings = (("bins", self.num_bins), ("per_bin", number))
        mine = _compiled(losses.pairs_by_histogram, settings)
        mined = mine(cost, pos_part, neg_part, key=jax.random.key(0))
        rows = np.array(mined.rows, np.int64)
        rows = rows[rows[:, 0] >= 0]
        columns += [torch.tensor(column) for column in rows.T]
    return tuple(columns)


@functools.partial(jax.jit, static_argnames=("is_batch", "cutoff", "limit"))
def draw_negatives(x, y, labels, ref_labels, *, is_batch, cutoff, limit):
    references = None
    if not is_batch:
        references = losses.References(y, ref_labels, anchor_rows=-1)
    batch = losses.all_pairs(x, labels, references=references)
    column, valid = losses.distance_weighted_negatives(
        batch, jax.random.key(0), cutoff, limit
    )
    return losses.column_triplets(column, valid, size=len(x) * len(y))


def mine_distance_weighted(self, embeddings, labels, ref_emb, ref_labels):
    arrays = [to_jax(a) for a in (embeddings, ref_emb, labels, ref_labels)]
    mined = draw_negatives(
        *arrays,
        is_batch=ref_emb is embeddings,
        cutoff=self.cutoff,
        limit=self.nonzero_loss_cutoff,
    )
    return triplet_columns(mined)


MINERS = {
    "TripletMarginMiner": mine_triplet_margin,
    "BatchEasyHardMiner": mine_easy_hard,
    "BatchHardMiner": mine_batch_hard,
    "AngularMiner": mine_angular,
    "MultiSimilarityMiner": mine_multi_similarity,
    "PairMarginMiner": mine_pair_margin,
    "HDCMiner": mine_hardest,
    "UniformHistogramMiner": mine_histogram,
    "DistanceWeightedMiner": mine_distance_weighted,
}
