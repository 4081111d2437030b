"""The one wrapper of absl's `app.run`: exit codes, one-line errors, import path.

Exit codes: 0 done, and `--help`; 1 the work failed; 2 wrong usage or config; 3 the
audit found a gap; 130 and 143 interrupted by Ctrl-C and SIGTERM, where the work has a
state after it was saved; 141 nobody reads what it shows, as in `| head`. What a command
shows has no control characters of strangers.
"""

import ast
import contextlib
import errno
import logging
import os
import signal
import sys

from absl import app, flags
from absl import logging as absl_logging
from tqdm import tqdm

from siamjax import text
from siamjax.types import Interrupted, SiamjaxError, UsageError

# 128 + SIGPIPE, as of a program that the signal ends.
_PIPE_CLOSED = 141

_DEBUG = flags.DEFINE_bool("debug", False, "Show the traceback of an error.")


def no_arguments(argv):
    """Refuses what is no flag: a mistyped `-config` or a stray word is not ignored."""
    if len(argv) > 1:
        raise UsageError(
            f"unexpected argument {argv[1]!r}: flags are written --name=value"
        )


def run(main, config=None):
    """Runs `main(argv)` under absl and exits with the code of the module's docstring.

    Args:
      main: gets the arguments that are no flags.
      config: the file that --config names where it is not given. It is no default of
        the flag, for absl reads that on import, where no error can be caught.
    """
    signal.signal(signal.SIGTERM, _terminate)
    if hasattr(sys.stdout, "reconfigure"):  # a name that is no UTF-8 ends no command
        sys.stdout.reconfigure(errors="backslashreplace")
    _extend_path(sys.argv)
    _log_to_stderr()
    if config and not any(_is_config(argument) for argument in sys.argv[1:]):
        sys.argv.insert(1, f"--config={config}")
    try:
        app.run(lambda argv: sys.exit(_guarded(main, argv)), flags_parser=_parse)
    except _Terminated as error:
        sys.exit(_say(error, 143))
    except KeyboardInterrupt:
        sys.exit(_say(KeyboardInterrupt("interrupted"), 130))


def _is_config(argument):
    return argument.lstrip("-").partition("=")[0] == "config"


class _Terminated(KeyboardInterrupt):
    """SIGTERM: like Ctrl-C, what was begun is cleared away."""


def _terminate(number, frame):
    raise _Terminated("terminated")


class _Lines(logging.Handler):
    """Lines on stderr that do not tear a progress bar."""

    def emit(self, record):
        mark = (
            "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        )
        tqdm.write(mark + text.printable(record.getMessage()), file=sys.stderr)


def _log_to_stderr():
    """What siamjax says from `info` on, of the libraries what ends the process.

    Orbax logs pages of an error in its threads; siamjax says the same error in a line,
    and `--debug` shows where it is from.
    """
    absl_logging.set_verbosity(absl_logging.FATAL)
    log = logging.getLogger("siamjax")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(_Lines())


def _guarded(main, argv):
    try:
        code = main(argv) or 0
        if sys.stdout is not None:  # `>&-`
            sys.stdout.flush()  # what cannot be written fails here, not after the exit
        return code
    except UsageError as error:
        return _say(error, 2)
    except Interrupted as error:
        return _say(error, error.code)
    except BrokenPipeError:
        return _pipe_closed()
    except SiamjaxError as error:
        return _say(error, 1)
    except OSError as error:
        return _say(_with_remedy(error), 1)
    except MemoryError as error:
        return _say(MemoryError(f"not enough memory: {error}"), 1)


def _with_remedy(error):
    """An error of the system; one that names no file says what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OSError(
            f"{_line(error)}: make room on the disk and run the same command again"
        )
    if error.errno == errno.EIO:
        return OSError(f"{_line(error)}: check the disk and run the same command again")
    return error


def _pipe_closed():
    """The exit code where `| head` has read enough; what is left to write is lost."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _PIPE_CLOSED


def _say(error, code):
    if flags.FLAGS.is_parsed() and _DEBUG.value:
        raise error
    print(f"{_program()}: {_line(error)}", file=sys.stderr, flush=True)
    return code


def _parse(argv):
    """absl's parser, but wrong usage is one line and 2, and help is no failure."""
    try:
        rest = flags.FLAGS(argv)
        if "config" in flags.FLAGS:
            flags.FLAGS.config.to_dict()  # a file that is not there shows here
        return rest
    except SystemExit:  # --help and its kin print, then exit with absl's 1
        sys.exit(0)
    except BrokenPipeError:  # of --help
        sys.exit(_pipe_closed())
    except (AttributeError, KeyError) as error:
        sys.exit(_say(f"the config has no field {_line(error)}", 2))
    except (flags.Error, TypeError, ValueError) as error:
        sys.exit(_say(error, 2))
    except (OSError, ImportError, SyntaxError, NameError) as error:
        sys.exit(_say(f"the config cannot be read: {_line(error)}", 2))


def _line(error):
    """What an error says, in one line: a key error quotes it, others quote a key's.

    It may hold names of strangers, so it is made safe to show.
    """
    if isinstance(error, OSError) and error.strerror:
        parts = [error.filename, error.strerror]
        return text.printable(": ".join(str(part) for part in parts if part))
    line = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    with contextlib.suppress(SyntaxError, ValueError):
        line = str(ast.literal_eval(line))
    return text.printable(" ".join(line.split()))


def _program():
    name = os.path.basename(sys.argv[0])
    return name.removesuffix(".py")


def _extend_path(argv):
    """A console script finds `configs` and one's own modules as `python -m` does."""
    folders = [os.getcwd()]
    for flag, value in zip(argv, [*argv[1:], ""]):
        name, _, inline = flag.lstrip("-").partition("=")
        if flag.startswith("-") and name == "config":
            path = (inline or value).split(":")[0]
            folders.append(os.path.dirname(os.path.dirname(os.path.abspath(path))))
    sys.path[:0] = [folder for folder in folders if folder not in sys.path]
