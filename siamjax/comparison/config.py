"""The config of a comparison as typed, frozen records, read once by the command.

configs/compare.py says what each field means and shows its value.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from ml_collections import ConfigDict
from pydantic import Field
from pydantic.dataclasses import dataclass

from siamjax.config import STRICT, Config, NotNegative, Positive, validate
from siamjax.experiments import settings

# What losses can be compared with; the last three need the extra `bench`.
Baseline = Literal[
    "untrained encoder",
    "WCCN",
    "mean and deviation, cosine",
    "QUANT, cosine",
    "mean and deviation",
    "whole windows",
    "dtw",
    "minirocket",
    "catch22",
]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DataSetConfig:
    """One data set: its test, and what differs from `CompareConfig.train` on it."""

    test_conditions: Positive | tuple[str, ...]  # names, or how many to draw
    ways: NotNegative = 0  # conditions that one-shot tells apart; 0: all
    source: dict[str, Any] = Field(default_factory=dict)  # see `experiments.sources`
    changes: dict[str, Any] = Field(default_factory=dict)  # nested like `Config`


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CompareConfig:
    """All of configs/compare.py."""

    seed: int
    losses: Annotated[tuple[str, ...], Field(min_length=1)]
    trials: Positive
    random_trials: NotNegative
    repeats: Annotated[int, Field(ge=2)]
    folds: Positive
    baselines: tuple[Baseline, ...]
    draws: Positive
    workers: NotNegative
    vmapped: Literal["auto", "yes", "no"]
    train: Config
    data_sets: Annotated[dict[str, DataSetConfig], Field(min_length=1)]

    def train_on(self, data_set: str) -> Config:
        """`train` with the changes of a data set."""
        changes = self.data_sets[data_set].changes
        return settings.merge_changes(
            self.train, changes, f"config.data_sets.{data_set}"
        )


def from_dict(plain: Mapping[str, Any] | ConfigDict) -> CompareConfig:
    """The records of a config given as nested mappings.

    Args:
      plain: of a config file, or what `siamjax.config.to_plain` gave. Of a data set,
        each field that is not in `DataSetConfig` is a change of `train`.
    Raises:
      UsageError: a field is missing, is unknown, or has a value that is not allowed;
        the line names the field, the value, and what is allowed.
    """
    if isinstance(plain, ConfigDict):
        plain = plain.to_dict()
    data_sets = plain.get("data_sets")
    if isinstance(data_sets, Mapping):
        data_sets = {name: _data_set(fields) for name, fields in data_sets.items()}
        plain = {**plain, "data_sets": data_sets}
    return validate(CompareConfig, plain, shown_in="configs/compare.py")


def _data_set(fields):
    """The fields of `DataSetConfig`; all other fields become its `changes`."""
    if not isinstance(fields, Mapping):
        return fields
    known = ("test_conditions", "ways", "source", "changes")
    named = {name: fields[name] for name in known if name in fields}
    others = {name: value for name, value in fields.items() if name not in known}
    return {**named, "changes": {**named.get("changes", {}), **others}}
