"""The types in the signatures of losses.

Each `Literal` is the only list of the texts that a setting may have, and each `Bound`
the only place that says which numbers: type checkers, the registry and the losses read
them.
"""

import math
import numbers
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypeVar, get_args

import jax
import numpy as np

from siamjax.types import UsageError

Array = jax.Array | np.ndarray
AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])

# The name of an l<p> distance, such as l1.5: see `distances.lp`.
Lp = NewType("Lp", str)
Distance = (
    Literal[
        "euclidean",
        "squared",
        "manhattan",
        "snr",
        "geodesic",
        "poincare",
        "cosine",
        "dot",
    ]
    | Lp
)
# A reduction with numbers, such as divisor(100): see `reductions`.
ReductionText = NewType("ReductionText", str)
Reduction = Literal["active", "all", "anchor", "class", "sum", "none"] | ReductionText
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
WeightRegulariser = Literal["center_invariant", "regular_face", "norm"]
LosslessForm = Literal["safe", "original"]
ElasticForm = Literal["arc", "cos"]
PenaltyForm = Literal["O", "Ds", "Dq", "Iu", "Ib"]


class Bound(NamedTuple):
    """Which numbers a setting may be; an end that is open is not among them."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def holds(self, value: Any) -> bool:
        """Whether a value is no number that is known, or is inside."""
        if isinstance(value, jax.core.Tracer):
            return True
        if isinstance(value, jax.Array | np.ndarray) and not value.ndim:
            value = value.item()
        if not isinstance(value, numbers.Real):
            return True
        value = float(value)
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    @property
    def words(self) -> str:
        """What an error says that a value must; empty without a bound."""
        if self.low == -math.inf:
            return ""
        if self.high == math.inf:
            if self.low == 0:
                return "be greater than 0" if self.open_low else "not be negative"
            return f"be at least {self.low:g}"
        left, right = "[("[self.open_low], "])"[self.open_high]
        return f"be in {left}{self.low:g}, {self.high:g}{right}"


Positive = Annotated[float, Bound(0, open_low=True)]
NotNegative = Annotated[float, Bound(0)]
Share = Annotated[float, Bound(0, 1)]  # [0, 1]
ShareAboveNone = Annotated[float, Bound(0, 1, open_low=True)]  # (0, 1]
ShareBelowAll = Annotated[float, Bound(0, 1, open_high=True)]  # [0, 1)
Power = Annotated[float, Bound(1)]
Degrees = Annotated[float, Bound(0, 180)]
AcuteDegrees = Annotated[float, Bound(0, 90, open_low=True, open_high=True)]
Size = Annotated[int, Bound(1)]
Count = Annotated[int, Bound(0)]


def check_choice(name: str, value: str, choices: Any) -> None:
    """Raises `UsageError` unless the value is one of a `Literal`."""
    if value not in get_args(choices):
        raise UsageError(
            f"{name}={value} is not known: use one of {', '.join(get_args(choices))}"
        )
