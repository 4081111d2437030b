"""Losses of graded pairs, and of pairs with a guide, as plain loops: see `reference`.

`similarity` is a matrix; without it pairs of one class have 1, others 0.
"""

import math

import numpy as np

from tests import reference
from tests.reference import cosine, log_sum_exp, mean, unit


def pairs_of(labels, similarity=None):
    """All pairs (i, j, similarity), anchor first."""
    sides = enumerate(reference.sides(labels))
    return [
        (i, j, similarity[i][j] if similarity is not None else float(j in pos))
        for i, (pos, neg) in sides
        for j in pos + neg
    ]


def soft_supcon(x, labels, state=None, temperature=0.1, threshold=0.0, similarity=None):
    pairs, terms = pairs_of(labels, similarity), []
    for i in range(len(x)):
        row = [(j, w) for a, j, w in pairs if a == i]
        s = {j: cosine(x[i], x[j]) / temperature for j, _ in row}
        kept = [(j, w) for j, w in row if w >= threshold and w > 0]
        if kept:
            whole = log_sum_exp(s.values())
            total = sum(w for _, w in kept)
            terms.append(sum(w * (whole - s[j]) for j, w in kept) / total)
    return mean(terms)


def cosine_regression(x, labels, state=None, similarity=None):
    pairs = pairs_of(labels, similarity)
    return mean((cosine(x[i], x[j]) - w) ** 2 for i, j, w in pairs)


def order_loss(scores, scale):
    """`scores`: pairs of a score and a given similarity."""
    wrong = [scale * (b - a) for a, w in scores for b, v in scores if w > v]
    return math.log1p(sum(map(math.exp, wrong)))


def cosent(x, labels, state=None, scale=20.0, similarity=None):
    pairs = pairs_of(labels, similarity)
    return order_loss([(cosine(x[i], x[j]), w) for i, j, w in pairs], scale)


def angle(x, labels, state=None, scale=20.0, similarity=None):
    def score(a, b):
        a, b = (np.append(v, [0.0] * (len(v) % 2)) for v in (a, b))
        half = len(a) // 2
        z, w = (np.array(v[:half]) + 1j * np.array(v[half:]) for v in unit([a, b]))
        product = (z * w.conj()).sum()
        return abs(product.real + product.imag)

    pairs = pairs_of(labels, similarity)
    return order_loss([(score(x[i], x[j]), w) for i, j, w in pairs], scale)


def gist(x, labels, state=None, temperature=0.01, guide=None):
    pairs, guide = reference.first_pairs(labels), x if guide is None else guide
    terms = []
    for i, (a, p) in enumerate(pairs):
        logits = [cosine(x[a], x[p]) / temperature]
        limit = cosine(guide[a], guide[p])
        for j, (b, q) in enumerate(pairs):
            for u, v in ((a, q), (a, b), (p, q)) if j != i else ():
                if cosine(guide[u], guide[v]) <= limit:
                    logits.append(cosine(x[u], x[v]) / temperature)
        terms.append(log_sum_exp(logits) - logits[0])
    return mean(terms)


LOSSES = dict(
    soft_supcon=soft_supcon,
    cosine_regression=cosine_regression,
    cosent=cosent,
    angle=angle,
    gist=gist,
)
