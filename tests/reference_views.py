"""Losses of two views and variants of the softmax, as plain loops: see `reference`."""

import math

import numpy as np

from tests import reference
from tests.reference import cosine, cross_entropy, euclidean, log_sum_exp, mean, unit


def views(x, labels):
    pairs = reference.first_pairs(labels)
    x = np.asarray(x, np.float64)
    return x[[a for a, _ in pairs]], x[[b for _, b in pairs]]


def vicreg(x, labels, state=None, weights=(25.0, 25.0, 1.0)):
    first, second = views(x, labels)
    if not len(first):
        return 0.0
    gap = mean((u - v) ** 2 for a, b in zip(first, second) for u, v in zip(a, b))
    low = cov = 0.0
    if len(first) > 1:
        low = reference.variance(first, None) + reference.variance(second, None)
        cov = reference.covariance(first, None) + reference.covariance(second, None)
    return weights[0] * gap + weights[1] * low / 2 + weights[2] * cov


def barlow_twins(x, labels, state=None, balance=5e-3):
    first, second = views(x, labels)
    if len(first) < 2:
        return 0.0
    loss, size = 0.0, first.shape[1]
    for i in range(size):
        for j in range(size):
            c = np.corrcoef(first[:, i], second[:, j])[0, 1]
            loss += (1 - c) ** 2 if i == j else balance * c**2
    return loss


def negative_cosine(x, labels, state=None):
    sides = enumerate(reference.sides(labels))
    return mean(-cosine(x[i], x[p]) for i, (pos, _) in sides for p in pos)


def alignment(x, labels, state=None, power=2):
    u, sides = unit(x), enumerate(reference.sides(labels))
    return mean(euclidean(u[i], u[p]) ** power for i, (pos, _) in sides for p in pos)


def spectral_contrastive(x, labels, state=None):
    sides = list(enumerate(reference.sides(labels)))
    pull = mean(cosine(x[i], x[p]) for i, (pos, _) in sides for p in pos)
    push = mean(cosine(x[i], x[n]) ** 2 for i, (_, neg) in sides for n in neg)
    return -2 * pull + push


def sincere(x, labels, state=None, temperature=0.1):
    terms = []
    for i, (pos, neg) in enumerate(reference.sides(labels)):
        s = [cosine(x[i], row) / temperature for row in x]
        if pos:
            terms.append(
                mean(cross_entropy([s[p], *(s[n] for n in neg)], 0) for p in pos)
            )
    return mean(terms)


def decoupled(x, labels, state=None, temperature=0.1, sigma=None):
    sides = list(enumerate(reference.sides(labels)))
    pairs = [(i, p) for i, (pos, neg) in sides for p in pos if neg]
    push = {
        i: log_sum_exp(cosine(x[i], x[n]) / temperature for n in neg)
        for i, (_, neg) in sides
        if neg
    }
    s = {pair: cosine(x[pair[0]], x[pair[1]]) for pair in pairs}
    if sigma is None:
        weight = dict.fromkeys(pairs, 1.0)
    else:
        average = mean(math.exp(v / sigma) for v in s.values())
        weight = {pair: 2 - math.exp(v / sigma) / average for pair, v in s.items()}
    return mean(push[a] - weight[a, p] * s[a, p] / temperature for a, p in pairs)


def robust_infonce(
    x, labels, state=None, temperature=0.5, robustness=0.5, density=0.01
):
    q, terms = robustness, []
    for i, (pos, neg) in enumerate(reference.sides(labels)):
        e = [math.exp(cosine(x[i], row) / temperature) for row in x]
        for p in pos if neg else []:
            whole = density * (e[p] + sum(e[n] for n in neg))
            terms.append(-(e[p] ** q) / q + whole**q / q)
    return mean(terms)


def matryoshka(x, labels, state=None):
    x = np.asarray(x, np.float64)
    sizes = {max(x.shape[1] // 2**n, 1) for n in range(4)}
    return sum(reference.supcon(x[:, :size], labels) for size in sizes)


LOSSES = dict(
    matryoshka=matryoshka,
    vicreg=vicreg,
    barlow_twins=barlow_twins,
    negative_cosine=negative_cosine,
    alignment=alignment,
    spectral_contrastive=spectral_contrastive,
    sincere=sincere,
    decoupled=decoupled,
    robust_infonce=robust_infonce,
)
