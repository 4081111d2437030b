"""A prepared data set -> counts, baselines and labelled windows, split by capture.

Splits are by capture, never by window. Conditions are known, novel for validation (they
choose checkpoints and settings) or novel for test: three disjoint sets. Of events no
column, baseline or scale depends on which captures train; of counters the normal bins
of the training captures say which columns take log1p, and their units.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from siamjax.config import DataConfig
from siamjax.data import columns, counts, features, identity, prepared, roles, windows
from siamjax.types import TRAIN, Baseline, Inputs, Scaler, SiamjaxError, Windows


class Splits(NamedTuple):
    """All that training and evaluation read of a data set. S sessions, C conditions."""

    columns: tuple
    sessions: tuple  # names
    role: np.ndarray  # [S] of TRAIN, VALID, TEST
    conditions: tuple  # names: known ones first, normal the first of all
    known: int  # how many of them are known
    novel_valid: tuple  # names
    novel: tuple  # names
    labels: tuple  # of each session its types.Labels
    bins: np.ndarray  # [S] int, how many are real
    counts: np.ndarray  # [S, bins, F] float32, padded with 0
    length: int  # T, bins of a window
    baseline: Baseline  # [S, F]
    scaler: Scaler
    windows: Any  # types.Windows of all sessions
    left_out: tuple  # a line for each capture that is not used, and why
    sha256: str  # of the data set
    captures: dict  # {name: identity.Capture} of all of the data set
    new: tuple  # names of test captures that are new since training
    gone: tuple  # names of captures that training had
    library: bool  # all examples come from training captures: see `judged`

    def inside(self, role, conditions=None):
        """`[N]` bool: windows of a role and of these conditions (names), or all."""
        names = self.conditions if conditions is None else conditions
        wanted = [self.conditions.index(name) for name in names]
        of_role = self.role[self.windows.session] == role
        return of_role & np.isin(self.windows.condition, wanted)

    def of(self, role, conditions=None):
        """The windows that `inside` says."""
        return windows.take(self.windows, self.inside(role, conditions))

    def inputs(self, chosen: Windows) -> Inputs:
        """What the encoder needs of windows of this data set."""
        counts = windows.cut_counts(self.counts, chosen, self.length)
        baseline = Baseline(*(np.asarray(x)[chosen.session] for x in self.baseline))
        return Inputs(counts, baseline, chosen.session)

    def judged(self, role, conditions=None):
        """The windows to judge a role by, and which of them are examples alone.

        A condition that has one capture in the role has none to spare for an example:
        its examples come from the training captures (which recognise it somewhat
        better: docs/identification.md). So do those of a known condition
        that the role does not show: others can be taken for it. Where captures are
        named for their roles, each may hold many conditions: then all examples come
        from training captures, also of conditions not trained on, and a condition that
        training or the role does not show drops out.

        Returns:
          `types.Windows`, N of them, and `[N]` bool: those of training captures; None
          where there is none. See `evaluation.one_shot`.
        """
        condition, session = self.windows.condition, self.windows.session
        role_of = self.inside(role, conditions)
        training = self.inside(TRAIN, conditions)
        if self.library:
            role_of &= np.isin(condition, condition[training])
            examples = training & np.isin(condition, condition[role_of])
        else:
            shown = np.unique(np.stack([condition, session])[:, role_of], axis=1)[0]
            enough = [c for c in np.unique(shown) if (shown == c).sum() > 1]
            examples = training & ~np.isin(condition, enough)
        chosen = role_of | examples
        library = examples[chosen] if examples.any() else None
        return windows.take(self.windows, chosen), library


def open_splits(config: DataConfig, trained=None) -> Splits:
    """Reads `config.data` (see configs/default.py) and gives `Splits`.

    Args:
      config: `config.data`.
      trained: `identity.Trained` of a run that is to be judged or looked at: roles,
        conditions and scaler are then those of the run, and captures that it did not
        have are for the test. None: the data set is for training.
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
        taken = identity.Roles(identity.share_among_copies(dealt, captures), (), (), ())
    else:
        conditions, known = identity.conditions_of_run(sessions, trained), trained.known
        taken = identity.roles_of_run(captures, trained, config.dir)
        sessions = [session for session in sessions if session.name in taken.role]
        if not sessions:
            raise SiamjaxError(f"{config.dir}: {'; '.join(taken.left_out[:3])}")
    role = np.array([taken.role[session.name] for session in sessions])
    first = round(config.baseline_s / config.bin_s)
    each = [counts.bin_session(s, dataset.kinds, config.bin_s) for s in sessions]
    normal = _normal(sessions, each, role, config)
    table, scaler = _scaling(dataset, sessions[0].series is not None, normal, config)
    if trained is not None and trained.scaler is not None:
        table = trained.columns
        scaler = trained.scaler._replace(own=np.bool_(True), clip=scaler.clip)
    if trained is not None and trained.baseline is not None:
        normal = Baseline(*(x[0] for x in trained.baseline))
    stacked, bins = _stack(each), np.array([len(count) for count in each])
    baseline, x = jax.device_get(
        _against_baseline(stacked, stacked[:, :first] if first else normal, scaler)
    )
    used = {s.name for s in sessions}
    parts = [
        _windows(i, session, x[i, : bins[i]], conditions, config)
        for i, session in enumerate(sessions)
    ]
    return Splits(
        columns=table,
        sessions=tuple(session.name for session in sessions),
        role=role,
        conditions=conditions,
        known=known,
        novel_valid=tuple(config.novel_valid),
        novel=tuple(n for n in conditions[known:] if n not in config.novel_valid),
        labels=tuple(session.labels for session in sessions),
        bins=bins,
        counts=stacked,
        length=config.bins,
        baseline=baseline,
        # Where a fault ends shows against the baseline, whatever is trained on.
        scaler=features.with_baseline(scaler, config.baseline),
        windows=windows.join(parts),
        left_out=left_out + taken.left_out,
        library=bool(config.test_captures) and TRAIN in role,
        sha256=prepared.data_hash(dataset),
        captures={
            name: capture._replace(role=str(taken.role[name]) if name in used else "")
            for name, capture in captures.items()
        },
        new=tuple(name for name in taken.new if name in used),
        gone=taken.gone,
    )


