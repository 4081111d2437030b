"""Other statistics for prediction. The ones that close the gap tell its cause."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from siamjax.auditing.subject import Batches, Subject, real_bins
from siamjax.models.norm import FinalStats


class Candidate(NamedTuple):
    """Statistics for prediction, and which of them each row reads."""

    final: FinalStats
    group: np.ndarray | None  # [N, B], rows of `final`, for statistics by group


def candidates(subject: Subject, batches: Batches) -> dict[str, Candidate]:
    """name -> `Candidate`: every way to make statistics for the same weights.

    * `moving`: what predictions read: the moving average, or each session's.
    * `debiased`: the moving average without the share of its start value.
    * `precise`: the mean over batches of their means and variances.
    * `pooled`: of all windows, so with the variance between batches too.
    * `per-session`: of each session's own windows.
    * `batch`: of each batch's own windows, in one pass.
    * `per-branch`: of each branch of each batch; where training went by branches.

    An encoder that keeps no statistics has `moving` alone.
    """
    if not subject.final.moments:
        return {"moving": Candidate(subject.final, None)}
    x, real = np.asarray(batches.windows, np.float64), real_bins(batches)
    means, variances = zip(*(bin_moments(x[n], real[n]) for n in range(len(x))))
    overall = bin_moments(x, real)
    session, by_session = group_moments(x, real, batches.session)
    by_name = {
        "moving": Candidate(subject.final, None),
        "debiased": Candidate(debias(subject), None),
        "precise": _candidate(np.mean(means, 0), np.mean(variances, 0)),
        "pooled": _candidate(*overall),
        "per-session": _candidate(*by_session, session),
    }
    if subject.norm == "session":
        by_name["moving"] = by_name["per-session"]
    number = np.broadcast_to(np.arange(len(x))[:, None], np.shape(session))
    by_name["batch"] = _candidate(*group_moments(x, real, number)[1], number)
    if subject.norm == "branch":
        branches = np.asarray(batches.group).max() + 1
        branch, by_branch = group_moments(x, real, number * branches + batches.group)
        by_name["per-branch"] = _candidate(*by_branch, branch)
    return by_name


def debias(subject: Subject) -> FinalStats:
    """`FinalStats` of the moving average without its start value (mean 0, variance 1).

    Only in the average of `lag` has the start value a share; other averages stay.
    """
    if subject.norm != "lag":
        return subject.final
    share = start_share(subject)
    kept = {k: np.asarray(v, np.float64) for k, v in subject.stats.moments.items()}
    mean = kept["mean"] / (1 - share)
    variance = np.maximum(kept["variance"] - share, 0) / (1 - share)
    return _candidate(mean, variance).final


def start_share(subject: Subject) -> float:
    """The share, 0 to 1, of the start value in the statistics for prediction."""
    if subject.norm != "lag":
        return 0.0
    return float(subject.momentum ** int(subject.stats.updates))


def bin_moments(x: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance `[F]` in double precision over real bins of `[..., T, F]`."""
    kept = x[real]
    return kept.mean(0), kept.var(0)


def group_moments(
    x: np.ndarray, real: np.ndarray, group: ArrayLike
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Groups renumbered as 0..G-1, in their shape; mean and variance `[G, F]` of
    each."""
    names, index = np.unique(np.asarray(group), return_inverse=True)
    index = index.reshape(np.shape(group))
    pairs = [bin_moments(x[index == g], real[index == g]) for g in range(len(names))]
    means, variances = (np.stack(part) for part in zip(*pairs))
    return index.astype(np.int32), (means, variances)


def _candidate(mean, variance, group=None):
    kept = dict(mean=mean.astype(np.float32), variance=variance.astype(np.float32))
    return Candidate(FinalStats(kept), group)
