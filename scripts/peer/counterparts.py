"""For each loss of the library the loss of siamjax that is the same, as a text."""

from typing import NamedTuple

import numpy as np
from pytorch_metric_learning import distances as peer_distances
from pytorch_metric_learning import reducers as peer_reducers
from pytorch_metric_learning import regularizers as peer_regularizers

from scripts.peer.bridge import NoCounterpart


class Counterpart(NamedTuple):
    """A loss of siamjax, for an object of the library's class."""

    text: str
    unit: float = 0  # rows are divided by this norm of theirs first; 0: not
    weights: str = ""  # the attribute of the object that holds the weights
    columns: bool = False  # the weights are columns there
    centers: int = 1  # rows of weights for each class
    size: float = 1.0  # rows are multiplied by it first
    factor: float = 1.0  # the loss is multiplied by it
    counts_itself: bool = False  # the anchor is a positive of its own


def find_counterpart(peer_loss):
    """The `Counterpart` of an object, with the regulariser of its weights."""
    name = type(peer_loss).__name__
    if name not in LOSSES:
        raise NoCounterpart(f"the loss {name}")
    counterpart = LOSSES[name](peer_loss)
    regulariser = getattr(peer_loss, "weight_regularizer", None)
    if regulariser is None or name == "SoftTripleLoss":
        return counterpart
    text = (
        f"regular_weights:loss=({counterpart.text}),by={weight_penalty(regulariser)},"
        f"weight={peer_loss.weight_reg_weight}"
    )
    return counterpart._replace(text=text)


def weight_penalty(regulariser):
    """`by` of regular_weights."""
    kind = type(regulariser)
    if kind is peer_regularizers.LpRegularizer:
        if (regulariser.p, regulariser.power) == (2, 2):
            return "norm"
    names = {
        peer_regularizers.CenterInvariantRegularizer: "center_invariant",
        peer_regularizers.RegularFaceRegularizer: "regular_face",
    }
    if kind not in names:
        raise NoCounterpart(f"{kind.__name__} of weights")
    return names[kind]


def row_penalty(regulariser):
    """The loss of siamjax for a regulariser of embeddings, as a text."""
    if type(regulariser) is peer_regularizers.ZeroMeanRegularizer:
        return "zero_mean"
    if type(regulariser) is not peer_regularizers.LpRegularizer:
        raise NoCounterpart(f"{type(regulariser).__name__} of embeddings")
    if regulariser.p != 2 or regulariser.power < 1:
        raise NoCounterpart("a regulariser of another norm")
    return f"embedding_norm:power={regulariser.power}"


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


def main_reducer(peer_loss):
    """Its reducer; of several the first: the library's losses have several alike."""
    if isinstance(peer_loss.reducer, peer_reducers.MultipleReducers):
        return next(iter(peer_loss.reducer.reducers.values()))
    return peer_loss.reducer


def reduce_text(peer_loss, default):
    """`reduce=` for its reducer; the library's default is siamjax's `default`."""
    reducer = main_reducer(peer_loss)
    kind = type(reducer)
    if kind is type(peer_loss.get_default_reducer()):
        return default
    if kind is peer_reducers.ThresholdReducer:
        low = -np.inf if reducer.low is None else reducer.low
        high = np.inf if reducer.high is None else reducer.high
        return f"threshold({low},{high})"
    if kind is peer_reducers.ClassWeightedReducer:
        return f"class_weights({','.join(map(str, reducer.weights.tolist()))})"
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

    def make(peer_loss):
        distance, unit = distance_text(peer_loss.distance)
        given = settings_text(peer_loss, settings)
        given += [f"distance={distance}", f"reduce={reduce_text(peer_loss, default)}"]
        return Counterpart(f"{name}:{','.join(given)}", unit)

    return make


def fixed_loss(name, default="", weights="", columns=False, extra="", **settings):
    """A counterpart whose distance cannot be chosen."""

    def make(peer_loss):
        given = settings_text(peer_loss, settings)
        given += [extra] if extra else []
        given += [f"reduce={reduce_text(peer_loss, default)}"] if default else []
        text = f"{name}:{','.join(given)}" if given else name
        if type(peer_loss.distance) is not type(peer_loss.get_default_distance()):
            raise NoCounterpart(f"{name} with {type(peer_loss.distance).__name__}")
        unit = 2 if name == "fastap" else 0
        return Counterpart(text, unit, weights, columns)

    return make


def settings_text(peer_loss, settings):
    return [f"{ours}={getattr(peer_loss, theirs)}" for ours, theirs in settings.items()]


