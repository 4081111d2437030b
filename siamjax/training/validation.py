"""Validation: which conditions it can judge, and the scores of a state."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from siamjax.config import Config
from siamjax.data.splits import Splits
from siamjax.evaluation import one_shot, statistics
from siamjax.evaluation.statistics import Table
from siamjax.training import finite
from siamjax.training.state import TrainState
from siamjax.training.step import Parts
from siamjax.types import TRAIN, VALID, Windows


class ValidationPlan(NamedTuple):
    """What validation judges, on N windows."""

    windows: Windows
    library: np.ndarray | None  # [N] bool, see `Splits.windows_to_judge`
    known: tuple[str, ...]  # names of the known conditions that are judged
    novel: tuple[str, ...]  # of the `novel_valid` ones
    lines: tuple[str, ...]  # to be logged before the first step


def plan_validation(splits: Splits, draws: int) -> ValidationPlan:
    """What the validation captures can judge.

    It depends on conditions, captures and draws alone, so it is known before training.
    A condition is judged only if its windows could be taken for another condition.
    """
    names = splits.conditions.known + splits.conditions.novel_valid
    windows, library = splits.windows_to_judge(VALID, names)
    condition, session = windows.condition, windows.session
    judged, several = [], len(one_shot.shown_conditions(condition)) > 1
    if several:
        any_points = np.zeros((len(condition), 1))
        result = one_shot.recognise(
            any_points, condition, session, draws=draws, library=library
        )
        classes = result.classes[np.isfinite(result.recall)]
        judged = [splits.conditions.names[c] for c in classes]
    known = tuple(name for name in judged if name not in splits.conditions.novel_valid)
    novel = tuple(name for name in judged if name in splits.conditions.novel_valid)
    lines = [
        f"validation judges {len(known)} of {len(splits.conditions.known)} known and "
        f"{len(novel)} of {len(splits.conditions.novel_valid)} novel conditions"
        if judged
        else "validation judges nothing, so nobody knows how good the run is: the last "
        "step counts, and no whitened statistics are used"
    ]
    if judged and library is not None and not splits.examples_from_training:
        taught = [splits.conditions.names[c] for c in np.unique(condition[library])]
        lines.append(
            "validation has less than two captures of these conditions, examples of "
            f"them are from training captures: {', '.join(taught)}"
        )
    reasons: dict[str, list[str]] = {}
    for name in names:
        if name not in judged:
            reasons.setdefault(_reason(splits, name, several), []).append(name)
    lines += [f"not judged, {why}: {', '.join(who)}" for why, who in reasons.items()]
    return ValidationPlan(windows, library, known, novel, tuple(lines))


def _reason(splits, name, several):
    """Why validation cannot judge a condition.

    Args:
      splits: of the data.
      name: of the condition.
      several: whether validation captures show more than one condition.
    """
    captures, in_training = (
        len(np.unique(splits.windows_of(role, [name]).session))
        for role in (VALID, TRAIN)
    )
    if not captures:
        return "no validation capture shows it"
    if not in_training and (splits.examples_from_training or captures == 1):
        return "no other capture can give an example of it"
    if not several:
        return "there is no other condition that it could be taken for"
    return "its validation captures are needed as examples of other conditions"


def tabulate_points(
    plan: ValidationPlan, names: Sequence[str], points: np.ndarray, draws: int
) -> dict[str, Table]:
    """One-shot hits of `known` and `novel` conditions; one without any is absent.

    Args:
      plan: what `plan_validation` gives.
      names: of the conditions.
      points: `[N, E]`, of the windows of the plan.
      draws: how often the examples are drawn.
    """
    windows = plan.windows
    result = one_shot.recognise(
        points, windows.condition, windows.session, draws=draws, library=plan.library
    )
    return {
        group: statistics.sum_hits(
            result.hits,
            windows.condition,
            windows.session,
            [names.index(name) for name in members],
        )
        for group, members in (("known", plan.known), ("novel", plan.novel))
        if members
    }


def make_validator(
    splits: Splits,
    parts: Parts,
    config: Config,
    embed: Callable[..., dict[str, np.ndarray]],
    plan: ValidationPlan,
) -> Callable[[TrainState], dict[str, float]]:
    """`validate(state) -> {name: score}` on the validation captures.

    `known` and `novel` are the deciding head's mean one-shot recalls per condition,
    over the known and over the `novel_valid` conditions. `HEAD/known` and `HEAD/novel`
    are those of the other heads. `score`, which chooses the best checkpoint, is the
    mean of all of them: recall on a few novel conditions alone would choose by chance,
    and the deciding head is often good long before the view is. A score over no
    condition is left out; if nothing can be judged, the dict is empty.

    Args:
      splits: of the data.
      parts: of the training.
      config: of the run.
      embed: what `models.embedder.make_embedder` gives.
      plan: what `plan_validation` gives.
    """
    if not plan.known and not plan.novel:
        return lambda state: {}
    inputs = splits.inputs(plan.windows)

    def validate(state):
        params = state.params["encoder"]
        final = parts.encoder.finalise(state.batch_stats)
        points = embed(params, final, splits.scaler, *inputs)
        finite.check_points(points)
        scores = {}
        for head in parts.heads:
            prefix = "" if head == config.deciding_head else f"{head}/"
            tables = tabulate_points(
                plan, splits.conditions.names, points[head], config.draws
            )
            scores |= {
                f"{prefix}{group}": statistics.mean_recall(table)
                for group, table in tables.items()
            }
        return dict(scores, score=float(np.mean(list(scores.values()))))

    return validate
