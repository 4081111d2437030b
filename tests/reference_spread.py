"""Losses that spread rows or have learnt points, as plain loops: see `reference`."""

import math

import numpy as np

from tests import reference
from tests.reference import cosine, dot, euclidean, log_sum_exp, mean, unit
from tests.reference_classifiers import classify, norm


def pairs_of(x, labels):
    """The cosines of positive and of negative pairs."""
    sides = list(enumerate(reference.sides(labels)))
    return (
        [cosine(x[i], x[p]) for i, (pos, _) in sides for p in pos],
        [cosine(x[i], x[n]) for i, (_, neg) in sides for n in neg],
    )


def instance(x, labels, state=None, scale=64.0):
    return mean(
        log_sum_exp([scale, *(scale * cosine(x[i], x[n]) for n in neg)]) - scale
        for i, (_, neg) in enumerate(reference.sides(labels))
        if neg
    )


def hard_contrastive(x, labels, state=None, temperature=0.5, prior=0.1, hardness=1.0):
    terms = []
    for i, (pos, neg) in enumerate(reference.sides(labels)):
        e = [math.exp(cosine(x[i], row) / temperature) for row in x]
        if not neg:
            continue
        average = mean(e[n] ** hardness for n in neg)
        push = sum(e[n] ** hardness / average * e[n] for n in neg)
        for p in pos:
            g = (push - len(neg) * prior * e[p]) / (1 - prior)
            g = max(g, len(neg) * math.exp(-1 / temperature))
            terms.append(-math.log(e[p] / (e[p] + g)))
    return mean(terms)


def threshold_consistent(x, labels, state=None, pos_margin=0.9, neg_margin=0.5):
    s_p, s_n = pairs_of(x, labels)
    pull = mean(pos_margin - s for s in s_p if s <= pos_margin)
    return pull + mean(s - neg_margin for s in s_n if s >= neg_margin)


def orthogonal_projection(x, labels, state=None, balance=1.0):
    s_p, s_n = pairs_of(x, labels)
    return (1 - mean(s_p) if s_p else 0.0) + balance * abs(mean(s_n))


def global_orthogonal(x, labels, state=None):
    _, s_n = pairs_of(x, labels)
    return mean(s_n) ** 2 + max(0.0, mean(s * s for s in s_n) - 1 / len(x[0]))


def anti_collapse(x, labels, state=None, epsilon=0.5):
    z = np.array(unit(x))
    number, size = z.shape
    matrix = np.eye(number) + size / (number * epsilon**2) * z @ z.T
    return -np.sum(np.log(np.linalg.eigvalsh(matrix))) / 2


def softmax_classifier(x, labels, state):
    bias = {tuple(w): b for w, b in zip(state["weights"], state["bias"])}

    def logit(row, w, i=None):
        return dot(row, w) + bias[tuple(w)]

    return classify(x, labels, state["weights"], logit, logit)


def ring(x, labels, state):
    return mean((norm(row) - float(state["radius"])) ** 2 for row in x) / 2


def potential_field_points(x, labels, state, centers=2, power=3.0, delta=0.1):
    points = unit([*x, *state["proxies"]])
    classes = [*labels, *(k // centers for k in range(len(state["proxies"])))]
    potentials = np.zeros(len(points))
    for i, (p, c) in enumerate(zip(points, classes)):
        for j, (q, other) in enumerate(zip(points, classes)):
            if i != j:
                strength = max(euclidean(p, q), delta) ** -power
                potentials[i] += strength if c != other else -strength
    return potentials


def potential_field(*batch, **settings):
    return mean(potential_field_points(*batch, **settings))


def manifold_rows(x, labels, state, passing=0.8, margin=5e-4, context=1.0):
    proxies = state["proxies"]
    points, rows, number = unit([*x, *proxies]), len(x), len(proxies)
    s = np.exp([[2 * max(0, dot(a, b)) for b in points] for a in points])
    np.fill_diagonal(s, 0)
    degree = np.diag(s.sum(1) ** -0.5)
    f = (1 - passing) * np.linalg.inv(np.eye(len(s)) - passing * degree @ s @ degree)

    def term(values, own):
        gaps = [v - values[own] + margin for v in values]
        kept = [g for k, g in enumerate(gaps) if k != own and g > 0]
        return math.log(1 + sum(map(math.exp, kept)))

    terms = []
    for i, label in enumerate(labels):
        own = label % number
        alike = [cosine(f[i], f[rows + k]) for k in range(number)]
        terms.append(term(list(f[i, rows:]), own) + context * term(alike, own))
    return terms


def manifold(*batch, **settings):
    return mean(manifold_rows(*batch, **settings))


def dynamic_soft_margin(x, labels, state=None, bins=512):
    """The first batch: its own histogram."""
    u, all_sides, gaps = unit(x), reference.sides(labels), []
    near = [
        min((euclidean(u[i], u[n]) for n in s[1]), default=None)
        for i, s in enumerate(all_sides)
    ]
    for i, (pos, neg) in enumerate(all_sides):
        gaps += [euclidean(u[i], u[p]) - min(near[i], near[p]) for p in pos if neg]
    if not gaps:
        return 0.0
    histogram = np.zeros(bins + 1)
    places = [(t + 2) * bins / 4 for t in gaps]
    for place in places:
        low = min(int(place), bins - 1)
        histogram[low] += (low + 1 - place) / len(gaps)
        histogram[low + 1] += (place - low) / len(gaps)
    easier = np.cumsum(histogram)
    return mean(easier[min(int(place), bins - 1)] * t for place, t in zip(places, gaps))


def regular_weights(x, labels, state, weight=0.1):
    squares = [dot(w, w) for w in state["weights"]]
    penalty = mean((v - mean(squares)) ** 2 / 4 for v in squares)
    return reference.cosface(x, labels, state) + weight * penalty


LOSSES = dict(
    instance=instance,
    hard_contrastive=hard_contrastive,
    threshold_consistent=threshold_consistent,
    orthogonal_projection=orthogonal_projection,
    global_orthogonal=global_orthogonal,
    anti_collapse=anti_collapse,
    softmax_classifier=softmax_classifier,
    ring=ring,
    potential_field=potential_field,
    manifold=manifold,
    dynamic_soft_margin=dynamic_soft_margin,
    regular_weights=regular_weights,
)
