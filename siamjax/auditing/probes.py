"""What an audit measures beside the gap, each probe one question with numbers."""

from functools import partial

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from siamjax.auditing import statistics
from siamjax.auditing import subject as subjects
from siamjax.evaluation import pairwise

# A channel counts as constant below this deviation.
CONSTANT = 1e-6


def lag(subject, batches):
    """Has the moving average arrived? z: its distance from the pooled moments.

    Returns:
      updates, momentum, share of the start value, z per column in pooled deviations,
      ratio of variances, the worst columns by name.
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


def population(batches):
    """Are the batches fair draws of the data?

    Returns:
      design effect: variance of the batch means over what independent windows would
      give, median over columns; 1 is a fair draw. And the share of the variance of
      window means that lies between sessions, between conditions, between branches.
    """
    real = subjects.real(batches)[..., None]
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


def leak(subject, batches):
    """How far one batch-mate moves the points of the others, in training mode.

    The first row of each batch gives its place to that of the next batch; the unit is
    the mean distance between points. In prediction mode it is 0 by construction.
    """
    windows, lengths = (np.array(a) for a in (batches.windows, batches.lengths))
    for array in (windows, lengths):
        array[:, 0] = np.roll(array[:, 0], -1, axis=0)
    changed = batches._replace(windows=windows, lengths=lengths)
    before, after = (subjects.look(subject, b).points for b in (batches, changed))
    way = np.linalg.norm(after[:, 1:] - before[:, 1:], axis=-1).mean()
    between = pairwise.distances(before, before).mean()
    return float(way / max(between, 1e-12))


def numerics(batches, columns):
    """Where float32 could fail: level over deviation, and the one-pass variance."""
    x, real = np.asarray(batches.windows), subjects.real(batches)
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
        constant=[columns[i] for i in np.flatnonzero(constant)],
    )


def padding(batches):
    """Share of bins that are padding; statistics leave them out."""
    return float(1 - subjects.real(batches).mean())


def devices(subject, batches):
    """Largest difference of the new statistics on one device and on all of them."""
    first = jax.tree.map(lambda a: a[0], batches)
    found = jax.devices()
    count = max(n for n in range(1, len(found) + 1) if len(first.labels) % n == 0)
    split = PartitionSpec("data")
    spread = NamedSharding(Mesh(np.array(found[:count]), ("data",)), split)
    parts = {"windows", "lengths", "group"}
    shared = first._replace(
        **{name: jax.device_put(getattr(first, name), spread) for name in parts}
    )
    one, many = (_moved(subject, batch).moments for batch in (first, shared))
    apart = [np.abs(a - b).max() for a, b in zip(one.values(), many.values())]
    return dict(devices=count, difference=float(max(apart, default=0.0)))


def hygiene(subject, batches, steps, reloaded=None):
    """Did the statistics move once a step, are they sound, are they what was saved?"""
    kept = jax.device_get(subject.stats.moments)
    stats = _moved(subject, jax.tree.map(lambda a: a[0], batches))
    before, after = (subjects.look(subject, batches, subject.final) for _ in range(2))
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


def _moved(subject, batch):
    """`TrainStats` after one batch more, on the host."""
    own = jax.device_get(
        (subject.params, subject.stats)
    )  # on no device but the batch's
    given = batch.windows, batch.lengths, batch.group
    return jax.device_get(_move(*own, *given, apply=subject.encoder.apply))


@partial(jax.jit, static_argnames="apply")
def _move(params, stats, windows, lengths, group, *, apply):
    return apply(params, windows, lengths, stats, group=group, train=True)[1]


def _pooled(batches):
    x = np.asarray(batches.windows, np.float64)
    return statistics.moments(x, subjects.real(batches))


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
