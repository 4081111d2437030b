"""The help of the commands, as wide as the terminal; their flags and config files."""

import ast
import io
import os
import pathlib
import re
import runpy
import sys
import textwrap
import tokenize
import traceback
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from absl import flags
from ml_collections import ConfigDict
from ml_collections.config_flags import config_flags

import siamjax
from siamjax.text import terminal_width
from siamjax.types import UsageError

if TYPE_CHECKING:
    from siamjax.cli import Command

VERSION = f"siamjax {siamjax.__version__}"
# Where the second column begins.
_COLUMN = 32
# What a config file has to be, for an error message.
_CONFIG_FILE = (
    "give a Python file whose get_config() returns an ml_collections.ConfigDict, such "
    "as configs/default.py"
)
_SHARED = {
    "-h, --help": "This text.",
    "--helpfull": "Also the flags of absl.",
    "--version": "The version of siamjax.",
}


def asked_for(command: "Command", argv: Sequence[str]) -> str:
    """The help or the version if the arguments ask for it, else ''."""
    given = set(argv[1 : argv.index("--")] if "--" in argv else argv[1:])
    if "--version" in given:
        return VERSION
    if "--helpfull" in given:
        return f"{_help(command, argv)}\n\nflags of absl:\n{flags.FLAGS.get_help()}"
    if given & {"-h", "--help", "--helpshort"}:
        return _help(command, argv)
    return ""


def overview(commands: Mapping[str, ModuleType]) -> str:
    """The help of `siamjax` itself: a line for each command."""
    about = {name: summary(module.__doc__) for name, module in commands.items()}
    return "\n".join(
        [
            "usage: siamjax COMMAND [flags]",
            "",
            *_wrapped(summary(siamjax.__doc__)),
            "",
            "commands:",
            *_two_columns(about, 14),
            "",
            *_wrapped(
                "siamjax COMMAND --help shows the flags of one. The shell completes "
                "them after: source <(siamjax completion bash)"
            ),
        ]
    )


def summary(doc: str | None) -> str:
    """The first line of a docstring."""
    return (doc or "").strip().splitlines()[0]


def own_flags(command: "Command") -> list[flags.Flag]:
    """The flags that a command defines, not those of absl, in order of definition."""
    if command.flags is flags.FLAGS:  # of a script
        return flags.FLAGS.get_key_flags_for_module(sys.argv[0])
    return [command.flags[name] for name in command.flags if name not in flags.FLAGS]


class ConfigParser(config_flags.ConfigFileFlagParser):
    """Reads the file of --config; its errors say what is wrong with the file.

    That of ml_collections accepts a file that does not exist and a `get_config` that
    returns None, and puts a traceback into its message.
    """

    def parse(self, path: str) -> ConfigDict:
        return load_config(path).lock()


def load_config(spec: str) -> ConfigDict:
    """The config that a file gives.

    Args:
      spec: PATH, or PATH:TEXT where its `get_config` takes a text.
    Raises:
      UsageError: there is no such file, it fails, or it gives no `ConfigDict`.
    """
    path, *parameter = spec.split(":", 1)
    if not os.path.isfile(path):
        what = f"there is no file {path}" if path else "the value is empty"
        raise UsageError(f"{what}: {_CONFIG_FILE}")
    try:
        get_config = runpy.run_path(path).get("get_config")
        if not callable(get_config):
            raise UsageError(f"{path} has no function get_config(): {_CONFIG_FILE}")
        config = get_config(*parameter)
    except UsageError:
        raise
    except Exception as error:  # a config is any program
        lines = [
            f.lineno
            for f in traceback.extract_tb(error.__traceback__)
            if f.filename == path
        ]
        where = f"{path}, line {lines[-1]}" if lines else path
        reason = f"{type(error).__name__}: {error}"
        raise UsageError(f"{where}: the config fails with {reason}") from error
    if not isinstance(config, ConfigDict):
        kind = "None" if config is None else f"a {type(config).__name__}"
        raise UsageError(f"get_config() of {path} returns {kind}: {_CONFIG_FILE}")
    return config


