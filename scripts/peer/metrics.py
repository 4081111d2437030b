"""Scores of the library's `AccuracyCalculator`, computed by siamjax."""

import functools

import numpy as np
import torch
from pytorch_metric_learning.utils import accuracy_calculator
from pytorch_metric_learning.utils import common_functions as c_f

from siamjax import metrics


def rankings(knn_labels, query_labels, relevant_number, same):
    """Distances and relevance of each query's ranking, and k: its k neighbours in
    order, and the relevant rows that are not among them, beyond the R-th place."""
    hits = same(query_labels, knn_labels).cpu().numpy().astype(bool)
    number, k = hits.shape
    missing = np.maximum(relevant_number - hits.sum(1), 0)
    place = np.arange(int(missing.max(initial=0)))[None]
    others = np.arange(max(int(relevant_number.max(initial=0)) - k, 0))[None]
    first = k + 1.0 + others.shape[1]
    parts = [  # distances and whether they are relevant
        (np.arange(1.0, k + 1)[None], hits),
        (k + 1.0 + others, False),
        (np.where(place < missing[:, None], first + place, np.inf), True),
    ]
    shapes = [(number, cost.shape[1]) for cost, _ in parts]
    cost, relevant = (
        np.concatenate([np.broadcast_to(a, s) for a, s in zip(column, shapes)], 1)
        for column in zip(*parts)
    )
    return cost, relevant & np.isfinite(cost), k


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
