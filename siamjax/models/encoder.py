"""The encoder: windows of traffic to points, one trunk with several heads."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from siamjax import checks
from siamjax.config import EncoderConfig, HeadConfig
from siamjax.models import lstm, moments, norm, pooling

LIVE, STOPPED = "live", "stopped"


class Encoder(NamedTuple):
    """Pure functions; weights and statistics are arguments and results."""

    init: Callable  # key -> (params, TrainStats)
    apply: Callable  # see `build_encoder`
    finalise: Callable  # TrainStats -> FinalStats
    add_statistics: Callable  # see `build_encoder`
    by_session: bool  # prediction needs the statistics of each window's session


class Head(NamedTuple):
    """What one head makes of the trunk's summary, or of another head's point."""

    dim: int  # E
    norm: str  # of the point: unit, sigmoid or none
    features: str  # live or stopped: the summary; or the head whose point it reads
    statistics_weight: float  # length of the window's statistics beside the point


def build_encoder(
    config: EncoderConfig,
    heads: Mapping[str, HeadConfig],
    *,
    features: int,
    steps: int = 0,
) -> Encoder:
    """The `Encoder` of a config.

    Its `apply(params, windows, lengths, stats, *, group=None, train)` takes windows
    `[B, T, F]`, their lengths `[B]` (int, 1..T; the bins behind are padding and are not
    read), and `group` `[B]` int, for statistics by group. With `train=True` groups are
    sessions or branches; it takes `norm.TrainStats` and gives `(points, TrainStats)`.
    With `train=False` a group is a row of the `norm.FinalStats` that it takes; it gives
    `points`. Points are a dict of head -> `[B, E]`.

    Its `add_statistics(points, windows, lengths)` appends the statistics of each window
    to the learnt points of the heads with a `statistics_weight`: mean and deviation of
    each feature, together of that length, `[B, E + 2F]`. Training drops what it does
    not need to tell its own conditions apart; these statistics, which no loss changes,
    keep a new condition apart. `models.embedder` gives points with them.

    A head reads its `features`: "live" is the trunk's summary, "stopped" is the summary
    without gradient, and the name of another head is that head's point with its
    statistics, without gradient.

    Args:
      config: see configs/default.py.
      heads: name -> `HeadConfig`; its loss is not read here.
      features: F.
      steps: of the training, for `norm="frozen"`, which stops after `frozen_share` of
        them.
    Raises:
      UsageError: a value of the config is not allowed. `apply` raises it for statistics
        of the wrong type and for windows of the wrong shape.
    """
    checks.require(heads, "config.heads is empty: the encoder needs a head")
    readers = _read_heads(heads)
    network = Network(
        hidden=config.hidden,
        bidirectional=config.bidirectional,
        pooling=config.pooling,
        clip=config.clip,
        heads=tuple(readers.items()),
    )
    frozen_after = round(config.frozen_share * steps) if config.norm == "frozen" else 0
    normalise = norm.build_norm(
        config.norm, features, momentum=config.momentum, frozen_after=frozen_after
    )

    def init(key):
        x, lengths = jnp.zeros((1, 1, features)), jnp.ones(1, jnp.int32)
        statistics = jnp.zeros((1, 2 * features))
        return network.init(key, x, lengths, statistics)["params"], normalise.init()

    def apply(params, windows, lengths, stats, *, group=None, train):
        norm.check_stats(stats, train)
        checks.require(
            windows.ndim == 3 and windows.shape[2] == features,
            f"windows must be [B, T, {features}], not {list(windows.shape)}",
        )
        real = _real(windows, lengths)
        windows = jnp.where(real[:, :, None], windows, 0)
        statistics = _statistics(windows, real)
        if not train:
            x = normalise.predict(windows, real, stats, group)
            return network.apply({"params": params}, x, lengths, statistics)
        x, stats = normalise.train(windows, real, stats, group)
        return network.apply({"params": params}, x, lengths, statistics), stats

    def add_statistics(points, windows, lengths):
        statistics = _statistics(windows, _real(windows, lengths))
        return {
            name: _with_statistics(x, readers[name], statistics)
            for name, x in points.items()
        }

    by_session = config.norm == "session"
    return Encoder(init, apply, normalise.finalise, add_statistics, by_session)


class Network(nn.Module):
    """Normalised windows `[B, T, F]` of lengths `[B]` in 1..T -> head -> `[B, E]`.

    Heads that read another head's point also read the windows' statistics `[B, 2F]`.
    """

    hidden: tuple[int, ...]
    bidirectional: bool
    pooling: str
    clip: float  # largest input of the LSTM; 0: no limit
    heads: tuple[tuple[str, Head], ...]  # each after the one that it reads

    @nn.compact
    def __call__(
        self, x: jax.Array, lengths: jax.Array, statistics: jax.Array
    ) -> dict[str, jax.Array]:
        real = jnp.arange(x.shape[1])[:, None] < lengths[None]  # [T, B]
        h = x.transpose(1, 0, 2)  # [T, B, F]
        if self.clip:
            h = jnp.clip(h, -self.clip, self.clip)
        for i, width in enumerate(self.hidden):
            ahead = lstm.LSTM(width, name=f"lstm_{i}")(h)  # [T, B, H]
            if self.bidirectional:
                back = lstm.LSTM(width, name=f"lstm_{i}_back")(lstm.reverse(h, lengths))
                h = jnp.concatenate([ahead, lstm.reverse(back, lengths)], -1)
            else:
                h = ahead
        summary = self.pool(h, lengths, real)
        heads = dict(self.heads)
        points: dict[str, jax.Array] = {}
        for name, head in self.heads:
            features = summary
            if head.features in points:
                features = points[head.features]
                features = _with_statistics(features, heads[head.features], statistics)
            if head.features != LIVE:
                features = jax.lax.stop_gradient(features)
            points[name] = self.point(name, head, features)
        return points

    def pool(self, h: jax.Array, lengths: jax.Array, real: jax.Array) -> jax.Array:
        """One summary `[B, ...]` of the states of all bins."""
        if self.pooling == "mean_max":
            return pooling.mean_and_max(h, real)
        if self.pooling == "attention":
            scores = nn.Dense(1, name="attention")(h)[:, :, 0]  # [T, B]
            return pooling.attention(h, scores, real)
        if not self.bidirectional:
            return pooling.last(h, lengths)
        # The backward pass has seen the whole window when it is at the first bin.
        ahead, back = jnp.split(h, 2, -1)
        return jnp.concatenate([pooling.last(ahead, lengths), back[0]], -1)

    def point(self, name: str, head: Head, features: jax.Array) -> jax.Array:
        """The point `[B, E]` of one head."""
        x = nn.Dense(head.dim, name=name)(features)
        if head.norm == "unit":
            return to_unit_length(x)
        return nn.sigmoid(x) if head.norm == "sigmoid" else x


def to_unit_length(x: jax.Array) -> jax.Array:
    """Rows of length 1; a row shorter than 1e-12 becomes 0, with gradient 0. A row with
    a NaN stays NaN, so that checks see it."""
    square = (x * x).sum(-1, keepdims=True)
    is_long = ~(square <= 1e-24)
    return jnp.where(is_long, x * jax.lax.rsqrt(jnp.where(is_long, square, 1)), 0)


def _read_heads(heads):
    """`{name: Head}`, first those that read the trunk, then those that read a head."""
    trunk = {name for name, head in heads.items() if head.features in (LIVE, STOPPED)}
    checked = {name: _read_head(name, head, trunk) for name, head in heads.items()}
    return dict(sorted(checked.items(), key=lambda item: item[0] not in trunk))


def _read_head(name, head, trunk):
    allowed = (LIVE, STOPPED, *sorted(trunk))
    checks.require(
        head.features in allowed,
        f"config.heads.{name}.features is {head.features!r}: it is one of "
        f"{', '.join(allowed)}",
    )
    return Head(head.dim, head.norm, head.features, head.statistics_weight)


def _statistics(windows, real):
    """Mean and deviation of each feature, `[B, 2F]`, together of length 1."""
    mean, variance = moments.of_windows(windows, real)
    return to_unit_length(jnp.concatenate([mean, jnp.sqrt(variance)], -1))


def _with_statistics(points, head, statistics):
    """Points `[B, E]` of a head with the statistics appended, if it has a weight."""
    if not head.statistics_weight:
        return points
    return jnp.concatenate([points, head.statistics_weight * statistics], -1)


def _real(windows, lengths):
    return jnp.arange(windows.shape[1])[None] < lengths[:, None]  # [B, T]
