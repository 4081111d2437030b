"""Runs a command in this process, which saves the start of a new process."""

import contextlib
import importlib
import io
import logging
import sys
from typing import NamedTuple

from siamjax import cli


class Done(NamedTuple):
    """The result of a command, with the names that `subprocess.run` uses."""

    returncode: int
    stdout: str
    stderr: str


def run(name, *arguments):
    """Runs `siamjax NAME ARGUMENTS`, without its signal handlers."""
    command = importlib.reload(importlib.import_module(f"siamjax.commands.{name}"))
    argv, path, log = sys.argv, list(sys.path), logging.getLogger("siamjax")
    stdout, stderr, handler, level = (
        io.StringIO(),
        io.StringIO(),
        cli.Lines(),
        log.level,
    )
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            remaining = command.COMMAND.parse([name, *map(str, arguments)])
            code = command.COMMAND.call(command.main, remaining)
    except SystemExit as ended:  # of the parser
        code = ended.code
    finally:
        log.setLevel(level)
        log.removeHandler(handler)
        sys.argv, sys.path[:] = argv, path
    return Done(code, stdout.getvalue(), stderr.getvalue())
