"""The help of the commands, as wide as the terminal, and their flags."""

import ast
import io
import pathlib
import runpy
import sys
import textwrap
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from absl import flags
from ml_collections import ConfigDict

import siamjax
from siamjax.text import terminal_width

if TYPE_CHECKING:
    from siamjax.cli import Command

VERSION = f"siamjax {siamjax.__version__}"
# Where the second column begins.
_COLUMN = 32
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


def fields(path: str, parameter: str = "") -> list[tuple[str, str, str]]:
    """Dotted name, value and comment of each field of a config file.

    Args:
      path: of the file. A field without a comment in it gets the comment of default.py.
      parameter: of its `get_config`: the text after a colon in --config.
    """
    module = runpy.run_path(path)
    config = module["get_config"](*([parameter] if parameter else []))
    default = pathlib.Path(__file__).parent / "configs" / "default.py"
    comments = _comments(default) | _comments(pathlib.Path(path))
    has_train = "train" in config  # a comparison contains the config of a training
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
    path, _, parameter = spec.partition("=")[2].partition(":")
    rows = {
        f"--config.{name}={value}": comment
        for name, value, comment in fields(path, parameter)
    }
    return [
        *_wrapped(f"fields of the config, as {path} has them:"),
        *_two_columns(rows),
    ]


def _is_required(flag):
    return not all(validator.checker(None) for validator in flag.validators)


def _shown(flag):
    return f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}={_kind(flag)}"


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
    """Lines of filled paragraphs; an indented line is not joined with others."""
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
            more = indent + "    " * bool(indent)
            lines += textwrap.wrap(
                line.strip(),
                width,
                initial_indent=indent,
                subsequent_indent=more,
                break_on_hyphens=False,
            ) or [""]
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