def triplet(peer_loss):
    distance, unit = distance_text(peer_loss.distance)
    if peer_loss.triplets_per_anchor != "all":
        raise NoCounterpart("some triplets of an anchor, at random")
    margin = f"margin={peer_loss.margin}"
    if peer_loss.smooth_loss:
        margin = f"margin=soft,soft_margin={peer_loss.margin}"
    reduce = reduce_text(peer_loss, "active")
    text = f"triplet:{margin},swap={peer_loss.swap},distance={distance}"
    return Counterpart(f"{text},reduce={reduce}", unit)


def contrastive(peer_loss):
    if type(peer_loss.distance) is peer_distances.SNRDistance:
        text = (
            f"snr:pos_margin={peer_loss.pos_margin},neg_margin={peer_loss.neg_margin}"
        )
        unit = distance_text(peer_loss.distance)[1]
        return Counterpart(f"{text},reduce={reduce_text(peer_loss, 'active')}", unit)
    counterpart = pair_loss(
        "contrastive", "active", pos_margin="pos_margin", neg_margin="neg_margin"
    )(peer_loss)
    return counterpart._replace(text=f"{counterpart.text},power=1")


def margin(peer_loss):
    distance, unit = distance_text(peer_loss.distance)
    per_class = peer_loss.beta.numel() > 1
    boundary = float(peer_loss.beta.detach().reshape(-1)[0])
    if peer_loss.triplets_per_anchor != "all":
        raise NoCounterpart("some triplets of an anchor, at random")
    kind = type(main_reducer(peer_loss))
    if kind is not peer_reducers.DivisorReducer:
        raise NoCounterpart(f"margin with {kind.__name__}")
    # A boundary that is not learnt does not count there.
    nu = peer_loss.nu if peer_loss.learn_beta else 0.0
    text = (
        f"margin:margin={peer_loss.margin},nu={nu},boundary={boundary},"
        f"per_class={per_class},distance={distance}"
    )
    return Counterpart(text, unit, weights="beta")


def dynamic_soft_margin(peer_loss):
    reduce = reduce_text(peer_loss, "all")
    return Counterpart(
        f"dynamic_soft_margin:bins={peer_loss.num_bins},rate={peer_loss.momentum},"
        f"reduce={reduce}"
    )


def tuplet_margin(peer_loss):
    degrees = np.degrees(peer_loss.margin)
    text = f"tuplet_margin:margin={degrees},scale={peer_loss.scale}"
    return Counterpart(f"{text},reduce={reduce_text(peer_loss, 'all')}")


def angular(peer_loss):
    return Counterpart(f"angular:angle={np.degrees(float(peer_loss.alpha))}")


def multi_similarity(peer_loss):
    return Counterpart(
        f"multi_similarity:alpha={peer_loss.alpha},beta={peer_loss.beta},"
        f"base={peer_loss.base},epsilon=None,reduce={reduce_text(peer_loss, 'all')}"
    )


def threshold_consistent(peer_loss):
    return Counterpart(
        f"threshold_consistent:pos_margin={peer_loss.margin_plus},"
        f"neg_margin={peer_loss.margin_minus},pos_weight={peer_loss.lambda_plus},"
        f"neg_weight={peer_loss.lambda_minus}"
    )


def normalized_softmax(peer_loss):
    text = f"temperature={peer_loss.temperature},reduce={reduce_text(peer_loss, 'all')}"
    counterpart = Counterpart(f"normalized_softmax:{text}", weights="W", columns=True)
    if type(peer_loss.distance) is not peer_distances.DotProductSimilarity:
        raise NoCounterpart(
            f"normalized_softmax with {type(peer_loss.distance).__name__}"
        )
    if peer_loss.distance.normalize_embeddings:
        return counterpart
    # With unit weights, but rows as they are, it is the first step of SphereFace.
    text = f"sphereface:margin=1,reduce={reduce_text(peer_loss, 'all')}"
    return counterpart._replace(text=text, size=1 / peer_loss.temperature)


def arcface(peer_loss):
    centers = getattr(peer_loss, "sub_centers", 1)
    text = (
        f"arcface:margin={np.degrees(peer_loss.margin)},scale={peer_loss.scale},"
        f"centers={centers},reduce={reduce_text(peer_loss, 'all')}"
    )
    return Counterpart(text, weights="W", columns=True, centers=centers)


def p2sgrad(peer_loss):
    text = f"p2sgrad:reduce={reduce_text(peer_loss, 'all')}"
    # There the mean over classes, here half the sum.
    factor = 2 / peer_loss.num_classes
    return Counterpart(text, weights="weight", columns=True, factor=factor)


