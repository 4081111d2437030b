"""The pages: their links and what they name exist, and the site builds."""

import ast
import functools
import pathlib
import pkgutil
import re
import subprocess
import sys
import textwrap

import pytest
import yaml

from scripts.tools import site_pages
from siamjax import commands
from siamjax.auditing import report, verdict
from siamjax.auditing.subject import Gap
from siamjax.configs import default
from tests import test_imports

ROOT = pathlib.Path(__file__).parent.parent
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("scripts/**/*.md")]
)
CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
# Also a block inside a list.
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
USE = re.compile(r"(?<![\w/.-])siamjax (\w+)(?=\s|$)([^\n]*)")
LINK = re.compile(r"\]\(([^)\s]+)\)")
# A file of the repository, as pages and commands name it.
FILE = re.compile(
    r"(?<![\w/.])(?:scripts|configs|siamjax|tests|docs)/[\w/.-]*\.(?:py|sh|md|c|cfg)\b"
)
MODULE = re.compile(r"python3? -m ((?:siamjax|scripts)[.\w]*)")
COMMAND = re.compile(r"^(?:`|\$ )?siamjax (\w+)", re.MULTILINE)
_GROUP = r"(?:data|batch|made_up|encoder|optimizer|heads\.(?:match|view))"
_FIELD = rf"{_GROUP}\.(?!json|update)[a-z_]+\b"
FIELD = re.compile(rf"(?<=config\.){_FIELD}|\b{_FIELD}(?==)|(?<=`){_FIELD}(?=`)")

each_page = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: str(page.relative_to(ROOT))
)


@functools.cache
def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    seen = {}
    for line in CODE.sub("", page.read_text()).splitlines():
        if not re.match(r"#{1,6} ", line):
            continue
        text = LINK.sub("]", line.lstrip("#").strip()).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        seen[slug] = seen.get(slug, -1) + 1
    return {
        f"{slug}-{n}" if n else slug
        for slug, last in seen.items()
        for n in range(last + 1)
    }


@each_page
def test_links_lead_to_files_and_headings_that_exist(page):
    for target in LINK.findall(CODE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), target
        assert not anchor or anchor in anchors(other), target


@each_page
def test_files_modules_and_commands_that_a_page_names_exist(page):
    text = page.read_text()
    modules = [name.replace(".", "/") for name in MODULE.findall(text)]
    for name in [*FILE.findall(text), *(f"{module}.py" for module in modules)]:
        if "NAME" not in name:  # which stands for any name
            assert (ROOT / name).exists(), name
    code = "\n".join(CODE.findall(text) + re.findall(r"`[^`\n]+`", text))
    assert set(COMMAND.findall(code)) <= {*commands.NAMES, "NAME"}


@each_page
def test_functions_and_records_that_a_page_names_exist(page):
    for name in re.findall(r"`(siamjax\.[\w.]+)\b", page.read_text()):
        if "NAME" not in name:
            pkgutil.resolve_name(name)


@each_page
def test_the_python_of_a_page_is_python(page):
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S):
        ast.parse(block)


@each_page
def test_flags_of_commands_in_a_page_exist(page):
    modules = commands.modules()
    for name, arguments in commands_of(page):
        known = set(modules[name].COMMAND.flags)
        for flag in re.findall(r"(?<!\S)--([a-z]\w*)(?![\w.])", arguments):
            assert known & {flag, flag.removeprefix("no")}, f"{name} --{flag}"


def commands_of(page):
    """`(name, its arguments)` of each line of a page's code that runs a command."""
    for language, block in BLOCK.findall(page.read_text()):
        lines = block.replace("\\\n", " ").splitlines()
        if language == "yaml":
            lines = strings_of(yaml.safe_load(textwrap.dedent(block)))
        for line in lines:
            for name, arguments in USE.findall(line):
                if name in commands.NAMES:
                    yield name, re.split(r" -- | #|[;&|)]", arguments)[0]


def strings_of(value):
    """All strings in a value of lists and mappings."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [text for inner in value for text in strings_of(inner)]
    return [value] if isinstance(value, str) else []


@each_page
def test_fields_of_the_config_that_a_page_names_exist(page):
    fields = default.get_config().to_dict()
    for name in FIELD.findall(page.read_text()):
        *groups, field = name.split(".")
        assert field in functools.reduce(dict.__getitem__, groups, fields), name


def test_the_table_of_imports_is_the_one_that_is_tested():
    text = (ROOT / "docs/architecture.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", text, re.MULTILINE)
    assert [name for name, _ in rows] == test_imports.ORDER
    for name, may_import in rows:
        only = test_imports.ONLY.get(name)
        assert set(may_import.split(", ")) == (
            {"all above"} if only is None else only or {"none"}
        )


def test_the_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", tmp_path]
    build = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert build.returncode == 0, build.stderr
    assert "contrastive" in (tmp_path / "reference/siamjax.losses.html").read_text()
    # Nothing of a page is asked for from the network.
    overview = (tmp_path / "overview.html").read_text()
    assert not re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=.https?:", overview)


def test_formulas_of_docstrings_are_code_and_sections_stand_apart():
    docstring = """Draws pairs together.

Over all pairs:

  loss = mean
       + more

- one point
  that goes on
Args:
  x: a number.
Returns:
  The loss.
Reference: Somebody, 2006."""
    expected = """Draws pairs together.

Over all pairs:


```text
loss = mean
     + more

```

- one point
  that goes on

Args:
  x: a number.

Returns:
  The loss.

Reference: Somebody, 2006."""
    assert site_pages.as_markdown(docstring) == expected


def test_links_out_of_the_folder_lead_to_pages_of_the_site_or_to_the_repository():
    page = (
        "[a](../README.md#results) [b](quality.md) [c](../tests/x.py) [d](https://e.f)"
    )
    assert site_pages.relink(page, "docs", "https://host/siamjax") == (
        "[a](overview.md#results) [b](quality.md) "
        "[c](https://host/siamjax/blob/main/tests/x.py) [d](https://e.f)"
    )
    assert site_pages.relink("[c](../tests/x.py)", "docs", None) == "c"
    readme = "![f](docs/film.gif) [t](docs/tutorials/loss.md)"
    assert (
        site_pages.relink(readme, "", None) == "![f](film.gif) [t](tutorials/loss.md)"
    )
    deeper = "[a](../../README.md) [g](../glossary.md)"
    assert site_pages.relink(deeper, "docs/tutorials", None) == (
        "[a](../overview.md) [g](../glossary.md)"
    )


def test_the_page_about_the_norm_quotes_what_the_audit_prints():
    page = (ROOT / "docs/norm.md").read_text()
    moving = Gap(0.23, 0.21, 0.25, 0.068, 0.151, 0.427, 0.85, 0.72, 0.67)
    gaps = dict(moving=moving, debiased=moving._replace(share=0.0))
    printed = verdict.decide("lag", gaps).text.partition(" In a new run:")[0]
    assert "--cure debias" in printed and printed in " ".join(page.split())
    titles = [title for name, title in report.TITLES.items() if name != "per-branch"]
    assert all(f"\n{title:30s} " in page for title in titles)
