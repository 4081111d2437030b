"""Which captures of a data set a training uses, and for which role."""

import fnmatch
from collections.abc import Iterable, Sequence

import numpy as np

from siamjax import checks
from siamjax.config import DataConfig
from siamjax.data import counts
from siamjax.types import NORMAL, TEST, TRAIN, VALID, AnySession, UsageError

# In place of a fold: no capture is set aside.
NONE = -1


def usable_sessions(
    sessions: Iterable[AnySession], config: DataConfig
) -> tuple[list[AnySession], tuple[str, ...]]:
    """Sessions that can be used, and lines that say why the others cannot.

    A session must be long enough for its baseline and one window, its steps must not be
    longer than a bin, and no fault may begin in its baseline.
    """
    needed_s = config.baseline_s + config.bins * config.bin_s
    good, left_out = [], []
    for session in sessions:
        early = [
            label
            for label in session.labels
            if label.onset_s < config.baseline_s and label.condition != NORMAL
        ]
        if counts.nanoseconds(session.span_s) < counts.nanoseconds(needed_s):
            left_out.append(
                f"{session.name}: {session.span_s:.1f} s is too short for a baseline "
                f"and one window ({needed_s:g} s)"
            )
        elif (series := session.series) is not None and (
            coarse := counts.why_too_coarse(series, config.bin_s)
        ):
            left_out.append(f"{session.name}: {coarse}")
        elif early:
            left_out.append(
                f"{session.name}: {early[0].condition} begins at "
                f"{early[0].onset_s:.1f} s, inside the baseline of "
                f"{config.baseline_s:g} s"
            )
        else:
            good.append(session)
    return good, tuple(left_out)


def order_conditions(
    sessions: Iterable[AnySession], config: DataConfig
) -> tuple[tuple[str, ...], int]:
    """Condition names, the known first with normal at 0, and how many are known."""
    labelled = {label.condition for session in sessions for label in session.labels}
    labelled = (labelled | {NORMAL}) - {""}
    novel, novel_valid = set(config.novel), set(config.novel_valid)
    for field, names in (("novel", novel), ("novel_valid", novel_valid)):
        checks.require(NORMAL not in names, f"config.data.{field} cannot hold 'normal'")
        checks.require(
            names <= labelled,
            f"config.data.{field} names {sorted(names - labelled)}, "
            f"{config.dir} has {sorted(labelled)}",
        )
    both = sorted(novel & novel_valid)
    checks.require(not both, f"{both} are in both config.data.novel and novel_valid")
    known = [NORMAL, *sorted(labelled - novel - novel_valid - {NORMAL})]
    return (*known, *sorted(novel_valid), *sorted(novel)), len(known)


def deal_roles(sessions: Sequence[AnySession], config: DataConfig) -> np.ndarray:
    """`[S]` roles: the captures of each condition are put into the folds in turn.

    All captures of a novel condition are for the test, those of a condition in
    `novel_valid` for validation: training does not see them, not even their normal
    windows. Where a known condition has too few captures for all roles, the first is
    for training and the next for the test. With `NONE` for a fold, no capture has the
    role of that fold.

    Where `config.test_captures` is not empty, only it and `valid_captures` decide. They
    are patterns of capture names, as for files.

    Raises:
      UsageError: the folds are not different, or not in range.
    """
    if config.test_captures:
        patterns = {VALID: config.valid_captures, TEST: config.test_captures}
        return np.array([_role(session.name, patterns) for session in sessions])
    aside = [fold for fold in (config.test_fold, config.valid_fold) if fold != NONE]
    if not all(0 <= fold < config.folds for fold in aside) or (
        len(set(aside)) < len(aside)
    ):
        raise UsageError(
            f"config.data.test_fold {config.test_fold} and valid_fold "
            f"{config.valid_fold} must be two different folds from 0 to "
            f"{config.folds - 1} (config.data.folds is {config.folds}), or {NONE}: none"
        )
    kinds: dict[str, list[str]] = {}
    role_of: dict[str, str] = {}
    for session in sorted(sessions, key=lambda s: s.name):
        kind = session.labels[0].condition if session.labels else NORMAL
        kinds.setdefault(kind, []).append(session.name)
    role_of_fold = {config.test_fold: TEST, config.valid_fold: VALID}
    for kind, names in kinds.items():
        dealt = [role_of_fold.get(i % config.folds, TRAIN) for i in range(len(names))]
        if kind in config.novel:
            dealt = [TEST] * len(names)
        elif kind in config.novel_valid:
            dealt = [VALID] * len(names)
        elif TRAIN not in dealt:
            dealt[dealt.index(VALID) if VALID in dealt else 0] = TRAIN
        role_of |= zip(names, dealt)
    return np.array([role_of[session.name] for session in sessions])


def _role(name, patterns):
    """The role of a capture by patterns of names; UsageError if it has two."""
    roles = [
        role
        for role, listed in patterns.items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in listed)
    ]
    checks.require(
        len(roles) < 2,
        f"{name} is in both config.data.valid_captures and test_captures",
    )
    return roles[0] if roles else TRAIN
