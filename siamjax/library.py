"""The functions of `import siamjax`: open a run, read a capture, evaluate a run."""

import ipaddress
import logging
import os
import pathlib
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from siamjax.assessment import evaluate as assessment
from siamjax.capture import cleaning, events
from siamjax.checks import require
from siamjax.identification import identify, sessions
from siamjax.identification.examples import make_place
from siamjax.identification.timeline import Span
from siamjax.inference import runs
from siamjax.text import printable
from siamjax.training import checkpoints
from siamjax.types import Events

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
          hop_s: seconds from the start of one window to the next, at least a bin.
          baseline_s: how many seconds at its beginning are normal; by default as many
            as in training.
        Raises:
          UsageError: an argument does not fit.
          SiamjaxError: the capture cannot be read, or is too short.
        """
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
        baseline_capture: str | os.PathLike | None = None,
    ) -> list[Span]:
        """Says which condition held when; the run must have been evaluated.

        What was not read of the capture is logged as a warning.

        Args:
          capture: path of a capture, or of a table where the run is of counters.
          examples: `(condition, path, seconds)` of more examples, besides those of the
            run; seconds is the start of the window after the first packet.
          baseline_s: how many seconds at its beginning are normal; by default as many
            as in training.
          baseline_capture: a normal capture of the same network; its baseline is used
            instead of the beginning of the capture.
        Returns:
          Stretches that cover the capture, in order.
        Raises:
          UsageError: an argument does not fit.
          SiamjaxError: nothing was read that an answer could rest on.
        """
        spans, traffic = identify.identify_capture(
            self._run,
            capture,
            places=[_place(i, example) for i, example in enumerate(examples)],
            baseline_s=baseline_s,
            baseline_capture=baseline_capture,
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
    return make_place(name, str(path), start, where, form)


def open_run(
    workdir: str | os.PathLike, checkpoint: Literal["best", "last"] = "best"
) -> Run:
    """Opens a run on one device.

    Args:
      workdir: of `siamjax train`.
      checkpoint: the best one in validation, or the last one.
    Raises:
      UsageError: checkpoint is another word.
      SiamjaxError: there is no checkpoint, or a version wrote it that is not supported.
    """
    require(
        checkpoint in (checkpoints.BEST, checkpoints.LAST),
        f"checkpoint is {checkpoint!r}: it is 'best' or 'last'",
    )
    return Run(runs.open_run(pathlib.Path(workdir), checkpoint))


def read_capture(path: str | os.PathLike, *, server: str | None = None) -> Capture:
    """Reads the signalling messages of a packet capture.

    Args:
      path: pcap or pcapng; plain, gzip, xz or zst.
      server: IP address of the server; by default it is derived from the packets.
    Raises:
      ValueError: server is not an IP address.
      SiamjaxError: the file is no capture, or holds no packet.
    """
    address = None if server is None else ipaddress.ip_address(server).packed
    return Capture(*events.read_events(path, address))


def evaluate(workdir: str | os.PathLike, data: str = "") -> dict[str, Any]:
    """Evaluates the best checkpoint of a run; writes what `siamjax evaluate` does.

    Args:
      workdir: of `siamjax train`.
      data: another prepared data set; by default that of the training.
    Returns:
      What results.json holds, see `siamjax.evaluation.results`.
    Raises:
      UsageError: the data does not fit the run.
      SiamjaxError: there is no run, or no capture to judge.
    """
    return assessment.evaluate_run(pathlib.Path(workdir), data, say=_LOG.debug)


def _warn(capture, warnings):
    for warning in warnings:
        _LOG.warning("%s: %s", printable(capture), warning)
