"""What MkDocs needs help with for the site (mkdocs.yml names this file as a hook).

- The API reference: a page for each part of the package, made while the site is built,
  so that the folder docs holds only pages that GitHub shows as they are meant.
- README, CHANGELOG and CONTRIBUTING are pages of the site, too.
- A link out of docs leads to such a page, or to the file in the repository. Where
  mkdocs.yml names no repository, the text of the link stands alone.
"""

import pathlib
import posixpath
import re

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = pathlib.Path(__file__).resolve().parents[2]
# A file at the root of the repository -> its page on the site.
ROOT_PAGES = {
    "README.md": "overview.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
# Single modules that have a page; every folder of the package has one.
MODULES = ("config", "types")
LINK = re.compile(r"\[([^\[\]]*)\]\(([^)\s:#]+)(#[^)\s]*)?\)")

SECTION = re.compile(r"\n+(?=(?:Args|Attributes|Returns|Raises|Yields|Reference):)")


def reference_names() -> list[str]:
    """The parts of the package that have a page, `siamjax` itself first."""
    folders = {path.parent.name for path in (ROOT / "siamjax").glob("*/__init__.py")}
    folders.discard("commands")  # `siamjax NAME --help` tells what there is to know
    return ["siamjax", *(f"siamjax.{name}" for name in sorted(folders.union(MODULES)))]


def losses_pages() -> list[str]:
    """The pages of docs about the losses, of which a script writes most."""
    docs = ROOT / "docs"
    index = docs / "losses" / "index.md"
    families = sorted({*docs.glob("losses/*.md")} - {index})
    pages = [docs / "own_loop.md", index, *families]
    return [path.relative_to(docs).as_posix() for path in pages if path.exists()]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Adds the pages of the losses and the reference to the end of the contents."""
    reference = [{name: f"reference/{name}.md"} for name in reference_names()]
    pages = [{"The losses": losses_pages()}, {"API reference": reference}]
    config.nav = [*(config.nav or []), *pages]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are made, and those of the root of the repository."""
    for name in reference_names():
        # All of a folder's modules; of the package itself only what it promises.
        options = "    options: {show_submodules: false}\n" if "." not in name else ""
        text = f"# {name}\n\n::: {name}\n{options}"
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    for name, page in ROOT_PAGES.items():
        text = relink((ROOT / name).read_text(), "", config.repo_url)
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(
    markdown: str, page: Page, config: MkDocsConfig, files: Files
) -> str:
    """Mends the links of a page of the folder docs."""
    if page.file.generated_by:
        return markdown
    folder = posixpath.dirname(f"docs/{page.file.src_uri}")
    return relink(markdown, folder, config.repo_url)


def relink(markdown: str, folder: str, repository: str | None) -> str:
    """A page with its links as the site needs them.

    Args:
      markdown: the text of a page.
      folder: where the page lies in the repository: "" or "docs" or below it.
      repository: the address of the repository, or None.
    """
    site_folder = posixpath.relpath(folder or "docs", "docs")

    def link(match):
        text, path, anchor = match[1], match[2], match[3] or ""
        path = posixpath.normpath(posixpath.join(folder, path))
        if path in ROOT_PAGES:
            return (
                f"[{text}]({posixpath.relpath(ROOT_PAGES[path], site_folder)}{anchor})"
            )
        if path.startswith("docs/"):
            page = posixpath.relpath(path.removeprefix("docs/"), site_folder)
            return f"[{text}]({page}{anchor})"
        return f"[{text}]({repository}/blob/main/{path})" if repository else text

    return LINK.sub(link, markdown)


class Docstrings(griffe.Extension):
    """Makes Markdown of the docstrings."""

    def on_object(self, *, obj: griffe.Object, **kwargs: object) -> None:
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)
        elif obj.is_attribute and (comment := obj.source.partition("  # ")[2]):
            # What a field of a record means is a comment behind it.
            obj.docstring = griffe.Docstring(comment, parent=obj)


def as_markdown(docstring: str) -> str:
    """A docstring with formulas as code, and an empty line before each section.

    Formulas are the indented lines before the first section.
    """
    text, *sections = SECTION.split(docstring)
    lines: list[str] = []
    code = False
    for line in text.splitlines():
        indented = line.startswith("  ") and (code or not in_list(lines))
        if line and indented != code:
            lines += ["", "```text"] if indented else ["```", ""]
            code = indented
        lines.append(line.removeprefix("  ") if code else line)
    if code:
        lines.append("```")
    return "\n\n".join(["\n".join(lines), *sections])


def in_list(lines: list[str]) -> bool:
    """Whether the last line is of a list, whose further lines are indented."""
    return bool(lines) and bool(re.match(r" *(- |\d+\. )", lines[-1]))