def histogram(peer_loss):
    return Counterpart(f"histogram:bins={round(2 / peer_loss.delta)}")


def soft_triple(peer_loss):
    regulariser = peer_loss.weight_regularizer
    sparse = peer_regularizers.SparseCentersRegularizer
    if regulariser is not None and type(regulariser) is not sparse:
        raise NoCounterpart(f"soft_triple with {type(regulariser).__name__}")
    tau = peer_loss.weight_reg_weight if regulariser is not None else 0.0
    centers = peer_loss.centers_per_class
    text = (
        f"soft_triple:centers={centers},scale={peer_loss.la},gamma={peer_loss.gamma},"
        f"margin={peer_loss.margin},tau={tau}"
    )
    return Counterpart(text, weights="fc", columns=True, centers=centers)


def proxy_nca(peer_loss):
    if not peer_loss.distance.normalize_embeddings:
        raise NoCounterpart("proxy_nca without normalised rows")
    text = f"proxy_nca:own=True,scale={peer_loss.softmax_scale}"
    text = f"{text},reduce={reduce_text(peer_loss, 'all')}"
    return Counterpart(text, weights="proxies")


def ranked_list(peer_loss):
    distance, unit = distance_text(peer_loss.distance)
    text = (
        f"ranked_list:margin={peer_loss.margin},limit={peer_loss.alpha},"
        f"pos_scale={peer_loss.Tp},neg_scale={peer_loss.Tn},"
        f"balance={peer_loss.imbalance},distance={distance}"
    )
    return Counterpart(text, unit)


def large_margin(name):
    def make(peer_loss):
        reduce = reduce_text(peer_loss, "all")
        text = f"{name}:margin={peer_loss.margin},reduce={reduce}"
        return Counterpart(text, weights="W", columns=True, size=peer_loss.scale)

    return make


def manifold(peer_loss):
    if not np.isfinite(peer_loss.lambdaC):
        raise NoCounterpart("manifold with the second term only")
    text = (
        f"manifold:proxies={peer_loss.K},passing={peer_loss.alpha},"
        f"margin={peer_loss.margin},context={peer_loss.lambdaC}"
    )
    return Counterpart(text, weights="proxies")


def pnp(peer_loss):
    text = f"pnp:form={peer_loss.variant},temperature={peer_loss.anneal}"
    text = f"{text},alpha={peer_loss.alpha},b={peer_loss.b}"
    return Counterpart(text, counts_itself=True)


def vicreg(peer_loss):
    return Counterpart(
        f"vicreg:invariance={peer_loss.invariance_lambda},"
        f"variance={peer_loss.variance_mu},covariance={peer_loss.covariance_v},"
        f"epsilon={peer_loss.eps}"
    )


LOSSES = {
    "TripletMarginLoss": triplet,
    "DynamicSoftMarginLoss": dynamic_soft_margin,
    "ContrastiveLoss": contrastive,
    "SignalToNoiseRatioContrastiveLoss": contrastive,
    "IntraPairVarianceLoss": fixed_loss(
        "intra_pair_variance", "all", pos_epsilon="pos_eps", neg_epsilon="neg_eps"
    ),
    "NTXentLoss": pair_loss("ntxent", "all", temperature="temperature"),
    "SupConLoss": pair_loss("supcon", "all", temperature="temperature"),
    "NPairsLoss": pair_loss("npairs", "all"),
    "NCALoss": pair_loss("nca", "all", scale="softmax_scale"),
    "MultiSimilarityLoss": multi_similarity,
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
    "PNPLoss": pnp,
    "MarginLoss": margin,
    "ThresholdConsistentMarginLoss": threshold_consistent,
    "InstanceLoss": fixed_loss("instance", "all", scale="gamma"),
    "ProxyNCALoss": proxy_nca,
    "ProxyAnchorLoss": fixed_loss(
        "proxy_anchor", "", "proxies", margin="margin", scale="alpha"
    ),
    "SoftTripleLoss": soft_triple,
    "NormalizedSoftmaxLoss": normalized_softmax,
    "CosFaceLoss": fixed_loss(
        "cosface", "all", "W", True, margin="margin", scale="scale"
    ),
    "ArcFaceLoss": arcface,
    "SubCenterArcFaceLoss": arcface,
    "SphereFaceLoss": large_margin("sphereface"),
    "LargeMarginSoftmaxLoss": large_margin("large_margin_softmax"),
    "P2SGradLoss": p2sgrad,
    "ManifoldLoss": manifold,
    "VICRegLoss": vicreg,
}
