"""Ranking losses as plain loops: see `reference`."""

import math

import numpy as np

from tests import reference
from tests.reference import cosine, mean, squared, unit


def sigmoid(v):
    return 1 / (1 + math.exp(-v)) if v > 0 else math.exp(v) / (1 + math.exp(v))


def recall_at_k(
    x,
    labels,
    state=None,
    ks=(1, 2, 4, 8, 16),
    temperature=0.01,
    rank_temperature=1.0,
):
    terms = []
    for i, (pos, neg) in enumerate(reference.sides(labels)):
        if not pos or not neg:
            continue
        s = [cosine(x[i], row) for row in x]
        recalls = []
        for k in ks:
            hits = 0.0
            for p in pos:
                others = [j for j in pos + neg if j != p]
                rank = 1 + sum(sigmoid((s[j] - s[p]) / temperature) for j in others)
                hits += sigmoid((k - rank) / (k * rank_temperature))
            recalls.append(min(hits, k) / min(k, len(pos)))
        terms.append(1 - mean(recalls))
    return mean(terms)


def sup_ap(x, labels, state=None, temperature=0.01, slope=100.0, delta=0.05):
    def h(t):
        if t <= 0:
            return sigmoid(t / temperature)
        if t <= delta:
            return 0.5 + sigmoid(t / temperature)
        return 0.5 + sigmoid(delta / temperature) + slope * (t - delta)

    terms = []
    for i, (pos, neg) in enumerate(reference.sides(labels)):
        s = [cosine(x[i], row) for row in x]
        precisions = []
        for p in pos:
            above = 1 + sum(s[q] >= s[p] for q in pos if q != p)
            precisions.append(above / (above + sum(h(s[n] - s[p]) for n in neg)))
        if pos:
            terms.append(1 - mean(precisions))
    return mean(terms)


def roadmap(x, labels, state=None, balance=0.5, pos_margin=0.9, neg_margin=0.6):
    calibration = reference.contrastive(
        x,
        labels,
        pos_margin=pos_margin,
        neg_margin=neg_margin,
        power=1,
        distance=cosine,
        sign=-1,
        reduce_by="anchor",
    )
    return (1 - balance) * sup_ap(x, labels) + balance * calibration


def pnp(x, labels, state=None, form="Dq", temperature=0.01, alpha=1.0, b=2.0):
    def penalty(r):
        if form == "O":
            return r
        if form == "Ds":
            return math.log(1 + r)
        if form == "Dq":
            return 1 - 1 / (1 + r) ** alpha
        if form == "Iu":
            return (1 + r) * math.log(1 + r)
        return (b * r - math.log(1 + b * r)) / b**2

    terms = []
    for i, (pos, neg) in enumerate(reference.sides(labels)):
        s = [cosine(x[i], row) for row in x]
        before = {
            p: sum(sigmoid((s[n] - s[p]) / temperature) for n in neg) for p in pos
        }
        if pos:
            terms.append(mean(penalty(r) for r in before.values()))
    return mean(terms)


def contextual_rows(x, labels, state=None, neighbours=4, epsilon=0.05):
    u = unit(x)
    size = len(u)
    d = [[squared(a, b) for b in u] for a in u]

    def nearest(i, k):
        return {j for j in range(size) if d[i][j] <= sorted(d[i])[k - 1] + epsilon}

    near = [nearest(i, neighbours) for i in range(size)]
    close = [nearest(i, neighbours // 2) for i in range(size)]
    whole = set(range(size))
    v = np.zeros((size, size))
    for i in range(size):
        for j in near[i]:
            v[i, j] = len(near[i] & near[j]) / len(near[i]) / 2
            rest = whole - near[i]
            if rest:
                v[i, j] += len(rest - near[j]) / len(rest) / 2
    w = np.zeros((size, size))
    for i in range(size):
        mutual = [j for j in close[i] if i in close[j]]
        w[i] = np.mean([v[j] for j in mutual], 0)
    c = (w + w.T) / 2
    cost = np.where(np.equal.outer(labels, labels), 1 - c, c) ** 2
    np.fill_diagonal(cost, 0)
    return cost.sum(1) / size


def contextual(*batch, **settings):
    return mean(contextual_rows(*batch, **settings))


LOSSES = dict(
    recall_at_k=recall_at_k,
    sup_ap=sup_ap,
    roadmap=roadmap,
    pnp=pnp,
    contextual=contextual,
)
