"""Runs the commands of documents again and puts their new output behind them.

In a block of ```console a line that begins with `$ ` is a command, which goes on after
a backslash; what follows is its output. A comment before the block says how many lines
are kept, first and last: <!-- lines 3 5 -->; without one all are. Where one fails
nothing is written. All figures of the README, in a fresh clone (10 minutes), where its
first command makes the environment of the others:

  python3 scripts/tools/refresh.py README.md
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"(?:<!-- lines (\d+) (\d+) -->\n)?```console\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"^\$ (?:.*\\\n)*.*\n", re.MULTILINE)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("documents", nargs="+", help="Markdown files")
    for document in map(pathlib.Path, parser.parse_args().documents):
        document.write_text(refreshed(document.read_text(), run))


def refreshed(text, run):
    """A document's text with new output; `run(command)` gives it."""

    def block(match):
        first, last, body = match.groups()
        lines = [int(first), int(last)] if first else None
        parts = [c + shortened(run(c[2:]), lines) for c in COMMAND.findall(body)]
        head = match.group()[: match.start(3) - match.start()]
        return f"{head}{''.join(parts)}```"

    return BLOCK.sub(block, text)


def shortened(output, lines):
    """Output of which `lines` = (first, last) are kept, or all where it is None."""
    rows = [row.rstrip() for row in COLOUR.sub("", output).strip("\n").split("\n")]
    if lines and len(rows) > sum(lines) + 1:
        rows = [*rows[: lines[0]], "...", *rows[len(rows) - lines[1] :]]
    return "".join(f"{row}\n" for row in rows if row or len(rows) > 1)


def run(command):
    """What a command prints, in the repository's folder and its environment."""
    print(f"$ {command}", end="", file=sys.stderr, flush=True)
    path = f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=ROOT, text=True,
        env=dict(os.environ, PATH=path), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{done.stdout}\nexit code {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    main()
