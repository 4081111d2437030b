"""Writes what pytorch-metric-learning and scikit-learn say of retrieval and AUROC.

  python tests/make_metric_values.py tests/metric_values.json

Needs torch, pytorch-metric-learning 2.9 and scikit-learn, which the tests do not: they
read the file. Nothing of siamjax is imported. Its calculator takes labels as float32,
needs mean reciprocal rank never alone, and normalises unless told not to.
"""

import json
import sys

import numpy as np
import pytorch_metric_learning
import sklearn
import torch
from pytorch_metric_learning import distances
from pytorch_metric_learning.utils import accuracy_calculator, inference
from sklearn import metrics

NAMES = ("precision_at_1", "r_precision", "mean_average_precision_at_r")


def main(path):
    rng = np.random.default_rng(7)
    labels = rng.permutation(np.repeat(np.arange(6), [2, 3, 5, 8, 13, 1]))
    points = rng.normal(size=(6, 4))[labels] + 0.8 * rng.normal(size=(len(labels), 4))
    points = points.astype(np.float32)
    out = dict(
        versions=f"pytorch-metric-learning {pytorch_metric_learning.__version__}, "
        f"scikit-learn {sklearn.__version__}",
        points=points.tolist(),
        labels=labels.tolist(),
    )
    for name, by_class in (("queries", False), ("classes", True)):
        calculator = accuracy_calculator.AccuracyCalculator(
            include=NAMES, avg_of_avgs=by_class, device=torch.device("cpu"),
            knn_func=inference.CustomKNN(
                distances.LpDistance(normalize_embeddings=False)
            ),
        )  # fmt: skip
        got = calculator.get_accuracy(torch.tensor(points), torch.tensor(labels))
        out[name] = [float(got[metric]) for metric in NAMES]
    known, unknown = rng.gamma(2, 1, 60).round(1), 1 + rng.gamma(2, 1, 30).round(1)
    weights = rng.uniform(0.2, 3.0, 60).round(2)
    truth = np.r_[np.zeros(60), np.ones(30)]
    distance = np.r_[known, unknown]
    out["known"], out["unknown"] = known.tolist(), unknown.tolist()
    out["weights"] = weights.tolist()
    out["auroc"] = metrics.roc_auc_score(truth, distance)
    out["weighted_auroc"] = metrics.roc_auc_score(
        truth, distance, sample_weight=np.r_[weights, np.ones(30)]
    )
    with open(path, "w", encoding="utf-8") as file:
        json.dump(out, file)
        file.write("\n")


if __name__ == "__main__":
    main(sys.argv[1])
