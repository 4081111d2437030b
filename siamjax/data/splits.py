"""A prepared data set -> counts, baselines and labelled windows, split by capture.

Splits are by capture, never by window. A condition is known, novel for validation (it
helps to choose checkpoints and settings) or novel for the test: three disjoint sets.
For events, no column, baseline or scale depends on which captures are for training. For
counters, the normal bins of the training captures decide which columns take log1p, and
the unit of each column.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from siamjax.config import DataConfig
from siamjax.data import (
    columns,
    counts,
    counts_on_disk,
    features,
    identity,
    prepared,
    roles,
    windows,
)
from siamjax.types import (
    TRAIN,
    Baseline,
    Column,
    Inputs,
    Label,
    Scaler,
    SiamjaxError,
    Windows,
)

# Counts of so many windows of a role are in memory at once, where all are on disk.
JUDGED_BYTES = 1 << 24
# So many sessions are read against their baselines at once. With 1, XLA adds the bins
# in another order, and the last bit differs.
_BLOCK = 16
# So many bins of a session become features at once.
_BINS = 4096


@dataclasses.dataclass(frozen=True)
class Conditions:
    """The conditions of a data set, and what each is for."""

    names: tuple[str, ...]  # all: known ones first, normal the first of them
    known: tuple[str, ...]  # training sees them
    novel_valid: tuple[str, ...]  # for validation only
    novel: tuple[str, ...]  # for the test only

    @property
    def held_out(self) -> tuple[str, ...]:
        """Conditions that training does not see, in the order of `names`."""
        return self.names[len(self.known) :]


@dataclasses.dataclass(frozen=True)
class Sessions:
    """The S captures that are used, in the order of the rows of `Splits.counts`."""

    names: tuple[str, ...]
    role: np.ndarray  # [S] of TRAIN, VALID, TEST
    labels: tuple[tuple[Label, ...], ...]
    bins: np.ndarray  # [S] int, bins that were recorded; the others are padding


@dataclasses.dataclass(frozen=True)
class Provenance:
    """Which data these are, and what changed since the run was trained."""

    sha256: str  # of the data set
    captures: dict[str, identity.Capture]  # by name, all of the data set
    new: tuple[str, ...]  # names of test captures that the run did not have
    gone: tuple[str, ...]  # names of captures that only the run had
    left_out: tuple[str, ...]  # a line for each capture that is not used, and why
    ports: Mapping[str, Sequence[int]]  # of protocols, besides their usual ones


class Splits(NamedTuple):
    """All that training and evaluation read of a data set."""

    sessions: Sessions  # S
    conditions: Conditions
    columns: tuple[Column, ...]  # F
    counts: np.ndarray | counts_on_disk.StoredCounts  # [S, bins, F], padded with 0
    baseline: Baseline  # [S, F]
    scaler: Scaler
    windows: Windows  # N, of all sessions
    judged: np.ndarray  # [N] bool, see `window_mask`
    length: int  # T, bins of a window
    examples_from_training: bool  # see `windows_to_judge`
    provenance: Provenance

    def window_mask(
        self, role: str, conditions: Iterable[str] | None = None
    ) -> np.ndarray:
        """`[N]` bool: which windows have this role and one of these conditions.

        With counts on disk, they are as many as fit in `JUDGED_BYTES`, the same number
        of each condition of a session. Training alone sees all: `training_mask`.

        Args:
          role: TRAIN, VALID or TEST.
          conditions: names; None: all.
        """
        names = self.conditions.names if conditions is None else conditions
        wanted = [self.conditions.names.index(name) for name in names]
        has_role = self.sessions.role[self.windows.session] == role
        return has_role & self.judged & np.isin(self.windows.condition, wanted)

    def training_mask(self) -> np.ndarray:
        """`[N]` bool: the windows of known conditions of the training captures."""
        everything = self._replace(judged=np.ones_like(self.judged))
        return everything.window_mask(TRAIN, self.conditions.known)

    def windows_of(self, role: str, conditions: Iterable[str] | None = None) -> Windows:
        """The windows with this role and one of these conditions: see `window_mask`."""
        return windows.take(self.windows, self.window_mask(role, conditions))

    def inputs(self, chosen: Windows) -> Inputs:
        """What the encoder needs of windows `chosen` of this data set."""
        counts = windows.cut_counts(self.counts, chosen, self.length)
        baseline = Baseline(*(np.asarray(x)[chosen.session] for x in self.baseline))
        return Inputs(counts, baseline, chosen.session)

    def features(self, chosen: Windows) -> np.ndarray:
        """The features `[N, T, F]` of windows `chosen` of this data set."""
        counts, baseline, _ = self.inputs(chosen)
        return np.asarray(features.to_features(counts, baseline, self.scaler))

    def windows_to_judge(
        self, role: str, conditions: Iterable[str] | None = None
    ) -> tuple[Windows, np.ndarray | None]:
        """The windows that a role is judged by, and which of them are only examples.

        A window and its example must come from different captures. A condition with
        two or more captures in the role has examples there. One with fewer takes its
        examples from the training captures, which are somewhat easier to recognise
        (docs/identification.md). A known condition that the role does not have takes
        part through such examples too: other windows can be mistaken for it.

        Where `examples_from_training` is set (the config names captures for their
        roles, and each may have many conditions), all examples come from training
        captures, also of novel conditions. A condition that is not in both training
        and the role is then dropped.

        Args:
          role: VALID or TEST.
          conditions: names; None: all.
        Returns:
          `types.Windows`, N of them, and `[N]` bool: those of training captures; None
          where there is none. See `evaluation.one_shot`.
        """
        condition, session = self.windows.condition, self.windows.session
        queries = self.window_mask(role, conditions)
        training = self.window_mask(TRAIN, conditions)
        if self.examples_from_training:
            queries &= np.isin(condition, condition[training])
            examples = training & np.isin(condition, condition[queries])
        else:  # [captures of the role with each condition]
            captures = np.unique(np.stack([condition, session])[:, queries], axis=1)[0]
            several = [c for c in np.unique(captures) if (captures == c).sum() > 1]
            examples = training & ~np.isin(condition, several)
        chosen = queries | examples
        library = examples[chosen] if examples.any() else None
        return windows.take(self.windows, chosen), library


def open_splits(config: DataConfig, trained: identity.Trained | None = None) -> Splits:
    """Reads the data set `config.dir` and splits it by capture.

    Args:
      config: `config.data` of a training, see configs/default.py.
      trained: what a run says of its data: roles, conditions and scaler are then those
        of the run, and captures that it did not have are for the test. None: the data
        set is for training.
    Raises:
      UsageError: the config does not fit the data, or the data not the run.
      SiamjaxError: no capture can be used.
    """
    dataset = prepared.read_data_set(config.dir)
    if trained is not None:
        identity.check_columns(dataset, trained, config.dir)
    captures = identity.hash_captures(dataset)
    sessions, left_out = roles.usable_sessions(dataset.sessions, config)
    if not sessions:
        raise SiamjaxError(
            f"{config.dir} has no usable capture: {'; '.join(left_out[:3])}"
        )
    if trained is None:
        conditions, known = roles.order_conditions(sessions, config)
        dealt = dict(
            zip((s.name for s in sessions), roles.deal_roles(sessions, config))
        )
        assigned = identity.Roles(
            identity.share_among_copies(dealt, captures), (), (), ()
        )
    else:
        conditions, known = identity.conditions_of_run(sessions, trained), trained.known
        assigned = identity.roles_of_run(captures, trained, config.dir)
        sessions = [session for session in sessions if session.name in assigned.role]
        if not sessions:
            raise SiamjaxError(f"{config.dir}: {'; '.join(assigned.left_out[:3])}")
    role = np.array([assigned.role[session.name] for session in sessions])
    first = round(config.baseline_s / config.bin_s)
    protocols = columns.protocols_of_data(dataset.meta)
    if trained is not None and sessions[0].has_events:
        protocols = columns.protocols_of(trained.columns)
    stacked, bins = _bin_sessions(dataset, sessions, protocols, config)
    normal = _NormalBins(sessions, stacked, bins, role, config.bin_s)
    if trained is not None and trained.scaler is not None:
        table, clip = trained.columns, np.float32(config.clip)
        scaler = trained.scaler._replace(own=np.bool_(True), clip=clip)
    else:
        table, scaler = _scaling(dataset, sessions[0], protocols, normal, config)
    if first:
        baseline = _baselines(stacked, first, scaler)
    elif trained is not None and trained.baseline is not None:
        baseline = _repeat(Baseline(*(x[0] for x in trained.baseline)), len(sessions))
    else:
        joined = np.concatenate(list(normal))
        shared = jax.device_get(features.session_baseline(joined, scaler))
        baseline = _repeat(shared, len(sessions))
    parts = [
        _windows(
            i,
            session,
            int(bins[i]),
            conditions,
            config,
            partial(_deviations, stacked, i, int(bins[i]), baseline, scaler),
        )
        for i, session in enumerate(sessions)
    ]
    all_windows = windows.join(parts)
    judged = np.ones(len(all_windows.start), bool)
    if config.counts_dir:
        most = JUDGED_BYTES // (4 * config.bins * stacked.shape[2])
        judged = windows.choose_evenly(all_windows, role[all_windows.session], most)
    names = tuple(session.name for session in sessions)
    novel = (n for n in conditions[known:] if n not in config.novel_valid)
    return Splits(
        sessions=Sessions(
            names=names,
            role=role,
            labels=tuple(session.labels for session in sessions),
            bins=bins,
        ),
        conditions=Conditions(
            names=conditions,
            known=conditions[:known],
            novel_valid=tuple(config.novel_valid),
            novel=tuple(novel),
        ),
        columns=table,
        counts=stacked,
        baseline=baseline,
        # Where a fault ends shows against the baseline, whatever is trained on.
        scaler=features.with_baseline(scaler, config.baseline),
        windows=all_windows,
        judged=judged,
        length=config.bins,
        examples_from_training=bool(config.test_captures) and TRAIN in role,
        provenance=Provenance(
            sha256=prepared.data_hash(dataset),
            captures={
                name: capture._replace(
                    role=str(assigned.role[name]) if name in names else ""
                )
                for name, capture in captures.items()
            },
            new=tuple(name for name in assigned.new if name in names),
            gone=assigned.gone,
            left_out=left_out + assigned.left_out,
            ports=dataset.meta.get("options", {}).get("decode_as", {}),
        ),
    )


def _bin_sessions(dataset, sessions, protocols, config):
    """Counts `[S, bins, F]` of the sessions, and how many bins each has `[S]`."""

    def count(i):
        return counts.bin_in_blocks(sessions[i], dataset.kinds, config.bin_s, protocols)

    if not config.counts_dir:
        all_counts = [np.concatenate(list(count(i))) for i in range(len(sessions))]
        return _stack(all_counts), np.array([len(x) for x in all_counts])
    facts = dict(
        data=prepared.data_hash(dataset),
        sessions=[session.name for session in sessions],
        bin_s=config.bin_s,
        protocols=protocols,
    )
    bins = np.array([counts.count_bins(s, config.bin_s) for s in sessions])
    width = next(count(0)).shape[1]
    stored = counts_on_disk.open_counts(config.counts_dir, facts, bins, width, count)
    return stored, bins


class _NormalBins:
    """Normal bins of the training captures in blocks `[n, F]`; all of theirs if none is
    normal.

    They give the baseline of all sessions where `config.baseline_s` is 0, and the units
    of counters. One block is in memory at a time.
    """

    def __init__(self, sessions, stacked, bins, role, bin_s):
        self._stacked, self._bins, self._bin_s = stacked, bins, bin_s
        self._labels = {
            i: session.labels for i, session in enumerate(sessions) if role[i] == TRAIN
        }

    def __iter__(self):
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


def _scaling(dataset, session, protocols, normal, config):
    """Columns and `Scaler`; those of events do not depend on the data."""
    if session.has_events:
        table = columns.event_columns(protocols)
        return table, features.make_scaler(table, floor=config.floor, clip=config.clip)
    heavy = features.find_heavy_tailed(normal)
    floor = config.floor * features.column_units(normal, heavy)
    growing = dataset.meta.get("growing", ())  # an older set does not say
    table = columns.counter_columns(dataset.kinds, heavy, growing)
    return table, features.make_scaler(table, floor=floor, clip=config.clip)


def _baselines(stacked, first, scaler):
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
        of_block = jax.device_get(_baselines_of_block(block, scaler))
        parts.append(Baseline(*(x[: len(chosen)] for x in of_block)))
    return Baseline(*map(np.concatenate, zip(*parts)))


def _repeat(baseline, sessions):
    """The `Baseline` `[S, F]` of sessions that share one `[F]`."""
    return Baseline(*(np.tile(x, (sessions, 1)) for x in baseline))


@jax.jit
def _baselines_of_block(normal, scaler):
    """Baselines `[S, F]` of the normal bins `[S, bins, F]` of each session."""
    return jax.vmap(features.session_baseline, (0, None))(normal, scaler)


def _deviations(stacked, index, bins, baseline, scaler):
    """The mean absolute feature `[bins]` of each bin of a session."""
    of_session = Baseline(*(x[index : index + 1] for x in baseline))
    parts = []
    for begin in range(0, bins, _BINS):
        block = stacked[index, begin : min(begin + _BINS, bins)]
        padded = np.pad(block, ((0, _BINS - len(block)), (0, 0)))[None]
        x = np.asarray(features.to_features(padded, of_session, scaler))[0]
        parts.append(np.abs(x[: len(block)]).mean(-1))
    return np.concatenate(parts)


def _windows(index, session, bins, conditions, config, deviations):
    """`types.Windows` of one session."""
    first = round(config.baseline_s / config.bin_s)
    sizes = dict(length=config.bins, first=first, bin_s=config.bin_s)
    if not config.hop_s:
        return windows.cut_at_ends(index, bins, session.labels, conditions, **sizes)
    hop = round(config.hop_s / config.bin_s)
    return windows.cut_every_hop(
        index,
        bins,
        session.labels,
        conditions,
        deviations=deviations,
        hop=hop,
        **sizes,
    )


def _stack(arrays):
    """`[S, bins, F]` of arrays of different lengths, padded with 0."""
    longest = max(len(a) for a in arrays)
    return np.stack([np.pad(a, ((0, longest - len(a)), (0, 0))) for a in arrays])
