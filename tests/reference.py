"""Every loss as plain loops over its paper's sum, in float64: slow but easy to check.

`LOSSES[name](x, labels, state, **hyper)` gives the value for embeddings `[B, E]`,
integer labels `[B]` and the loss's params. Nothing here comes from siamjax.
"""

import math

import numpy as np


def euclidean(a, b):
    return math.sqrt(sum((u - v) ** 2 for u, v in zip(a, b)))


def squared(a, b):
    return sum((u - v) ** 2 for u, v in zip(a, b))


def manhattan(a, b):
    return sum(abs(u - v) for u, v in zip(a, b))


def cosine(a, b):
    size = math.sqrt(sum(u * u for u in a)) * math.sqrt(sum(v * v for v in b))
    return sum(u * v for u, v in zip(a, b)) / size


def dot(a, b):
    return sum(u * v for u, v in zip(a, b))


def snr(a, b):
    noise = [v - u for u, v in zip(a, b)]
    return np.var(noise) / np.var(a)


def unit(x):
    return [row / math.sqrt(dot(row, row)) for row in np.asarray(x, np.float64)]


def sides(labels):
    """For each anchor its positives and negatives, as lists of rows."""
    rows = range(len(labels))
    return [
        (
            [j for j in rows if j != i and labels[j] == labels[i]],
            [j for j in rows if labels[j] != labels[i]],
        )
        for i in rows
    ]


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else 0.0


def log_sum_exp(values):
    values = list(values)
    top = max(values)
    return top + math.log(sum(math.exp(v - top) for v in values))


def softplus(v):
    return max(v, 0.0) + math.log1p(math.exp(-abs(v)))


def cross_entropy(logits, own):
    return log_sum_exp(logits) - logits[own]


def reduce(terms, how, labels):
    """`terms`: for each anchor the list of its terms."""
    flat = [t for row in terms for t in row]
    if how == "sum":
        return sum(flat)
    if how == "all":
        return mean(flat)
    if how == "active":
        return mean(t for t in flat if t != 0)
    means = {i: mean(row) for i, row in enumerate(terms) if row}
    if how == "anchor":
        return mean(means.values())
    classes = sorted({labels[i] for i in means})
    return mean(mean(m for i, m in means.items() if labels[i] == c) for c in classes)


def contrastive(
    x,
    labels,
    state=None,
    pos_margin=0.0,
    neg_margin=1.0,
    power=2,
    distance=euclidean,
    sign=1,
    reduce_by="all",
):
    pull, push = [], []
    for i, (pos, neg) in enumerate(sides(labels)):
        d = [distance(x[i], row) for row in x]
        pull.append([max(0, sign * (d[j] - pos_margin)) ** power for j in pos])
        push.append([max(0, sign * (neg_margin - d[j])) ** power for j in neg])
    return reduce(pull, reduce_by, labels) + reduce(push, reduce_by, labels)


def snr_contrastive(x, labels, state=None, regulariser=0.0):
    loss = contrastive(x, labels, power=1, distance=snr)
    return loss + regulariser * mean(abs(sum(row)) for row in x)


def intra_pair_variance(x, labels, state=None, pos_epsilon=0.01, neg_epsilon=0.01):
    s_p = [cosine(x[i], x[j]) for i, (pos, _) in enumerate(sides(labels)) for j in pos]
    s_n = [cosine(x[i], x[j]) for i, (_, neg) in enumerate(sides(labels)) for j in neg]
    low, high = (1 - pos_epsilon) * mean(s_p), (1 + neg_epsilon) * mean(s_n)
    return mean(max(0, low - s) ** 2 for s in s_p) + mean(
        max(0, s - high) ** 2 for s in s_n
    )


def manhattan_lstm(x, labels, state=None):
    return mean(
        (math.exp(-manhattan(x[i], x[j])) - (j in pos)) ** 2
        for i, (pos, neg) in enumerate(sides(labels))
        for j in pos + neg
    )


