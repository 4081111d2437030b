"""Examples and rule of a run on all captures, from what its fold runs did not see.

Such a run has no capture left to learn distances from: its own lie nearer to each other
than new ones will. Each fold run stands for it: the examples are windows that it was
trained on, as those of the run on all captures are, and what is compared with them are
captures that it did not see, of known faults and of those held out as new.
"""

import logging
from typing import NamedTuple

import numpy as np

from siamjax.data.splits import Splits
from siamjax.data.windows import join, take
from siamjax.evaluation import unknowns
from siamjax.identification import decide, enrol, examples
from siamjax.inference import runs
from siamjax.training import folds
from siamjax.types import TRAIN, VALID

_LOG = logging.getLogger(__name__)


class Fold(NamedTuple):
    """A fold run, and what it says of the captures that it did not see."""

    run: runs.Run
    splits: Splits
    examples: examples.Examples  # training windows of the conditions it knows
    known_gap: np.ndarray  # [N] distances of unseen windows of known conditions
    novel_gap: np.ndarray  # [M] and of faults held out, to the nearest example

    @property
    def unknown(self) -> float | None:
        """The threshold of distance that this fold alone would set; None: it saw every
        window of a known condition."""
        if not len(self.known_gap):
            return None
        return unknowns.fit_threshold(self.known_gap, self.novel_gap)


def open_folds(run: runs.Run) -> list[Fold]:
    """The fold runs of a run on all captures, measured.

    Raises:
      SiamjaxError: one of them is not there.
    """
    opened = []
    for workdir in folds.fold_workdirs(run.config, run.workdir).values():
        fold = runs.open_run(workdir)
        splits = runs.read_data(fold)
        names = splits.conditions[: splits.known]
        chosen = enrol.choose_medoids(fold, splits, names, (TRAIN,))
        opened.append(Fold(fold, splits, chosen, *_gaps(fold, splits)))
    if not any(len(fold.known_gap) for fold in opened):
        _LOG.warning(
            "no fold sets a capture of a known condition aside: distances are learnt "
            "on training captures, which lie nearer to each other than new ones: more "
            "will be called unknown"
        )
        opened = [
            Fold(*fold[:3], *_gaps(fold.run, fold.splits, unseen=False))
            for fold in opened
        ]
    return opened


def _gaps(run, splits, unseen=True):
    """Distances to training windows of windows that a fold run did not see; or, of
    known conditions, of training windows of other captures."""
    names = splits.conditions[: splits.known]
    windows = splits.of(VALID, names * unseen + splits.novel_valid)
    training = splits.of(TRAIN, names)
    library = np.arange(len(windows.start) + len(training.start)) >= len(windows.start)
    return enrol.nearest_distances(
        run, splits, join([windows, training]), library & unseen
    )


def fit_common_rule(opened: list[Fold]) -> decide.Rule:
    """The rule, learnt from the unseen captures of all folds together."""
    return decide.fit_rule(
        [
            (
                enrol.session_evidence(fold.run, fold.splits, i, fold.examples),
                fold.splits.labels[i],
            )
            for fold in opened
            for i in np.flatnonzero(fold.splits.role == VALID)
        ],
        np.concatenate([fold.known_gap for fold in opened]),
        np.concatenate([fold.novel_gap for fold in opened]),
    )


def choose_examples(
    opened: list[Fold], run: runs.Run, splits: Splits
) -> examples.Examples:
    """Of each condition the unseen window nearest to all windows of the condition.

    Each fold proposes one of the windows that it did not see. Distances are those in
    the fold's own space, divided by the threshold there, so that folds compare; each
    capture counts alike. Where no fold sets a capture of a condition aside, a training
    window stands for it.

    Args:
      opened: of `open_folds`.
      run: the run on all captures.
      splits: of its data.
    """
    chosen = []
    for name in splits.conditions[: splits.known]:
        proposed = [
            best
            for role in (VALID, TRAIN)
            for fold in opened
            if (best := _nearest_to_all(fold, name, role)) is not None
        ]
        if proposed:
            chosen.append(min(proposed)[2:])
    rows = [_row(splits, capture, start) for capture, start in chosen]
    return enrol.examples_of(run, splits, take(splits.windows, np.array(rows)))


def _nearest_to_all(fold, name, role):
    """The best window of a role in a fold, as (role's rank, distance, capture, start);
    None: there is none, or the fold does not know the condition."""
    splits = fold.splits
    if name not in splits.conditions[: splits.known]:
        return None
    windows = join([splits.of(role, [name]) for role in (VALID, TRAIN)])
    candidates = np.flatnonzero(splits.role[windows.session] == role)
    if not len(candidates):
        return None
    points = fold.run.embed(*enrol.inputs(splits, windows, fold.run.config.data.bins))
    mean = enrol.mean_distance(
        points[fold.run.config.decide_with], windows.session, candidates
    )
    best = int(mean.argmin())
    row = candidates[best]
    return (
        (VALID, TRAIN).index(role), float(mean[best]) / (fold.unknown or 1.0),
        splits.sessions[windows.session[row]], int(windows.start[row]),
    )  # fmt: skip


def _row(splits, capture, start):
    """The row of a window among the windows of a data set."""
    session = splits.windows.session == splits.sessions.index(capture)
    return int(np.flatnonzero(session & (splits.windows.start == start))[0])
