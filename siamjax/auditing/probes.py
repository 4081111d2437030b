"""What an audit measures besides the gap: each probe answers one question."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from siamjax.auditing import statistics
from siamjax.auditing.subject import (
    Batches,
    Subject,
    encode_batches,
    real_bins,
)
from siamjax.data import features, sampler
from siamjax.data.counts_on_disk import StoredCounts
from siamjax.data.splits import Splits
from siamjax.evaluation import pairwise
from siamjax.inference.runs import Checkpoint
from siamjax.models import embedder, moments
from siamjax.models.norm import FinalStats, TrainStats
from siamjax.types import Baseline, Windows

# A column with a smaller deviation counts as constant.
CONSTANT = 1e-6
# Windows whose input path is compared, spread over all sessions.
COMPARED = 200


def lag(subject: Subject, batches: Batches) -> dict[str, Any]:
    """Has the moving average reached the moments of the training data?

    Returns:
      updates: batches that the average has seen.
      momentum: of the average.
      start_share: what share of it is still the start value.
      z: `[F]`, distance of the kept mean from the pooled mean, in pooled deviations.
      variance_ratio: `[F]`, kept over pooled.
      worst: name -> z of the five worst columns.
    """
    mean, variance = _pooled(batches)
    kept = {k: np.asarray(v, np.float64) for k, v in subject.final.moments.items()}
    if kept["mean"].ndim == 2:
        kept = {name: value.mean(0) for name, value in kept.items()}
    z = np.abs(kept["mean"] - mean) / np.sqrt(variance + 1e-12)
    worst = np.argsort(-z)[:5]
    return dict(
        updates=int(subject.stats.updates),
        momentum=subject.momentum,
        start_share=statistics.start_share(subject),
        z=z.tolist(),
        variance_ratio=(kept["variance"] / (variance + 1e-12)).tolist(),
        worst={subject.columns[i]: float(z[i]) for i in worst},
    )


def population(batches: Batches) -> dict[str, Any]:
    """Are the batches fair draws of the data?

    Returns:
      design_effect: variance of the batch means, divided by what independent windows
        would give, median over columns; 1 is a fair draw.
      sessions_per_batch: their mean number.
      share_between: the share of the variance of window means that lies between
        sessions, between conditions and, in training by branches, between branches.
    """
    real = real_bins(batches)[..., None]
    count = np.maximum(real.sum(2), 1)
    level = np.where(real, batches.windows, 0).sum(2) / count  # [N, B, F]
    flat = level.reshape(-1, level.shape[-1])
    varying = flat.std(0) > CONSTANT
    between = level.mean(1).var(0, ddof=1)[varying]
    fair = flat.var(0)[varying] / level.shape[1]
    groups = dict(session=batches.session, condition=batches.labels)
    if not np.array_equal(batches.group, batches.session):
        groups["branch"] = batches.group
    shares = {
        name: _between(flat[:, varying], np.asarray(group).ravel())
        for name, group in groups.items()
    }
    per_batch = [len(np.unique(row)) for row in np.asarray(batches.session)]
    return dict(
        design_effect=float(np.median(between / fair)) if varying.any() else 1.0,
        sessions_per_batch=float(np.mean(per_batch)),
        share_between=shares,
    )


def leak(subject: Subject, batches: Batches) -> float:
    """How far one batch-mate moves the points of the others, in training mode.

    The first row of each batch is replaced by the first row of the next batch. The unit
    is the mean distance between points. In prediction mode it is 0 by construction.
    """
    windows, lengths = (np.array(a) for a in (batches.windows, batches.lengths))
    for array in (windows, lengths):
        array[:, 0] = np.roll(array[:, 0], -1, axis=0)
    changed = batches._replace(windows=windows, lengths=lengths)
    before, after = (encode_batches(subject, b).points for b in (batches, changed))
    shift = np.linalg.norm(after[:, 1:] - before[:, 1:], axis=-1).mean()
    between = pairwise.distances(before, before).mean()
    return float(shift / max(between, 1e-12))


def numerics(batches: Batches, columns: Sequence[str]) -> dict[str, Any]:
    """Where float32 could fail.

    Returns:
      level_over_deviation: the largest of all columns.
      one_pass_error: largest relative error of the variance as E[x²] - E[x]² in
        float32.
      constant: names of the columns that do not vary.
    """
    x, real = np.asarray(batches.windows), real_bins(batches)
    mean, variance = _pooled(batches)
    kept = x[real].astype(np.float32)
    fast = np.maximum((kept**2).mean(0) - kept.mean(0) ** 2, 0)
    constant = np.sqrt(variance) < CONSTANT
    safe = np.where(constant, 1, variance)
    error = np.where(constant, 0, np.abs(fast - variance) / safe)
    ratio = np.where(constant, 0, np.abs(mean) / np.sqrt(safe))
    return dict(
        level_over_deviation=float(ratio.max()),
        one_pass_error=float(error.max()),
        constant=[columns[int(i)] for i in np.flatnonzero(constant)],
    )


def padding(batches: Batches) -> float:
    """Share of bins that are padding, which statistics leave out."""
    return float(1 - real_bins(batches).mean())


def devices(subject: Subject, batches: Batches) -> dict[str, Any]:
    """Do the statistics after a step depend on the number of devices?

    Returns:
      devices: how many share the batch.
      difference: the largest between these and one device.
    """
    first = jax.tree.map(lambda a: a[0], batches)
    available = jax.devices()
    count = max(n for n in range(1, len(available) + 1) if len(first.labels) % n == 0)
    mesh = Mesh(np.array(available[:count]), ("data",))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    arrays = {"windows", "lengths", "group"}
    sharded = first._replace(
        **{name: jax.device_put(getattr(first, name), sharding) for name in arrays}
    )
    single, shared = (_moved(subject, batch).moments for batch in (first, sharded))
    apart = [np.abs(a - b).max() for a, b in zip(single.values(), shared.values())]
    return dict(devices=count, difference=float(max(apart, default=0.0)))


def hygiene(
    subject: Subject,
    batches: Batches,
    steps: int,
    reloaded: TrainStats | None = None,
) -> dict[str, Any]:
    """Did the statistics move once a step, are they finite, are they what was saved?"""
    kept = jax.device_get(subject.stats.moments)
    stats = _moved(subject, jax.tree.map(lambda a: a[0], batches))
    before, after = (encode_batches(subject, batches, subject.final) for _ in range(2))
    return dict(
        updates=int(subject.stats.updates),
        steps=int(steps),
        kept=int(subject.stats.updates) == int(steps),
        moved=int(stats.updates) == int(subject.stats.updates) + 1,
        left_alone=bool(np.array_equal(before.points, after.points)),
        finite=bool(all(np.isfinite(v).all() for v in kept.values())),
        zero_variance=int((kept.get("variance", np.ones(1)) <= 0).sum()),
        same_after_reload=reloaded is None
        or all(np.array_equal(kept[k], np.asarray(reloaded.moments[k])) for k in kept),
    )


def input_path(checkpoint: Checkpoint, splits: Splits) -> dict[str, float]:
    """Do windows reach the encoder in identification as they did in training?

    Training gathers windows on the device, with the baselines of the data set and the
    scaler of its columns. Identification cuts them on the host and takes the scaler
    from the checkpoint. It measures the baseline of the first seconds again, or takes
    that of the checkpoint where all sessions share one (`config.data.baseline_s` is 0).

    Returns:
      Largest differences of scaler, baselines, features and points; 0, or rounding,
      where both ways are the same.
    """
    config, scaler = checkpoint.config.data, checkpoint.scaler
    measured = _identification_baselines(checkpoint, splits)
    count = min(COMPARED, len(splits.windows.start))
    rows = np.linspace(0, len(splits.windows.start) - 1, count).astype(np.int32)
    windows = Windows(*(np.asarray(x)[rows] for x in splits.windows))
    trained_baseline, new_baseline = (
        Baseline(*(np.asarray(x)[windows.session] for x in baseline))
        for baseline in (splits.baseline, measured)
    )
    gathered, cut = _cut_both_ways(splits, windows, rows)
    trained = features.to_features(gathered, trained_baseline, splits.scaler)
    identified = features.to_features(cut, new_baseline, scaler)
    encoder, state = checkpoint.parts.encoder, checkpoint.state
    params, final = state.params["encoder"], encoder.finalise(state.batch_stats)
    stats, group = final, None
    if encoder.by_session:
        real = np.ones(trained.shape[:2], bool)
        mean, variance = moments.of_groups(trained, real, windows.session)
        stats, group = FinalStats(dict(mean=mean, variance=variance)), np.arange(count)
    lengths = np.full(count, config.bins, np.int32)
    points = encoder.apply(params, trained, lengths, stats, group=group, train=False)
    points = encoder.add_statistics(points, trained, lengths)
    embed = embedder.make_embedder(encoder)
    embedded = embed(params, final, scaler, cut, new_baseline, windows.session)
    head = checkpoint.config.deciding_head
    return dict(
        scaler=max(_difference(a, b) for a, b in zip(splits.scaler, scaler)),
        baseline=max(_difference(a, b) for a, b in zip(splits.baseline, measured)),
        features=_difference(trained, identified),
        points=_difference(points[head], embedded[head]),
    )


def _cut_both_ways(splits, windows, rows):
    """Counts `[N, T, F]` of windows as training and as identification cut them."""
    cut = splits.inputs(windows).counts
    if isinstance(splits.counts, StoredCounts):  # training reads these
        sessions = [splits.counts.session(index) for index in windows.session]
        places = zip(sessions, windows.start)
        return cut, np.stack([x[start : start + splits.length] for x, start in places])
    on_device = jax.device_put((splits.counts, splits.windows))
    return sampler.gather_windows(*on_device, rows, splits.length), cut


def _identification_baselines(checkpoint, splits):
    """The baselines `[S, F]` that identification uses for the sessions of the data."""
    config, shared = checkpoint.config.data, checkpoint.trained.baseline
    bins = round(config.baseline_s / config.bin_s)
    if bins:
        by_session = [
            features.session_baseline(splits.counts[i, :bins], checkpoint.scaler)
            for i in range(len(splits.counts))
        ]
        return Baseline(*(np.stack(list(map(np.asarray, x))) for x in zip(*by_session)))
    if shared is None:  # an older version: identification refuses such a run
        return splits.baseline
    sessions = len(splits.counts)
    return Baseline(*(np.repeat(np.asarray(x)[:1], sessions, axis=0) for x in shared))


def _difference(a, b):
    """The largest absolute difference; NaN equals NaN."""
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return float(np.where(same, 0, np.abs(a - b)).max(initial=0))


def _moved(subject, batch):
    """`TrainStats` after one more batch, on the host."""
    # Taken from the devices, so that the batch alone decides which devices compute.
    params, stats = jax.device_get((subject.params, subject.stats))
    arrays = batch.windows, batch.lengths, batch.group
    return jax.device_get(_move(params, stats, *arrays, apply=subject.encoder.apply))


@partial(jax.jit, static_argnames="apply")
def _move(params, stats, windows, lengths, group, *, apply):
    return apply(params, windows, lengths, stats, group=group, train=True)[1]


def _pooled(batches):
    x = np.asarray(batches.windows, np.float64)
    return statistics.bin_moments(x, real_bins(batches))


def _between(values, group):
    """Share of the variance of `[N, F]` between groups, less what chance gives."""
    names, index = np.unique(group, return_inverse=True)
    count = np.bincount(index)[:, None]
    means = np.stack([np.bincount(index, v) for v in values.T], 1) / count
    n, k = len(values), len(names)
    if k < 2 or k == n or not values.size:
        return 0.0
    total = values.var(0)
    inside = ((values - means[index]) ** 2).sum(0) / (n - k)
    return float(np.median(np.clip(1 - inside / (total * n / (n - 1)), 0, 1)))
