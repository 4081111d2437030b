"""Prints a script for the shell that completes commands and flags.

Examples, for ~/.bashrc, ~/.zshrc and ~/.config/fish/config.fish:

  source <(siamjax completion bash)
  source <(siamjax completion zsh)
  siamjax completion fish | source
"""

from collections.abc import Sequence

from absl import flags

from siamjax import cli, usage
from siamjax.types import UsageError

COMMAND = cli.Command("siamjax completion", __doc__, arguments="bash|zsh|fish")

_BASH = """\
_siamjax() {{
  local command=${{COMP_WORDS[0]#siamjax}} word=${{COMP_WORDS[COMP_CWORD]}} flags
  command=${{command#-}}
  if [ -z "$command" ]; then
    if [ "$COMP_CWORD" -eq 1 ]; then
      COMPREPLY=($(compgen -W "{names} --help --version" -- "$word"))
      return
    fi
    command=${{COMP_WORDS[1]}}
  fi
  case $command in
{cases}
  esac
  COMPREPLY=()
  [[ $word == -* ]] && COMPREPLY=($(compgen -W "$flags" -- "$word"))
}}
complete -o default -o bashdefault -F _siamjax siamjax {scripts}
"""


def main(argv: Sequence[str]) -> None:
    shell = argv[1] if len(argv) == 2 else ""
    if shell not in ("bash", "zsh", "fish"):
        raise UsageError(
            "name the shell, bash, zsh or fish: source <(siamjax completion bash)"
        )
    print(_fish() if shell == "fish" else _bash(for_zsh=shell == "zsh"))


def list_flags() -> dict[str, list[flags.Flag]]:
    """{command: its flags}, without --help, which every command has."""
    from siamjax import commands

    return {
        name: usage.own_flags(module.COMMAND)
        for name, module in commands.modules().items()
    }


def _bash(for_zsh):
    defined = list_flags()
    cases = "\n".join(
        f"    {name}) flags='--help {' '.join(f'--{flag.name}' for flag in shown)}' ;;"
        for name, shown in defined.items()
    )
    scripts = " ".join(f"siamjax-{name}" for name in defined)
    script = _BASH.format(names=" ".join(defined), cases=cases, scripts=scripts)
    start = "autoload -U +X compinit bashcompinit && compinit && bashcompinit\n"
    return (start if for_zsh else "") + script.rstrip()


def _fish():
    from siamjax import commands

    lines = ["complete -c siamjax -l version -d 'Show the version.'"]
    for name, options in list_flags().items():
        about = _quoted(usage.summary(commands.modules()[name].__doc__))
        lines.append(
            f"complete -c siamjax -n __fish_use_subcommand -a {name} -d {about}"
        )
        for flag in options:
            value = "" if flag.boolean else " -r"
            what = f"-l {flag.name}{value} -d {_quoted(usage.about_flag(flag))}"
            lines += [
                f"complete -c siamjax -n '__fish_seen_subcommand_from {name}' {what}",
                f"complete -c siamjax-{name} {what}",
            ]
    return "\n".join(lines)


def _quoted(text):
    """Text in single quotes, as fish reads it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def run() -> None:
    COMMAND.run(main)


if __name__ == "__main__":
    run()
