"""Classifiers whose margin depends on the row, its angle, its norm, or on chance."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from siamjax.losses import distances, reductions
from siamjax.losses.annotations import (
    Degrees,
    ElasticForm,
    NotNegative,
    Positive,
    Reduction,
    Share,
    Size,
    check_choice,
)
from siamjax.losses.classifiers import (
    class_angles,
    cross_entropy,
    init_weights,
    widen,
)
from siamjax.losses.guard import Stateful, stateful
from siamjax.types import UsageError

_init_weights = functools.partial(init_weights, 1)


@stateful
def sphereface(*, margin: Size = 4, reduce: Reduction = "all") -> Stateful:
    """The angle to the row's own class, multiplied by a whole number.

    With unit weights w, rows x of their own length, theta the angle between them:

      term = -log softmax(|x| psi(theta) at y, |x| cos(theta) elsewhere)_y
      psi(theta) = (-1)^k cos(margin * theta) - 2 k, k = floor(theta * margin / pi)

    The authors train with the mean of psi and l times the cosine in place of psi, with
    an l that falls; this has l = 0, as the paper's eq. 7.

    Args:
      margin: a whole number; 1 is no margin.
      reduce: see `reductions`.
    Returns:
      `Stateful`, with params `weights` `[C, E]`. The loss is 0 without a row that
      counts, and with one class.
    Reference: Liu et al. (SphereFace), CVPR 2017, eq. 7.
    """
    return _multiplied_angle(margin, reduce, unit_weights=True)


@stateful
def large_margin_softmax(*, margin: Size = 4, reduce: Reduction = "all") -> Stateful:
    """As `sphereface`, with weights that keep their length.

      term = -log softmax(|w_y| |x| psi(theta) at y, w·x elsewhere)_y

    Args:
      margin: a whole number; 1 is no margin.
      reduce: see `reductions`.
    Returns:
      `Stateful`, with params `weights` `[C, E]`. The loss is 0 without a row that
      counts, and with one class.
    Reference: Liu et al. (L-Softmax), ICML 2016, eq. 5 and 6.
    """
    return _multiplied_angle(margin, reduce, unit_weights=False)


def _multiplied_angle(margin, reduce, unit_weights):
    def apply(state, embeddings, labels, *, where=None):
        angles = class_angles(state["params"]["weights"], embeddings, labels, where)
        w = state["params"]["weights"].astype(angles.x.dtype)
        own_norm = angles.norm
        if unit_weights:
            w = distances.unit(w)
        else:
            norms = distances.by_name("euclidean").rows(w, jnp.zeros_like(w))
            own_norm = own_norm * norms[jnp.clip(labels, 0, len(w) - 1)]
        target = distances.bounded(own_norm * _psi(angles.cos, angles.sin, margin))
        logits = distances.dot(angles.x, w)
        return cross_entropy(target, logits, angles, reduce, labels), state

    return Stateful(_init_weights, apply)


def _psi(cos, sin, margin):
    """(-1)^k cos(margin * theta) - 2 k; the cosine as Chebyshev's polynomial."""
    theta = jnp.arctan2(*map(lax.stop_gradient, (sin, cos)))
    k = jnp.clip(jnp.floor(theta * margin / jnp.pi), 0, margin - 1)
    before, multiple = jnp.ones_like(cos), cos
    for _ in range(margin - 1):
        before, multiple = multiple, 2 * cos * multiple - before
    return jnp.where(k % 2 == 0, multiple, -multiple) - 2 * k


