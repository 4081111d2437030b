"""Which action a policy engine should take in which condition."""

import os
import tomllib
from collections.abc import Collection
from pathlib import Path

from siamjax import text
from siamjax.types import UsageError


def read_policy(path: str | os.PathLike, conditions: Collection[str]) -> dict[str, str]:
    """{condition: action} of a TOML file with lines such as `blocked = "reroute"`.

    Args:
      path: of the file.
      conditions: all names that a verdict can have.
    Raises:
      UsageError: it cannot be read, or names what no verdict can have.
    """
    try:
        policy = tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"--policy {path}: {error.strerror}") from None
    except ValueError as error:  # no UTF-8, or no TOML
        raise UsageError(f"--policy {path} is not TOML: {error}") from None
    for name, action in policy.items():
        if not isinstance(action, str) or not action:
            raise UsageError(
                f"--policy {path}: {text.printable(name)} needs the name of an action, "
                f'as in {text.printable(name)} = "reroute"'
            )
        if name not in conditions:
            raise UsageError(
                f"--policy {path}: no verdict is named {text.printable(name)!r}; there "
                f"are {', '.join(map(text.printable, conditions))}"
            )
    return policy
