"""Which part may import which, and what losses and scripts may not load."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent / "siamjax"
SCRIPTS = ROOT.parent / "scripts"
# Each may import those before it in the list; mains (files at the top) may import all.
ORDER = [
    "types",
    "checks",
    "text",
    "streams",
    "files",
    "forms",
    "processes",
    "config",
    "capture",
    "data",
    "models",
    "losses",
    "samplers",
    "evaluation",
    "metrics",
    "reports",
    "training",
    "inference",
    "experiments",
    "auditing",
    "identification",
    "monitoring",
    "alarms",
    "assessment",
    "comparison",
    "networks",
]
ONLY = {
    "types": set(),
    "checks": {"types"},
    "text": set(),
    "streams": set(),
    "files": {"types"},
    "forms": set(),
    "processes": set(),
    "losses": {"types", "checks"},
    "samplers": {"types", "checks", "streams"},
    "config": {"types"},
    "models": {"types", "checks", "config", "data"},
    "evaluation": {"types", "checks", "text", "forms"},
    "metrics": {"types", "checks", "evaluation"},
}
# A tool at the end of a part that is itself a command.
COMMANDS = {"losses/check.py": {"commands", "files"}}


def part(path):
    relative = path.relative_to(ROOT)
    return relative.parts[0].removesuffix(".py")


def imported_names(path):
    """What a file imports, wherever in it, with the module before each name."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def imported_parts(path):
    """Parts of siamjax that a file imports."""
    names = [name.split(".") for name in imported_names(path)]
    parts = {name[1] for name in names if name[0] == "siamjax" and len(name) > 1}
    return parts & {p.name.removesuffix(".py") for p in ROOT.iterdir()}


@pytest.mark.parametrize(
    "path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_imports_go_down_the_list_only(path):
    name = part(path)
    if name not in ORDER:  # a main, or the package itself
        return
    allowed = ONLY.get(name, set(ORDER[: ORDER.index(name)])) | {name}
    allowed |= COMMANDS.get(str(path.relative_to(ROOT)), set())
    assert imported_parts(path) <= allowed


@pytest.mark.parametrize(
    "path", sorted(SCRIPTS.rglob("*.py")), ids=lambda p: str(p.relative_to(SCRIPTS))
)
def test_scripts_import_no_tests_and_leave_the_search_path_alone(path):
    assert not [name for name in imported_names(path) if name.startswith("tests")]
    assert "sys.path" not in path.read_text()


def test_losses_load_no_reader_no_checkpoints_no_tensorboard():
    code = (
        "import sys, siamjax.losses; "
        "print(*{m.split('.')[0] for m in sys.modules} & "
        "{'dpkt', 'orbax', 'tensorboard', 'matplotlib'})"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == ""
