"""config.json of a run: what it was trained with. Every command reads it.

Each checkpoint holds a copy, which shows whether the file was changed.
"""

import dataclasses
import os
import pathlib
from typing import Any

from siamjax import files, forms
from siamjax.config import Config, from_dict, to_plain
from siamjax.types import SiamjaxError, UsageError

FILE = "config.json"
# Fields that may differ from the checkpoint: the data's folder, the kind of device.
MOVABLE = ("data.dir", "data.counts_dir", "platform")
_FORM = {
    str: object,
    "steps": int,
    "seed": float,
    "platform": str,
    "decide_with": str,
    "data": {"dir": str},
    "heads": {str: ({"dim": int, "loss": str}, None)},
}


def write_config(workdir: str | pathlib.Path, config: Config) -> None:
    """Writes the config of a run."""
    files.write_json(pathlib.Path(workdir) / FILE, to_plain(config))


def read_config(workdir: str | pathlib.Path) -> dict[str, Any]:
    """The config that `write_config` wrote, with today's names of the fields.

    Raises:
      SiamjaxError: workdir holds no run.
      files.Damaged: the file cannot be used.
    """
    path = pathlib.Path(workdir) / FILE
    if not path.exists():
        raise SiamjaxError(
            f"{workdir} holds no run: it has no {FILE}; siamjax train --workdir "
            f"{workdir} makes one"
        )
    with files.parsing(path, how_to_mend(workdir)):
        config = files.read_json(path, how_to_mend(workdir))
        forms.check_form(config, _FORM)
        if "\0" in config["data"]["dir"]:
            raise ValueError("data.dir is no path")
    return upgrade_config(config)


def upgrade_config(config: dict[str, Any]) -> dict[str, Any]:
    """The config of an older version, with today's names of the fields."""

    def upgrade_head(head):
        renamed = {("statistics_weight" if k == "skip" else k): head[k] for k in head}
        return {"features": "live", "statistics_weight": 0.0} | renamed

    heads = {
        name: head and upgrade_head(head) for name, head in config["heads"].items()
    }
    data = {"counts_dir": ""} | config["data"]
    return config | {"heads": heads, "data": data}


def parse_config(
    workdir: str | pathlib.Path, config: dict[str, Any], saved: dict[str, Any] | None
) -> Config:
    """The `Config` of what `read_config` gave, compared with the checkpoint's copy.

    Args:
      workdir: of the run.
      config: of `read_config`; `MOVABLE` fields may differ from the copy.
      saved: the copy; None: an older version kept none.
    Raises:
      files.Damaged: the two differ, or a field has a value that is not allowed.
    """
    path = pathlib.Path(workdir) / FILE
    with files.parsing(path, how_to_mend(workdir)):
        if saved is not None:
            changed = list_differences(upgrade_config(saved), config, MOVABLE)
            if changed:
                raise ValueError(f"not as in the checkpoint: {changed[0]}")
        try:
            return from_dict(config)
        except UsageError as error:
            raise ValueError(str(error)) from error


def locate_data(
    workdir: str | pathlib.Path, config: Config, meta: dict[str, Any]
) -> Config:
    """A config whose relative data.dir leads from the current folder to the data.

    The config does not change if it leads there already, if config.json names another
    folder than the checkpoint does, or if the data is gone.

    Args:
      workdir: of the run.
      config: of `parse_config`.
      meta: see `provenance.checkpoint_meta`; older ones have no place.
    """
    folder, stored = config.data.dir, meta.get("data", {}).get("dir")
    if not stored or os.path.isabs(folder) or folder != meta["config"]["data"]["dir"]:
        return config
    place = os.path.normpath(os.path.join(os.path.realpath(workdir), stored))
    if not os.path.exists(place):
        return config
    if os.path.exists(folder) and os.path.samefile(folder, place):
        return config
    data = dataclasses.replace(config.data, dir=place)
    return dataclasses.replace(config, data=data)


def list_differences(
    before: dict[str, Any], after: dict[str, Any], ignored: tuple[str, ...] = ()
) -> list[str]:
    """A text for each field in which two configs of `to_plain` differ.

    Args:
      before: the older one.
      after: the newer one.
      ignored: dotted names of fields that may differ.
    """
    old, new = _flat(before), _flat(after)
    return sorted(
        f"config.{name} was {old.get(name, 'absent')!r} and is "
        f"{new.get(name, 'absent')!r}"
        for name in (old.keys() | new.keys()) - set(ignored)
        # They are compared as text, in which NaN equals NaN and 1 is not True.
        if name not in old or name not in new or repr(old[name]) != repr(new[name])
    )


def how_to_mend(workdir: str | pathlib.Path) -> str:
    """What the user can do about a damaged file, for an error message."""
    return (
        f"move it away and start siamjax train --workdir {workdir} with the config of "
        "the run: it writes the file anew and keeps the training"
    )


def _flat(tree, prefix=""):
    """{dotted name: value} of the leaves; an empty object is a leaf."""
    if not isinstance(tree, dict) or (not tree and prefix):
        return {prefix.rstrip("."): tree}
    return {
        name: value
        for key, sub in tree.items()
        for name, value in _flat(sub, f"{prefix}{key}.").items()
    }
