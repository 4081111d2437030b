"""siamjax behind the interface of pytorch-metric-learning, in memory, for its tests.

`install` puts siamjax's losses, miners and metrics in place of the library's own. Its
classes keep their constructors, weights, distances and reducers; what a test reads from
them stays as it is. Only what computes is replaced: `forward` of a loss, `mine` of a
miner, the scores of `AccuracyCalculator`. What siamjax does not have raises
`NoCounterpart` with a reason.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from pytorch_metric_learning import distances as peer_distances
from pytorch_metric_learning import miners as peer_miners
from pytorch_metric_learning import reducers as peer_reducers
from pytorch_metric_learning import regularizers as peer_regularizers
from pytorch_metric_learning.losses import base_metric_loss_function
from pytorch_metric_learning.utils import accuracy_calculator
from pytorch_metric_learning.utils import common_functions as c_f
from pytorch_metric_learning.utils import loss_and_miner_utils as lmu

from siamjax import losses, metrics
from siamjax.losses import distances, resolve

COUNT = {"calls": 0}  # how often a test reached siamjax


class NoCounterpart(Exception):
    """A test asks for what siamjax does not have."""


class Counterpart(NamedTuple):
    """A loss of siamjax, for an object of the library's class."""

    text: str
    unit: float = 0  # rows are divided by this norm of theirs first; 0: not
    weights: str = ""  # the attribute of the object that holds the weights
    columns: bool = False  # the weights are columns there
    centers: int = 1  # rows of weights for each class
    size: float = 1.0  # rows are multiplied by it first


def install():
    jax.config.update("jax_enable_x64", True)
    base_metric_loss_function.BaseMetricLossFunction.forward = forward
    for name, mine in MINERS.items():
        getattr(peer_miners, name).mine = counted(mine)
    for name, score in SCORES.items():
        setattr(accuracy_calculator, name, counted(score))
    for name, score in CLUSTER_SCORES.items():
        setattr(accuracy_calculator, name, counted(score))


def counted(function):
    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        COUNT["calls"] += 1
        return function(*args, **kwargs)

    return wrapped


def to_jax(tensor):
    return jnp.asarray(tensor.detach().cpu().numpy())


class Function(torch.autograd.Function):
    """A JAX function of tensors, with its gradients, compiled as one program."""

    @staticmethod
    def forward(ctx, function, *tensors):
        arrays = [to_jax(tensor) for tensor in tensors]
        places = tuple(range(len(arrays)))
        value, slopes = jax.jit(jax.value_and_grad(function, places))(*arrays)
        ctx.slopes = [
            torch.tensor(np.asarray(s, np.float64), dtype=t.dtype)
            for s, t in zip(slopes, tensors)
        ]
        return torch.tensor(float(value), dtype=tensors[0].dtype)

    @staticmethod
    def backward(ctx, slope):
        return (None, *(slope * s for s in ctx.slopes))


