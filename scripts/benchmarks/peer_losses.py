"""Writes the values and gradients that pytorch-metric-learning gives for our losses.

  python -m scripts.benchmarks.peer_losses tests/oracle_values.npz

Needs torch and pytorch-metric-learning 2.9. The tests do not need them: they read the
file. Nothing of siamjax is imported. Each entry of `CASES` maps our text to the same
loss in the library. The conventions differ:

- it normalises embeddings by default; siamjax does so for the cosine distance alone;
- its `AvgNonZeroReducer` is our `reduce=active`, its `MeanReducer` our `reduce=all`;
- its contrastive loss is linear: `power=1`; with a similarity its margins are (1, 0);
- its smooth triplet loss adds the margin inside: its margin 0 is our `margin=soft`;
- its ProxyNCA has the own proxy in the denominator: `own=True`;
- its SmoothAP counts the anchor as its own hit (`count_self=True`), and is right only
  if there are as many classes as rows in each (batch `even`);
- its SoftTriple takes the inverse of our gamma, and its weights are columns;
- its angular loss does not normalise negatives, so embeddings have length 1 here, and
  only the part of its gradient along the sphere is compared.
"""

import argparse

import numpy as np
import pytorch_metric_learning
import torch
from pytorch_metric_learning import distances, losses, miners, reducers

MEAN = reducers.MeanReducer
CLASSES, E = 4, 6


def euclid(**kwargs):
    return distances.LpDistance(normalize_embeddings=False, **kwargs)


def batches():
    """Name -> embeddings [B, E], labels [B]: unsorted, unbalanced, even, singletons."""
    rng = np.random.default_rng(2024)
    uneven = np.array([0, 1, 2, 0, 3, 1, 2, 0, 1, 3, 0, 1, 2, 0, 2, 1, 0, 2, 1, 0])
    even = np.repeat(np.arange(4), 4)
    alone = np.array([0, 1, 2, 0, 1, 0, 1, 3, 0, 1, 0, 1])
    return {
        name: (0.7 * rng.normal(size=(len(y), E)), y)
        for name, y in (("uneven", uneven), ("even", even), ("singletons", alone))
    }


def triplet(miner=None, reducer=None, distance=None, **kwargs):
    loss = losses.TripletMarginLoss(
        distance=distance or euclid(), reducer=reducer, **kwargs
    )
    return lambda x, y: loss(x, y, miner(x, y) if miner else None)


def contrastive(distance=None, **kwargs):
    return losses.ContrastiveLoss(distance=distance or euclid(), **kwargs)


def multi_similarity(x, y):
    pairs = miners.MultiSimilarityMiner(epsilon=0.1)(x, y)
    return losses.MultiSimilarityLoss()(x, y, pairs)


def vicreg(variance, covariance):
    loss = losses.VICRegLoss(0, variance, covariance)
    return lambda x, y: loss(x, ref_emb=x)


def easy(negative):
    return miners.BatchEasyHardMiner(
        pos_strategy="easy", neg_strategy=negative, distance=euclid()
    )


def with_weights(loss, name):
    """A loss with weights, from a seed; the weights are returned with it."""

    def make():
        torch.manual_seed(7)
        module = loss()
        weights = getattr(module, name)
        weights.data = torch.randn(weights.shape)
        return module, weights

    return make


