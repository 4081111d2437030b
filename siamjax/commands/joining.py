"""The flags by which several processes run a command together, on one host or many."""

import contextlib

from absl import flags

from siamjax import cli


class Joining:
    """The flags of a command, and the connection that they ask for."""

    def __init__(self, command: cli.Command, restarted: str) -> None:
        """Defines the flags.

        Args:
          command: that several processes may run.
          restarted: what the command does if it is started again after a process was
            lost, for the line with which the others end.
        """
        self._command, self._restarted = command, restarted
        values = command.flags
        self._distributed = flags.DEFINE_bool(
            "distributed",
            False,
            "Work with all processes of this job; JAX asks the cluster for them.",
            values,
        )
        self._coordinator = flags.DEFINE_string(
            "coordinator_address",
            None,
            "HOST:PORT at which the first process listens, without --distributed.",
            values,
        )
        self._processes = flags.DEFINE_integer(
            "num_processes",
            None,
            "How many processes work together, without --distributed.",
            flag_values=values,
            lower_bound=1,
        )
        self._process = flags.DEFINE_integer(
            "process_id",
            None,
            "Number of this process, from 0, without --distributed.",
            flag_values=values,
            lower_bound=0,
        )

    def connected(self) -> contextlib.AbstractContextManager[None]:
        """The context in which this process works, alone or with others.

        Raises what `training.connection.connected` does.
        """
        # Imported after the flags: wrong usage is answered at once.
        from siamjax.training import connection

        address = connection.Address(
            self._coordinator.value, self._processes.value, self._process.value
        )
        if self._distributed.value or any(value is not None for value in address):
            name = self._command.name
            debug = bool(self._command.flags["debug"].value)
            return connection.connected(
                address, command=name, restarted=self._restarted, debug=debug
            )
        return contextlib.nullcontext()