def forward(
    self, embeddings, labels=None, indices_tuple=None, ref_emb=None, ref_labels=None
):
    """The loss by siamjax; the library's own checks come first."""
    name = type(self).__name__
    if name not in LOSSES:
        raise NoCounterpart(f"the loss {name}")
    self.reset_stats()
    c_f.check_shapes(embeddings, labels)
    if name == "VICRegLoss":
        return two_views(self, embeddings, labels, ref_emb)
    if hasattr(self, "cast_types"):
        self.cast_types(embeddings.dtype, embeddings.device)
    other = LOSSES[name](self)
    is_batch = ref_emb is None or ref_emb is embeddings
    loss = resolve(other.text)
    data, order = arguments(
        loss, len(embeddings), labels, indices_tuple, None if is_batch else ref_labels
    )
    tensors = [embeddings]
    if not is_batch:
        tensors.append(ref_emb)
    if other.weights:
        tensors.append(getattr(self, other.weights))
    COUNT["calls"] += 1

    def value(x, *rest):
        rest = list(rest)
        given = dict(data)
        x = normalise(x, other.unit) * other.size
        allowed = given.pop("allowed", None)
        if not is_batch:
            y = rest.pop(0)
            y = normalise(y, other.unit)
            y_labels = jnp.asarray(ref_labels.cpu().numpy())
            given["references"] = losses.References(
                y, y_labels, allowed=allowed, anchor_rows=-1
            )
        elif allowed is not None:
            itself = jnp.arange(len(x))
            given["references"] = losses.References(
                x, order, allowed=allowed, anchor_rows=itself
            )
        state = {}
        if other.weights:
            weights = rest.pop(0)
            weights = weights.T if other.columns else weights
            classes = len(weights) // other.centers
            dim = weights.shape[-1] if weights.ndim == 2 else 1
            state = loss.init(jax.random.key(0), classes, dim)
            key = next(iter(state["params"]))
            weights = weights.reshape(state["params"][key].shape)
            state = {**state, "params": {**state["params"], key: weights}}
        return loss.apply(state, x, order, **given)[0]

    total = Function.apply(value, *tensors)
    return total + regularise(self, embeddings)


def arguments(loss, number, labels, indices_tuple, ref_labels):
    """The data arguments of a loss for a tuple of indices, and its labels."""
    ids = None if labels is None else jnp.asarray(labels.cpu().numpy())
    if indices_tuple is None:
        if labels is None:
            raise NoCounterpart("a loss without labels and without tuples")
        if ref_labels is not None and "references" not in loss.uses:
            raise NoCounterpart(f"{loss.name} with references")
        return {}, ids
    if loss.name == "triplet":
        if ref_labels is not None:
            raise NoCounterpart("triplets of references, as a list")
        if len(indices_tuple) == 4 and labels is None:
            labels = torch.zeros(number, dtype=torch.long)
        triplets = lmu.convert_to_triplets(indices_tuple, labels, ref_labels)
        rows = np.stack([t.cpu().numpy() for t in triplets], 1)
        ids = jnp.zeros(number, jnp.int32) if ids is None else ids
        return dict(triplets=jnp.asarray(rows, jnp.int32).reshape(-1, 3)), ids
    if labels is None:
        raise NoCounterpart("pairs without labels, which say of which kind they are")
    if "references" not in loss.uses:
        raise NoCounterpart(f"{loss.name} with a list of pairs")
    pairs = lmu.convert_to_pairs(indices_tuple, labels)
    a1, p, a2, n = (column.cpu().numpy() for column in pairs)
    columns = number if ref_labels is None else len(ref_labels)
    count = np.zeros((number, columns), int)
    np.add.at(count, (np.r_[a1, a2].astype(int), np.r_[p, n].astype(int)), 1)
    if count.max(initial=0) > 1:
        raise NoCounterpart("a pair that is in the list twice")
    return dict(allowed=jnp.asarray(count > 0)), ids


def two_views(self, embeddings, labels, ref_emb):
    if labels is not None:
        raise ValueError("labels are not supported")
    number = len(embeddings)
    text = (
        f"vicreg:invariance={self.invariance_lambda},variance={self.variance_mu},"
        f"covariance={self.covariance_v},epsilon={self.eps}"
    )
    loss = resolve(text)
    COUNT["calls"] += 1

    def value(x, y):
        pairs = jnp.stack([jnp.arange(number), number + jnp.arange(number)], 1)
        ids = jnp.tile(jnp.arange(number), 2)
        return loss.apply({}, jnp.concatenate([x, y]), ids, pairs=pairs)[0]

    return Function.apply(value, embeddings, ref_emb)