@stateful
def adaface(
    *,
    margin: NotNegative = 0.4,
    scale: Positive = 64.0,
    concentration: Positive = 0.333,
    rate: Share = 0.01,
    reduce: Reduction = "all",
) -> Stateful:
    """A margin for rows of good quality where they are hard, else where they are easy.

    The norm of a row stands for its quality. With z = (|x| - mean) / (deviation /
    concentration), cut to [-1, 1] and held constant:

      term = -log softmax(scale * (cos(theta - margin * z) - margin * z - margin) at y,
                          scale * cos(theta) elsewhere)_y

    mean and deviation of the norms are running ones, of which each batch makes up the
    share `rate`. As in the authors' code they start at 20 and 100, and norms are cut to
    [0.001, 100]. theta - margin * z is cut to [0, 180] degrees.

    Args:
      margin: radians, and a cosine (m of the paper).
      scale: one over a cosine.
      concentration: how wide the range of norms is (h).
      rate: share of a new batch, in [0, 1]; as the authors' code has it.
      reduce: see `reductions`.
    Returns:
      `Stateful`, with params `weights` `[C, E]` and memory `mean`, `deviation`, both
      `[]`. The loss is 0 without a row that counts, and with one class.
    Reference: Kim, Jain, Liu (AdaFace), CVPR 2022.
    """

    def init(key, classes, dim):
        memory = dict(mean=jnp.asarray(20.0), deviation=jnp.asarray(100.0))
        return dict(_init_weights(key, classes, dim), memory=memory)

    def apply(state, embeddings, labels, *, where=None):
        angles = class_angles(state["params"]["weights"], embeddings, labels, where)
        norm = lax.stop_gradient(jnp.clip(angles.norm, 1e-3, 100.0))
        number = angles.valid.sum().astype(norm.dtype)
        average = reductions.masked_mean(norm, angles.valid)
        square = jnp.where(angles.valid, (norm - average) ** 2, 0).sum()
        spread = jnp.sqrt(square / jnp.maximum(number - 1, 1))
        memory = {
            name: jnp.where(number >= least, (1 - rate) * old + rate * new, old)
            for name, new, least in (("mean", average, 1), ("deviation", spread, 2))
            for old in [state["memory"][name].astype(norm.dtype)]
        }
        z = (norm - memory["mean"]) * concentration / (memory["deviation"] + 1e-3)
        z = jnp.clip(z, -1, 1)
        turned = _turn(angles.cos, angles.sin, -margin * z)
        target = scale * (turned - margin * z - margin)
        loss = cross_entropy(target, scale * angles.s, angles, reduce, labels)
        memory = {k: v.astype(state["memory"][k].dtype) for k, v in memory.items()}
        return loss, {**state, "memory": memory}

    return Stateful(init, apply)


def _turn(cos, sin, angle):
    """cos(theta + angle), theta + angle cut to [0, 180] degrees."""
    turned = cos * jnp.cos(angle) - sin * jnp.sin(angle)
    turned = jnp.where((angle < 0) & (cos > jnp.cos(angle)), 1.0, turned)
    return jnp.where((angle > 0) & (cos < -jnp.cos(angle)), -1.0, turned)


@stateful
def magface(
    *,
    scale: Positive = 64.0,
    low_norm: Positive = 10.0,
    high_norm: Positive = 110.0,
    low_margin: Degrees = 25.8,
    high_margin: Degrees = 45.8,
    balance: NotNegative = 35.0,
    reduce: Reduction = "all",
) -> Stateful:
    """ArcFace with a margin that grows with the norm, so that the norm tells quality.

    With a the norm of the row, cut to [low_norm, high_norm], and m(a) on the straight
    line from low_margin to high_margin:

      term = -log softmax(scale * (cos(theta + m(a)) at y, cos(theta) elsewhere))_y
             + balance * (1 / a + a / high_norm²)

    Beyond 180 degrees as `arcface`. The authors' code has 20 as balance.

    Args:
      scale: one over a cosine.
      low_norm, high_norm: in the unit of the embeddings (l_a, u_a of the paper).
      low_margin, high_margin: degrees; 0.45 and 0.8 radians in the paper.
      balance: weight of the second part (lambda_g).
      reduce: see `reductions`.
    Returns:
      `Stateful`, with params `weights` `[C, E]`. The loss is 0 without a row that
      counts.
    Raises:
      UsageError: the low norm is not below the high one, or the low margin is above
        the high one.
    Reference: Meng et al. (MagFace), CVPR 2021.
    """
    if not _traced(low_norm, high_norm) and low_norm >= high_norm:
        raise UsageError(
            f"low_norm={low_norm} must be below high_norm={high_norm}: the margin is "
            "a line between them"
        )
    if not _traced(low_margin, high_margin) and low_margin > high_margin:
        raise UsageError(
            f"low_margin={low_margin} must be at most high_margin={high_margin}: the "
            "margin grows with the norm"
        )

    def apply(state, embeddings, labels, *, where=None):
        angles = class_angles(state["params"]["weights"], embeddings, labels, where)
        a = jnp.clip(angles.norm, low_norm, high_norm)
        share = (a - low_norm) / (high_norm - low_norm)
        margin = jnp.radians(low_margin + (high_margin - low_margin) * share)
        target = scale * widen(angles.cos, angles.sin, margin)
        classified = cross_entropy(target, scale * angles.s, angles, reduce, labels)
        quality = balance * (1 / a + a / high_norm**2)
        kept = reductions.reduce_costs(quality, angles.valid, reduce, labels)
        return classified + kept, state

    return Stateful(_init_weights, apply)


def _traced(*values):
    return any(isinstance(value, jax.core.Tracer) for value in values)


