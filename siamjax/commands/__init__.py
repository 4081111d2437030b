"""The commands: `siamjax NAME`, `siamjax-NAME` and `python -m siamjax.NAME`."""

import difflib
import importlib
import sys
from types import ModuleType

from siamjax import cli, text, usage

NAMES = (
    "ingest",
    "label",
    "train",
    "evaluate",
    "identify",
    "monitor",
    "learn",
    "adapt",
    "list",
    "forget",
    "group",
    "export",
    "import",
    "visualize",
    "audit",
    "compare",
    "board",
    "check",
    "completion",
)


def modules() -> dict[str, ModuleType]:
    """The module of each command, in the order of `siamjax --help`."""
    return {name: importlib.import_module(f"{__name__}.{name}") for name in NAMES}


def run() -> None:
    """`siamjax COMMAND ...`."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name == "help":  # siamjax help [COMMAND]
        sys.argv[1:] = [*sys.argv[2:3], "--help"]
        name = sys.argv[1]
    if name in NAMES:
        del sys.argv[1]
        importlib.import_module(f"{__name__}.{name}").run()
    elif name in ("-h", "--help", "--helpshort", "--helpfull"):
        cli.show(usage.overview(modules()))
    elif name == "--version":
        cli.show(usage.VERSION)
    else:
        print(f"siamjax: {_refusal(name)}; see siamjax --help", file=sys.stderr)
        sys.exit(2)


def _refusal(name):
    shown = text.printable(name)
    if name.startswith("-"):
        return f"{shown} stands before the command: write siamjax COMMAND {shown}"
    near = difflib.get_close_matches(name, NAMES, 1)
    hint = f"(did you mean {near[0]}?)" if near else f"among {', '.join(NAMES)}"
    return f"there is no command {shown!r} {hint}"
