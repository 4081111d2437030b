"""A loss of the library, computed by siamjax: its `forward`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import torch
from pytorch_metric_learning.utils import common_functions as c_f
from pytorch_metric_learning.utils import loss_and_miner_utils as lmu

from scripts.peer.bridge import NoCounterpart, Program, pad, padded_length, run
from scripts.peer.counterparts import find_counterpart, row_penalty
from siamjax import losses
from siamjax.losses import distances, resolve

# These take pairs without labels, which say of which kind they are.
WITHOUT_LABELS = (
    "CircleLoss",
    "ContrastiveLoss",
    "IntraPairVarianceLoss",
    "GeneralizedLiftedStructureLoss",
    "LiftedStructureLoss",
    "MarginLoss",
    "MultiSimilarityLoss",
    "NTXentLoss",
    "SignalToNoiseRatioContrastiveLoss",
    "SupConLoss",
    "TripletMarginLoss",
    "TupletMarginLoss",
)


def forward(
    self, embeddings, labels=None, indices_tuple=None, ref_emb=None, ref_labels=None
):
    """The loss by siamjax; the library's own checks come first."""
    counterpart = find_counterpart(self)
    self.reset_stats()
    c_f.check_shapes(embeddings, labels)
    if hasattr(self, "cast_types"):
        self.cast_types(embeddings.dtype, embeddings.device)
    name = type(self).__name__
    if name == "ManifoldLoss":
        labels, indices_tuple = proxies_of_rows(self, embeddings, labels, indices_tuple)
    if name in ("VICRegLoss", "DynamicSoftMarginLoss") and labels is None:
        embeddings, labels = two_views(embeddings, ref_emb, ref_labels)
        ref_emb = None
    elif name == "VICRegLoss":
        raise ValueError("labels are not supported")
    if labels is None and name not in WITHOUT_LABELS:
        raise ValueError("labels are needed")
    is_batch = ref_emb is None or ref_emb is embeddings
    if is_batch:
        ref_labels = None
    program = make_program(counterpart)
    data = arguments(counterpart.text, labels, indices_tuple, ref_labels, embeddings)
    if hasattr(self, "siamjax_memory"):
        data["memory"] = self.siamjax_memory
    tensors = [embeddings]
    if not is_batch:
        rows = ref_emb
        if "ref_where" in data:
            missing = len(data["ref_where"]) - len(rows)
            rows = torch.cat([rows, rows.new_zeros(missing, rows.shape[1])])
        tensors.append(rows)
    if counterpart.weights:
        tensors.append(getattr(self, counterpart.weights))

    def keep(memory):
        if memory:
            self.siamjax_memory = memory

    total = run(program, data, tensors, keep)
    return total + row_regulariser(self, embeddings)


@functools.cache
def make_program(counterpart):
    """The `Program` of a `Counterpart`, of rows, references and weights."""
    loss = resolve(counterpart.text)

    def evaluate(arrays, data):
        x, *rest = arrays
        data = dict(data)
        x = normalise(x, counterpart.unit) * counterpart.size
        labels = data.pop("labels")
        ref_labels, where = data.pop("ref_labels", None), data.pop("ref_where", None)
        memory, allowed = data.pop("memory", {}), data.pop("allowed", None)
        has_references = len(rest) > bool(counterpart.weights)
        if has_references:
            y = normalise(rest.pop(0), counterpart.unit)
        if has_references and ("pairs" in data or "triplets" in data):
            x = jnp.concatenate([x, y])  # whose row numbers the tuples have
            labels = jnp.concatenate([labels, ref_labels])
        elif has_references:
            data["references"] = losses.References(
                y, ref_labels, where, allowed, anchor_rows=-1
            )
        elif counterpart.counts_itself:
            data["references"] = losses.References(x, labels, anchor_rows=-1)
        elif allowed is not None:
            itself = jnp.arange(len(x))
            data["references"] = losses.References(
                x, labels, allowed=allowed, anchor_rows=itself
            )
        state = {}
        if counterpart.weights:
            state = weights_state(counterpart, loss, rest.pop(0))
        elif loss.name == "dynamic_soft_margin":
            state = loss.init(jax.random.key(0), 1, x.shape[1])
        if memory:
            state = {**state, "memory": memory}
        value, state = loss.apply(state, x, labels, **data)
        return counterpart.factor * value, state.get("memory", {})

    return Program(evaluate)


def weights_state(counterpart, loss, weights):
    """The state of a loss with the library's weights."""
    weights = weights.T if counterpart.columns else weights
    classes = len(weights) // counterpart.centers
    dim = weights.shape[-1] if weights.ndim == 2 else 1
    state = loss.init(jax.random.key(0), classes, dim)
    ((key, own),) = state["params"].items()
    return {**state, "params": {key: weights.reshape(own.shape)}}


def normalise(x, norm):
    """Rows divided by their norm; 0: as they are."""
    if not norm:
        return x
    if norm == 2:
        return distances.unit(x)
    size = jnp.sum(jnp.abs(x) ** norm, 1, keepdims=True) ** (1 / norm)
    return x / jnp.maximum(size, 1e-12)