@stateful
def elasticface(
    *,
    form: ElasticForm = "arc",
    margin: float = 0.5,
    deviation: NotNegative = 0.05,
    scale: Positive = 64.0,
    reduce: Reduction = "all",
) -> Stateful:
    """ArcFace or CosFace with a margin that is drawn for each row.

    With m_i drawn from the normal distribution of this mean and deviation:

      arc: term = -log softmax(scale * (cos(theta + m_i) at y, cos(theta) elsewhere))_y
      cos: term = -log softmax(scale * (cos(theta) - m_i at y, cos(theta) elsewhere))_y

    Args:
      form: as above; the paper has margin 0.35 for cos.
      margin, deviation: radians for arc, a cosine for cos.
      scale: one over a cosine.
      reduce: see `reductions`.
    Returns:
      `Stateful`, with params `weights` `[C, E]`. The loss is 0 without a row that
      counts, and with one class. It needs a key.
    Reference: Boutros et al. (ElasticFace), CVPR workshops 2022.
    """
    check_choice("form", form, ElasticForm)

    def apply(state, embeddings, labels, *, where=None, key=None):
        if key is None:
            raise UsageError("elasticface draws its margins at random: give key=")
        angles = class_angles(state["params"]["weights"], embeddings, labels, where)
        # Always in float32, so that one key draws the same in every precision.
        noise = jax.random.normal(key, labels.shape, jnp.float32)
        drawn = margin + deviation * noise.astype(angles.cos.dtype)
        if form == "arc":
            target = widen(angles.cos, angles.sin, drawn)
        else:
            target = angles.cos - drawn
        target, logits = scale * target, scale * angles.s
        return cross_entropy(target, logits, angles, reduce, labels), state

    return Stateful(_init_weights, apply)


@stateful
def curricularface(
    *,
    margin: Degrees = 28.6,
    scale: Positive = 64.0,
    rate: Share = 0.01,
    reduce: Reduction = "all",
) -> Stateful:
    """ArcFace that looks at hard classes later in training.

      term = -log softmax(scale * (cos(theta_y + margin) at y, N_j elsewhere))_y
      N_j = cos(theta_j) if it is at most cos(theta_y + margin),
            else cos(theta_j) * (t + cos(theta_j))

    t is the running mean of cos(theta_y), of which each batch makes up the share
    `rate`; it starts at 0 and is held constant. Beyond 180 degrees as `arcface`.

    Args:
      margin: degrees.
      scale: one over a cosine.
      rate: share of a new batch, in [0, 1]; as the authors' code has it.
      reduce: see `reductions`.
    Returns:
      `Stateful`, with params `weights` `[C, E]` and memory `mean_cosine` `[]`. The loss
      is 0 without a row that counts, and with one class.
    Reference: Huang et al. (CurricularFace), CVPR 2020.
    """

    def init(key, classes, dim):
        memory = dict(mean_cosine=jnp.asarray(0.0))
        return dict(_init_weights(key, classes, dim), memory=memory)

    def apply(state, embeddings, labels, *, where=None):
        angles = class_angles(state["params"]["weights"], embeddings, labels, where)
        old = state["memory"]["mean_cosine"].astype(angles.cos.dtype)
        cos = lax.stop_gradient(angles.cos)
        new = (1 - rate) * old + rate * reductions.masked_mean(cos, angles.valid)
        t = jnp.where(angles.valid.any(), new, old)
        target = widen(angles.cos, angles.sin, jnp.radians(margin))
        hard = angles.s > target[:, None]
        logits = scale * jnp.where(hard, angles.s * (t + angles.s), angles.s)
        loss = cross_entropy(scale * target, logits, angles, reduce, labels)
        memory = dict(mean_cosine=t.astype(state["memory"]["mean_cosine"].dtype))
        return loss, {**state, "memory": memory}

    return Stateful(init, apply)


@stateful
def p2sgrad(*, reduce: Reduction = "all") -> Stateful:
    """Makes the cosine to the own class 1 and to all others 0, without any setting.

      term = 1/2 * sum over classes j of (cos(theta_j) - [j = y])²

    The paper gives the gradient (cos(theta_j) - [j = y]) times that of cos(theta_j),
    which is that of this sum. Others take the mean over classes, without the 1/2.

    Args:
      reduce: see `reductions`.
    Returns:
      `Stateful`, with params `weights` `[C, E]`. The loss is 0 without a row that
      counts.
    Reference: Zhang et al. (P2SGrad), CVPR 2019, eq. 11.
    """

    def apply(state, embeddings, labels, *, where=None):
        angles = class_angles(state["params"]["weights"], embeddings, labels, where)
        other = jnp.where(angles.is_own, 0, angles.s)
        cost = ((1 - angles.cos) ** 2 + jnp.sum(other**2, 1)) / 2
        return reductions.reduce_costs(cost, angles.valid, reduce, labels), state

    return Stateful(_init_weights, apply)