def refuse_empty(command: "Command", arguments: Sequence[str]) -> None:
    """Raises UsageError for a flag or an argument that is given empty.

    A path that is empty would be the current folder. Mostly it comes from a variable
    of the shell that is not set.

    Args:
      command: whose flags were parsed.
      arguments: the program's name and the arguments that are not flags.
    """
    for flag in own_flags(command):
        if "." in flag.name:  # a field of the config: `config` says what it may be
            continue
        if flag.present and flag.value in ("", [], [""]):
            raise UsageError(
                f"--{flag.name} is empty: write --{flag.name}={_kind(flag)}; see "
                f"{command.name} --help"
            )
    if "" in arguments[1:]:
        raise UsageError(
            f"an argument is empty: give {command.arguments or 'none'}; see "
            f"{command.name} --help"
        )


def explain_flag_error(command: "Command", error: Exception) -> str:
    """An error of absl about a flag, in one line: what was given, what is allowed."""
    line = str(error)
    missing = re.findall(r"flag (--\S+)=None: Flag --", line)
    if missing:
        line = f"{' and '.join(missing)} must be given"
    elif isinstance(error, flags.UnrecognizedFlagError):
        near = line.partition("Did you mean: ")[2].rstrip(" ?")
        hint = f" (did you mean --{near}?)" if near else ""
        line = f"there is no flag --{error.flagname}{hint}"
    elif isinstance(error, flags.CantOpenFlagFileError):
        reason = error.__context__
        assert isinstance(reason, OSError)  # of `open`, see absl
        line = f"--flagfile={reason.filename}: {reason.strerror}: give a file of flags"
    elif line.startswith("flag --"):
        given = line.removeprefix("flag ").removesuffix(f": {error.__context__}")
        name = given.removeprefix("--").partition("=")[0]
        allowed = _allowed(command.flags[name]) if name in command.flags else ""
        line = line.removeprefix("flag ")
        line = f"{given}: it must be {allowed}" if allowed else line
    return f"{' '.join(line.split())}; see {command.name} --help"


def fields(spec: str) -> list[tuple[str, str, str]]:
    """Dotted name, value and comment of each field of a config file.

    Args:
      spec: see `load_config`. A field without a comment in the file gets the comment of
        default.py.
    """
    config = load_config(spec)
    default = pathlib.Path(__file__).parent / "configs" / "default.py"
    comments = _comments(default) | _comments(pathlib.Path(spec.partition(":")[0]))
    # A comparison and a board contain whole configs of trainings, too long for a help.
    has_train = "train" in config or "templates" in config
    return [
        (name, _short(value), comments.get(name, ""))
        for name, value in _flat(config, deep=not has_train)
    ]


def _help(command, argv):
    """The help of one command."""
    shown = [flag for flag in own_flags(command) if flag.name != "debug"]
    required = [flag for flag in shown if _is_required(flag)]
    optional = [flag for flag in shown if not _is_required(flag)]
    shared = {"--debug": command.flags["debug"].help, **_SHARED}
    words = [f"--{flag.name}={_kind(flag)}" for flag in required]
    usage = [command.name, *words, "[flags]", command.arguments]
    lines = [*_wrapped(f"usage: {' '.join(filter(None, usage))}"), ""]
    lines += _wrapped(command.doc)
    for title, group in (("required", required), ("optional", optional)):
        if group:
            rows = {_shown(flag): about_flag(flag) for flag in group}
            lines += ["", f"{title}:", *_two_columns(rows)]
    lines += ["", "of every command:", *_two_columns(shared)]
    if command.config:
        lines += ["", *_config_help(argv)]
    return "\n".join(lines)


def _config_help(argv):
    spec = next(value for value in argv if value.lstrip("-").startswith("config="))
    spec = spec.partition("=")[2]
    rows = {
        f"--config.{name}={value}": comment for name, value, comment in fields(spec)
    }
    return [
        *_wrapped(f"fields of the config, as {spec.partition(':')[0]} has them:"),
        *_two_columns(rows),
    ]


def _is_required(flag):
    return not all(validator.checker(None) for validator in flag.validators)


