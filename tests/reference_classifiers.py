"""Classifiers with a margin of their own, as plain loops: see `reference`."""

import math

import jax
import numpy as np

from tests.reference import cosine, cross_entropy, dot, mean


def angle(a, b):
    return math.acos(max(-1.0, min(1.0, cosine(a, b))))


def classify(x, labels, weights, own, other):
    """`own(row, w, i)` and `other(row, w)` are the logits."""
    terms = []
    for i, (row, label) in enumerate(zip(x, labels)):
        logits = [other(row, w) for w in weights]
        logits[label] = own(row, weights[label], i)
        terms.append(cross_entropy(logits, label))
    return mean(terms)


def widened(theta, m):
    if theta + m <= math.pi:
        return math.cos(theta + m)
    return math.cos(theta) - m * math.sin(m)


def psi(theta, m):
    k = next(k for k in range(m) if theta <= (k + 1) * math.pi / m or k == m - 1)
    return (-1) ** k * math.cos(m * theta) - 2 * k


def norm(v):
    return math.sqrt(dot(v, v))


def sphereface(x, labels, state, margin=4):
    def own(row, w, i):
        return norm(row) * psi(angle(row, w), margin)

    return classify(
        x, labels, state["weights"], own, lambda row, w: norm(row) * cosine(row, w)
    )


def large_margin_softmax(x, labels, state, margin=4):
    def own(row, w, i):
        return norm(w) * norm(row) * psi(angle(row, w), margin)

    return classify(x, labels, state["weights"], own, dot)


def adaface(x, labels, state, margin=0.4, scale=64.0, h=0.333, rate=0.01):
    norms = [min(max(norm(row), 1e-3), 100) for row in x]
    average = (1 - rate) * 20 + rate * mean(norms)
    deviation = (1 - rate) * 100 + rate * float(np.std(norms, ddof=1))

    def own(row, w, i):
        z = min(max((norms[i] - average) / (deviation + 1e-3) * h, -1), 1)
        theta = min(max(angle(row, w) - margin * z, 0), math.pi)
        return scale * (math.cos(theta) - (margin * z + margin))

    return classify(
        x, labels, state["weights"], own, lambda row, w: scale * cosine(row, w)
    )


def magface(
    x,
    labels,
    state,
    scale=64.0,
    low_norm=10.0,
    high_norm=110.0,
    low_margin=25.8,
    high_margin=45.8,
    balance=35.0,
):
    lengths = [min(max(norm(row), low_norm), high_norm) for row in x]

    def own(row, w, i):
        slope = (high_margin - low_margin) / (high_norm - low_norm)
        m = math.radians(slope * (lengths[i] - low_norm) + low_margin)
        return scale * widened(angle(row, w), m)

    classified = classify(
        x, labels, state["weights"], own, lambda row, w: scale * cosine(row, w)
    )
    return classified + balance * mean(1 / a + a / high_norm**2 for a in lengths)


def elasticface(x, labels, state, form="arc", margin=0.5, deviation=0.05, scale=64.0):
    """The margins are drawn with the key of the grid, key(1)."""
    noise = np.asarray(jax.random.normal(jax.random.key(1), (len(x),), np.float32))
    margins = [margin + deviation * float(v) for v in noise]

    def own(row, w, i):
        if form == "cos":
            return scale * (cosine(row, w) - margins[i])
        return scale * widened(angle(row, w), margins[i])

    return classify(
        x, labels, state["weights"], own, lambda row, w: scale * cosine(row, w)
    )


def curricularface(x, labels, state, margin=28.6, scale=64.0, rate=0.01):
    weights, terms = state["weights"], []
    t = rate * mean(cosine(row, weights[label]) for row, label in zip(x, labels))
    for row, label in zip(x, labels):
        own = widened(angle(row, weights[label]), math.radians(margin))
        cos = [cosine(row, w) for w in weights]
        logits = [scale * (c * (t + c) if c > own else c) for c in cos]
        logits[label] = scale * own
        terms.append(cross_entropy(logits, label))
    return mean(terms)


def p2sgrad(x, labels, state):
    return mean(
        sum((cosine(row, w) - (k == label)) ** 2 for k, w in enumerate(weights)) / 2
        for weights in [state["weights"]]
        for row, label in zip(x, labels)
    )


LOSSES = dict(
    sphereface=sphereface,
    large_margin_softmax=large_margin_softmax,
    adaface=adaface,
    magface=magface,
    elasticface=elasticface,
    curricularface=curricularface,
    p2sgrad=p2sgrad,
)
