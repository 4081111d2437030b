"""Writes the tuples that the miners of pytorch-metric-learning choose.

  python -m scripts.benchmarks.peer_miners tests/miner_values.json

Needs torch and pytorch-metric-learning 2.9, which the tests do not: they read the file.
Nothing of siamjax is imported.
"""

import argparse
import json

import pytorch_metric_learning
import torch
from pytorch_metric_learning import distances, miners

EUCLIDEAN = distances.LpDistance(normalize_embeddings=False)
CHOICES = [
    ("easy", "easy"),
    ("easy", "hard"),
    ("easy", "semihard"),
    ("hard", "easy"),
    ("hard", "hard"),
    ("hard", "semihard"),
    ("semihard", "easy"),
    ("semihard", "hard"),
    ("easy", "all"),
    ("all", "hard"),
]
MINERS = {
    **{
        f"gap {kind}": miners.TripletMarginMiner(
            margin=0.3, type_of_triplets=kind, distance=EUCLIDEAN
        )
        for kind in ("all", "hard", "semihard", "easy")
    },
    **{
        f"anchor {positive} {negative}": miners.BatchEasyHardMiner(
            pos_strategy=positive, neg_strategy=negative, distance=EUCLIDEAN
        )
        for positive, negative in CHOICES
    },
    "anchor hard hard in range": miners.BatchEasyHardMiner(
        pos_strategy="hard",
        neg_strategy="hard",
        allowed_pos_range=[0.2, 1.2],
        allowed_neg_range=[0.9, 9.0],
        distance=EUCLIDEAN,
    ),
    "angle": miners.AngularMiner(angle=35),
    "multi_similarity": miners.MultiSimilarityMiner(epsilon=0.1),
    "margin": miners.PairMarginMiner(0.5, 1.1, distance=EUCLIDEAN),
    "hardest": miners.HDCMiner(0.3, distance=EUCLIDEAN),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", help="the file that is written")
    write(parser.parse_args().path)


def write(path):
    generator = torch.Generator().manual_seed(3)
    labels = torch.tensor([0, 1, 2, 1, 0, 1, 3, 2, 1, 4, 0, 1])
    x = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    x = torch.nn.functional.normalize(x)
    values = dict(
        versions=f"pytorch-metric-learning {pytorch_metric_learning.__version__}",
        x=x.tolist(),
        labels=labels.tolist(),
        mined={name: to_tuples(miner(x, labels)) for name, miner in MINERS.items()},
    )
    with open(path, "w", encoding="utf-8") as file:
        json.dump(values, file)
        file.write("\n")


def to_tuples(mined):
    """Sorted triplets, or sorted pairs of both kinds."""
    columns = [column.tolist() for column in mined]
    if len(columns) == 3:
        return sorted(zip(*columns))
    return sorted([*zip(*columns[:2]), *zip(*columns[2:])])


if __name__ == "__main__":
    main()
