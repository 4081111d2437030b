"""Made-up counters of a telecom network: sessions with their own level and gain.

For tests, experiments and first tries: everything is known, so a method can be judged
by what it should find. Condition 0 is normal.
"""

from typing import NamedTuple

import numpy as np

from siamjax.types import DataSet, Label, Series, Session

# Expected counts a bin of a column of an average session, and their gamma spread.
RATE, SPREAD = 20.0, 4.0
# A window carries its condition's change between these strengths.
SEVERITY = (0.6, 1.4)


class Windows(NamedTuple):
    """N windows, the same number of each session and condition."""

    counts: np.ndarray  # [N, T, F] float32
    condition: np.ndarray  # [N] int32
    session: np.ndarray  # [N] int32


def make_windows(
    seed,
    *,
    sessions=24,
    conditions=8,
    each=8,
    bins=24,
    columns=8,
    level=1.0,
    gain=0.5,
    strength=0.8,
):
    """Counts of all sessions in all conditions.

      rate = RATE * exp(level * a_s + gain * b_sf + severity * strength * c_kf)

    with normal a of the session, b of session and column, c of condition and column (0
    for a random half of the columns), and a severity of the window in 0.6..1.4. A count
    is Poisson, of a gamma rate around it: busier than Poisson, as traffic is.

    Args:
      seed: everything is a function of it.
      sessions, conditions, each: windows are `each` of all their pairs.
      bins, columns: T and F.
      level, gain: deviations of the logs of a session's level and columns.
      strength: deviation of the logs by which a condition changes a column.
    """
    rng = np.random.default_rng(seed)
    own, change = _network(rng, sessions, conditions, columns, level, gain, strength)
    session, condition = np.divmod(np.arange(sessions * conditions * each), conditions)
    session = session // each
    severity = rng.uniform(*SEVERITY, (len(session), 1))
    rate = RATE * np.exp(own[session] + severity * change[condition])  # [N, F]
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
    level=1.0,
    gain=0.5,
    strength=0.8,
):
    """A `types.DataSet` of counters a second, as `prepared.write_data_set` takes it.

    Session i is normal until the bin `onset` and then in condition i % conditions, by
    the same law as `windows`. One condition in so many is normal throughout.

    Args:
      seed: everything is a function of it.
      sessions, conditions, columns: how many.
      bins, onset: of a session.
      level, gain, strength: see `windows`.
    """
    rng = np.random.default_rng(seed)
    own, change = _network(rng, sessions, conditions, columns, level, gain, strength)
    sessions_made = []
    for i in range(sessions):
        condition = i % conditions
        late = np.arange(bins)[:, None] >= onset
        severity = rng.uniform(*SEVERITY)
        rate = RATE * np.exp(own[i] + late * severity * change[condition])  # [bins, F]
        label = Label(f"condition {condition}", float(onset), float(bins))
        time_ns = np.arange(bins, dtype=np.int64) * 10**9
        labels = (label,) if condition else ()
        series = Series(time_ns, _counts(rng, rate))
        sessions_made.append(
            Session(f"session_{i:03d}", float(bins), labels, None, series)
        )
    names = tuple(f"counter {i}" for i in range(columns))
    return DataSet(tuple(sessions_made), names, {})


def _network(rng, sessions, conditions, columns, level, gain, strength):
    """What is a session's own `[S, F]` and a condition's change `[C, F]`, in logs."""
    own = level * rng.normal(size=(sessions, 1)) + gain * rng.normal(
        size=(sessions, columns)
    )
    change = strength * rng.normal(size=(conditions, columns))
    change *= rng.random((conditions, columns)) < 0.5
    change[0] = 0
    return own, change


def _counts(rng, rate):
    noisy = rate * rng.gamma(SPREAD, 1 / SPREAD, rate.shape)
    return rng.poisson(noisy).astype(np.float32)