def _shown(flag):
    return f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}={_kind(flag)}"


def _allowed(flag):
    """What absl says of the values of a flag; '': nothing."""
    if values := getattr(flag.parser, "enum_values", None):
        return f"one of {', '.join(values)}"
    return "true or false" if flag.boolean else flag.parser.syntactic_help


def _kind(flag):
    """What is written after the `=` of a flag."""
    if values := getattr(flag.parser, "enum_values", None):
        return "|".join(values)
    kind = flag.parser.flag_type() if flag.parser else ""
    return {"int": "NUMBER", "float": "NUMBER"}.get(kind, "TEXT")


def about_flag(flag: flags.Flag) -> str:
    """The help of a flag with its default, without the text that absl adds."""
    about = flag.help or ""
    if about.startswith("<"):
        about = about.partition(": ")[2]
    about = about.partition(";\n")[0]  # then absl says how often it may be given
    if flag.default in (None, "", [], False):
        return about
    return f"{about} (by default {str(flag.default_as_str).strip(chr(39))})"


def _wrapped(text):
    """Lines of filled paragraphs; an indented line is a command for the shell.

    A command is not joined with others. Where it is longer than the terminal is wide,
    a backslash goes on, so that what is copied still runs.
    """
    lines, width = [], terminal_width()
    for paragraph in textwrap.dedent(text).strip().split("\n\n"):
        filled = []
        for line in paragraph.splitlines():
            if line.startswith(" ") or not filled or filled[-1].startswith(" "):
                filled.append(line)
            else:
                filled[-1] += f" {line}"
        for line in filled:
            indent = " " * (len(line) - len(line.lstrip()))
            goes_on = " \\" if indent else ""
            parts = textwrap.wrap(
                " ".join(line.split()),
                width - len(goes_on),
                initial_indent=indent,
                subsequent_indent=indent + "    " * bool(indent),
                break_on_hyphens=False,
            ) or [""]
            lines += [*(f"{part}{goes_on}" for part in parts[:-1]), parts[-1]]
        lines.append("")
    return lines[:-1]


def _two_columns(rows, column=_COLUMN):
    """Lines `key  value` of a dict; the value is wrapped inside its column."""
    lines = []
    for left, right in rows.items():
        indent = " " * column
        text = textwrap.wrap(
            right, terminal_width(), initial_indent=indent, subsequent_indent=indent
        )
        left = f"  {left}"
        if text and len(left) + 2 <= column:
            left = left.ljust(column) + text.pop(0).lstrip()
        lines += [
            *textwrap.wrap(left, terminal_width(), subsequent_indent="    "),
            *text,
        ]
    return lines


def _flat(config, deep, prefix=""):
    """(dotted name, value) of each field that has no fields inside."""
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            if deep:
                yield from _flat(value, deep, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _short(value):
    """A value as text, without the middle of a long tuple."""
    if isinstance(value, tuple) and len(value) > 4:
        return f"({value[0]!r}, ..., {value[-1]!r})"
    return repr(value)


def _comments(path):
    """{dotted name of a field: the comment after it} in the source of a config."""
    source = path.read_text()
    comment = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    return {
        name: comment[line]
        for statement in ast.walk(ast.parse(source))
        if isinstance(statement, ast.Assign)
        for name, line in _places(_dotted(statement.targets[0]), statement.value)
        if line in comment
    }


def _places(name: str, value: Any) -> Iterator[tuple[str, int]]:
    """(dotted name, last line) of the fields that an assignment sets."""
    root, _, rest = name.partition(".")
    if root == "config" and rest:
        if isinstance(value, ast.Call) and _dotted(value.func) in (
            "dict",
            "ConfigDict",
        ):
            for argument in value.args:
                yield from _places(name, argument)
            for keyword in value.keywords:
                yield from _places(f"{name}.{keyword.arg}", keyword.value)
        else:
            yield rest, value.end_lineno


def _dotted(node):
    """The dotted name of an expression such as `config.data.dir`; else ''."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (base := _dotted(node.value)):
        return f"{base}.{node.attr}"
    return ""
