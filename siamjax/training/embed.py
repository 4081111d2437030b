"""Windows -> points with finished weights, in chunks of one shape: one program."""

import jax
import jax.numpy as jnp
import numpy as np

from siamjax.data import features
from siamjax.models import moments
from siamjax.models.norm import FinalStats
from siamjax.types import Baseline

CHUNK = 128


def cut(counts, windows, length):
    """Counts `[N, T, F]` of windows, from all sessions' `[S, bins, F]`, on the host."""
    views = np.lib.stride_tricks.sliding_window_view(counts, length, axis=1)
    return np.moveaxis(views[windows.session, windows.start], -1, 1)


def embedder(encoder, scaler):
    """`embed(params, final, counts [N, T, F], baseline [N, F]) -> {head: [N, E]}`.

    An encoder with `by_session` reads the windows of a session (those with one
    baseline) against the statistics of its windows among the N, not against `final`.

    Args:
      encoder: `models.encoder.Encoder`.
      scaler: the `types.Scaler` of training.
    """

    @jax.jit
    def chunk(params, final, counts, baseline):
        x = features.features(counts, baseline, scaler)
        lengths = jnp.full(x.shape[:1], x.shape[1], jnp.int32)
        group = jnp.arange(x.shape[0]) if encoder.by_session else None
        points = encoder.apply(params, x, lengths, final, group=group, train=False)
        return encoder.beside(points, x, lengths)

    def embed(params, final, counts, baseline):
        parts, n = [], len(counts)
        own = (
            _of_sessions(counts, baseline, scaler) if encoder.by_session and n else None
        )
        for i in range(0, max(n, 1), CHUNK):
            rows = slice(i, i + CHUNK)
            some = Baseline(_fill(baseline.mean[rows]), _fill(baseline.deviation[rows]))
            if own is not None:
                final = FinalStats({k: _fill(v[rows]) for k, v in own.items()})
            parts.append(
                jax.device_get(chunk(params, final, _fill(counts[rows]), some))
            )
        joined = jax.tree.map(lambda *x: np.concatenate(x), *parts)
        return {head: x[:n] for head, x in joined.items()}

    return embed


def _of_sessions(counts, baseline, scaler):
    """Mean and variance `[N, F]` of the features of each window's session."""
    _, group = np.unique(baseline.mean, axis=0, return_inverse=True)
    x = features.features(counts, baseline, scaler)
    mean, variance = moments.of_groups(x, np.ones(x.shape[:2], bool), group.ravel())
    return dict(mean=np.asarray(mean), variance=np.asarray(variance))


def _fill(array):
    """Zeros behind the rows, up to CHUNK."""
    array = np.asarray(array)
    return np.pad(array, [(0, CHUNK - len(array))] + [(0, 0)] * (array.ndim - 1))
