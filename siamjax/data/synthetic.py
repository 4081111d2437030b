"""Synthetic counters of a telecom network: sessions with different levels and gains.

For tests, experiments and first tries: the right answer is known, so a method can be
compared with it. Condition 0 is normal.
"""

from typing import NamedTuple

import numpy as np

from siamjax.types import DataSet, Label, Series, Session

# Expected count of a column in a bin, in an average session, and the shape of its gamma
# distribution.
RATE, SPREAD = 20.0, 4.0
# Limits of the strength with which a window shows its condition.
SEVERITY = (0.6, 1.4)
# Deviations of the logs of a session's level, and of its columns.
LEVEL, GAIN = 1.0, 0.5


class Windows(NamedTuple):
    """N windows, the same number for each session and condition."""

    counts: np.ndarray  # [N, T, F] float32
    condition: np.ndarray  # [N] int32
    session: np.ndarray  # [N] int32


def make_windows(
    seed,
    *,
    sessions=24,
    conditions=8,
    repeats=8,
    bins=24,
    columns=8,
    level=LEVEL,
    gain=GAIN,
    strength=0.8,
):
    """Counts of all sessions in all conditions.

      rate = RATE * exp(level * a_s + gain * b_sf + severity * strength * c_kf)

    a (of the session), b (of session and column) and c (of condition and column, 0 for
    a random half of the columns) are normal random numbers. The severity of a window is
    uniform in 0.6..1.4. A count is Poisson with a gamma rate around `rate`, so its
    variance is larger than that of Poisson, as in traffic.

    Args:
      seed: all numbers depend on it alone.
      sessions, conditions, repeats: every pair of both has `repeats` windows.
      bins, columns: T and F.
      level, gain: deviations of the logs of a session's level and columns.
      strength: deviation of the logs by which a condition changes a column.
    """
    rng = np.random.default_rng(seed)
    levels, change = _network(rng, sessions, conditions, columns, level, gain, strength)
    session, condition = np.divmod(
        np.arange(sessions * conditions * repeats), conditions
    )
    session = session // repeats
    severity = rng.uniform(*SEVERITY, (len(session), 1))
    rate = RATE * np.exp(levels[session] + severity * change[condition])  # [N, F]
    counts = _counts(rng, np.repeat(rate[:, None], bins, 1))
    return Windows(counts, condition.astype(np.int32), session.astype(np.int32))


def make_data_set(
    seed,
    *,
    sessions=48,
    conditions=8,
    bins=120,
    onset=48,
    columns=8,
    strength=0.8,
):
    """A `types.DataSet` of counters a second, as `prepared.write_data_set` takes it.

    Session i is normal until bin `onset`, then it has condition i % conditions, with
    the formula of `make_windows`. Sessions of condition 0 are always normal.

    Args:
      seed: all numbers depend on it alone.
      sessions, conditions, columns: how many.
      bins: of a session.
      onset: the first bin of the condition.
      strength: see `make_windows`.
    """
    rng = np.random.default_rng(seed)
    levels, change = _network(rng, sessions, conditions, columns, LEVEL, GAIN, strength)
    made_up = []
    for i in range(sessions):
        condition = i % conditions
        late = np.arange(bins)[:, None] >= onset
        severity = rng.uniform(*SEVERITY)
        rate = RATE * np.exp(
            levels[i] + late * severity * change[condition]
        )  # [bins, F]
        label = Label(f"condition {condition}", float(onset), float(bins))
        time_ns = np.arange(bins, dtype=np.int64) * 10**9
        labels = (label,) if condition else ()
        series = Series(time_ns, _counts(rng, rate))
        made_up.append(Session(f"session_{i:03d}", float(bins), labels, None, series))
    names = tuple(f"counter {i}" for i in range(columns))
    return DataSet(tuple(made_up), names, {})


def _network(rng, sessions, conditions, columns, level, gain, strength):
    """Level of each session `[S, F]` and change by each condition `[C, F]`, in logs."""
    levels = level * rng.normal(size=(sessions, 1)) + gain * rng.normal(
        size=(sessions, columns)
    )
    change = strength * rng.normal(size=(conditions, columns))
    change *= rng.random((conditions, columns)) < 0.5
    change[0] = 0
    return levels, change


def _counts(rng, rate):
    noisy = rate * rng.gamma(SPREAD, 1 / SPREAD, rate.shape)
    return rng.poisson(noisy).astype(np.float32)