def triplet(
    x,
    labels,
    state=None,
    margin=0.2,
    scale=1.0,
    soft_margin=0.0,
    mining="all",
    swap=False,
    distance=euclidean,
    reduce_by="active",
):
    def cost(gap):
        if margin == "soft":
            return softplus(scale * (gap + soft_margin))
        return max(0.0, gap + margin)

    terms = []
    for i, (pos, neg) in enumerate(sides(labels)):
        d = [distance(x[i], row) for row in x]
        row = []
        if pos and neg:
            farthest, nearest = max(d[p] for p in pos), min(d[p] for p in pos)
            hard = min(d[n] for n in neg)
            if mining == "hard":
                row = [cost(farthest - hard)]
            elif mining == "easy_positive":
                row = [cost(nearest - hard)]
            elif mining == "semihard":
                row = [cost(d[p] - semihard(d, d[p], neg)) for p in pos]
            elif mining == "easy_positive_semihard":
                row = [cost(nearest - semihard(d, nearest, neg))]
            elif mining == "semihard_set":
                row = [
                    cost(d[p] - d[n])
                    for p in pos
                    for n in neg
                    if d[p] < d[n] < d[p] + margin
                ]
            else:
                row = [
                    cost(d[p] - (min(d[n], distance(x[p], x[n])) if swap else d[n]))
                    for p in pos
                    for n in neg
                ]
        terms.append(row)
    return reduce(terms, reduce_by, labels)


def semihard(d, d_p, neg):
    beyond = [d[n] for n in neg if d[n] > d_p]
    return min(beyond) if beyond else max(d[n] for n in neg)


def lossless(x, labels, state=None, beta=None, epsilon=None):
    """The original form if epsilon is given, else the safe one, linear below eps."""
    size = len(x[0])
    beta = size if beta is None else beta

    def cost(v):
        if epsilon is not None:
            return -math.log(v + epsilon)
        e = np.finfo(float).eps
        return -math.log(v) if v > e else 1 - math.log(e) - v / e

    return mean(
        cost(1 - squared(x[i], x[p]) / beta)
        + cost((squared(x[i], x[n]) + beta - size) / beta)
        for i, (pos, neg) in enumerate(sides(labels))
        for p in pos
        for n in neg
    )


def ntxent(x, labels, state=None, temperature=0.1):
    terms = []
    for i, (pos, neg) in enumerate(sides(labels)):
        s = [cosine(x[i], row) / temperature for row in x]
        terms += [cross_entropy([s[p], *(s[n] for n in neg)], 0) for p in pos]
    return mean(terms)


def supcon(x, labels, state=None, temperature=0.1):
    terms = []
    for i, (pos, neg) in enumerate(sides(labels)):
        s = [cosine(x[i], row) / temperature for row in x]
        if pos:
            whole = log_sum_exp(s[j] for j in pos + neg)
            terms.append(mean(whole - s[p] for p in pos))
    return mean(terms)


def first_pairs(labels):
    pairs = []
    for c in dict.fromkeys(labels):
        rows = [i for i, label in enumerate(labels) if label == c]
        if len(rows) > 1:
            pairs.append((rows[0], rows[1]))
    return pairs


def infonce(x, labels, state=None, temperature=0.05, symmetric=False, distance=cosine):
    pairs = first_pairs(labels)
    s = [[distance(x[a], x[p]) / temperature for _, p in pairs] for a, _ in pairs]
    forth = mean(cross_entropy(s[i], i) for i in range(len(pairs)))
    if not symmetric:
        return forth
    back = mean(cross_entropy([row[i] for row in s], i) for i in range(len(pairs)))
    return (forth + back) / 2


def npairs(x, labels, state=None):
    return infonce(x, labels, temperature=1.0, distance=dot)


def nca(x, labels, state=None, scale=1.0):
    terms = []
    for i, (pos, neg) in enumerate(sides(labels)):
        s = [-scale * squared(x[i], row) for row in x]
        if pos:
            near = log_sum_exp(s[p] for p in pos)
            terms.append(log_sum_exp(s[j] for j in pos + neg) - near)
    return mean(terms)


def prototypical(x, labels, state=None, shots=0):
    x, terms = np.asarray(x, np.float64), []
    classes = sorted(set(labels))
    rows = {c: [i for i, label in enumerate(labels) if label == c] for c in classes}
    for i, label in enumerate(labels):
        examples = dict(rows)
        if shots:
            examples = {c: rows[c][:shots] for c in classes}
            if i in examples[label]:
                continue
        else:
            examples[label] = [j for j in rows[label] if j != i]
        if not examples[label]:
            continue
        logits = [-squared(x[i], x[examples[c]].mean(0)) for c in classes]
        terms.append(cross_entropy(logits, classes.index(label)))
    return mean(terms)


def multi_similarity(
    x, labels, state=None, alpha=2.0, beta=50.0, base=0.5, epsilon=0.1
):
    terms = []
    for i, (pos, neg) in enumerate(sides(labels)):
        s = [cosine(x[i], row) for row in x]
        if not pos and not neg:
            continue
        if epsilon is not None:
            hardest = max((s[n] for n in neg), default=-math.inf)
            easiest = min((s[p] for p in pos), default=math.inf)
            pos = [p for p in pos if s[p] - epsilon < hardest]
            neg = [n for n in neg if s[n] + epsilon > easiest]
        terms.append(
            math.log(1 + sum(math.exp(alpha * (base - s[p])) for p in pos)) / alpha
            + math.log(1 + sum(math.exp(beta * (s[n] - base)) for n in neg)) / beta
        )
    return mean(terms)


