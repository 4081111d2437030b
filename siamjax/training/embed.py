"""Windows -> points with finished weights, in chunks of one shape: one program."""

import jax
import jax.numpy as jnp
import numpy as np

from siamjax.data import features
from siamjax.types import Baseline

CHUNK = 128


def cut(counts, windows, length):
    """Counts `[N, T, F]` of windows, from all sessions' `[S, bins, F]`, on the host."""
    views = np.lib.stride_tricks.sliding_window_view(counts, length, axis=1)
    return np.moveaxis(views[windows.session, windows.start], -1, 1)


def embedder(encoder, scaler):
    """`embed(params, final, counts [N, T, F], baseline [N, F]) -> {head: [N, E]}`.

    Args:
      encoder: `models.encoder.Encoder`.
      scaler: the `types.Scaler` of training.
    """

    @jax.jit
    def chunk(params, final, counts, baseline):
        x = features.features(counts, baseline, scaler)
        lengths = jnp.full(x.shape[:1], x.shape[1], jnp.int32)
        return encoder.apply(params, x, lengths, final, train=False)

    def embed(params, final, counts, baseline):
        parts, n = [], len(counts)
        for i in range(0, max(n, 1), CHUNK):
            rows = slice(i, i + CHUNK)
            some = Baseline(_fill(baseline.mean[rows]), _fill(baseline.deviation[rows]))
            parts.append(
                jax.device_get(chunk(params, final, _fill(counts[rows]), some))
            )
        joined = jax.tree.map(lambda *x: np.concatenate(x), *parts)
        return {head: x[:n] for head, x in joined.items()}

    return embed


def _fill(array):
    """Zeros behind the rows, up to CHUNK."""
    array = np.asarray(array)
    return np.pad(array, [(0, CHUNK - len(array))] + [(0, 0)] * (array.ndim - 1))