def proxies_of_rows(self, embeddings, labels, indices_tuple):
    """Labels of a manifold loss; there they come as a tuple of indices."""
    assert embeddings.shape[1] == self.l
    if labels is not None:
        raise ValueError("labels are not supported")
    if indices_tuple is None:
        raise NoCounterpart("classes that are dealt out to proxies at random")
    return indices_tuple, None


def two_views(embeddings, ref_emb, ref_labels):
    """Two views of the same examples as a batch with labels."""
    if ref_labels is not None or ref_emb is None:
        raise ValueError("two views without labels are needed")
    if embeddings.shape != ref_emb.shape:
        raise NoCounterpart("two views of different numbers of examples")
    rows = torch.cat([embeddings, ref_emb])
    return rows, torch.arange(len(embeddings)).repeat(2)


def arguments(text, labels, indices_tuple, ref_labels, embeddings):
    """The data arguments of a loss, for a tuple of indices.

    Returns:
      A dict of arrays: `labels`, and where they are needed `ref_labels`, `ref_where`
      (which of the padded references count), `allowed`, `pairs`, `triplets`.
    """
    loss, number = resolve(text), len(embeddings)
    if ref_labels is not None and "references" not in loss.uses:
        raise NoCounterpart(f"{loss.name} with references")
    if indices_tuple is None:
        if labels is None:
            raise ValueError("labels or a tuple of indices are needed")
        data = dict(labels=labels, ref_labels=ref_labels)
        return {k: as_ids(v) for k, v in data.items() if v is not None}
    if len(indices_tuple) == 3 and loss.name == "triplet":
        return triplet_list(number, indices_tuple, ref_labels)
    pairs = lmu.convert_to_pairs(indices_tuple, labels)
    a1, p, a2, n = (column.cpu().numpy().astype(int) for column in pairs)
    if labels is None:
        labels, ref_labels = labels_of_pairs(number, (a1, p, a2, n), ref_labels)
    ids = as_ids(labels)
    others = ids if ref_labels is None else as_ids(ref_labels)
    if np.any(ids[a1] != others[p]) or np.any(ids[a2] == others[n]):
        raise NoCounterpart("a pair of another kind than its labels say")
    anchors, partners = np.r_[a1, a2], np.r_[p, n]
    count = np.zeros((number, len(others)), int)
    np.add.at(count, (anchors, partners), 1)
    data = dict(labels=ids)
    if count.max(initial=0) > 1:
        if "pairs" not in loss.uses:
            raise NoCounterpart(f"a pair that counts twice, in {loss.name}")
        shift = 0 if ref_labels is None else number
        rows = np.stack([anchors, partners + shift], 1)
        data["pairs"] = pad(rows.astype(np.int32), -1)
        if ref_labels is not None:
            data["ref_labels"] = others
        return data
    if "references" not in loss.uses:
        raise NoCounterpart(f"{loss.name} with a list of pairs")
    data["allowed"] = count > 0
    if ref_labels is not None:
        # A memory grows with each batch: pad it, or each size is compiled anew.
        data["ref_where"] = np.arange(padded_length(len(others))) < len(others)
        data["ref_labels"] = pad(others, 0)
        data["allowed"] = pad(data["allowed"].T, False).T
    return data


def as_ids(labels):
    return labels.cpu().numpy().astype(np.int32)


def triplet_list(number, indices_tuple, ref_labels):
    """`triplets`, of rows and of references behind them; no label is read."""
    a, p, n = (column.cpu().numpy() for column in indices_tuple)
    shift = 0 if ref_labels is None else number
    rows = np.stack([a, p + shift, n + shift], 1).astype(np.int32).reshape(-1, 3)
    data = dict(labels=np.zeros(number, np.int32), triplets=pad(rows, -1))
    if ref_labels is not None:
        data["ref_labels"] = np.zeros(len(ref_labels), np.int32)
    return data


def labels_of_pairs(number, pairs, ref_labels):
    """Labels for pairs that come without: rows joined by positives are one class."""
    if ref_labels is not None:
        raise NoCounterpart("references with labels, for a batch without")
    ids = np.arange(number)
    for a, b in zip(pairs[0], pairs[1]):
        ids[ids == ids[b]] = ids[a]
    return torch.tensor(ids), None


def row_regulariser(self, embeddings):
    """The library's regulariser of embeddings, by siamjax."""
    regulariser = getattr(self, "embedding_regularizer", None)
    if regulariser is None:
        return 0
    program = make_penalty(row_penalty(regulariser))
    return self.embedding_reg_weight * run(program, {}, [embeddings])


@functools.cache
def make_penalty(text):
    loss = resolve(text)

    def evaluate(arrays, data):
        (x,) = arrays
        return loss.apply({}, x, jnp.zeros(len(x), jnp.int32))[0], {}

    return Program(evaluate)
