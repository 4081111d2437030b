"""Runs a command: flags, help, exit codes, errors in one line, import path.

Exit codes: 0 done, also after `--help`; 1 the work failed; 2 wrong usage or config; 3
the audit found a gap; 130 and 143 interrupted by Ctrl-C and SIGTERM, after the state
was saved if there is one; 141 nobody reads the output, as in `| head`. Control
characters in names from the data are not printed.
"""

import ast
import contextlib
import errno
import logging
import os
import pathlib
import re
import signal
import sys
import threading
from collections.abc import Callable, Sequence

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags
from tqdm import tqdm

from siamjax import text, usage
from siamjax.types import Interrupted, SiamjaxError, UsageError

# 128 + SIGPIPE, as if the signal had ended the program.
_PIPE_CLOSED = 141
# After this time a signal that could not be raised is sent again: most destructors and
# callbacks have ended by then.
_AGAIN_S = 0.1
_PACKAGE = pathlib.Path(__file__).parent
# The configs that come with the package; a clone has the same folder at its top.
CONFIGS = _PACKAGE / "configs"

Main = Callable[[Sequence[str]], int | None]


class Command:
    """A command with its own flags: importing it adds none to `flags.FLAGS`."""

    def __init__(
        self,
        name: str,
        doc: str | None,
        *,
        arguments: str = "",
        config: str = "",
        values: flags.FlagValues | None = None,
    ) -> None:
        """Defines the command; its module then defines flags with `self.flags`.

        Args:
          name: its name in help and errors, such as `siamjax train`.
          doc: its help: a line that says what it does, and an example.
          arguments: how the usage line shows arguments that are not flags.
          config: the default file of --config. It is not the default of the flag: absl
            reads that on import, where an error cannot be caught.
          values: holds the flags; by default a new one.
        """
        self.name, self.doc, self.arguments = name, doc or "", arguments
        self.config = config
        self._arguments: list[str] = []
        self.flags = flags.FlagValues() if values is None else values
        self.flags.set_gnu_getopt()  # flags may come after arguments
        flags.DEFINE_bool("debug", False, "Show the traceback of an error.", self.flags)

    def define_config(self, about: str) -> flags.FlagHolder:
        """Defines --config, whose value is a `ConfigDict`; its fields are flags too.

        ml_collections reads the arguments already when the flag is defined. There an
        error in them, such as a --flagfile that is missing, could not be caught. So it
        gets them from `parse`.

        Args:
          about: its help.
        """
        return config_flags.DEFINE_config_file(
            "config", None, about, self.flags, sys_argv=self._arguments
        )

    def run(self, main: Main) -> None:
        """Runs `main` with `sys.argv`; exits with a code of the module's docstring.

        Args:
          main: is called with the program's name and the arguments that are not flags.
        """
        signal.signal(signal.SIGTERM, _terminate)
        sys.unraisablehook = _send_signal_again
        if hasattr(sys.stdout, "reconfigure"):  # for names that are not UTF-8
            sys.stdout.reconfigure(errors="backslashreplace")
        _log_to_stderr()
        try:
            app.run(
                lambda argv: sys.exit(self.call(main, argv)), flags_parser=self.parse
            )
        except _Terminated as error:
            sys.exit(self._fail(error, error.code))
        except KeyboardInterrupt:
            sys.exit(self._fail(KeyboardInterrupt("interrupted"), 130))

    def call(self, main: Main, argv: Sequence[str]) -> int:
        """Runs `main(argv)`, prints an error in one line, and returns the exit code."""
        try:
            code = main(argv) or 0
            if sys.stdout is not None:  # it is None after `>&-`
                sys.stdout.flush()  # a full disk shows here, not after the exit
            return code
        except UsageError as error:
            return self._fail(error, 2)
        except Interrupted as error:
            return self._fail(error, error.code)
        except BrokenPipeError:
            return _pipe_closed()
        except SiamjaxError as error:
            return self._fail(error, 1)
        except OSError as error:
            return self._fail(_with_remedy(error), 1)
        except MemoryError as error:
            return self._fail(MemoryError(f"not enough memory: {error}"), 1)

    def parse(self, argv: Sequence[str]) -> list[str]:
        """Parses the flags; wrong usage exits with one line and 2, help with 0.

        Returns:
          The program's name and the arguments that are not flags.
        """
        try:
            sys.argv = argv = self._with_config(list(argv))
            self._arguments[:] = argv
            if self.config:
                self.flags["config"].parser = usage.ConfigParser("config")
            self._help(argv)
            if "verbosity" not in self.flags:  # absl's own; --helpfull shows them
                self.flags.append_flag_values(flags.FLAGS)
            rest = self.flags(argv)
            flags.FLAGS.mark_as_parsed()
            usage.refuse_empty(self, rest)
            return rest
        except UsageError as error:
            sys.exit(self._fail(error, 2))
        except (AttributeError, KeyError) as error:
            # ml_collections: 'stpes' Did you mean "steps" instead of "stpes"?
            hint = r'Did you mean "(.*?)" instead of ".*"\?'
            field = re.sub(hint, r"(did you mean \1?)", _line(error))
            line = f"the config has no field {field}; see {self.name} --help"
            sys.exit(self._fail(UsageError(line), 2))
        except (flags.Error, TypeError, ValueError) as error:
            line = usage.explain_flag_error(self, error)
            sys.exit(self._fail(UsageError(line), 2))

    def _help(self, argv):
        """Prints the help or the version and exits, if it was asked for."""
        if shown := usage.asked_for(self, argv):
            show(shown)
            sys.exit(0)

    def _with_config(self, argv):
        """Adds the default --config; puts the parent of its folder on the import path.

        So a console script finds `configs` and a user's modules as `python -m` does.
        """
        if not self.config:
            _extend_path(os.getcwd())
            return argv
        index = next((i for i, value in enumerate(argv) if _is_config(value)), None)
        if index is None:
            argv, index = [argv[0], f"--config={self.config}", *argv[1:]], 1
        elif "=" not in argv[index]:
            argv[index : index + 2] = ["=".join(argv[index : index + 2])]
        flag, _, spec = argv[index].partition("=")
        path, colon, parameter = spec.partition(":")
        name = os.path.basename(path)
        packaged = CONFIGS / name
        in_clone = os.path.normpath(path) == os.path.join("configs", name)
        if in_clone and not os.path.exists(path) and packaged.exists():
            argv[index] = f"{flag}={packaged}{colon}{parameter}"
            path = packaged
        _extend_path(os.getcwd(), os.path.dirname(os.path.dirname(path)))
        return argv

    def _fail(self, error, code):
        """Prints an error in one line and returns the exit code."""
        if self.flags.is_parsed() and self.flags["debug"].value:
            raise error
        print(f"{self.name}: {_line(error)}", file=sys.stderr, flush=True)
        return code