def circle(x, labels, state=None, margin=0.4, scale=80.0):
    terms = []
    for i, (pos, neg) in enumerate(sides(labels)):
        s = [cosine(x[i], row) for row in x]
        if pos and neg:
            pull = log_sum_exp(
                -scale * max(0, 1 + margin - s[p]) * (s[p] - 1 + margin) for p in pos
            )
            push = log_sum_exp(
                scale * max(0, s[n] + margin) * (s[n] - margin) for n in neg
            )
            terms.append(softplus(pull + push))
    return mean(terms)


def lifted(x, labels, state=None, margin=1.0):
    all_sides, terms = sides(labels), []
    for i, (pos, neg) in enumerate(all_sides):
        for p in pos if neg else []:
            push = [margin - euclidean(x[i], x[n]) for n in neg]
            push += [margin - euclidean(x[p], x[n]) for n in all_sides[p][1]]
            inside = euclidean(x[i], x[p]) + log_sum_exp(push)
            terms.append(max(0, inside) ** 2 / 2)
    return mean(terms)


def generalized_lifted(x, labels, state=None, margin=1.0):
    terms = []
    for i, (pos, neg) in enumerate(sides(labels)):
        if pos and neg:
            pull = log_sum_exp(euclidean(x[i], x[p]) for p in pos)
            push = log_sum_exp(margin - euclidean(x[i], x[n]) for n in neg)
            terms.append(max(0, pull + push))
    return mean(terms)


def tuplet_margin(x, labels, state=None, margin=5.73, scale=64.0):
    terms = []
    for i, (pos, neg) in enumerate(sides(labels)):
        for p in pos if neg else []:
            angle = math.acos(max(-1, min(1, cosine(x[i], x[p]))))
            turned = math.cos(angle - math.radians(margin))
            logits = [scale * (cosine(x[i], x[n]) - turned) for n in neg]
            terms.append(softplus(log_sum_exp(logits)))
    return mean(terms)


def angular(x, labels, state=None, angle=40.0):
    u, t2, terms = unit(x), math.tan(math.radians(angle)) ** 2, []
    for i, (pos, neg) in enumerate(sides(labels)):
        for p in pos if neg else []:
            near = 2 * (1 + t2) * dot(u[i], u[p])
            logits = [4 * t2 * dot(u[i] + u[p], u[n]) - near for n in neg]
            terms.append(softplus(log_sum_exp(logits)))
    return mean(terms)


def smooth_ap(x, labels, state=None, temperature=0.01, count_self=False):
    def g(v):
        v = v / temperature
        return 1 / (1 + math.exp(-v)) if v > 0 else math.exp(v) / (1 + math.exp(v))

    terms = []
    for i, (pos, neg) in enumerate(sides(labels)):
        if not pos:
            continue
        s = [cosine(x[i], row) for row in x]
        pos = sorted([*pos, i]) if count_self else pos
        hits = []
        for p in pos:
            above = 1 + sum(g(s[q] - s[p]) for q in pos if q != p)
            hits.append(above / (above + sum(g(s[n] - s[p]) for n in neg)))
        terms.append(1 - mean(hits))
    return mean(terms)


def fastap(x, labels, state=None, bins=10):
    u, width, terms = unit(x), 4 / bins, []
    for i, (pos, neg) in enumerate(sides(labels)):
        if not pos:
            continue
        d = [squared(u[i], row) for row in u]
        up_pos = up_all = hits = 0.0
        for edge in range(bins + 1):
            share = [max(0, 1 - abs(v - edge * width) / width) for v in d]
            in_pos = sum(share[p] for p in pos)
            up_pos += in_pos
            up_all += in_pos + sum(share[n] for n in neg)
            hits += in_pos * up_pos / up_all if up_all else 0
        terms.append(1 - hits / len(pos))
    return mean(terms)


def histogram(x, labels, state=None, bins=100):
    def density(values):
        weights = np.zeros(bins + 1)
        for v in values:
            place = min(max((v + 1) * bins / 2, 0), bins)
            low = min(int(place), bins - 1)
            weights[low] += (low + 1 - place) / len(values)
            weights[low + 1] += (place - low) / len(values)
        return weights

    all_sides = list(enumerate(sides(labels)))
    s_p = [cosine(x[i], x[j]) for i, (pos, _) in all_sides for j in pos]
    s_n = [cosine(x[i], x[j]) for i, (_, neg) in all_sides for j in neg]
    if not s_p or not s_n:
        return 0.0
    below, loss = 0.0, 0.0
    for h_p, h_n in zip(density(s_p), density(s_n)):
        below += h_p
        loss += h_n * below
    return loss


