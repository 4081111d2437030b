"""The types in the signatures of losses.

Each `Literal` is the only list of the texts that a setting may have: type checkers, the
registry and the losses read it.
"""

from collections.abc import Callable
from typing import Any, Literal, NewType, TypeVar, get_args

import jax
import numpy as np

from siamjax.types import UsageError

Array = jax.Array | np.ndarray
AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])

# The name of an l<p> distance, such as l1.5: see `distances.lp`.
Lp = NewType("Lp", str)
Distance = Literal["euclidean", "squared", "manhattan", "snr", "cosine", "dot"] | Lp
Reduction = Literal["active", "all", "anchor", "class", "sum"]
Mining = Literal[
    "all",
    "semihard_set",
    "semihard",
    "hard",
    "easy_positive",
    "easy_positive_semihard",
    "distance_weighted",
]
MarginMining = Literal["all", "distance_weighted"]
PairMiner = Literal["multi_similarity", "pair_margin", "hardest"]
LosslessForm = Literal["safe", "original"]


def check_choice(name: str, value: str, choices: Any) -> None:
    """Raises `UsageError` unless the value is one of a `Literal`."""
    if value not in get_args(choices):
        raise UsageError(
            f"{name}={value} is not known: use one of {', '.join(get_args(choices))}"
        )
