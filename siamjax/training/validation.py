"""Validation: what can be judged, said before the first step, and the scores."""

from typing import Any, NamedTuple

import numpy as np

from siamjax.data.splits import Splits
from siamjax.evaluation import one_shot
from siamjax.models import embedder
from siamjax.training import finite
from siamjax.types import TRAIN, VALID, Baseline, Windows


class ValidationPlan(NamedTuple):
    """What validation judges. N windows."""

    windows: Windows
    library: Any  # `[N]` bool or None, see `Splits.judged`
    known: tuple  # names of the known conditions that are judged
    novel: tuple  # of the `novel_valid` ones
    lines: tuple  # what a person should know of it, before the first step


def plan_validation(splits: Splits, draws: int) -> ValidationPlan:
    """What the validation captures can judge.

    Which windows are judged depends on conditions, captures and draws alone, so it is
    known before any point is. A recall counts where another condition is there to be
    taken for it.
    """
    names = splits.conditions[: splits.known] + splits.novel_valid
    windows, library = splits.judged(VALID, names)
    condition, session = windows.condition, windows.session
    able, several = [], len(one_shot.shown_conditions(condition)) > 1
    if several:
        nowhere = np.zeros((len(condition), 1))
        result = one_shot.recognise(
            nowhere, condition, session, draws=draws, library=library
        )
        judged = result.classes[np.isfinite(result.recall)]
        able = [splits.conditions[c] for c in judged]
    known = tuple(name for name in able if name not in splits.novel_valid)
    novel = tuple(name for name in able if name in splits.novel_valid)
    lines = [
        f"validation judges {len(known)} of {splits.known} known and {len(novel)} of "
        f"{len(splits.novel_valid)} novel conditions"
        if able
        else "validation judges nothing: training goes to the end, the last step counts"
    ]
    if able and library is not None and not splits.library:
        of = [splits.conditions[c] for c in np.unique(condition[library])]
        lines.append(
            "validation has less than two captures of these conditions, examples of "
            f"them are from training captures: {', '.join(of)}"
        )
    reasons = {}
    for name in names:
        if name not in able:
            reasons.setdefault(_reason(splits, name, several), []).append(name)
    lines += [f"not judged, {why}: {', '.join(of)}" for why, of in reasons.items()]
    return ValidationPlan(windows, library, known, novel, tuple(lines))


def _reason(splits, name, several):
    """Why validation cannot judge a condition, one of several or the only one."""
    captures, in_training = (
        len(np.unique(splits.of(role, [name]).session)) for role in (VALID, TRAIN)
    )
    if not captures:
        return "no validation capture shows it"
    if not in_training and (splits.library or captures == 1):
        return "no other capture can give an example of it"
    if not several:
        return "there is no other condition to take it for"
    return "its validation captures have to give the examples of others"


def make_validator(splits, parts, config, embed_windows, judge: ValidationPlan):
    """`validate(state) -> {name: score}` on the validation captures.

    `known` and `novel` are the deciding head's mean one-shot recalls per condition
    among known and `novel_valid` conditions, `HEAD/known` and `HEAD/novel` those of the
    others. `score`, which chooses the best checkpoint, is the mean of them all: with
    few novel conditions their recall alone would choose by chance, and the deciding
    head is often good long before the one that is looked at. A score that would be over
    no condition is left out; where nothing can be judged there is none.
    """
    windows, groups = judge.windows, dict(known=judge.known, novel=judge.novel)
    groups = {
        group: [splits.conditions.index(name) for name in names]
        for group, names in groups.items()
        if names
    }
    if not groups:
        return lambda state: {}
    counts = embedder.cut_windows(splits.counts, windows, parts.length)
    baseline = Baseline(*(np.asarray(x)[windows.session] for x in splits.baseline))

    def validate(state) -> dict[str, float]:
        final = parts.encoder.finalise(state.batch_stats)
        points = embed_windows(
            state.params["encoder"], final, splits.scaler, counts, baseline
        )
        finite.check_points(points)
        scores = {}
        for head in parts.losses:
            result = one_shot.recognise(
                points[head],
                windows.condition,
                windows.session,
                draws=config.draws,
                library=judge.library,
            )
            recall = dict(zip(result.classes.tolist(), result.recall.tolist()))
            prefix = "" if head == parts.decide_with else f"{head}/"
            for group, members in groups.items():
                values = [recall[c] for c in members]
                scores[f"{prefix}{group}"] = float(np.nanmean(values))
        return dict(scores, score=float(np.mean(list(scores.values()))))

    return validate
