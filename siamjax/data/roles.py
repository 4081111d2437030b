"""Which captures of a data set are used, and what for, before a run is trained."""

import fnmatch
from collections.abc import Iterable, Sequence

import numpy as np

from siamjax import checks
from siamjax.config import DataConfig
from siamjax.data import counts
from siamjax.types import NORMAL, TEST, TRAIN, VALID, Session, UsageError

# In place of a fold: no capture is set aside.
NONE = -1


def usable_sessions(
    sessions: Iterable[Session], config: DataConfig
) -> tuple[list[Session], tuple[str, ...]]:
    """Sessions long enough, with no fault in their baseline; and why others are not."""
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
        elif session.series and (
            coarse := counts.why_too_coarse(session.series, config.bin_s)
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
    sessions: Iterable[Session], config: DataConfig
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
    checks.require(not both, f"{both} stand in both config.data.novel and novel_valid")
    known = [NORMAL, *sorted(labelled - novel - novel_valid - {NORMAL})]
    return (*known, *sorted(novel_valid), *sorted(novel)), len(known)


def deal_roles(sessions: Sequence[Session], config: DataConfig) -> np.ndarray:
    """`[S]` roles: the captures of each condition are dealt in turn into the folds.

    All captures of a novel condition are for the test, of one in `novel_valid` for
    validation: nothing of them is trained on, not even their normal windows. A known
    condition with too few captures for all roles is trained on first, then tested.
    `NONE` in place of a fold sets nothing aside for its role.

    Where `config.test_captures` names captures, it and `valid_captures` decide alone:
    patterns of names, as of files.
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
            f"{config.valid_fold} must be two different folds from 0, below folds "
            f"{config.folds}; {NONE}: none"
        )
    kinds: dict[str, list[str]] = {}
    role_of: dict[str, str] = {}
    for session in sorted(sessions, key=lambda s: s.name):
        kind = session.labels[0].condition if session.labels else NORMAL
        kinds.setdefault(kind, []).append(session.name)
    of_fold = {config.test_fold: TEST, config.valid_fold: VALID}
    for kind, names in kinds.items():
        dealt = [of_fold.get(i % config.folds, TRAIN) for i in range(len(names))]
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
