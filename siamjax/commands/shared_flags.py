"""Flags that several commands have: the run, its library, networks."""

from typing import Literal

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


def define_networks(
    command: cli.Command, sessions: Literal["files", "servers"] = "files"
) -> flags.FlagHolder[list[str]]:
    """Defines --network: which network each session is of.

    Args:
      command: that has the flag.
      sessions: captures, or servers in live traffic.
    """
    meaning = {
        "files": "NAME=PATTERN,...: network of the files with such a name",
        "servers": "NAME=ADDRESS,...: network of the servers with such an address or "
        "prefix, as in core=10.1.0.0/16, with --session_by server",
    }
    return flags.DEFINE_multi_string(
        "network",
        [],
        "NAME: network of all traffic, or of all other traffic, learnt with siamjax "
        f"adapt. {meaning[sessions]}. May be repeated.",
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