CASES = {
    "triplet:margin=0.2": triplet(margin=0.2),
    "triplet:margin=0.2,reduce=all": triplet(margin=0.2, reducer=MEAN()),
    "triplet:margin=1.5,distance=squared": triplet(
        margin=1.5, distance=euclid(power=2)
    ),
    "triplet:margin=0.1,distance=cosine": triplet(
        margin=0.1, distance=distances.CosineSimilarity()
    ),
    "triplet:margin=0.2,distance=l1": triplet(margin=0.2, distance=euclid(p=1)),
    "triplet:margin=soft,reduce=all": triplet(
        margin=0, smooth_loss=True, reducer=MEAN()
    ),
    "triplet:margin=0.2,swap=True": triplet(margin=0.2, swap=True),
    "triplet:margin=0.2,mining=hard,reduce=all": triplet(
        miners.BatchHardMiner(distance=euclid()), MEAN(), margin=0.2
    ),
    "triplet:margin=0.4,mining=semihard_set": triplet(
        miners.TripletMarginMiner(0.4, "semihard", distance=euclid()), margin=0.4
    ),
    "triplet:margin=0.2,mining=easy_positive,reduce=all": triplet(
        easy("hard"), MEAN(), margin=0.2
    ),
    "contrastive:power=1,reduce=active": contrastive(),
    "contrastive:power=1,reduce=active,distance=cosine,pos_margin=1,neg_margin=0": (
        contrastive(distances.CosineSimilarity(), pos_margin=1, neg_margin=0)
    ),
    "snr:reduce=active": losses.SignalToNoiseRatioContrastiveLoss(
        distance=distances.SNRDistance(normalize_embeddings=False)
    ),
    "intra_pair_variance": losses.IntraPairVarianceLoss(),
    "ntxent:temperature=0.07": losses.NTXentLoss(),
    "supcon": losses.SupConLoss(),
    "npairs": losses.NPairsLoss(
        distance=distances.DotProductSimilarity(normalize_embeddings=False)
    ),
    "nca": losses.NCALoss(distance=euclid(power=2)),
    "multi_similarity:epsilon=None": losses.MultiSimilarityLoss(),
    "multi_similarity": multi_similarity,
    "circle": losses.CircleLoss(),
    "lifted": losses.LiftedStructureLoss(distance=euclid()),
    "generalized_lifted": losses.GeneralizedLiftedStructureLoss(distance=euclid()),
    "tuplet_margin": losses.TupletMarginLoss(),
    "angular": losses.AngularLoss(),
    "fastap": losses.FastAPLoss(),
    "smooth_ap:count_self=True": losses.SmoothAPLoss(),
    "histogram": losses.HistogramLoss(n_bins=100),
    "ranked_list": losses.RankedListLoss(margin=0.4, Tn=10, distance=euclid()),
    "variance": vicreg(1, 0),
    "covariance": vicreg(0, 0.5),
}


def weighted(classes, dim):
    """Like `CASES`, for losses with weights: our text -> a function that makes it."""
    return {
        "margin:boundary=1.0,nu=0.1": with_weights(
            lambda: losses.MarginLoss(
                nu=0.1, beta=1.0, learn_beta=True, distance=euclid()
            ),
            "beta",
        ),
        "proxy_nca:own=True": with_weights(
            lambda: losses.ProxyNCALoss(classes, dim), "proxies"
        ),
        "proxy_anchor": with_weights(
            lambda: losses.ProxyAnchorLoss(classes, dim), "proxies"
        ),
        "soft_triple:centers=3,tau=0.0": with_weights(
            lambda: losses.SoftTripleLoss(classes, dim, centers_per_class=3), "fc"
        ),
        "normalized_softmax": with_weights(
            lambda: losses.NormalizedSoftmaxLoss(classes, dim), "W"
        ),
        "cosface": with_weights(lambda: losses.CosFaceLoss(classes, dim), "W"),
        "arcface": with_weights(lambda: losses.ArcFaceLoss(classes, dim), "W"),
        "arcface:centers=3": with_weights(
            lambda: losses.SubCenterArcFaceLoss(
                num_classes=classes, embedding_size=dim
            ),
            "W",
        ),
    }


# Losses that the library gets wrong or refuses on a batch; see the tests by name.
NOT_ON = {
    "smooth_ap:count_self=True": ("uneven", "singletons"),
    "supcon": ("singletons",),
    "histogram": ("singletons",),
    "generalized_lifted": ("singletons",),
    "circle": ("singletons",),
    "nca": ("singletons",),
    "fastap": (),
}


