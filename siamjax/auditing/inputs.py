"""The input path: do windows reach the encoder in identification as in training?

Training gathers windows on the device, with the baselines of the data set and the
scaler of its columns. Identification cuts them on the host, measures the baseline of
the session's first seconds anew and takes the scaler from the checkpoint.
"""

import jax
import numpy as np

from siamjax.data import features, sampler
from siamjax.models import embedder, moments
from siamjax.models.norm import FinalStats
from siamjax.types import Baseline, Windows

# Windows that are compared, spread over all sessions.
COMPARED = 200


def compare(opened, splits):
    """Largest differences of scaler, baselines, features and points.

    Args:
      opened: `inference.runs.Opened`.
      splits: `data.splits.Splits` of its data.
    Returns:
      A dict of floats; 0, or rounding, where both ways are the same.
    """
    config, scaler = opened.config.data, opened.scaler
    first = round(config.baseline_s / config.bin_s)
    again = [features.session_baseline(c[:first], scaler) for c in splits.counts]
    again = Baseline(*(np.stack([np.asarray(x) for x in b]) for b in zip(*again)))
    count = min(COMPARED, len(splits.windows.start))
    rows = np.linspace(0, len(splits.windows.start) - 1, count).astype(np.int32)
    windows = Windows(*(np.asarray(x)[rows] for x in splits.windows))
    at = windows.session

    def of(baseline):
        return Baseline(*(np.asarray(x)[at] for x in baseline))

    gathered = sampler.gather_windows(
        *jax.device_put((splits.counts, splits.windows)), rows, config.bins
    )
    trained = features.to_features(gathered, of(splits.baseline), splits.scaler)
    cut = embedder.cut_windows(splits.counts, windows, config.bins)
    identified = features.to_features(cut, of(again), scaler)
    encoder, head = opened.parts.encoder, opened.parts.decide_with
    params, final = opened.state.params["encoder"], opened.state.batch_stats
    final, group = encoder.finalise(final), None
    if encoder.by_session:
        real = np.ones(trained.shape[:2], bool)
        mean, variance = moments.of_groups(trained, real, at)
        final, group = FinalStats(dict(mean=mean, variance=variance)), np.arange(count)
    lengths = np.full(count, config.bins, np.int32)
    plain = encoder.apply(params, trained, lengths, final, group=group, train=False)
    plain = encoder.beside(plain, trained, lengths)
    embedded = embedder.make_embedder(encoder)(params, final, scaler, cut, of(again))
    return dict(
        scaler=max(_apart(a, b) for a, b in zip(splits.scaler, scaler)),
        baseline=max(_apart(a, b) for a, b in zip(splits.baseline, again)),
        features=_apart(trained, identified),
        points=_apart(plain[head], embedded[head]),
    )


def _apart(a, b):
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return float(np.where(same, 0, np.abs(a - b)).max(initial=0))
