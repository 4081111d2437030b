"""Examples and rule of a run on all captures, learnt with its fold runs.

Such a run has no capture left to learn distances from: captures that it was trained on
lie nearer to each other than new ones will. So distances are measured in its fold runs.
Their examples are windows that the fold run was trained on, as in the run on all
captures. They are compared with captures that the fold run did not see, of known faults
and of faults held out as new.
"""

import itertools
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from siamjax.data.splits import Splits
from siamjax.data.windows import join, take
from siamjax.evaluation import spaces, unknowns
from siamjax.evaluation.normal_bins import NormalBins
from siamjax.evaluation.spaces import Space
from siamjax.identification import enrol, examples, fitting, rules
from siamjax.inference import runs
from siamjax.inference.deciding import Deciding
from siamjax.training import folds, hosts, whitening
from siamjax.types import TRAIN, VALID

_LOG = logging.getLogger(__name__)

# For each fold, the recalls of each space, see `evaluation.spaces.choose`.
Curves = list[list[dict[str, Any]]]


class Fold(NamedTuple):
    """A fold run, and how far windows that it did not see are from what it knows."""

    run: runs.Run
    splits: Splits
    examples: examples.Examples  # training windows of the conditions it knows
    known: fitting.Scores  # of unseen windows of known conditions
    novel: fitting.Scores  # of windows of faults held out
    stretches: fitting.Scores  # of unseen stretches, see `enrol.measure_stretches`

    @property
    def unknown(self) -> float | None:
        """The distance threshold that this fold alone would set.

        None if it saw every window of a known condition.
        """
        if not len(self.known.distance):
            return None
        return unknowns.fit_threshold(self.known.distance, self.novel.distance)


class Opened(NamedTuple):
    """A fold run and its data."""

    run: runs.Run
    splits: Splits


def open_runs(run: runs.Run) -> tuple[list[Opened], Space, Curves]:
    """The fold runs of a run on all captures, and the space that all of them decide in.

    The space is the one that the validation captures of all folds together choose.
    With several processes all must call it, as the other functions of this module: each
    opens all folds, and they divide the work on them.

    Returns:
      The fold runs, which decide in the space; the space; and the recalls that chose
      it, a curve for each fold.
    Raises:
      SiamjaxError: a fold run is missing.
    """
    opened = []
    for workdir in folds.fold_workdirs(run.config, run.workdir).values():
        fold = runs.open_run(workdir, data=run.config.data)
        opened.append(Opened(fold, runs.read_data(fold)))
    learnt = hosts.divided(
        lambda fold: (
            *runs.judge_spaces(*fold),
            whitening.keep_windows(fold.splits),
            whitening.learn_normal_bins(fold.splits, fold.run.config.data),
        ),
        opened,
    )
    curves = [curve for _, curve, *_ in learnt]
    space = spaces.choose(curves)
    decided = [
        Opened(
            fold._replace(deciding=Deciding(space, whitened, kept, normal_bins=bins)),
            splits,
        )
        for (fold, splits), (whitened, _, kept, bins) in zip(opened, learnt)
    ]
    return decided, space, curves


def join_normal_bins(
    run: runs.Run, splits: Splits, opened: Sequence[Opened]
) -> NormalBins | None:
    """The `NormalBins` of a run on all captures.

    No capture is left to learn its limit on: it is the median of the fold runs' limits.

    Returns:
      None: windows decide as a whole, see `whitening.learn_normal_bins`.
    """
    bins = whitening.learn_normal_bins(splits, run.config.data)
    fold_bins = [fold.run.deciding.normal_bins for fold in opened]
    limits = [x.limit for x in fold_bins if x is not None]
    if bins is None or not limits:
        return bins
    return bins._replace(limit=float(np.median(limits)))


def measure_folds(runs_of_folds: Sequence[Opened]) -> list[Fold]:
    """The fold runs with their examples and distances."""

    def measure(opened):
        fold, splits = opened
        names = splits.conditions.known
        chosen = enrol.choose_medoids(fold, splits, names, (TRAIN,))
        return chosen, *_measure(fold, splits)

    measured = hosts.divided(measure, runs_of_folds)
    opened = [Fold(*fold, *numbers) for fold, numbers in zip(runs_of_folds, measured)]
    if not any(len(fold.known.distance) for fold in opened):
        _LOG.warning(
            "no fold sets a capture of a known condition aside: distances are learnt "
            "on training captures, which lie nearer to each other than new captures: "
            "more windows will be called unknown"
        )
        scores = hosts.divided(
            lambda fold: _measure(fold.run, fold.splits, unseen=False), opened
        )
        opened = [Fold(*fold[:3], *numbers) for fold, numbers in zip(opened, scores)]
    return opened