# Losses whose weights are columns in the library.
COLUMNS = ("soft_triple", "normalized_softmax", "cosface", "arcface")


def run(loss, x, y, weights=None):
    """Value, gradient, and gradient of the weights, as float64 arrays."""
    x = torch.tensor(x, requires_grad=True)
    if weights is not None:
        weights.grad = None
    value = loss(x, torch.tensor(y))
    value.backward()
    slope = np.zeros(tuple(x.shape)) if x.grad is None else x.grad.numpy()
    return value.item(), slope, None if weights is None else weights.grad.numpy()


def answer(spec, loss, weights, x, y):
    """Value and gradients, also of the weights, in the layout of siamjax."""
    size = np.linalg.norm(x, axis=1, keepdims=True) if spec == "angular" else 1
    value, slope, of_weights = run(loss, x / size, y, weights)
    arrays = dict(value=value, slope=slope)
    if weights is not None:
        both = dict(weights=weights.detach().numpy(), weights_slope=of_weights)
        columns = spec.split(":")[0] in COLUMNS
        arrays |= {key: part.T if columns else part for key, part in both.items()}
    return arrays


def memory(x, y):
    """Losses of batches of 6, 6, 6 and 2 rows with a memory of 16 rows."""
    loss = losses.CrossBatchMemory(contrastive(), E, memory_size=16)
    cuts = [slice(0, 6), slice(6, 12), slice(12, 18), slice(18, 20)]
    return [loss(torch.tensor(x[c]), torch.tensor(y[c])).item() for c in cuts]


def wrong():
    """Values that pytorch-metric-learning gets wrong; tests say by how much."""
    rng = np.random.default_rng(5)
    x = 0.7 * rng.normal(size=(8, E))
    y = np.repeat(np.arange(4), 2)
    singles = np.arange(8)
    far = 100 + 0.01 * rng.normal(size=(40, E))
    close = np.array([[1.0, 0.0], [0.0, 1.0], [0.99, np.sqrt(1 - 0.99**2)]])
    pair_labels = np.array([0, 0, 1])
    values = {
        "smooth_ap of 4 x 2": run(losses.SmoothAPLoss(), x, y)[0],
        "generalized_lifted of singletons": run(
            losses.GeneralizedLiftedStructureLoss(distance=euclid()), x, singles
        )[0],
        "distance far from the origin": distances.LpDistance(
            normalize_embeddings=False
        )(torch.tensor(far, dtype=torch.float32))[0, 1].item(),
    }
    for t in (0.05, 0.02, 0.01):
        loss = losses.NTXentLoss(temperature=t)
        narrow = torch.tensor(close, dtype=torch.float32)
        values[f"ntxent at {t}"] = loss(narrow, torch.tensor(pair_labels)).item()
    return values, dict(x=x, y=y, far=far, close=close, close_labels=pair_labels)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", help="the file that is written")
    write(parser.parse_args().path)


def write(path):
    torch.set_default_dtype(torch.float64)
    arrays = {
        "versions": f"torch {torch.__version__}, pytorch-metric-learning "
        f"{pytorch_metric_learning.__version__}"
    }
    for name, (x, y) in batches().items():
        arrays[f"{name}/x"], arrays[f"{name}/y"] = x, y
        cases = {spec: (loss, None) for spec, loss in CASES.items()}
        cases |= {spec: make() for spec, make in weighted(CLASSES, E).items()}
        for spec, (loss, weights) in cases.items():
            if name in NOT_ON.get(spec, ()):
                continue
            said = answer(spec, loss, weights, x, y)
            arrays |= {f"{name}/{spec}/{key}": part for key, part in said.items()}
    arrays["memory"] = memory(*batches()["uneven"])
    values, data = wrong()
    arrays |= {f"wrong/{k}": v for k, v in values.items()}
    arrays |= {f"wrong/{k}": v for k, v in data.items()}
    np.savez_compressed(path, **arrays)


if __name__ == "__main__":
    main()
