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
    scaling,
    windows,
)
from siamjax.types import (
    TRAIN,
    AnySession,
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
    used = _choose_sessions(dataset, captures, config, trained)
    role = np.array([used.roles.role[session.name] for session in used.sessions])
    protocols = columns.protocols_of_data(dataset.meta)
    if trained is not None and used.sessions[0].has_events:
        protocols = columns.protocols_of(trained.columns)
    stacked, bins = _bin_sessions(dataset, used.sessions, protocols, config)
    normal = scaling.NormalBlocks(used.sessions, stacked, bins, role, config.bin_s)
    if trained is not None and trained.scaler is not None:
        table, clip = trained.columns, np.float32(config.clip)
        scaler = trained.scaler._replace(own=np.bool_(True), clip=clip)
    elif used.sessions[0].has_events:
        table, scaler = scaling.scale_events(protocols, config)
    else:
        table, scaler = scaling.scale_counters(dataset, normal, config)
    baseline = scaling.find_baselines(
        stacked, normal, scaler, config, None if trained is None else trained.baseline
    )
    all_windows = _cut_windows(used, stacked, bins, baseline, scaler, config)
    judged = np.ones(len(all_windows.start), bool)
    if config.counts_dir:
        most = JUDGED_BYTES // (4 * config.bins * stacked.shape[2])
        judged = windows.choose_evenly(all_windows, role[all_windows.session], most)
    return Splits(
        sessions=Sessions(
            names=tuple(session.name for session in used.sessions),
            role=role,
            labels=tuple(session.labels for session in used.sessions),
            bins=bins,
        ),
        conditions=used.conditions,
        columns=table,
        counts=stacked,
        baseline=baseline,
        # Where a fault ends shows against the baseline, whatever is trained on.
        scaler=features.with_baseline(scaler, config.baseline),
        windows=all_windows,
        judged=judged,
        length=config.bins,
        examples_from_training=bool(config.test_captures) and TRAIN in role,
        provenance=_provenance(dataset, captures, used),
    )


class _Used(NamedTuple):
    """The sessions of a data set that are used, and what for."""

    sessions: list[AnySession]
    roles: identity.Roles
    conditions: Conditions
    left_out: tuple[str, ...]  # a line for each capture that cannot be used


def _choose_sessions(dataset, captures, config, trained):
    """`_Used` of a data set: for a training, or with the roles of a run."""
    sessions, left_out = roles.usable_sessions(dataset.sessions, config)
    if not sessions:
        raise SiamjaxError(
            f"{config.dir} has no usable capture: {'; '.join(left_out[:3])}"
        )
    if trained is None:
        names, known = roles.order_conditions(sessions, config)
        dealt = roles.deal_roles(sessions, config)
        role_of = dict(zip((session.name for session in sessions), dealt))
        assigned = identity.Roles(
            identity.share_among_copies(role_of, captures), (), (), ()
        )
    else:
        names, known = identity.conditions_of_run(sessions, trained), trained.known
        assigned = identity.roles_of_run(captures, trained, config.dir)
        sessions = [session for session in sessions if session.name in assigned.role]
        if not sessions:
            raise SiamjaxError(f"{config.dir}: {'; '.join(assigned.left_out[:3])}")
    conditions = Conditions(
        names=names,
        known=names[:known],
        novel_valid=tuple(config.novel_valid),
        novel=tuple(n for n in names[known:] if n not in config.novel_valid),
    )
    return _Used(sessions, assigned, conditions, left_out)


def _provenance(dataset, captures, used):
    names = {session.name for session in used.sessions}
    role = used.roles.role
    return Provenance(
        sha256=prepared.data_hash(dataset),
        captures={
            name: capture._replace(role=str(role[name]) if name in names else "")
            for name, capture in captures.items()
        },
        new=tuple(name for name in used.roles.new if name in names),
        gone=used.roles.gone,
        left_out=used.left_out + used.roles.left_out,
        ports=dataset.meta.get("options", {}).get("decode_as", {}),
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


def _deviations(stacked, index, bins, baseline, scaler):
    """The mean absolute feature `[bins]` of each bin of a session."""
    blocks = features.session_features(stacked, index, bins, baseline, scaler)
    return np.concatenate([np.abs(x).mean(-1) for x in blocks])


def _cut_windows(used, stacked, bins, baseline, scaler, config):
    """`types.Windows` of all sessions."""
    first = round(config.baseline_s / config.bin_s)
    sizes = dict(length=config.bins, first=first, bin_s=config.bin_s)
    conditions, parts = used.conditions.names, []
    for i, session in enumerate(used.sessions):
        count, labels = int(bins[i]), session.labels
        if not config.hop_s:
            cut = windows.cut_at_ends(i, count, labels, conditions, **sizes)
        else:
            cut = windows.cut_every_hop(
                i,
                count,
                labels,
                conditions,
                deviations=partial(_deviations, stacked, i, count, baseline, scaler),
                hop=round(config.hop_s / config.bin_s),
                **sizes,
            )
        parts.append(cut)
    return windows.join(parts)


def _stack(arrays):
    """`[S, bins, F]` of arrays of different lengths, padded with 0."""
    longest = max(len(a) for a in arrays)
    return np.stack([np.pad(a, ((0, longest - len(a)), (0, 0))) for a in arrays])
