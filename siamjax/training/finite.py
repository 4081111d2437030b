"""Stops a training with numbers that are not finite, before they are saved."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from siamjax.training.step import Parts
from siamjax.types import SiamjaxError


class NotFinite(SiamjaxError):
    """A training cannot go on from these numbers; the text says which ones."""


@contextlib.contextmanager
def with_remedy(remedy: str) -> Iterator[None]:
    """Adds to the text of a `NotFinite` what the user can do."""
    try:
        yield
    except NotFinite as error:
        raise NotFinite(f"{error}: {remedy}") from error


def check_metrics(metrics: Mapping[str, float], parts: Parts) -> None:
    """Raises `NotFinite` where the loss of a step or its embeddings are not finite.

    Args:
      metrics: what `step.step_metrics` gives for one step, as floats.
      parts: of the training.
    """
    reasons = []
    for name, head in parts.heads.items():
        rows, value = int(metrics[f"{name}/not_finite"]), metrics[f"{name}/loss"]
        if rows:
            total = parts.sampling.shape.size
            reasons.append(
                f"{rows} of {total} batch rows of head {name} are not finite (its loss "
                f"is {head.loss.spec})"
            )
        elif not np.isfinite(value):
            reasons.append(
                f"the loss {head.loss.spec} of head {name} is {value}, its batch rows "
                "are finite"
            )
    if not reasons and not np.isfinite(metrics["loss"]):
        reasons.append(f"the total loss is {metrics['loss']}")
    if reasons:
        raise NotFinite("; ".join(reasons))


def check_state(state: Any) -> None:
    """Raises `NotFinite` where a leaf of a `TrainState` is not finite."""
    names = [
        jax.tree_util.keystr(path, simple=True, separator=".")
        for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(state))
        if not np.isfinite(leaf).all()
    ]
    if names:
        more = f" and {len(names) - 2} more" if len(names) > 2 else ""
        raise NotFinite(f"{', '.join(names[:2])}{more} of the state are not finite")


def check_points(points: Mapping[str, np.ndarray]) -> None:
    """Raises `NotFinite` where points `{head: [N, E]}` of validation are not finite."""
    for head, x in points.items():
        bad = int((~np.isfinite(x)).any(-1).sum())
        if bad:
            raise NotFinite(
                f"{bad} of {len(x)} validation windows of head {head} are not finite"
            )
