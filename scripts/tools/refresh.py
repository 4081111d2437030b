"""Runs the commands of Markdown pages again and replaces their output.

In a block of ```console a line that begins with `$ ` is a command; a backslash at its
end continues it. What follows is its output. A comment before the block, for instance
<!-- lines 3 5 -->, says how many lines to keep at the beginning and at the end; without
it all are kept. If a command fails, nothing is written. To measure all figures of the
README, call this in a fresh clone (10 minutes). The first command of the README makes
the environment of the others:

  python3 -m scripts.tools.refresh README.md
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable

ROOT = pathlib.Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"(?:<!-- lines (\d+) (\d+) -->\n)?```console\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"^\$ (?:.*\\\n)*.*\n", re.MULTILINE)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="+", help="Markdown files")
    for page in map(pathlib.Path, parser.parse_args().pages):
        page.write_text(refreshed(page.read_text(), run))


def refreshed(text: str, run: Callable[[str], str]) -> str:
    """The text of a page with new output; `run(command)` gives it."""

    def new_block(match):
        first, last, body = match.groups()
        lines = (int(first), int(last)) if first else None
        head = match.group()[: match.start(3) - match.start()]
        parts = [
            command + shortened(run(command.removeprefix("$ ")), lines)
            for command in COMMAND.findall(body)
        ]
        return f"{head}{''.join(parts)}```"

    return BLOCK.sub(new_block, text)


def shortened(output: str, lines: tuple[int, int] | None) -> str:
    """The first and last lines of an output: `lines` = (first, last); None: all."""
    rows = [row.rstrip() for row in COLOUR.sub("", output).strip("\n").split("\n")]
    if lines and len(rows) > sum(lines) + 1:
        rows = [*rows[: lines[0]], "...", *rows[len(rows) - lines[1] :]]
    return "".join(f"{row}\n" for row in rows if row or len(rows) > 1)


def run(command: str) -> str:
    """What a command prints, in the repository's folder and its environment."""
    print(f"$ {command}", end="", file=sys.stderr, flush=True)
    path = f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"
    process = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=ROOT,
        env=dict(os.environ, PATH=path),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if process.returncode:
        sys.exit(f"{process.stdout}\nexit code {process.returncode}")
    return process.stdout


if __name__ == "__main__":
    main()
