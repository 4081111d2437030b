"""The functions of `import siamjax`: open a run, read a capture, evaluate a run."""

import contextlib
import ipaddress
import logging
import math
import numbers
import os
import pathlib
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from siamjax.assessment import evaluate
from siamjax.capture import cleaning, events
from siamjax.checks import require
from siamjax.identification import identify, sessions
from siamjax.identification.examples import make_place
from siamjax.identification.timeline import Span
from siamjax.inference import runs
from siamjax.text import printable
from siamjax.training import checkpoints
from siamjax.types import Events, UsageError

_LOG = logging.getLogger(__name__)


class Capture(NamedTuple):
    """A packet capture as it was read."""

    events: Events  # the signalling messages, in order of time
    kinds: tuple[str, ...]  # names of the kinds that `events.kind` indexes
    report: cleaning.Report  # what was not read of the file, counted by cause


class Points(NamedTuple):
    """The windows of a capture as points, N of them."""

    start_s: np.ndarray  # [N] start of each window, seconds after the first packet
    heads: dict[str, np.ndarray]  # {name of a head: [N, E]}


class Run:
    """A finished run, opened by `open_run`.

    Attributes:
      workdir: its folder.
      step: the optimiser step of its checkpoint.
      conditions: names of the conditions of its data set: normal, the other `known`
        ones, and then those that were not trained on.
      known: how many conditions were trained on, normal included.
    """

    def __init__(self, run: runs.Run) -> None:
        self._run = run
        self.workdir: pathlib.Path = run.workdir
        self.step: int = run.step
        self.conditions: tuple[str, ...] = run.trained.conditions
        self.known: int = run.trained.known

    def __repr__(self) -> str:
        return f"siamjax.Run({str(self.workdir)!r}, step={self.step})"

    def embed(
        self,
        capture: str | os.PathLike,
        *,
        hop_s: float = 1.0,
        baseline_s: float | None = None,
    ) -> Points:
        """Reads a capture and embeds its windows.

        Args:
          capture: path of a capture, or of a table where the run is of counters.
          hop_s: seconds from the start of one window to the next, more than 0; it is
            rounded to whole bins, at least one.
          baseline_s: how many seconds at its beginning are normal; by default as many
            as in training.
        Raises:
          UsageError: an argument does not fit.
          SiamjaxError: the capture cannot be read, or is too short.
        """
        _check_file("capture", capture)
        _check_number("hop_s", hop_s)
        require(
            0 < hop_s < math.inf,
            f"hop_s is {hop_s!r}: give a finite number of seconds above 0",
        )
        if baseline_s is not None:
            _check_number("baseline_s", baseline_s)
        data = self._run.config.data
        traffic = sessions.read_traffic(capture, self._run, baseline_s=baseline_s)
        _warn(capture, traffic.warnings)
        hop = max(round(hop_s / data.bin_s), 1)
        first, counts, baseline = sessions.slide_windows(traffic, data.bins, hop)
        return Points(first * data.bin_s, self._run.embed(counts, baseline))

    def identify(
        self,
        capture: str | os.PathLike,
        *,
        examples: Sequence[tuple[str, str | os.PathLike, float]] = (),
        baseline_s: float | None = None,
        network: str | None = None,
        library: str | os.PathLike | None = None,
    ) -> list[Span]:
        """Says which condition held when; the run must have been evaluated.

        What was not read of the capture is logged as a warning.

        Args:
          capture: path of a capture, or of a table where the run is of counters.
          examples: `(condition, path, seconds)` of more examples, besides those of the
            run and of the library; seconds is the start of the window after the first
            packet.
          baseline_s: how many seconds at its beginning are normal; by default as many
            as in training.
          network: name of a network in the library, learnt from its normal traffic by
            `siamjax adapt`; the capture is judged by what is normal there. Not with
            `baseline_s`.
          library: folder of examples and networks; by default that of the run.
        Returns:
          Stretches that cover the capture, in order.
        Raises:
          UsageError: an argument does not fit.
          SiamjaxError: nothing was read that an answer could rest on.
        """
        _check_file("capture", capture)
        if baseline_s is not None:
            _check_number("baseline_s", baseline_s)
        if network is not None:
            require(isinstance(network, str), f"network is {network!r}: give a name")
            require(baseline_s is None, "give baseline_s or network, not both")
        if library is not None:
            _check_path("library", library)
        places = [_place(i, example) for i, example in enumerate(examples)]
        spans, traffic = identify.identify_capture(
            self._run,
            capture,
            places=places,
            baseline_s=baseline_s,
            network=network,
            folder=library,
        )
        _warn(capture, traffic.warnings)
        return spans


