"""The config of a board of networks as typed, frozen records, read by the command.

configs/board.py says what each field means and shows its value.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from ml_collections import ConfigDict
from pydantic import Field
from pydantic.dataclasses import dataclass

from siamjax.checks import require
from siamjax.config import STRICT, Config, Positive, validate
from siamjax.experiments import settings, sources


@dataclass(frozen=True, kw_only=True, config=STRICT)
class NetworkConfig:
    """One network: the config of its trainings, and which faults are novel in them."""

    template: str  # one of `BoardConfig.templates`
    changes: dict[str, Any] = Field(default_factory=dict)  # nested like `Config`
    novel: tuple[tuple[str, ...], ...]  # for each choice, the novel faults of the test
    novel_valid: tuple[tuple[str, ...], ...]  # for each choice, those of validation
    folds: Positive  # how many folds are the test, one after the other
    trained_on: tuple[str, ...] = ()  # other networks, whose trainings are judged here
    # Its trainings are judged on other networks alone: it joins their data.
    only_moved: bool = False
    # What the data set is made of if it is missing, see `experiments.sources`.
    source: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BoardConfig:
    """All of configs/board.py."""

    settings: Annotated[tuple[str, ...], Field(min_length=1)]
    seeds: Positive
    draws: Positive
    workers: int = Field(ge=0)
    templates: dict[str, Config]
    networks: Annotated[dict[str, NetworkConfig], Field(min_length=1)]

    def train_on(self, network: str, setting: str) -> Config:
        """The config of a training on a network, under a setting."""
        about = self.networks[network]
        config = settings.merge_changes(
            self.templates[about.template], about.changes, f"config.networks.{network}"
        )
        return settings.apply_setting(config, setting)


def from_dict(plain: Mapping[str, Any] | ConfigDict) -> BoardConfig:
    """The records of a config given as nested mappings.

    Raises:
      UsageError: a field is missing, is unknown, or has a value that is not allowed;
        the line names the field, the value, and what is allowed.
    """
    config = validate(BoardConfig, plain, shown_in="configs/board.py")
    settings.check_names(config.settings)
    for name, network in config.networks.items():
        where = f"config.networks.{name}"
        require(
            network.template in config.templates,
            f"{where}.template is {network.template!r}: it must be one of "
            f"{', '.join(config.templates)}, which config.templates has",
        )
        require(
            network.novel and len(network.novel) == len(network.novel_valid),
            f"{where}.novel has {len(network.novel)} choices and novel_valid "
            f"{len(network.novel_valid)}: give both the same number, at least one; a "
            "choice may be empty",
        )
        sources.check_source(network.source, f"{where}.source")
        for other in network.trained_on:
            require(
                other in config.networks and other != name,
                f"{where}.trained_on names {other!r}: give other networks of "
                "config.networks",
            )
        helps = any(name in other.trained_on for other in config.networks.values())
        require(
            helps or not network.only_moved,
            f"network {name} is judged on other networks alone, and none of them is on "
            "the board: name one of them, too",
        )
        data = config.train_on(name, "default").data
        for setting in config.settings:
            require(
                config.train_on(name, setting).data == data,
                f"setting {setting!r} changes config.data: all settings of a board are "
                "judged on the same windows, so give it a board of its own",
            )
    return config