def regularise(self, embeddings):
    """The library's regulariser of embeddings, by siamjax."""
    regulariser = getattr(self, "embedding_regularizer", None)
    if getattr(self, "weight_regularizer", None) is not None:
        raise NoCounterpart("a regulariser of weights")
    if regulariser is None:
        return 0
    if not isinstance(regulariser, peer_regularizers.LpRegularizer):
        raise NoCounterpart(f"the regulariser {type(regulariser).__name__}")
    if regulariser.p != 2 or regulariser.power not in (1, 2):
        raise NoCounterpart("a regulariser of another norm")
    loss = resolve(f"embedding_norm:power={regulariser.power}")

    def value(x):
        return loss.apply({}, x, jnp.zeros(len(x), jnp.int32))[0]

    return self.embedding_reg_weight * Function.apply(value, embeddings)


def normalise(x, norm):
    """Rows divided by their norm; 0: as they are."""
    if not norm:
        return x
    if norm == 2:
        return distances.unit(x)
    size = jnp.sum(jnp.abs(x) ** norm, 1, keepdims=True) ** (1 / norm)
    return x / jnp.maximum(size, 1e-12)


def distance_text(distance):
    """Its name in siamjax, and the norm that rows are divided by first, 0 for none."""
    unit = distance.p * distance.normalize_embeddings
    kind = type(distance)
    if kind is peer_distances.LpDistance:
        if (distance.p, distance.power) == (2, 2):
            return "squared", unit
        if distance.power != 1:
            raise NoCounterpart(f"an l{distance.p} distance to power {distance.power}")
        return ("euclidean" if distance.p == 2 else f"l{distance.p}"), unit
    names = {
        peer_distances.CosineSimilarity: "cosine",
        peer_distances.DotProductSimilarity: "dot",
        peer_distances.SNRDistance: "snr",
    }
    if kind not in names or distance.power != 1:
        raise NoCounterpart(f"the distance {kind.__name__}, power {distance.power}")
    return names[kind], unit


def get_reducer(self):
    """Its reducer; of several the first: the library's losses have several alike."""
    if isinstance(self.reducer, peer_reducers.MultipleReducers):
        return next(iter(self.reducer.reducers.values()))
    return self.reducer


def reduce_text(self, default):
    """`reduce=` for its reducer; the library's default is siamjax's `default`."""
    reducer = get_reducer(self)
    kind = type(reducer)
    if kind is type(self.get_default_reducer()):
        return default
    if kind is peer_reducers.ThresholdReducer:
        if None in (reducer.low, reducer.high):
            raise NoCounterpart("a threshold on one side")
        return f"threshold({reducer.low},{reducer.high})"
    names = {
        peer_reducers.MeanReducer: "all",
        peer_reducers.AvgNonZeroReducer: "active",
        peer_reducers.SumReducer: "sum",
        peer_reducers.PerAnchorReducer: "anchor",
    }
    if kind not in names:
        raise NoCounterpart(f"the reducer {kind.__name__}")
    return names[kind]


def pair_loss(name, default, **settings):
    """A counterpart with a distance and a reduction; settings: ours -> theirs."""

    def make(self):
        distance, unit = distance_text(self.distance)
        given = [f"{ours}={getattr(self, theirs)}" for ours, theirs in settings.items()]
        given += [f"distance={distance}", f"reduce={reduce_text(self, default)}"]
        return Counterpart(f"{name}:{','.join(given)}", unit)

    return make


def fixed_loss(name, default="", weights="", columns=False, extra="", **settings):
    """A counterpart whose distance cannot be chosen."""

    def make(self):
        given = [f"{ours}={getattr(self, theirs)}" for ours, theirs in settings.items()]
        given += [extra] if extra else []
        given += [f"reduce={reduce_text(self, default)}"] if default else []
        text = f"{name}:{','.join(given)}" if given else name
        if type(self.distance) is not type(self.get_default_distance()):
            raise NoCounterpart(f"{name} with {type(self.distance).__name__}")
        unit = 2 if name == "fastap" else 0
        return Counterpart(text, unit, weights, columns)

    return make


