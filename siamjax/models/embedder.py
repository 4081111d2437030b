"""Embeds windows with trained weights, in chunks of one size: one program."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from siamjax.data import features
from siamjax.models import moments
from siamjax.models.encoder import Encoder
from siamjax.models.norm import FinalStats
from siamjax.types import Baseline

CHUNK = 128
# Few windows, as of live traffic, are embedded by a program of their own, which does
# less work.
FEW = 8


def make_embedder(
    encoder: Encoder, sharding: NamedSharding | None = None
) -> Callable[..., dict[str, np.ndarray]]:
    """Gives a function that turns windows into points:

    `embed(params, final, scaler, counts [N, T, F], baseline [N, F], session [N]) ->
    {head: [N, E]}`; the last three are a `types.Inputs`. Without `session` all windows
    are of one session. The function is compiled for `CHUNK` windows at a time, and for
    `FEW`.

    With a `sharding`, the windows are divided over its devices, `CHUNK` for each. Its
    devices may belong to several processes, which all call the function with the same
    arguments and get all points. The number of devices changes no point.

    Weights, statistics and the `types.Scaler` are arguments, so one compiled function
    serves every training with the same encoder, also with another scaler.

    An encoder with `by_session` uses the statistics of all windows of the same session
    among the N, and not `final`.
    """

    large = CHUNK if sharding is None else CHUNK * sharding.num_devices
    whole = sharding and NamedSharding(sharding.mesh, PartitionSpec())

    @partial(jax.jit, out_shardings=whole)
    def embed_chunk(params, final, scaler, counts, baseline):
        x = features.to_features(counts, baseline, scaler)
        lengths = jnp.full(x.shape[:1], x.shape[1], jnp.int32)
        group = jnp.arange(x.shape[0]) if encoder.by_session else None
        points = encoder.apply(params, x, lengths, final, group=group, train=False)
        return encoder.add_statistics(points, x, lengths)

    def pad(array, size):
        """Pads the rows with zeros up to a size, and divides them over devices."""
        array = np.asarray(array)
        widths = [(0, size - len(array))] + [(0, 0)] * (array.ndim - 1)
        padded = np.pad(array, widths)
        if sharding is None:
            return padded
        return jax.make_array_from_callback(
            padded.shape, sharding, lambda index: padded[index]
        )

    def embed(params, final, scaler, counts, baseline, session=None):
        chunks, n, session_moments = [], len(counts), None
        size = FEW if n <= FEW and sharding is None else large
        if encoder.by_session and n:
            session = np.zeros(n, int) if session is None else session
            session_moments = _session_moments(scaler, counts, baseline, session)
        for start in range(0, max(n, 1), size):
            rows = slice(start, start + size)
            cut_baseline = Baseline(*(pad(x[rows], size) for x in baseline))
            if session_moments is not None:
                final = FinalStats(
                    {k: pad(v[rows], size) for k, v in session_moments.items()}
                )
            cut_counts = pad(counts[rows], size)
            points = embed_chunk(params, final, scaler, cut_counts, cut_baseline)
            chunks.append(jax.device_get(points))
        joined = jax.tree.map(lambda *x: np.concatenate(x), *chunks)
        return {head: x[:n] for head, x in joined.items()}

    return embed


def _session_moments(scaler, counts, baseline, session):
    """Mean and variance `[N, F]` of the features of each window's session."""
    _, group = np.unique(session, return_inverse=True)
    x = features.to_features(counts, baseline, scaler)
    mean, variance = moments.of_groups(x, np.ones(x.shape[:2], bool), group)
    return dict(mean=np.asarray(mean), variance=np.asarray(variance))