def ranked_list(
    x, labels, state=None, margin=0.4, pos_scale=0.0, neg_scale=10.0, balance=0.5
):
    def weighted(values, scale):
        values = [v for v in values if v > 0]
        weights = [math.exp(scale * v) for v in values]
        total = sum(w * v for w, v in zip(weights, values))
        return total / sum(weights) if values else 0

    limit, terms = 1 + margin / 2, []
    for i, (pos, neg) in enumerate(sides(labels)):
        pull = [euclidean(x[i], x[p]) - (limit - margin) for p in pos]
        push = [limit - euclidean(x[i], x[n]) for n in neg]
        if pos or neg:
            terms.append(
                (1 - balance) * weighted(pull, pos_scale)
                + balance * weighted(push, neg_scale)
            )
    return mean(terms)


def margin(x, labels, state, margin=0.2, nu=0.0, per_class=False):
    b, terms = state["boundary"], []
    for i, (pos, neg) in enumerate(sides(labels)):
        limit = b[labels[i]] if per_class else b[0]
        for p in pos:
            for n in neg:
                terms.append(max(0, euclidean(x[i], x[p]) - limit + margin))
                terms.append(max(0, limit - euclidean(x[i], x[n]) + margin))
    return mean(t for t in terms if t > 0) + nu * float(np.mean(b))


def sigmoid_pairs(x, labels, state):
    t, b, terms = math.exp(state["log_scale"]), float(state["bias"]), []
    for i, (pos, neg) in enumerate(sides(labels)):
        same = [softplus(-(t * cosine(x[i], x[p]) + b)) for p in pos]
        other = [softplus(t * cosine(x[i], x[n]) + b) for n in neg]
        if pos or neg:
            terms.append(sum(same) + sum(other))
    return mean(terms)


def weighted_l1(x, labels, state):
    w, b = state["weights"], float(state["bias"])
    terms = []
    for i, (pos, neg) in enumerate(sides(labels)):
        for j in pos + neg:
            logit = sum(k * abs(u - v) for k, u, v in zip(w, x[i], x[j])) + b
            terms.append(softplus(-logit if j in pos else logit))
    return mean(terms)


def proxy_nca(x, labels, state, scale=1.0, own=False):
    u, w, terms = unit(x), unit(state["proxies"]), []
    for row, label in zip(u, labels):
        s = [-scale * squared(row, proxy) for proxy in w]
        others = [v for k, v in enumerate(s) if own or k != label]
        terms.append(log_sum_exp(others) - s[label])
    return mean(terms)


def proxy_nca_pp(x, labels, state):
    return proxy_nca(x, labels, state, scale=9.0, own=True)


def proxy_anchor_sides(x, labels, state, scale=32.0, margin=0.1):
    pull, push = [], []
    for k, proxy in enumerate(state["proxies"]):
        s = [cosine(row, proxy) for row in x]
        own = [v for v, label in zip(s, labels) if label == k]
        other = [v for v, label in zip(s, labels) if label != k]
        pull.append(math.log(1 + sum(math.exp(-scale * (v - margin)) for v in own)))
        push.append(math.log(1 + sum(math.exp(scale * (v + margin)) for v in other)))
    return pull, push


def proxy_anchor(x, labels, state):
    pull, push = proxy_anchor_sides(x, labels, state)
    return sum(pull) / len(set(labels)) + mean(push)


def soft_triple(
    x, labels, state, centers=10, scale=20.0, gamma=10.0, margin=0.01, tau=0.2
):
    u, w = unit(x), unit(state["proxies"])
    classes, terms = len(w) // centers, []
    for row, label in zip(u, labels):
        logits = []
        for c in range(classes):
            s = np.array([dot(row, v) for v in w[c * centers : (c + 1) * centers]])
            weight = np.exp(gamma * s) / np.exp(gamma * s).sum()
            logits.append(scale * ((weight * s).sum() - margin * (c == label)))
        terms.append(cross_entropy(logits, label))
    apart = sum(
        euclidean(w[c * centers + i], w[c * centers + j])
        for c in range(classes)
        for i in range(centers)
        for j in range(i)
    )
    return mean(terms) + tau * apart / (classes * centers * (centers - 1))