def triplet(self):
    distance, unit = distance_text(self.distance)
    if self.smooth_loss and self.margin:
        raise NoCounterpart("a smooth triplet loss with a margin")
    margin = "soft" if self.smooth_loss else self.margin
    text = f"triplet:margin={margin},swap={self.swap},distance={distance}"
    if self.triplets_per_anchor != "all":
        raise NoCounterpart("some triplets of an anchor, at random")
    return Counterpart(f"{text},reduce={reduce_text(self, 'active')}", unit)


def contrastive(self):
    if type(self.distance) is peer_distances.SNRDistance:
        text = f"snr:pos_margin={self.pos_margin},neg_margin={self.neg_margin}"
        unit = distance_text(self.distance)[1]
        return Counterpart(f"{text},reduce={reduce_text(self, 'active')}", unit)
    made = pair_loss(
        "contrastive", "active", pos_margin="pos_margin", neg_margin="neg_margin"
    )(self)
    return made._replace(text=f"{made.text},power=1")


def margin(self):
    distance, unit = distance_text(self.distance)
    per_class = self.beta.numel() > 1
    boundary = float(self.beta.detach().reshape(-1)[0])
    if self.triplets_per_anchor != "all":
        raise NoCounterpart("some triplets of an anchor, at random")
    kind = type(get_reducer(self))
    if kind is not peer_reducers.DivisorReducer:
        raise NoCounterpart(f"margin with {kind.__name__}")
    text = (
        f"margin:margin={self.margin},nu={self.nu},boundary={boundary},"
        f"per_class={per_class},distance={distance}"
    )
    return Counterpart(text, unit, weights="beta")


def tuplet_margin(self):
    text = f"tuplet_margin:margin={np.degrees(self.margin)},scale={self.scale}"
    return Counterpart(f"{text},reduce={reduce_text(self, 'all')}")


def angular(self):
    return Counterpart(f"angular:angle={np.degrees(float(self.alpha))}")


def arcface(self):
    centers = getattr(self, "sub_centers", 1)
    text = (
        f"arcface:margin={np.degrees(self.margin)},scale={self.scale},"
        f"centers={centers},reduce={reduce_text(self, 'all')}"
    )
    return Counterpart(text, weights="W", columns=True, centers=centers)


def histogram(self):
    return Counterpart(f"histogram:bins={round(2 / self.delta)}")


def soft_triple(self):
    text = (
        f"soft_triple:centers={self.centers_per_class},scale={self.la},"
        f"gamma={self.gamma},margin={self.margin},tau=0.0"
    )
    centers = self.centers_per_class
    return Counterpart(text, weights="fc", columns=True, centers=centers)


def proxy_nca(self):
    if not self.distance.normalize_embeddings:
        raise NoCounterpart("proxy_nca without normalised rows")
    text = f"proxy_nca:own=True,scale={self.softmax_scale}"
    text = f"{text},reduce={reduce_text(self, 'all')}"
    return Counterpart(text, weights="proxies")


def ranked_list(self):
    distance, unit = distance_text(self.distance)
    text = (
        f"ranked_list:margin={self.margin},limit={self.alpha},pos_scale={self.Tp},"
        f"neg_scale={self.Tn},balance={self.imbalance},distance={distance}"
    )
    return Counterpart(text, unit)


def large_margin(name):
    def make(self):
        text = f"{name}:margin={self.margin},reduce={reduce_text(self, 'all')}"
        return Counterpart(text, weights="W", columns=True, size=self.scale)

    return make


def pnp(self):
    text = f"pnp:form={self.variant},temperature={self.anneal},alpha={self.alpha}"
    return Counterpart(f"{text},b={self.b}")


