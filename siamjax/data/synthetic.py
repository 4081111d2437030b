"""Made-up counters of a telecom network: sessions with their own level and gain.

For tests, experiments and first tries: everything is known, so a method can be judged
by what it should find. Condition 0 is normal.
"""

from typing import NamedTuple

import numpy as np

# Expected counts a bin of a column of an average session, and their gamma spread.
RATE, SPREAD = 20.0, 4.0


class Windows(NamedTuple):
    """N windows, the same number of each session and condition."""

    counts: np.ndarray  # [N, T, F] float32
    condition: np.ndarray  # [N] int32
    session: np.ndarray  # [N] int32


def windows(
    seed, *, sessions=24, conditions=8, each=8, bins=24, columns=8, level=1.0, gain=0.5,
    strength=0.8,
):  # fmt: skip
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
    own = level * rng.normal(size=(sessions, 1)) + gain * rng.normal(
        size=(sessions, columns)
    )
    change = strength * rng.normal(size=(conditions, columns))
    change *= rng.random((conditions, columns)) < 0.5
    change[0] = 0
    session, condition = np.divmod(np.arange(sessions * conditions * each), conditions)
    session = session // each
    severity = rng.uniform(0.6, 1.4, (len(session), 1))
    rate = RATE * np.exp(own[session] + severity * change[condition])  # [N, F]
    shape = (len(session), bins, columns)
    noisy = rate[:, None] * rng.gamma(SPREAD, 1 / SPREAD, shape)
    return Windows(
        rng.poisson(noisy).astype(np.float32),
        condition.astype(np.int32),
        session.astype(np.int32),
    )
