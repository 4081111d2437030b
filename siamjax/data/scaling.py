"""The scale of each column of counts, and the baseline of each session."""

from collections.abc import Iterator, Sequence

import jax
import numpy as np

from siamjax.config import DataConfig
from siamjax.data import columns, counts, features, windows
from siamjax.data.counts_on_disk import StoredCounts
from siamjax.types import TRAIN, AnySession, Baseline, Column, DataSet, Scaler

# So many sessions are read against their baselines at once. With 1, XLA adds the bins
# in another order, and the last bit differs.
_BLOCK = 16


class NormalBlocks:
    """Normal bins of the training captures in blocks `[n, F]`; all bins of these
    captures if none is normal.

    They give the baseline of all sessions where `config.baseline_s` is 0, and the units
    of counters. One block is in memory at a time.
    """

    def __init__(
        self,
        sessions: Sequence[AnySession],
        stacked: np.ndarray | StoredCounts,
        bins: np.ndarray,
        role: np.ndarray,
        bin_s: float,
    ) -> None:
        """Reads nothing yet.

        Args:
          sessions: S of them.
          stacked: counts `[S, bins, F]`.
          bins: `[S]`, how many each has.
          role: `[S]`.
          bin_s: seconds of a bin.
        """
        self._stacked, self._bins, self._bin_s = stacked, bins, bin_s
        self._labels = {
            i: session.labels for i, session in enumerate(sessions) if role[i] == TRAIN
        }

    def __iter__(self) -> Iterator[np.ndarray]:
        are_normal = {
            i: windows.normal_bins(labels, self._bins[i], self._bin_s)
            for i, labels in self._labels.items()
        }
        has_normal = any(mask.any() for mask in are_normal.values())
        yield self._stacked[0, :0]
        for i, mask in are_normal.items():
            for first in range(0, len(mask), counts.BLOCK):
                rows = slice(first, min(first + counts.BLOCK, len(mask)))
                block = self._stacked[i, rows]
                yield block[mask[rows]] if has_normal else block


def scale_events(
    protocols: Sequence[str], config: DataConfig
) -> tuple[tuple[Column, ...], Scaler]:
    """Columns and `Scaler` of events: they do not depend on the data."""
    table = columns.event_columns(protocols)
    return table, features.make_scaler(table, floor=config.floor, clip=config.clip)


def scale_counters(
    dataset: DataSet, normal: NormalBlocks, config: DataConfig
) -> tuple[tuple[Column, ...], Scaler]:
    """Columns and `Scaler` of counters: their units are those of normal bins."""
    heavy = features.find_heavy_tailed(normal)
    floor = config.floor * features.column_units(normal, heavy)
    growing = dataset.meta.get("growing", ())  # an older set does not say
    table = columns.counter_columns(dataset.kinds, heavy, growing)
    return table, features.make_scaler(table, floor=floor, clip=config.clip)


def find_baselines(
    stacked: np.ndarray | StoredCounts,
    normal: NormalBlocks,
    scaler: Scaler,
    config: DataConfig,
    trained: Baseline | None,
) -> Baseline:
    """The `Baseline` `[S, F]` of all sessions.

    A session has that of its own first `config.baseline_s` seconds. Where these are 0,
    all sessions share one.

    Args:
      stacked: counts `[S, bins, F]`.
      normal: gives the shared one, if no run did.
      scaler: of the data.
      config: `config.data` of a training.
      trained: of a run; its first row is the shared one.
    """
    first = round(config.baseline_s / config.bin_s)
    if first:
        return _own_baselines(stacked, first, scaler)
    if trained is not None:
        shared = Baseline(*(x[0] for x in trained))
    else:
        joined = np.concatenate(list(normal))
        shared = jax.device_get(features.session_baseline(joined, scaler))
    return Baseline(*(np.tile(x, (len(stacked), 1)) for x in shared))


def _own_baselines(stacked, first, scaler):
    """The `Baseline` `[S, F]` of sessions by their own beginnings.

    Args:
      stacked: counts of all sessions.
      first: bins at the beginning of each session.
      scaler: of the data.
    """
    sessions, parts = len(stacked), []
    for begin in range(0, sessions, _BLOCK):  # all may not fit in memory
        chosen = range(begin, min(begin + _BLOCK, sessions))
        block = np.zeros((_BLOCK, first, stacked.shape[2]), np.float32)
        for i in chosen:
            block[i - begin] = stacked[i, :first]
        baselines = jax.device_get(_baselines_of_block(block, scaler))
        parts.append(Baseline(*(x[: len(chosen)] for x in baselines)))
    return Baseline(*map(np.concatenate, zip(*parts)))


@jax.jit
def _baselines_of_block(normal, scaler):
    """Baselines `[S, F]` of the normal bins `[S, bins, F]` of each session."""
    return jax.vmap(features.session_baseline, (0, None))(normal, scaler)