LOSSES = {
    "TripletMarginLoss": triplet,
    "ContrastiveLoss": contrastive,
    "SignalToNoiseRatioContrastiveLoss": contrastive,
    "IntraPairVarianceLoss": fixed_loss(
        "intra_pair_variance", "all", pos_epsilon="pos_eps", neg_epsilon="neg_eps"
    ),
    "NTXentLoss": pair_loss("ntxent", "all", temperature="temperature"),
    "SupConLoss": pair_loss("supcon", "all", temperature="temperature"),
    "NPairsLoss": pair_loss("npairs", "all"),
    "NCALoss": pair_loss("nca", "all", scale="softmax_scale"),
    "MultiSimilarityLoss": lambda self: Counterpart(
        f"multi_similarity:alpha={self.alpha},beta={self.beta},base={self.base},"
        f"epsilon=None,reduce={reduce_text(self, 'all')}"
    ),
    "CircleLoss": fixed_loss("circle", "all", margin="m", scale="gamma"),
    "LiftedStructureLoss": pair_loss("lifted", "all", margin="neg_margin"),
    "GeneralizedLiftedStructureLoss": pair_loss(
        "generalized_lifted", "all", margin="neg_margin"
    ),
    "TupletMarginLoss": tuplet_margin,
    "AngularLoss": angular,
    "FastAPLoss": fixed_loss("fastap", "all", bins="num_bins"),
    "SmoothAPLoss": fixed_loss(
        "smooth_ap", "all", extra="count_self=True", temperature="temperature"
    ),
    "HistogramLoss": histogram,
    "RankedListLoss": ranked_list,
    "MarginLoss": margin,
    "ProxyNCALoss": proxy_nca,
    "ProxyAnchorLoss": fixed_loss(
        "proxy_anchor", "", "proxies", margin="margin", scale="alpha"
    ),
    "SoftTripleLoss": soft_triple,
    "NormalizedSoftmaxLoss": fixed_loss(
        "normalized_softmax", "all", "W", True, temperature="temperature"
    ),
    "CosFaceLoss": fixed_loss(
        "cosface", "all", "W", True, margin="margin", scale="scale"
    ),
    "ArcFaceLoss": arcface,
    "SubCenterArcFaceLoss": arcface,
    "SphereFaceLoss": large_margin("sphereface"),
    "LargeMarginSoftmaxLoss": large_margin("large_margin_softmax"),
    "P2SGradLoss": fixed_loss("p2sgrad", "all", "weight", True),
    "PNPLoss": pnp,
    "VICRegLoss": two_views,
}


# --- miners ---


def measured(self, embeddings, labels, ref_emb, ref_labels):
    """`losses.measure_pairs` by a miner's distance."""
    text, unit = distance_text(self.distance)
    x, y = to_jax(embeddings), to_jax(ref_emb)
    x, y = normalise(x, unit), normalise(y, unit)
    ids, others = to_jax(labels), to_jax(ref_labels)
    is_batch = ref_emb is embeddings

    @jax.jit
    def measure(x, y, ids, others):
        references = None
        if not is_batch:
            references = losses.References(y, others, anchor_rows=-1)
        return losses.measure_pairs(x, ids, references=references, distance=text)

    return measure(x, y, ids, others)


def to_cost(self, value):
    return -value if self.distance.is_inverted else value


def as_pairs(choose, batch):
    """Pairs that a function of cost, pos and neg chooses, as tensors a1, p, a2, n."""
    pos, neg = (np.asarray(mask) for mask in jax.jit(choose)(*batch))
    return tuple(torch.tensor(c) for c in (*np.nonzero(pos), *np.nonzero(neg)))


def as_triplets(choose, batch):
    """Triplets that a function of cost, pos and neg chooses, as tensors a, p, n."""
    size = batch[0].shape[0] * batch[0].shape[1] ** 2
    mined = jax.jit(functools.partial(choose, size=size))(*batch)
    rows = np.array(mined.rows[: int(mined.number)], np.int64)
    return tuple(torch.tensor(column) for column in rows.T)


