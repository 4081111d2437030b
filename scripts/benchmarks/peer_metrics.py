"""Writes metrics of pytorch-metric-learning, torchmetrics and scikit-learn.

  python -m scripts.benchmarks.peer_metrics tests/metric_values.json

Needs torch, pytorch-metric-learning 2.9, torchmetrics and scikit-learn, which the tests
do not: they read the file. Nothing of siamjax is imported. The calculator normalises
embeddings unless it is told not to.
"""

import argparse
import json

import numpy as np
import pytorch_metric_learning
import sklearn
import torch
import torchmetrics
from pytorch_metric_learning import distances
from pytorch_metric_learning.utils import accuracy_calculator, inference
from sklearn import metrics
from torchmetrics.functional import retrieval

NAMES = ("precision_at_1", "r_precision", "mean_average_precision_at_r")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", help="the file that is written")
    write(parser.parse_args().path)


def write(path):
    rng = np.random.default_rng(7)
    labels = rng.permutation(np.repeat(np.arange(6), [2, 3, 5, 8, 13, 1]))
    points = rng.normal(size=(6, 4))[labels] + 0.8 * rng.normal(size=(len(labels), 4))
    points = points.astype(np.float32)
    values = dict(
        versions=f"pytorch-metric-learning {pytorch_metric_learning.__version__}, "
        f"scikit-learn {sklearn.__version__}, torchmetrics {torchmetrics.__version__}",
        points=points.tolist(),
        labels=labels.tolist(),
    )
    euclidean = distances.LpDistance(normalize_embeddings=False)
    for name, by_class in (("queries", False), ("classes", True)):
        calculator = accuracy_calculator.AccuracyCalculator(
            include=NAMES,
            avg_of_avgs=by_class,
            device=torch.device("cpu"),
            knn_func=inference.CustomKNN(euclidean),
        )
        scores = calculator.get_accuracy(torch.tensor(points), torch.tensor(labels))
        values[name] = [float(scores[metric]) for metric in NAMES]
    known, unknown = rng.gamma(2, 1, 60).round(1), 1 + rng.gamma(2, 1, 30).round(1)
    weights = rng.uniform(0.2, 3.0, 60).round(2)
    truth = np.r_[np.zeros(60), np.ones(30)]
    distance = np.r_[known, unknown]
    values["known"], values["unknown"] = known.tolist(), unknown.tolist()
    values["weights"] = weights.tolist()
    values["auroc"] = metrics.roc_auc_score(truth, distance)
    values["weighted_auroc"] = metrics.roc_auc_score(
        truth, distance, sample_weight=np.r_[weights, np.ones(30)]
    )
    values["galleries"] = score_galleries(points, labels)
    values["rankings"] = score_rankings(rng)
    values["clusterings"] = score_clusterings(rng)
    values["verification"] = score_verification(known, unknown)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(values, file)
        file.write("\n")


def score_galleries(points, labels):
    """Of the first 12 rows as queries, the others as the gallery; and the queries among
    the gallery."""
    euclidean = distances.LpDistance(normalize_embeddings=False)
    calculator = accuracy_calculator.AccuracyCalculator(
        include=(*NAMES, "mean_average_precision", "mean_reciprocal_rank"),
        device=torch.device("cpu"),
        knn_func=inference.CustomKNN(euclidean),
    )
    x, y = torch.tensor(points), torch.tensor(labels)
    apart = calculator.get_accuracy(x[:12], y[:12], x[12:], y[12:])
    among = calculator.get_accuracy(x[:12], y[:12], x, y, ref_includes_query=True)
    return dict(apart=to_floats(apart), among=to_floats(among))


def score_rankings(rng):
    """Of random rankings, without ties by torchmetrics, with ties by scikit-learn's
    NDCG, which is the mean over the orders of what ties.

    torchmetrics drops rows with a similarity below 0: those given here are above.
    """
    relevant = rng.uniform(size=(8, 30)) < rng.uniform(0.05, 0.6, (8, 1))
    relevant[:, 0] = True
    distances = rng.uniform(size=(8, 30))
    rounded = rng.integers(0, 5, (8, 30)) / 4
    names = dict(
        precision=retrieval.retrieval_precision,
        relevant_share=retrieval.retrieval_recall,
        hit_rate=retrieval.retrieval_hit_rate,
        ndcg=retrieval.retrieval_normalized_dcg,
        mrr=retrieval.retrieval_reciprocal_rank,
    )
    scores = {
        f"{name}@{k}": [
            float(score(torch.tensor(1 - row), torch.tensor(mask), top_k=k))
            for row, mask in zip(distances, relevant)
        ]
        for name, score in names.items()
        for k in (1, 4, 10)
    }
    rows = [
        (torch.tensor(1 - row), torch.tensor(mask))
        for row, mask in zip(distances, relevant)
    ]
    scores["precision@r"] = [float(retrieval.retrieval_r_precision(*r)) for r in rows]
    scores["map"] = [float(retrieval.retrieval_average_precision(*r)) for r in rows]
    ties = {
        f"ndcg{'' if k is None else f'@{k}'}": [
            float(metrics.ndcg_score([mask], [-row], k=k))
            for row, mask in zip(rounded, relevant)
        ]
        for k in (None, 3, 12)
    }
    return dict(
        distances=distances.tolist(),
        rounded=rounded.tolist(),
        relevant=relevant.tolist(),
        scores=scores,
        ties=ties,
    )


def score_clusterings(rng):
    scores = []
    for number, classes, clusters in ((40, 5, 4), (40, 3, 12), (7, 7, 3), (300, 20, 9)):
        labels = rng.integers(0, classes, number)
        assigned = (labels * 3 + rng.integers(0, 3, number)) % clusters
        arguments = labels, assigned
        scores.append(
            dict(
                labels=labels.tolist(),
                clusters=assigned.tolist(),
                normalized_mutual_information=metrics.normalized_mutual_info_score(
                    *arguments
                ),
                adjusted_mutual_information=metrics.adjusted_mutual_info_score(
                    *arguments
                ),
                adjusted_rand_index=metrics.adjusted_rand_score(*arguments),
            )
        )
    return scores


def score_verification(genuine, impostor):
    """FNMR at several FMR, by straight lines between the points of the ROC curve."""
    accepted, matched, _ = metrics.roc_curve(
        np.r_[np.ones(len(genuine)), np.zeros(len(impostor))],
        -np.r_[genuine, impostor],
        drop_intermediate=False,
    )
    # At a rate with several points the last one counts: a bit beyond it.
    rates = [0.05, 0.1, 1 / 3, 0.77, 1.0]
    fnmr = [float(1 - np.interp(r + 1e-12, accepted, matched)) for r in rates]
    return dict(rates=rates, fnmr=fnmr)


def to_floats(scores):
    return {name: float(score) for name, score in scores.items()}


if __name__ == "__main__":
    main()
