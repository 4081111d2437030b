"""Flags that several commands have: the run, its library, a network."""

from absl import flags

from siamjax import cli


def define_run(command: cli.Command) -> flags.FlagHolder[str]:
    """Defines --workdir: the run that a command uses."""
    return flags.DEFINE_string(
        "workdir", None, "An evaluated run.", command.flags, required=True
    )


def define_library(command: cli.Command) -> flags.FlagHolder[str | None]:
    """Defines --library: the folder of examples and networks."""
    return flags.DEFINE_string(
        "library",
        None,
        "Folder of examples and networks that were learnt; by default that of the run.",
        command.flags,
    )


def define_network(command: cli.Command) -> flags.FlagHolder[str | None]:
    """Defines --network: the one network that all captures come from."""
    return flags.DEFINE_string(
        "network",
        None,
        "Network of the captures, learnt with siamjax adapt.",
        command.flags,
    )


def define_library_or_run(
    command: cli.Command,
) -> tuple[flags.FlagHolder[str | None], flags.FlagHolder[str | None]]:
    """Defines --workdir and --library, of which a command needs one."""
    workdir = flags.DEFINE_string(
        "workdir", None, "A run, for its library.", command.flags
    )
    library = flags.DEFINE_string("library", None, "Another folder.", command.flags)
    return workdir, library