def run(main: Main, config: str = "") -> None:
    """Runs a script that defines its flags in absl's `flags.FLAGS`.

    Args:
      main: see `Command.run`.
      config: see `Command`.
    """
    name, doc = os.path.basename(sys.argv[0]), sys.modules["__main__"].__doc__
    Command(name, doc, config=config, values=flags.FLAGS).run(main)


def show(text: str) -> None:
    """Prints text; if nobody reads it, the process ends without an error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        sys.exit(_pipe_closed())


def no_arguments(argv: Sequence[str]) -> None:
    """Raises UsageError for an argument that is not a flag, such as `config=x`."""
    if len(argv) > 1:
        raise UsageError(
            f"unexpected argument {argv[1]!r}: flags are written --name=value"
        )


def _is_config(argument):
    return argument.startswith("-") and argument.lstrip("-").split("=")[0] == "config"


class _Terminated(KeyboardInterrupt):
    """SIGTERM; as after Ctrl-C, unfinished files are removed."""

    code = 143


def _terminate(number, frame):
    raise _Terminated("terminated")


def _send_signal_again(unraisable):
    """A hook for errors that Python cannot raise: Ctrl-C and SIGTERM must not be lost.

    They come at any moment, also in a destructor or a callback of a C library, where
    Python prints an error and goes on.
    """
    error = unraisable.exc_value
    if not isinstance(error, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    number = signal.SIGTERM if isinstance(error, _Terminated) else signal.SIGINT
    again = threading.Timer(_AGAIN_S, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()


class Lines(logging.Handler):
    """Writes lines to stderr without breaking a progress bar."""

    def emit(self, record):
        level = record.levelname.lower()
        mark = "" if record.levelno < logging.WARNING else f"{level}: "
        tqdm.write(mark + text.printable(record.getMessage()), file=sys.stderr)


def _log_to_stderr():
    """Shows siamjax's log from `info` on, and only fatal messages of the libraries.

    For one error, Orbax logs pages from its threads. siamjax prints the same error in
    one line, and `--debug` shows its traceback.
    """
    absl_logging.set_verbosity(absl_logging.FATAL)
    log = logging.getLogger("siamjax")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(Lines())


def _with_remedy(error):
    """An error of the system; if the disk is full or broken, with what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OSError(
            f"{_line(error)}: make room on the disk and run the same command again"
        )
    if error.errno == errno.EIO:
        return OSError(f"{_line(error)}: check the disk and run the same command again")
    return error


def _pipe_closed():
    """The exit code after `| head` has read enough; the rest of the output is lost."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _PIPE_CLOSED


def _line(error):
    """The text of an error in one line, safe to print even with names from the data.

    A KeyError puts quotes around its text, other errors around a key: both are removed.
    """
    if isinstance(error, OSError) and error.strerror:
        parts = [error.filename, error.strerror]
        return text.printable(": ".join(str(part) for part in parts if part))
    line = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    with contextlib.suppress(SyntaxError, ValueError):
        line = str(ast.literal_eval(line))
    return text.printable(" ".join(line.split()))


def _extend_path(*folders):
    """Puts folders first on the import path, except the package's own folder.

    Its `types.py` would hide that of the standard library.
    """
    folders = [os.path.abspath(folder) for folder in folders]
    sys.path[:0] = [
        folder
        for folder in dict.fromkeys(folders)
        if folder not in sys.path and folder != str(_PACKAGE)
    ]
