"""The search space of each loss: which values of its settings a search tries.

Ranges are for rows of unit norm or in the unit cube. They contain the tuned optima of
the Reality Check (Musgrave et al., ECCV 2020, on three image sets) where it has the
loss: these lie far apart and rarely near a default. Every combination is a valid loss.
One optimum is left out: a contrastive `pos_margin` below 0, which is 0 with `power=1`.

Your own loss declares its space as an attribute:
`my_loss.search = dict(beta=Range(1, 9))`. If it declares none, its float arguments
with a default above 0 are searched from a tenth of the default to ten times it, evenly
over the logarithm.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from siamjax.losses import registry, settings


class Range(NamedTuple):
    """From low to high, both included; whole numbers where both are int."""

    low: float
    high: float
    log: bool = False  # even over the logarithm


def _log(low, high):
    return Range(low, high, log=True)


# A range that is not declared: from default / factor to default * factor.
DEFAULT_FACTOR = 10.0

_TEMPERATURE = dict(temperature=_log(1e-4, 0.5))
_PROXY_SCALE = _log(4.0, 256.0)

# Text of a loss -> hyper-parameter -> its `Range`, or the tuple of its choices. Losses
# that are added to another loss are not here.
SEARCH = {
    "triplet": dict(margin=_log(0.01, 1.0), mining=("all", "hard", "semihard")),
    "triplet:margin=soft": dict(
        scale=_log(1.0, 50.0), mining=("all", "hard", "semihard")
    ),
    "contrastive": dict(
        pos_margin=Range(0.0, 0.3), neg_margin=Range(0.31, 1.5), power=(1, 2)
    ),
    "snr": dict(
        pos_margin=Range(0.0, 0.3),
        neg_margin=Range(0.31, 1.5),
        regulariser=Range(0.0, 0.1),
    ),
    "intra_pair_variance": dict(
        pos_epsilon=Range(0.0, 0.2), neg_epsilon=Range(0.0, 0.2)
    ),
    "manhattan_lstm": dict(),
    "weighted_l1": dict(),
    "lossless": dict(epsilon=_log(1e-7, 0.1)),
    "margin": dict(margin=_log(0.02, 0.6), boundary=Range(0.3, 1.6)),
    "sigmoid_pairs": dict(scale=_log(1.0, 100.0), bias=Range(-20.0, 0.0)),
    "ntxent": _TEMPERATURE,
    "supcon": _TEMPERATURE,
    "infonce": _TEMPERATURE,
    "sincere": _TEMPERATURE,
    "decoupled": _TEMPERATURE,
    "gist": _TEMPERATURE,
    "soft_supcon": _TEMPERATURE,
    "cosine_regression": dict(),
    "cosent": dict(scale=_log(1.0, 200.0)),
    "angle": dict(scale=_log(1.0, 200.0)),
    "robust_infonce": dict(
        temperature=_log(0.05, 1.0), robustness=Range(0.1, 1.0), density=_log(1e-3, 0.1)
    ),
    "vicreg": dict(
        invariance=_log(1.0, 50.0), variance=_log(1.0, 50.0), covariance=_log(0.1, 10.0)
    ),
    "barlow_twins": dict(balance=_log(1e-4, 0.1)),
    "spectral_contrastive": dict(),
    "npairs": dict(),
    "nca": dict(scale=_log(0.3, 100.0)),
    "prototypical": dict(shots=(0, 1, 2), distance=("squared", "euclidean")),
    "multi_similarity": dict(
        alpha=_log(0.005, 50.0), beta=_log(1.0, 100.0), base=Range(0.0, 1.0)
    ),
    "circle": dict(margin=Range(0.05, 0.7), scale=_log(8.0, 256.0)),
    "lifted": dict(margin=Range(0.1, 2.0)),
    "generalized_lifted": dict(margin=Range(0.1, 2.0)),
    "tuplet_margin": dict(margin=Range(0.0, 30.0), scale=_log(8.0, 128.0)),
    "angular": dict(angle=Range(20.0, 60.0)),
    "smooth_ap": dict(temperature=_log(1e-3, 0.3)),
    "recall_at_k": dict(temperature=_log(1e-3, 0.3), rank_temperature=_log(0.1, 5.0)),
    "sup_ap": dict(temperature=_log(1e-3, 0.3), slope=_log(1.0, 300.0)),
    "roadmap": dict(
        balance=Range(0.1, 0.9),
        pos_margin=Range(0.7, 1.0),
        neg_margin=Range(0.2, 0.65),
        slope=_log(1.0, 300.0),
    ),
    "pnp": dict(
        form=("O", "Ds", "Dq", "Iu", "Ib"),
        temperature=_log(1e-3, 0.3),
        alpha=_log(0.3, 8.0),
    ),
    "contextual": dict(neighbours=Range(2, 8), epsilon=Range(0.0, 0.1)),
    "fastap": dict(bins=Range(5, 40)),
    "histogram": dict(bins=Range(10, 200)),
    "ranked_list": dict(margin=Range(0.05, 0.8), neg_scale=_log(1.0, 30.0)),
    "proxy_nca": dict(scale=_log(0.5, 50.0)),
    "proxy_nca_pp": dict(temperature=_log(0.01, 1.0)),
    "proxy_anchor": dict(scale=_PROXY_SCALE, margin=Range(0.0, 0.5)),
    "soft_triple": dict(
        centers=Range(1, 10),
        scale=_PROXY_SCALE,
        gamma=_log(1.0, 50.0),
        margin=Range(0.0, 0.5),
    ),
    "normalized_softmax": dict(temperature=_log(0.004, 0.5)),
    "cosface": dict(margin=Range(0.0, 0.7), scale=_PROXY_SCALE),
    "arcface": dict(margin=Range(0.0, 50.0), scale=_PROXY_SCALE),
    "sphereface": dict(margin=Range(1, 4)),
    "large_margin_softmax": dict(margin=Range(1, 4)),
    "adaface": dict(
        margin=Range(0.0, 0.7), scale=_PROXY_SCALE, concentration=_log(0.1, 1.0)
    ),
    "magface": dict(
        scale=_PROXY_SCALE,
        low_margin=Range(0.0, 30.0),
        high_margin=Range(30.0, 60.0),
        balance=_log(1.0, 100.0),
    ),
    "elasticface": dict(
        margin=Range(0.0, 0.8), deviation=Range(0.0, 0.2), scale=_PROXY_SCALE
    ),
    "curricularface": dict(margin=Range(0.0, 50.0), scale=_PROXY_SCALE),
    "p2sgrad": dict(),
    "softmax_classifier": dict(),
    "potential_field": dict(
        centers=Range(1, 10), power=Range(1.0, 6.0), delta=_log(0.03, 0.5)
    ),
    "manifold": dict(
        proxies=Range(10, 100), passing=Range(0.5, 0.95), margin=_log(1e-4, 0.1)
    ),
    "dynamic_soft_margin": dict(rate=_log(1e-3, 0.3)),
    "instance": dict(scale=_log(4.0, 128.0)),
    "hard_contrastive": dict(
        temperature=_log(0.02, 1.0), prior=Range(0.0, 0.3), hardness=Range(0.0, 3.0)
    ),
}


def space(spec: str) -> dict[str, Range | tuple]:
    """The search space of the loss of a text: hyper-parameter -> `Range` or tuple of
    choices, without those that the text sets. In a sum `0.margin` is that of the first
    loss, and so on."""
    parts = registry.parse(spec)
    return {
        f"{i}.{key}" if len(parts) > 1 else key: choices
        for i, part in enumerate(parts)
        for key, choices in _space(part).items()
        if key not in part.given
    }


def fill(spec: str, values: Mapping[str, Any]) -> str:
    """The text of a loss with values for hyper-parameters of its `space`."""
    parts = registry.parse(spec)
    if len(parts) == 1:
        return _add_settings(parts[0], values)
    values_by_part = registry.by_part(values, len(parts))
    terms = (_add_settings(part, chosen) for part, chosen in zip(parts, values_by_part))
    return "+".join(f"{part.weight}*{term}" for part, term in zip(parts, terms))


def _space(part):
    """The last entry of `SEARCH` whose settings are all in the text; else the attribute
    `search` of the loss; else, for a user's loss, ranges around its defaults."""
    for key in reversed(SEARCH):
        entry = registry.parse(key)[0]
        if entry.name == part.name and entry.given.items() <= part.given.items():
            return SEARCH[key]
    function = registry.find_loss(part.name)
    if part.name in registry.LOSSES or hasattr(function, "search"):
        return getattr(function, "search", {})
    return _around_defaults(function)


def _around_defaults(function):
    """A `Range` around the default of each float argument whose default is above 0."""
    return {
        name: _log(p.default / DEFAULT_FACTOR, p.default * DEFAULT_FACTOR)
        for name, p in settings.signature(function).parameters.items()
        if type(p.default) is float or p.annotation in (float, "float")
        if isinstance(p.default, int | float) and 0 < p.default < math.inf
    }


def undeclared(spec: str) -> dict[str, Range | tuple]:
    """The part of `space` that stands around defaults, as the loss declares none."""
    parts = registry.parse(spec)
    names = {
        f"{i}.{name}" if len(parts) > 1 else name
        for i, part in enumerate(parts)
        if part.name not in registry.LOSSES
        for function in [registry.find_loss(part.name)]
        if not hasattr(function, "search")
        for name in _around_defaults(function)
    }
    return {name: choices for name, choices in space(spec).items() if name in names}


def _add_settings(part, values):
    settings = ",".join(f"{key}={value}" for key, value in values.items())
    head = part.text + ("," if part.given else ":") if settings else part.text
    return head + settings
