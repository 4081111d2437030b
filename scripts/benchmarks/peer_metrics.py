"""Writes the retrieval metrics and AUROC of pytorch-metric-learning and scikit-learn.

  python -m scripts.benchmarks.peer_metrics tests/metric_values.json

Needs torch, pytorch-metric-learning 2.9 and scikit-learn, which the tests do not: they
read the file. Nothing of siamjax is imported. The calculator normalises embeddings
unless it is told not to.
"""

import argparse
import json

import numpy as np
import pytorch_metric_learning
import sklearn
import torch
from pytorch_metric_learning import distances
from pytorch_metric_learning.utils import accuracy_calculator, inference
from sklearn import metrics

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
        f"scikit-learn {sklearn.__version__}",
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
    with open(path, "w", encoding="utf-8") as file:
        json.dump(values, file)
        file.write("\n")


if __name__ == "__main__":
    main()