def _measure(run, splits, unseen=True):
    """Scores against training windows, of known and of held-out conditions.

    Those of known conditions are of windows that the fold run did not see. Without
    `unseen` they are of training windows, to windows of other captures.
    """
    names = splits.conditions.known
    windows = splits.windows_of(VALID, names * unseen + splits.conditions.novel_valid)
    training = splits.windows_of(TRAIN, names)
    library = np.arange(len(windows.start) + len(training.start)) >= len(windows.start)
    shown = run, splits, join([windows, training]), library & unseen
    return *enrol.measure_scores(*shown), enrol.measure_stretches(*shown)


def fit_common_rule(opened: list[Fold]) -> rules.Rule:
    """The rule, learnt from the unseen captures of all folds together."""
    known, novel, stretches_of = join_scores(opened)
    change = enrol.cost_of_change(opened[0].run)
    rule = hosts.from_first(lambda: fitting.fit_thresholds(known, novel, change))
    unseen = [
        (fold, i)
        for fold in opened
        for i in np.flatnonzero(fold.splits.sessions.role == VALID).tolist()
    ]

    def measure(session):
        fold, i = session
        return enrol.session_changes(fold.run, fold.splits, i, fold.examples, rule)

    changes = hosts.divided(measure, unseen)
    return fitting.calibrate(rule, changes, stretches_of)


def join_scores(opened: list[Fold]) -> tuple[fitting.Scores, ...]:
    """The scores of known and of held-out conditions and of stretches, of all folds
    together."""
    return tuple(
        fitting.Scores(*map(np.concatenate, zip(*scores)))
        for scores in zip(
            *((fold.known, fold.novel, fold.stretches) for fold in opened)
        )
    )


def choose_examples(
    opened: list[Fold], run: runs.Run, splits: Splits
) -> examples.Examples:
    """The unseen window of each condition that is nearest to all its windows.

    Each fold proposes one of the windows that it did not see. Distances are measured in
    the space of the fold and divided by its threshold, so that folds can be compared;
    each capture has the same weight. If no fold sets a capture of a condition aside, a
    training window is taken.

    Args:
      opened: of `measure_folds`.
      run: the run on all captures.
      splits: of the data of that run.
    """
    asked = list(itertools.product(splits.conditions.known, (VALID, TRAIN), opened))
    proposed: dict[str, list[tuple]] = {name: [] for name in splits.conditions.known}
    best = hosts.divided(lambda x: _nearest_to_all(x[2], x[0], x[1]), asked)
    for (name, _, _), proposal in zip(asked, best):
        if proposal is not None:
            proposed[name].append(proposal)
    chosen = [min(proposals)[2:] for proposals in proposed.values() if proposals]
    rows = [_row(splits, capture, start) for capture, start in chosen]
    return enrol.examples_of(run, splits, take(splits.windows, np.array(rows)))


def _nearest_to_all(fold, name, role):
    """The best window of a role in a fold: (role's rank, distance, capture, start).

    None if there is no window, or the fold does not know the condition.
    """
    splits = fold.splits
    if name not in splits.conditions.known:
        return None
    windows = join([splits.windows_of(role, [name]) for role in (VALID, TRAIN)])
    candidates = np.flatnonzero(splits.sessions.role[windows.session] == role)
    if not len(candidates):
        return None
    points = fold.run.compared(*splits.inputs(windows))
    mean = enrol.mean_distance(points, windows.session, candidates)
    best = int(mean.argmin())
    row = candidates[best]
    rank, distance = (VALID, TRAIN).index(role), float(mean[best])
    capture = splits.sessions.names[windows.session[row]]
    return rank, distance / (fold.unknown or 1.0), capture, int(windows.start[row])


def _row(splits, capture, start):
    """The row of a window among the windows of a data set."""
    session = splits.windows.session == splits.sessions.names.index(capture)
    return int(np.flatnonzero(session & (splits.windows.start == start))[0])