def classifier(x, labels, weights, scale, own, centers=1):
    terms, classes = [], len(weights) // centers
    for row, label in zip(x, labels):
        cos = [
            max(cosine(row, weights[c * centers + k]) for k in range(centers))
            for c in range(classes)
        ]
        logits = [scale * v for v in cos]
        logits[label] = scale * own(cos[label])
        terms.append(cross_entropy(logits, label))
    return mean(terms)


def normalized_softmax(x, labels, state, temperature=0.05):
    return classifier(x, labels, state["weights"], 1 / temperature, lambda c: c)


def cosface(x, labels, state, margin=0.35, scale=64.0):
    return classifier(x, labels, state["weights"], scale, lambda c: c - margin)


def arcface(x, labels, state, margin=28.6, scale=64.0, centers=1):
    m = math.radians(margin)

    def own(cos):
        angle = math.acos(max(-1, min(1, cos)))
        return math.cos(angle + m) if angle + m <= math.pi else cos - m * math.sin(m)

    return classifier(x, labels, state["weights"], scale, own, centers)


def center(x, labels, state):
    return mean(squared(row, np.zeros(len(row))) / 2 for row in x)


def variance(x, labels, state=None, target=1.0, epsilon=1e-4):
    x = np.asarray(x, np.float64)
    deviation = [math.sqrt(np.var(column, ddof=1) + epsilon) for column in x.T]
    return mean(max(0, target - d) for d in deviation)


def covariance(x, labels, state=None):
    cov = np.cov(np.asarray(x, np.float64).T)
    size = len(cov)
    apart = [cov[i, j] ** 2 for i in range(size) for j in range(size) if i != j]
    return sum(apart) / size


def koleo_rows(x, labels, state=None, epsilon=1e-8):
    u = unit(x)
    return [
        -math.log(min(euclidean(u[i], u[j]) for j in range(len(u)) if j != i) + epsilon)
        for i in range(len(u))
    ]


def koleo(*batch):
    return mean(koleo_rows(*batch))


def uniformity(x, labels, state=None, scale=2.0):
    u = unit(x)
    return math.log(
        mean(
            math.exp(-scale * squared(u[i], u[j]))
            for i in range(len(u))
            for j in range(len(u))
            if i != j
        )
    )


def zero_mean(x, labels, state=None):
    return mean(abs(sum(row)) for row in x)


def embedding_norm(x, labels, state=None, power=1):
    return mean(math.sqrt(dot(row, row)) ** power for row in x)


def saturation(x, labels, state=None, limit=0.9):
    return mean(
        (max(0, abs(2 * v - 1) - limit) / (1 - limit)) ** 2 for row in x for v in row
    )


def mined(x, labels, state=None, epsilon=0.1, neg_margin=1.0):
    """The default: contrastive on the pairs that multi-similarity mining leaves."""
    pull, push = [], []
    for i, (pos, neg) in enumerate(sides(labels)):
        s = [cosine(x[i], row) for row in x]
        hardest = max((s[n] for n in neg), default=-math.inf)
        easiest = min((s[p] for p in pos), default=math.inf)
        pull += [euclidean(x[i], x[p]) ** 2 for p in pos if s[p] - epsilon < hardest]
        push += [
            max(0, neg_margin - euclidean(x[i], x[n])) ** 2
            for n in neg
            if s[n] + epsilon > easiest
        ]
    return mean(pull) + mean(push)


# A first batch meets only itself in the memory.
LOSSES = dict(
    contrastive=contrastive,
    snr=snr_contrastive,
    intra_pair_variance=intra_pair_variance,
    manhattan_lstm=manhattan_lstm,
    triplet=triplet,
    lossless=lossless,
    ntxent=ntxent,
    supcon=supcon,
    infonce=infonce,
    npairs=npairs,
    nca=nca,
    prototypical=prototypical,
    multi_similarity=multi_similarity,
    circle=circle,
    lifted=lifted,
    generalized_lifted=generalized_lifted,
    tuplet_margin=tuplet_margin,
    angular=angular,
    smooth_ap=smooth_ap,
    fastap=fastap,
    histogram=histogram,
    ranked_list=ranked_list,
    margin=margin,
    sigmoid_pairs=sigmoid_pairs,
    weighted_l1=weighted_l1,
    proxy_nca=proxy_nca,
    proxy_nca_pp=proxy_nca_pp,
    proxy_anchor=proxy_anchor,
    soft_triple=soft_triple,
    normalized_softmax=normalized_softmax,
    cosface=cosface,
    arcface=arcface,
    center=center,
    variance=variance,
    covariance=covariance,
    koleo=koleo,
    uniformity=uniformity,
    zero_mean=zero_mean,
    embedding_norm=embedding_norm,
    saturation=saturation,
    memory=contrastive,
    mined=mined,
)
