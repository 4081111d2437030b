"""Reads a capture or table as counts, and says what was not read of it.

If nothing was read of a file, that is an error: it gets no verdict.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from siamjax.capture import cleaning, counters, messages
from siamjax.capture.protocols import split_kind
from siamjax.capture.protocols.table import ERROR, RESENT
from siamjax.data import columns, counts, prepared
from siamjax.identification.timeline import stretches
from siamjax.text import short
from siamjax.types import Column, SiamjaxError

# The most columns, or stretches of silence, that a warning lists.
LISTED = 3
# Kinds of events that are not messages.
_NO_MESSAGE = frozenset((messages.ICMP, messages.OTHER, ERROR, RESENT))


class NoEvidence(SiamjaxError):
    """Nothing was read that a verdict could rest on.

    Attributes:
      path: of the file.
      reason: what is missing, in a few words.
      report: the cleaning report, of `capture.cleaning` or `capture.counters`.
    """

    def __init__(self, path, reason: str, report):
        super().__init__(f"{path}: {reason}: {_sentence(report)}")
        self.path, self.reason, self.report = path, reason, report

    def __reduce__(self):
        return type(self), (self.path, self.reason, self.report)


class Reading(NamedTuple):
    """What was read of one file."""

    counts: np.ndarray  # [bins, F]
    report: cleaning.Report | counters.Report
    read_s: np.ndarray  # [M] times of messages, or of rows with a value
    missing: tuple[str, ...]  # columns of counters without any value


class Reader(NamedTuple):
    """Reads files as the counts of a run. It needs no JAX: processes start quickly."""

    columns: tuple[Column, ...]
    ports: Mapping[str, Sequence[int]]  # see `inference.runs.Run`
    bin_s: float

    def read(self, path: str | os.PathLike) -> Reading:
        """Reads a capture, or a table of counters where the run is of counters.

        Raises:
          NoEvidence: it holds no message, or no value in the run's columns.
          SiamjaxError: it cannot be read, or the step between its rows is longer than a
            bin.
        """
        if self.columns[0].role == columns.COUNTER:
            return self._read_table(path)
        return self._read_capture(path)

    def attempt(self, path: str | os.PathLike) -> Reading | SiamjaxError | OSError:
        """`read`, where an error is a value, which another process can send."""
        try:
            return self.read(path)
        except (SiamjaxError, OSError) as error:
            return error

    def _read_capture(self, path):
        protocols = columns.protocols_of(self.columns)
        session, kinds, report = prepared.session_from_capture(
            path, protocols=protocols, ports=self.ports
        )
        if not report.messages:
            raise NoEvidence(path, "no message read", report)
        is_message = np.array(
            [not _NO_MESSAGE & {k, split_kind(k)[1]} for k in kinds], bool
        )
        events = session.events
        assert events is not None  # a capture has events and no series
        read_ns = events.time_ns[is_message[events.kind]]
        binned = counts.bin_session(session, kinds, self.bin_s, protocols)
        return Reading(binned, report, read_ns / 1e9, ())

    def _read_table(self, path):
        session, report = prepared.session_from_table(path, self.columns)
        series = session.series
        assert series is not None  # a table has a series and no events
        finite = np.isfinite(series.values)  # [N, F]
        if not finite.any():
            raise NoEvidence(path, "no value read", report)
        if problem := counts.why_too_coarse(series, self.bin_s):
            raise SiamjaxError(f"{path}: {problem}")
        missing = [c.name for c, any_ in zip(self.columns, finite.any(0)) if not any_]
        binned = counts.bin_session(session, (), self.bin_s, ())
        read_ns = series.time_ns[finite.any(1)]
        return Reading(binned, report, read_ns / 1e9, tuple(missing))


def list_warnings(reading: Reading) -> list[str]:
    """Sentences on what was not read of a file; empty if all was read."""
    report, warnings = reading.report, []
    if count_not_read(report):
        warnings.append(_sentence(report))
    if isinstance(report, counters.Report):
        if reading.missing:
            names = ", ".join(short(name, 30) for name in reading.missing[:LISTED])
            more = ", ..." if len(reading.missing) > LISTED else ""
            warnings.append(
                f"nothing was measured of {len(reading.missing)} of "
                f"{reading.counts.shape[1]} columns: {names}{more}"
            )
        warnings += _say_when("nothing was measured", _unmeasured(reading))
        return warnings
    if report.server in (cleaning.UNCLEAR, cleaning.ABSENT):
        whose = ", ".join(cleaning.without_server(report))
        of_which = f" of {whose}" if len(report.servers) > 1 else ""
        warnings.append(
            f"its server{of_which} is {report.server}: the direction of its messages "
            "is not known"
        )
    warnings += [*report.notes, *cleaning.list_suspicions(report)]
    silent = _without_message(reading)
    quiet = [(s, length) for s, length in silent if _is_quiet(s, length, report.gaps)]
    others = [stretch for stretch in silent if stretch not in quiet]
    warnings += _say_when("there was no packet", quiet)
    warnings += _say_when("no message was read, but there were packets,", others)
    return warnings


def count_not_read(report: cleaning.Report | counters.Report) -> dict[str, int]:
    """{cause: how much was not read}; if nothing was read, of all causes."""
    if isinstance(report, counters.Report):
        return counters.not_read(report)
    return cleaning.not_read(report) if report.messages else dict(report.causes)


def report_as_json(report: cleaning.Report | counters.Report) -> dict[str, Any]:
    """How much there was in a file, and what was not read, as plain values."""
    size = (
        dict(rows=report.rows)
        if isinstance(report, counters.Report)
        else dict(packets=report.packets)
    )
    return dict(size, not_read=count_not_read(report))


def _sentence(report):
    module = counters if isinstance(report, counters.Report) else cleaning
    return module.sentence(report)


def _without_message(reading):
    """Stretches `[(start_s, length_s)]` without a message, far longer than usual."""
    edges_s = [0.0, *reading.read_s, reading.report.span_s]
    return [tuple(gap) for gap in cleaning.find_gaps(np.array(edges_s) * 1e9)]


def _is_quiet(start_s, length_s, gaps):
    """Whether most of a stretch had no packet at all."""
    end_s = start_s + length_s
    overlaps = [min(end_s, s + length) - max(start_s, s) for s, length in gaps]
    return sum(max(overlap_s, 0.0) for overlap_s in overlaps) > length_s / 2


def _unmeasured(reading):
    """Stretches of rows without a value, as (start_s, length_s).

    The first row counts as measured: a counter that grows never has a value there.
    """
    step_s = reading.report.step_s
    measured = np.zeros(reading.report.rows, bool)
    measured[np.rint(reading.read_s / step_s).astype(int)] = True
    measured[0] = True
    return [
        (first * step_s, (end - first) * step_s)
        for first, end in stretches(measured)
        if not measured[first]
    ]


def _say_when(what, times):
    """A list of one sentence that names the longest of `[(start_s, length_s)]`; empty
    if there are none."""
    if not times:
        return []
    longest = sorted(times, key=lambda stretch: -stretch[1])[:LISTED]
    rest = len(times) - len(longest)
    times = ", ".join(f"{s:.1f} to {s + length:.1f} s" for s, length in sorted(longest))
    return [f"{what} from {times}" + (f" and in {rest} shorter stretches" * bool(rest))]
