"""Settings as texts: what an experiment changes in a config, and lists of them.

A setting is written like a loss (`siamjax.losses.registry`): `NAME`, or
`NAME:field=value,field=value`. Values are Python literals, else text; a value with a
comma, a plus or a colon of its own stands in parentheses:

  wide:encoder.hidden=(128,),heads.match.loss=(triplet:margin=soft,mining=hard)
"""

from collections.abc import Iterable, Mapping
from typing import Any

from siamjax import config as configs
from siamjax.checks import require
from siamjax.losses import registry


def setting_name(text: str) -> str:
    """The name of a setting."""
    return _part(text).name


def apply_setting(config: configs.Config, text: str) -> configs.Config:
    """The config with the values of a setting, which may add heads.

    Raises:
      UsageError: the text is no setting, a field is unknown, or its value not allowed.
    """
    changes: dict[str, Any] = {}
    for field, value in _part(text).given.items():
        *path, last = field.split(".")
        fields = changes
        for step in path:
            fields = fields.setdefault(step, {})
        fields[last] = value
    return merge_changes(config, changes)


def merge_changes(
    config: configs.Config, changes: Mapping[str, Any], prefix: str = "config"
) -> configs.Config:
    """The config with other values of some fields.

    Args:
      config: of a training.
      changes: nested like the config.
      prefix: what an error puts before the name of a field.
    Raises:
      UsageError: a field is unknown, or its value not allowed.
    """
    plain = configs.to_plain(config)
    _update(plain, changes)
    return configs.validate(configs.Config, plain, prefix)


def split_list(text: str) -> tuple[str, ...]:
    """The settings or losses of a list with commas.

    A piece `key=value` belongs to the item before it:
    `triplet:margin=soft,mining=hard,my_module.mine` has two items.
    """
    items: list[str] = []
    for piece in registry.split_outside_brackets(text, ","):
        key, equals, _ = piece.partition("=")
        if equals and ":" not in key and items:
            items[-1] += f",{piece}"
        else:
            items.append(piece.strip())
    return tuple(items)


def check_names(texts: Iterable[str]) -> None:
    """Raises `UsageError` where two different settings have one name."""
    by_name: dict[str, str] = {}
    for text in texts:
        other = by_name.setdefault(setting_name(text), text)
        require(
            other == text,
            f"two settings are named {setting_name(text)}: {other!r} and {text!r}",
        )


def _part(text):
    parts = registry.parse(text)
    require(
        len(parts) == 1 and parts[0].name,
        f"setting {text!r} is not NAME:field=value,field=value",
    )
    return parts[0]


def _update(plain, changes):
    for field, value in changes.items():
        if isinstance(value, Mapping) and isinstance(plain.get(field), dict):
            _update(plain[field], value)
        else:
            plain[field] = value