def _normal(sessions, all_counts, role, config):
    """Normal bins `[N, F]` of the training captures; all of theirs if none is normal.

    They give the baseline of all sessions where `config.baseline_s` is 0, and the units
    of counters.
    """
    train = [i for i in range(len(sessions)) if role[i] == TRAIN]
    found = [
        all_counts[i][
            windows.normal_bins(sessions[i].labels, len(all_counts[i]), config.bin_s)
        ]
        for i in train
    ]
    if not any(map(len, found)):
        found = [all_counts[i] for i in train]
    return np.concatenate(found) if found else all_counts[0][:0]


def _scaling(dataset, counters, normal, config):
    """Columns and `Scaler`; those of events do not depend on the data."""
    if not counters:
        return columns.SIP, features.make_scaler(
            columns.SIP, floor=config.floor, clip=config.clip
        )
    heavy = features.find_heavy_tailed(normal)
    floor = config.floor * features.column_units(normal, heavy)
    growing = dataset.meta.get("growing", ())  # an older set does not say
    table = columns.counter_columns(dataset.kinds, heavy, growing)
    return table, features.make_scaler(table, floor=floor, clip=config.clip)


@jax.jit
def _against_baseline(counts, normal, scaler):
    """Baselines `[S, F]` and features of `counts [S, bins, F]`, in one program.

    Args:
      normal: `[S, bins, F]` of each session, or `[bins, F]` for all of them, or their
        `Baseline` `[F]`.
    """
    if not isinstance(normal, Baseline) and normal.ndim == 3:
        baseline = jax.vmap(features.session_baseline, (0, None))(normal, scaler)
    else:
        if not isinstance(normal, Baseline):
            normal = features.session_baseline(normal, scaler)
        baseline = Baseline(*(jnp.tile(x, (len(counts), 1)) for x in normal))
    return baseline, features.to_features(counts, baseline, scaler)


def _windows(index, session, x, conditions, config):
    """`types.Windows` of one session with features `x [bins, F]`."""
    first = round(config.baseline_s / config.bin_s)
    sizes = dict(length=config.bins, first=first, bin_s=config.bin_s)
    if not config.hop_s:
        return windows.cut_at_ends(index, len(x), session.labels, conditions, **sizes)
    hop = round(config.hop_s / config.bin_s)
    return windows.cut_every_hop(index, x, session.labels, conditions, hop=hop, **sizes)


def _stack(arrays):
    """`[S, bins, F]` of arrays of different lengths, padded with 0."""
    longest = max(len(a) for a in arrays)
    return np.stack([np.pad(a, ((0, longest - len(a)), (0, 0))) for a in arrays])