def mine_triplet_margin(self, *batch):
    def choose(cost, pos, neg, size):
        kind = self.type_of_triplets
        return losses.triplets_by_gap(cost, pos, neg, kind, self.margin, size=size)

    return as_triplets(choose, measured(self, *batch))


def mine_easy_hard(self, *batch):
    ranges = {}
    for name in ("pos", "neg"):
        low_high = getattr(self, f"allowed_{name}_range")
        if low_high is not None:
            ends = sorted(to_cost(self, value) for value in low_high)
            ranges[f"{name}_range"] = tuple(ends)

    def choose(*measured_batch):
        choices = self.pos_strategy, self.neg_strategy
        return losses.anchor_pairs(*measured_batch, *choices, **ranges)

    return as_pairs(choose, measured(self, *batch))


def mine_batch_hard(self, *batch):
    def choose(*measured_batch):
        return losses.anchor_pairs(*measured_batch, "hard", "hard")

    a, p, _, n = as_pairs(choose, measured(self, *batch))
    return a, p, n


def mine_angular(self, embeddings, labels, ref_emb, ref_labels):
    if ref_emb is not embeddings:
        raise NoCounterpart("angles to references")
    degrees = float(np.degrees(self.angle))

    def choose(squared, pos, neg, size):
        return losses.triplets_by_angle(squared, pos, neg, degrees, size=size)

    measure = jax.jit(functools.partial(losses.measure_pairs, distance="squared"))
    return as_triplets(choose, measure(to_jax(embeddings), to_jax(labels)))


def mine_multi_similarity(self, *batch):
    def choose(*measured_batch):
        return losses.multi_similarity_pairs(*measured_batch, self.epsilon)

    return as_pairs(choose, measured(self, *batch))


def mine_pair_margin(self, *batch):
    near, far = to_cost(self, self.pos_margin), to_cost(self, self.neg_margin)

    def choose(*measured_batch):
        return losses.margin_pairs(*measured_batch, near, far)

    return as_pairs(choose, measured(self, *batch))


def mine_hardest(self, *batch):
    if self.was_set_externally:
        raise NoCounterpart("the hardest of a list of pairs")

    def choose(*measured_batch):
        return losses.hardest_pairs(*measured_batch, self.filter_percentage)

    return as_pairs(choose, measured(self, *batch))


def mine_histogram(self, *batch):
    cost, pos, neg = measured(self, *batch)
    nothing, columns = jnp.zeros_like(pos), []
    for pos_part, neg_part, number in (
        (pos, nothing, self.pos_per_bin),
        (nothing, neg, self.neg_per_bin),
    ):
        mine = functools.partial(
            losses.pairs_by_histogram, bins=self.num_bins, per_bin=number
        )
        mined = jax.jit(mine)(cost, pos_part, neg_part, key=jax.random.key(0))
        rows = np.array(mined.rows, np.int64)
        rows = rows[rows[:, 0] >= 0]
        columns += [torch.tensor(column) for column in rows.T]
    return tuple(columns)


def mine_distance_weighted(self, embeddings, labels, ref_emb, ref_labels):
    is_batch = ref_emb is embeddings

    def choose(x, ids, y, others, size):
        references = None
        if not is_batch:
            references = losses.References(y, others, anchor_rows=-1)
        batch = losses.all_pairs(x, ids, references=references)
        column, valid = losses.distance_weighted_negatives(
            batch, jax.random.key(0), self.cutoff, self.nonzero_loss_cutoff
        )
        return losses.column_triplets(column, valid, size=size)

    arrays = [to_jax(a) for a in (embeddings, labels, ref_emb, ref_labels)]
    mined = jax.jit(functools.partial(choose, size=len(arrays[0]) * len(arrays[2])))(
        *arrays
    )
    rows = np.array(mined.rows[: int(mined.number)], np.int64)
    return tuple(torch.tensor(column) for column in rows.T)


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


# --- metrics ---


