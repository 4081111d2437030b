"""Connects this process with the others of a command, and ends it as they end.

If a process fails or is lost, the others cannot go on. An error that all know is one
line of the first process, see `hosts.everywhere`. Otherwise each of them ends with one
line, which says what becomes of the work when the command is started again.
"""

import atexit
import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from typing import NamedTuple

import jax

import siamjax
from siamjax.training import hosts
from siamjax.types import Interrupted, SiamjaxError, UsageError

_LOG = logging.getLogger("siamjax")

# How long processes wait for each other: to start, until one is taken for lost, to end.
CONNECT_S, LOST_S, LEAVE_S = 300, 60, 10
# Errors of a collective operation begin with a status of gRPC.
_STATUSES = (
    *("UNKNOWN", "UNAVAILABLE", "INTERNAL", "ABORTED", "CANCELLED"),
    *("DEADLINE_EXCEEDED", "FAILED_PRECONDITION", "DATA_LOSS"),
)


class Address(NamedTuple):
    """Where this process stands among all; None: the cluster says it."""

    coordinator: str | None = None  # HOST:PORT of the first process
    processes: int | None = None
    process: int | None = None  # 0 is the first


class _Farewell:
    """How this process ends if another one is lost: a line and the exit code.

    The line is empty if an error of this process says why.
    """

    def __init__(self, line: str) -> None:
        self.line, self.code = line, 1


@contextlib.contextmanager
def connected(
    address: Address, *, command: str, restarted: str, debug: bool = False
) -> Iterator[None]:
    """Connects this process with the others; at the end waits until all are done.

    What JAX's libraries print is hidden, since they print pages when a process is lost.
    The processes that are not the first log only errors.

    Args:
      address: of this process.
      command: its name, for the line with which it ends if another process is lost.
      restarted: what it does if it is started again, for the same line.
      debug: show what JAX's libraries print.
    Raises:
      UsageError: no cluster was detected and the address is not complete, or the
        processes are of several versions.
      SiamjaxError: the others cannot be reached, or one of them failed.
      SystemExit: another process failed, and the first one says why.
    """
    with contextlib.nullcontext() if debug else _quiet_libraries():
        farewell = _Farewell(f"{command}: {_unreachable(address)}\n")
        handler = _replace_abort(farewell)
        try:
            hosts.interruptible(lambda: _initialize(address))
        except KeyboardInterrupt as error:
            # The thread that waits for the others would abort this process at its end.
            atexit.register(_leave, hosts.exit_code(error))
            raise
        farewell.line = f"{command}: {_lost(restarted)}\n"
        if not hosts.is_first():
            _LOG.setLevel(logging.ERROR)
        try:
            # Before anything else is sent: another version may not be able to read it.
            hosts.check_same(dict(versions=[siamjax.__version__, jax.__version__]))
            yield
            hosts.wait_for_all()
            _disconnect()
        except BaseException as error:
            if isinstance(error, Interrupted) or hosts.is_known_to_all(error):
                _disconnect()  # all of them end here
                if isinstance(error, hosts.FailedElsewhere) and not debug:
                    raise SystemExit(error.code) from None
                raise
            # JAX would wait for the others, which do not come, and then abort.
            farewell.line, farewell.code = "", hosts.exit_code(error)
            atexit.register(_leave, farewell.code)
            if _is_of_collective(error):
                raise SiamjaxError(_lost(restarted)) from error
            raise
        del handler  # it must live until here


def _initialize(address):
    # It would take SIGTERM for itself: the loop saves and stops all processes.
    jax.config.update("jax_enable_preemption_service", False)
    if address.coordinator is not None:
        _check_port(address.coordinator, listens=address.process == 0)
    if None not in address[1:] and address.process >= address.processes:
        raise UsageError(
            f"--process_id={address.process} must be less than "
            f"--num_processes={address.processes}"
        )
    # An address that is complete leaves nothing to detect. JAX would ask a pod for the
    # package of Kubernetes.
    detection = None if None in address else "deactivate"
    try:
        jax.distributed.initialize(
            address.coordinator,
            address.processes,
            address.process,
            cluster_detection_method=detection,
            initialization_timeout=CONNECT_S,
            heartbeat_timeout_seconds=LOST_S,
            shutdown_timeout_seconds=LEAVE_S,
        )
    except jax.errors.JaxRuntimeError as error:
        raise SiamjaxError(_unreachable(address)) from error
    except Exception as error:  # each cluster has errors of its own
        reason = " ".join(str(error).split())
        raise UsageError(
            f"these processes cannot be connected ({reason}): give all of "
            "--coordinator_address, --num_processes and --process_id, or start them "
            "with --distributed on a cluster that JAX knows (TPU, SLURM, Open MPI, "
            "Kubernetes)"
        ) from error


def _check_port(coordinator, *, listens):
    """Refuses an address without a port, and a port that the first process cannot use.

    JAX would end with a segmentation fault where it cannot listen, and share a port on
    which another process of gRPC listens.
    """
    port = coordinator.rpartition(":")[2]
    if ":" not in coordinator or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"--coordinator_address={coordinator} is not HOST:PORT")
    if not listens:
        return
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    with socket.socket(family) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("", int(port)))
        except OSError as error:
            raise SiamjaxError(
                f"the first process cannot listen on port {port} ({error.strerror}): "
                "give another --coordinator_address to all processes"
            ) from error


def _unreachable(address):
    where = address.coordinator or "the address that the cluster gives"
    return (
        f"not all processes met at {where}: start all of them within {CONNECT_S} s, "
        "each with the same --coordinator_address, a free port of the first one"
    )


def _lost(restarted):
    return (
        f"process {jax.process_index()} of {jax.process_count()} ends, since another "
        "one failed or cannot be reached: start the same command again on all hosts; "
        f"{restarted}"
    )


def _is_of_collective(error):
    """Whether an error is of XLA's: another process ended in the midst of a step."""
    kinds = jax.errors.JaxRuntimeError, ValueError
    return type(error) in kinds and str(error).startswith(_STATUSES)


def _replace_abort(farewell):
    """Ends the process as `farewell` says where JAX's service would abort it.

    The service calls `abort` in a thread of its own as soon as it loses a process.

    Returns:
      The handler, which must not be collected.
    """

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def handler(number):
        os.write(sys.stderr.fileno(), farewell.line.encode())
        os._exit(farewell.code)

    ctypes.CDLL(None).signal(signal.SIGABRT, handler)
    return handler


def _disconnect():
    jax.distributed.shutdown()
    signal.signal(signal.SIGABRT, signal.SIG_DFL)


def _leave(code):
    """Ends the process without JAX's farewell to the other processes."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextlib.contextmanager
def _quiet_libraries():
    """Sends what is not printed by Python to nowhere; after an error until the end."""
    before = sys.stdout, sys.stderr
    kept = []
    with open(os.devnull, "wb") as nowhere:
        for name, number in (("stdout", 1), ("stderr", 2)):
            kept.append(os.dup(number))
            stream = os.fdopen(
                os.dup(number), "w", buffering=1, errors="backslashreplace"
            )
            setattr(sys, name, stream)
            os.dup2(nowhere.fileno(), number)
    yield
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    sys.stdout, sys.stderr = before
    for number, handle in enumerate(kept, 1):
        os.dup2(handle, number)
