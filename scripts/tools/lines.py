"""Lines of each part of the repository at two commits, as a Markdown table.

  python -m scripts.tools.lines 18a50f5 HEAD

Counted are the lines of .py, .js, .css, .html, .sh, .c, .md and .cfg files in git.
"""

import argparse
import collections
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
ENDINGS = ("py", "js", "css", "html", "sh", "c", "md", "cfg")


def lines_by_part(revision: str) -> collections.Counter[str]:
    """Part of the repository -> its lines: `siamjax/data`, `tests`, `docs`, ..."""
    patterns = [f"*.{ending}" for ending in ENDINGS]
    command = ["git", "grep", "-I", "-c", "", revision, "--", *patterns]
    listed = subprocess.run(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, check=True
    )
    lines: collections.Counter[str] = collections.Counter()
    for row in listed.stdout.splitlines():
        path, _, count = row.removeprefix(f"{revision}:").rpartition(":")
        folders = pathlib.PurePath(path).parts[:-1]
        lines["/".join(folders[: 2 if folders[:1] == ("siamjax",) else 1]) or "."] += (
            int(count)
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", help="a commit")
    parser.add_argument("after", help="a later commit")
    options = parser.parse_args()
    before, after = options.before, options.after
    old, new = lines_by_part(before), lines_by_part(after)
    print(f"| part | lines at {before} | lines at {after} |\n|---|--:|--:|")
    for part in sorted({*old, *new}):
        print(f"| {part} | {old[part]} | {new[part]} |")
    print(f"| all | {old.total()} | {new.total()} |")


if __name__ == "__main__":
    main()