def rankings(knn_labels, query_labels, relevant_number, same):
    """Distances and relevance of each query's ranking: its neighbours in order, and
    behind them the relevant rows that are not among them."""
    hits = same(query_labels, knn_labels).cpu().numpy().astype(bool)
    number, k = hits.shape
    missing = np.maximum(relevant_number - hits.sum(1), 0)
    width = int(missing.max(initial=0))
    place = np.arange(width)[None]
    beyond = np.where(place < missing[:, None], k + 2.0 + place, np.inf)
    near = np.broadcast_to(np.arange(1.0, k + 1), (number, k))
    cost = np.concatenate([near, beyond], 1)
    return cost, np.concatenate([hits, np.isfinite(beyond)], 1), k


def relevant_numbers(query_labels, label_counts, ref_includes_query):
    """R of each query, from the library's table of counts."""
    total = np.zeros(len(query_labels), np.int64)
    for label, count in zip(*label_counts):
        matching = c_f.torch_all_from_dim_to_end(query_labels == label, 1)
        total[matching.cpu().numpy()] = int(count) - int(bool(ref_includes_query))
    return total


def average_scores(scores, query_labels, avg_of_avgs, return_per_class):
    scores = torch.tensor(np.nan_to_num(scores))
    return accuracy_calculator.maybe_get_avg_of_avgs(
        scores, query_labels, avg_of_avgs, return_per_class
    )


def score_r_precision(
    knn_labels, query_labels, includes, counts, avg_of_avgs, per_class, same
):
    number = relevant_numbers(query_labels, counts, includes)
    cost, relevant, _ = rankings(knn_labels, query_labels, number, same)
    scores = metrics.score_distances(cost, relevant, ["precision@r"])["precision@r"]
    return average_scores(scores, query_labels, avg_of_avgs, per_class)


def score_map(
    knn_labels,
    query_labels,
    includes,
    counts,
    avg_of_avgs,
    per_class,
    same,
    at_r=False,
):
    number = relevant_numbers(query_labels, counts, includes)
    cost, relevant, k = rankings(knn_labels, query_labels, number, same)
    name = "map@r" if at_r else f"map@{k}"
    scores = metrics.score_distances(cost, relevant, [name])[name]
    if not at_r:  # there the sum over the first k is divided by R, here by min(k, R)
        total = relevant.sum(1)
        scores = scores * np.minimum(k, total) / np.maximum(total, 1)
    return average_scores(scores, query_labels, avg_of_avgs, per_class)


def score_reciprocal_rank(knn_labels, query_labels, avg_of_avgs, per_class, same):
    number = np.zeros(len(query_labels), np.int64)
    cost, relevant, _ = rankings(knn_labels, query_labels, number, same)
    scores = metrics.score_distances(cost, relevant, ["mrr"])["mrr"]
    return average_scores(scores, query_labels, avg_of_avgs, per_class)


def score_precision(knn_labels, query_labels, k, avg_of_avgs, per_class, same):
    number = np.zeros(len(query_labels), np.int64)
    cost, relevant, _ = rankings(knn_labels, query_labels, number, same)
    name = f"precision@{k}"
    scores = metrics.score_distances(cost, relevant, [name])[name]
    return average_scores(scores, query_labels, avg_of_avgs, per_class)


SCORES = {
    "r_precision": score_r_precision,
    "mean_average_precision": score_map,
    "mean_reciprocal_rank": score_reciprocal_rank,
    "precision_at_k": score_precision,
}


def score_clusters(score, *arrays):
    return score(*(np.asarray(a).reshape(-1).astype(np.int64) for a in arrays))


CLUSTER_SCORES = {
    "normalized_mutual_info_score": functools.partial(
        score_clusters, metrics.normalized_mutual_information
    ),
    "adjusted_mutual_info_score": functools.partial(
        score_clusters, metrics.adjusted_mutual_information
    ),
}
