"""The config of a training as typed, frozen records, read once at the edge.

configs/default.py says what each field means and shows its value; this module has the
types and the allowed values. `from_dict` makes the records from the
`ml_collections.ConfigDict` of a command, or from a run's config.json; its error names
the field that does not fit. Checks that need the data (does it have that fold?) are
made where the data is read.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic
from ml_collections import ConfigDict
from pydantic import Field
from pydantic.dataclasses import dataclass

from siamjax.types import UsageError

Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Above0 = Annotated[float, Field(gt=0, allow_inf_nan=False)]
AtLeast0 = Annotated[float, Field(ge=0, allow_inf_nan=False)]

# The value of `Config.decide_with` that leaves the choice to validation.
BEST = "best"

# For every record: an unknown field is an error.
STRICT = pydantic.ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DataConfig:
    """Which prepared data, how it is cut into windows, what each capture is used
    for."""

    dir: Annotated[str, Field(min_length=1)]
    counts_dir: str = ""  # older runs have no such field
    bin_s: Above0
    bins: Positive
    hop_s: AtLeast0
    baseline_s: AtLeast0
    baseline: Literal["session", "none"] = "session"  # older runs have no such field
    floor: AtLeast0
    clip: AtLeast0
    test_captures: tuple[str, ...] = ()  # older runs have no such field
    valid_captures: tuple[str, ...] = ()  # the same
    folds: Positive
    test_fold: int
    valid_fold: int
    novel_valid: tuple[str, ...]
    novel: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BatchConfig:
    """What a batch is made of."""

    conditions: Positive
    made_up: NotNegative
    per_condition: Positive
    batch_from: Literal["all", "one_session"]
    tuples: Literal["all", "pairs", "triplets", "branches"]
    similar: Share


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MadeUpConfig:
    """How windows of a made-up condition are changed."""

    kinds: tuple[str, ...]
    share: tuple[Share, Share]
    strength: AtLeast0
    severity: tuple[AtLeast0, AtLeast0]
    on_off: Share
    ramp: Share
    mixed: Share


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EncoderConfig:
    """The trunk that all heads read."""

    hidden: Annotated[tuple[Positive, ...], Field(min_length=1)]
    bidirectional: bool
    pooling: Literal["mean_max", "last", "attention"]
    clip: AtLeast0 = 0.0  # older runs have no such field and did not clip
    norm: str
    momentum: Share
    frozen_share: Share


@dataclass(frozen=True, kw_only=True, config=STRICT)
class HeadConfig:
    """One head, its loss, and the weight of the statistics beside its point."""

    dim: Positive
    norm: Literal["unit", "sigmoid", "none"]
    loss: str
    weight: float
    features: str
    statistics_weight: AtLeast0


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OptimizerConfig:
    """AdamW with a warm-up and a cosine decay, behind gradient clipping."""

    learning_rate: Above0
    warmup: NotNegative
    final: AtLeast0
    weight_decay: AtLeast0
    clip_norm: Above0


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """All of configs/default.py. A head that is None is switched off."""

    seed: int
    steps: Positive
    platform: Literal["", "cpu", "gpu", "tpu", "cuda", "rocm"]
    data: DataConfig
    batch: BatchConfig
    made_up: MadeUpConfig
    encoder: EncoderConfig
    heads: dict[str, HeadConfig | None]
    decide_with: str
    optimizer: OptimizerConfig
    log_every: Positive
    evaluate_every: Positive
    draws: Positive
    trace_frames: NotNegative
    trace_windows: Positive

    @property
    def active_heads(self) -> dict[str, HeadConfig]:
        """The heads that are switched on."""
        return {name: head for name, head in self.heads.items() if head is not None}

    @property
    def deciding_head(self) -> str:
        """The head that decides; with `best` the one with the most dimensions."""
        if self.decide_with != BEST:
            return self.decide_with
        heads = self.active_heads
        return max(heads, key=lambda name: heads[name].dim)


def from_dict(plain: Mapping[str, Any] | ConfigDict) -> Config:
    """The records of a config given as nested mappings.

    Args:
      plain: of a config file, or what `to_plain` gave; lists stand for tuples.
    Raises:
      UsageError: a field is missing, is unknown, or has a value that is not allowed;
        the error names the field, the value, and what is allowed.
    """
    return validate(Config, plain)


def validate(
    kind: type,
    plain: Mapping[str, Any] | ConfigDict,
    prefix: str = "config",
    shown_in: str = "configs/default.py",
) -> Any:
    """A record of `kind` made of nested mappings; raises as `from_dict` does.

    Args:
      kind: a pydantic dataclass, such as `Config`.
      plain: its fields.
      prefix: what an error puts before the name of a field.
      shown_in: the file that shows every field, for an error.
    """
    if isinstance(plain, ConfigDict):
        plain = plain.to_dict()
    try:
        return pydantic.TypeAdapter(kind).validate_python(dict(plain))
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UsageError(_line(prefix, first, shown_in)) from None


def to_plain(config: Any) -> dict[str, Any]:
    """A record as JSON has it: nested dicts, lists in place of tuples."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def _line(prefix, error, shown_in):
    """An error of pydantic as one line: the field, its value, what is allowed."""
    field = ".".join([prefix, *map(str, error["loc"])])
    if error["type"] == "missing":
        return f"{field} is missing: {shown_in} shows every field"
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{field} is no field of the config: {shown_in} shows them all"
    allowed = error["msg"].replace("Input should be", "it must be")
    return f"{field} is {error['input']!r}: {allowed}"