def _place(i, example):
    where, form = f"examples[{i}] {example!r}", "(condition, path, seconds)"
    require(
        isinstance(example, tuple | list) and len(example) == 3,
        f"{where} is not of the form {form}",
    )
    name, path, start = example
    place = make_place(name, str(path), start, where, form)
    _check_file(f"the path of {where}", path)
    return place


def open_run(
    workdir: str | os.PathLike, checkpoint: Literal["best", "last"] = "best"
) -> Run:
    """Opens a run on one device.

    Args:
      workdir: of `siamjax train`.
      checkpoint: the best one in validation, or the last one.
    Raises:
      UsageError: workdir is no path, or checkpoint is another word.
      SiamjaxError: there is no checkpoint, or a version wrote it that is not supported.
    """
    _check_path("workdir", workdir)
    require(
        checkpoint in (checkpoints.BEST, checkpoints.LAST),
        f"checkpoint is {checkpoint!r}: it is 'best' or 'last'",
    )
    return Run(runs.open_run(pathlib.Path(workdir), checkpoint))


def read_capture(path: str | os.PathLike, *, server: str | None = None) -> Capture:
    """Reads the signalling messages of a packet capture.

    Args:
      path: pcap or pcapng; plain, gzip, xz or zst.
      server: IP address of the server; by default it is derived from the packets. If no
        packet has it, a warning is logged, and no direction is known.
    Raises:
      UsageError: there is no such file, or server is not an IP address.
      SiamjaxError: the file is no capture, or holds no packet.
    """
    _check_file("path", path)
    address = None if server is None else _parse_address(server)
    capture = Capture(*events.read_events(path, address))
    if capture.report.server == cleaning.ABSENT:
        unknown = f"no packet has the address {server} of server: no direction is known"
        _warn(path, [unknown])
    return capture


def evaluate_run(
    workdir: str | os.PathLike, data: str | os.PathLike | None = None
) -> dict[str, Any]:
    """Evaluates the best checkpoint of a run; writes what `siamjax evaluate` does.

    Args:
      workdir: of `siamjax train`.
      data: another prepared data set; by default that of the training.
    Returns:
      What results.json holds, see `siamjax.evaluation.results`.
    Raises:
      UsageError: an argument is no path, or the data does not fit the run.
      SiamjaxError: there is no run, or no capture to judge.
    """
    _check_path("workdir", workdir)
    if data is not None:
        _check_path("data", data)
        data = os.fspath(data)
    return evaluate.evaluate_run(pathlib.Path(workdir), data, say=_LOG.debug)


def _check_path(name, path):
    # An empty path would be the current folder.
    require(
        isinstance(path, str | os.PathLike) and os.fspath(path),
        f"{name} is {path!r}: give a path",
    )


def _check_file(name, path):
    _check_path(name, path)
    require(not os.path.isdir(path), f"{name} is {str(path)!r}, a folder: give a file")
    require(os.path.exists(path), f"{name} is {str(path)!r}: there is no such file")
    require(os.access(path, os.R_OK), f"{name} is {str(path)!r}: you may not read it")


def _check_number(name, value):
    require(
        isinstance(value, numbers.Real),
        f"{name} is {value!r}: give a number of seconds",
    )


def _parse_address(server):
    # A whole number would be an address, too.
    with contextlib.suppress(ValueError):
        if isinstance(server, str):
            return ipaddress.ip_address(server).packed
    raise UsageError(f"server is {server!r}: give an IP address, such as '192.0.2.1'")


def _warn(capture, warnings):
    for warning in warnings:
        _LOG.warning("%s: %s", printable(capture), warning)
